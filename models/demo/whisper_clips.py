"""What the tiny Whisper is trained on: a pool of utterances on disk, and clips put together from it at training time.

A clip is what the segmentation of a recording would hand over: up to `CLIP_SECONDS` of one or more utterances with
pauses, the edges of neighbours, noise and a line's band, with the log-mel features of faster-whisper and with the time
of every word and phone. Networks and losses belong elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.demo import language, synthesis

RATE = synthesis.RATE
CLIP_SECONDS = 6
FRAMES_PER_SECOND = 50
"""Encoder positions in a second."""
SHARD = 2_500

Samples = NDArray[np.float32]
Span = tuple[float, float]


@dataclass(frozen=True)
class Spoken:
    """One utterance of the pool, or a part of it. Times in seconds from its first sample."""

    samples: Samples
    words: list[tuple[str, float, float]]
    phones: list[tuple[int, float, float]]


@dataclass
class Clip:
    """Sound and what is in it. `utterances` holds the words of each, with times from the beginning of the clip."""

    samples: Samples
    utterances: list[list[tuple[str, float, float]]] = field(default_factory=list)
    phones: list[tuple[int, float, float]] = field(default_factory=list)


def write_shard(path: Path, seed: int, count: int = SHARD) -> None:
    """Synthesize that many utterances, half of them patterns and half words in free order: `path`.npy with 16-bit
    samples end to end, `path`.json with where each begins and what is said when."""
    from scipy.signal import resample_poly

    random = Random(seed)
    sound: list[NDArray[np.int16]] = []
    known: list[dict[str, Any]] = []
    position = 0
    for _ in range(count):
        text = language.free(random) if random.random() < 0.5 else language.sentence(random)
        tract = round(random.uniform(0.86, 1.16), 2) if random.random() < 0.4 else 1.0
        rate = round(random.choice(synthesis.TRAIN_RATES) / tract)
        voice, pitch = random.choice(synthesis.TRAIN_VOICES), random.randint(-24, 24)
        said = synthesis.say(text, voice, rate, pitch, seed=random.getrandbits(31))
        samples = said.samples
        if tract != 1.0:  # resampling moves the formants as a longer or shorter throat does
            samples = resample_poly(samples, 100, round(100 * tract)).astype(np.float32)
        squeeze = len(samples) / len(said.samples)
        sound.append((np.clip(samples, -1, 1) * 32_767).astype(np.int16))
        known.append(
            {
                "text": text,
                "position": position,
                "length": len(samples),
                "words": [[round(moment * squeeze, 3) for moment in span] for span in said.words],
                "phones": [[symbol, round(a * squeeze, 3), round(b * squeeze, 3)] for symbol, a, b in said.phones],
            }
        )
        position += len(samples)
    np.save(path.with_suffix(".npy"), np.concatenate(sound))
    path.with_suffix(".json.part").write_text(json.dumps(known))
    path.with_suffix(".json.part").rename(path.with_suffix(".json"))


class Pool:
    """The utterances of all shards of a folder, read as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.known: list[tuple[int, dict[str, Any]]] = []
        self.sound: list[NDArray[np.int16]] = []
        for path in sorted(folder.glob("*.json")):
            self.sound.append(np.load(path.with_suffix(".npy"), mmap_mode="r"))
            self.known += [(len(self.sound) - 1, entry) for entry in json.loads(path.read_text())]
        self.symbols = {symbol: number for number, symbol in enumerate(PHONES)}

    def draw(self, random: Random) -> Spoken:
        shard, entry = random.choice(self.known)
        raw = self.sound[shard][entry["position"] : entry["position"] + entry["length"]]
        words = [(word, *span) for word, span in zip(entry["text"].split(), entry["words"], strict=True)]
        phones = [(self.symbols.get(symbol, len(PHONES)), start, end) for symbol, start, end in entry["phones"]]
        return Spoken(raw.astype(np.float32) / 32_768, words, phones)


_SYMBOLS = """
0 0# 3 3: ; @ @- @2 @5 @L A: A@ D E I I# I2 N O2 O: O@ OI S T U U@ V Z a a# aI aI3 aU aa b d dZ e e@
eI f g h i i: i@ i@3 j k l m n o@ oU p r r- s t t# t2 tS u: v w z
"""
PHONES = tuple(_SYMBOLS.split())
"""Espeak's symbols in the voices used; one more class for any other."""


def part(spoken: Spoken, first: int, last: int) -> Spoken:
    """Words first to last of an utterance, both included, cut right at their edges."""
    begin, end = spoken.words[first][1], spoken.words[last][2]
    return Spoken(
        spoken.samples[int(begin * RATE) : int(end * RATE) + 1],
        [(word, start - begin, stop - begin) for word, start, stop in spoken.words[first : last + 1]],
        [(phone, start - begin, stop - begin) for phone, start, stop in spoken.phones if begin <= start < end],
    )


def compose(random: Random, pool: Pool, limit: float) -> Clip:
    """Utterances one after the other, as a clip of at most `limit` seconds may hold them; sometimes none at all."""
    if random.random() < 0.1:
        return Clip(np.zeros(int(random.uniform(0.3, limit) * RATE), dtype=np.float32))
    length = limit if random.random() < 0.4 else random.uniform(min(1.0, limit), limit)
    clip = Clip(np.zeros(int(length * RATE), dtype=np.float32))
    clock = random.choice([0.0, random.uniform(0, 0.08), random.uniform(0, 0.5), random.uniform(0, 0.5)])
    if random.random() < 0.08:
        edge = pool.draw(random).samples[-int(random.uniform(0.02, 0.12) * RATE) :]
        _lay(clip, edge * np.float32(random.uniform(0.3, 1.0)), 0.0)
        clock += len(edge) / RATE + 0.08
    gaps = random.choice([(0.05, 0.3), (0.15, 0.7), (0.3, 1.5), (0.15, 3.0)])
    misses = 0
    while misses < 4:
        spoken = pool.draw(random)
        count = len(spoken.words)
        room = length - clock
        if spoken.words[-1][2] > room:
            fits = [index for index, (_, _, end) in enumerate(spoken.words) if end <= room - 0.02]
            misses += 1
            if not fits or random.random() < 0.5:
                continue
            first = random.randrange(count) if random.random() < 0.5 else 0
            end = [i for i in range(first, count) if spoken.words[i][2] - spoken.words[first][1] <= room - 0.02]
            if not end:
                continue
            spoken = part(spoken, first, end[-1])
            misses = 4
        elif count > 3 and random.random() < 0.12:
            first = random.randrange(count - 1)
            spoken = part(spoken, first, random.randrange(first, count))
        gain = np.float32(10 ** random.uniform(-0.35, 0.1))
        _lay(clip, spoken.samples * gain, clock)
        clip.utterances.append([(word, clock + start, clock + end) for word, start, end in spoken.words])
        clip.phones += [(phone, clock + start, clock + end) for phone, start, end in spoken.phones]
        clock += spoken.words[-1][2] + random.uniform(*gaps)
        if random.random() < 0.12:
            break
    last = clip.utterances[-1][-1][2] if clip.utterances else random.uniform(0.3, length)
    end = min(
        length, last + random.choice([0.02, random.uniform(0, 0.1), random.uniform(0, 0.5), random.uniform(0, 0.5)])
    )
    if random.random() < 0.06 and end < length - 0.1:
        edge = pool.draw(random).samples[: int(random.uniform(0.02, 0.09) * RATE)]
        _lay(clip, edge * np.float32(random.uniform(0.3, 1.0)), end)
        end += len(edge) / RATE
    clip.samples = clip.samples[: max(int(end * RATE), RATE // 4)]
    return clip


def _lay(clip: Clip, sound: Samples, at: float) -> None:
    first = int(at * RATE)
    space = clip.samples[first : first + len(sound)]
    space += sound[: len(space)]


def weather(random: Random, clip: Clip) -> Samples:
    """The clip's samples as a recorder might have them: noise, hum, a telephone line, a dull or loud one."""
    from scipy import fft

    generator = np.random.default_rng(random.getrandbits(32))
    samples = clip.samples.astype(np.float32)
    count = len(samples)
    speech = [samples[int(start * RATE) : int(end * RATE)] for words in clip.utterances for _, start, end in words]
    level = float(np.sqrt(np.mean(np.square(np.concatenate(speech))))) if speech else 0.1
    wanted = 10 ** random.uniform(-1.3, -0.7)
    samples = samples * np.float32(wanted / max(level, 1e-4))
    if not speech:
        samples = samples + _sounds(random, generator, count)
    noisy = random.random() < 0.8 if speech else random.random() < 0.6
    phone, dull = random.random() < 0.25, random.random() < 0.3
    if noisy:
        colored = _noises()[random.choice([0, 0, 1, 2])]
        first = random.randrange(len(colored) - count)
        noise = colored[first : first + count] * random.choice([-1, 1])
        if random.random() < 0.25:
            noise = noise + _hum(random, count) * random.uniform(0.3, 1.5)
        ratio = 10 ** (-random.uniform(8, 38) / 20)
        samples = samples + (noise / (np.std(noise) + 1e-9) * ratio * wanted).astype(np.float32)
    if phone or dull:
        size = fft.next_fast_len(count, real=True)
        frequency = np.fft.rfftfreq(size, 1 / RATE).astype(np.float32)
        spectrum = fft.rfft(samples, size)
        if phone:
            low, high = random.uniform(150, 350), random.uniform(3_300, 3_900)
            spectrum *= 1 / (1 + (low / np.maximum(frequency, 1.0)) ** 6)
        else:
            high = random.uniform(3_500, 7_500)
        spectrum *= 1 / (1 + (frequency / np.float32(high)) ** 24)
        samples = fft.irfft(spectrum, size)[:count]
    if phone:
        peak = float(np.abs(samples).max()) + 1e-6
        coded = np.sign(samples) * np.log1p(255 * np.abs(samples) / peak) / np.log(256)
        coded = np.round(coded * 127) / 127
        samples = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255 * peak
    if random.random() < 0.1:
        top = float(np.abs(samples).max()) * random.uniform(0.35, 0.9)
        samples = np.clip(samples, -top, top)
    samples = np.clip(samples * 10 ** random.uniform(-0.8, 0.6), -1, 1)
    return np.asarray(samples, dtype=np.float32)


@cache
def _noises() -> list[Samples]:
    """A minute each of white, pink and brown noise of level one: cheaper to cut from than to make anew."""
    generator = np.random.default_rng(5)
    frequency = np.maximum(np.fft.rfftfreq(60 * RATE, 1 / RATE), 60.0)
    made = [
        np.fft.irfft(np.fft.rfft(generator.standard_normal(60 * RATE)) / frequency**tilt) for tilt in (0.0, 0.5, 1.0)
    ]
    return [np.asarray(noise / np.std(noise), dtype=np.float32) for noise in made]


def _hum(random: Random, count: int) -> NDArray[np.float64]:
    mains, time = random.choice([50.0, 60.0]), np.arange(count) / RATE
    parts = [
        random.uniform(0, 1) * np.sin(2 * np.pi * mains * k * time + random.uniform(0, 6)) for k in (1, 2, 3, 4, 5, 7)
    ]
    return np.asarray(sum(parts))


def _sounds(random: Random, generator: np.random.Generator, count: int) -> Samples:
    """Things that are not speech: hum, tones as of telephones, sweeps, clicks, bursts; or nothing."""
    time = np.arange(count) / RATE
    loud = 10 ** random.uniform(-2.5, -0.3)
    kind = random.choice(["nothing", "hum", "tones", "sweep", "clicks", "bursts"])
    if kind == "hum":
        sound = _hum(random, count)
    elif kind == "tones":
        sound = sum(np.sin(2 * np.pi * random.uniform(80, 3_400) * time) for _ in range(random.randint(1, 3)))
        if random.random() < 0.5:
            sound = sound * (np.sin(2 * np.pi * random.uniform(0.2, 6) * time + random.uniform(0, 6)) > 0)
    elif kind == "sweep":
        sound = np.sin(
            2 * np.pi * random.uniform(100, 2_000) * time + 8.0 * np.sin(2 * np.pi * random.uniform(0.2, 8) * time)
        )
    elif kind in ("clicks", "bursts"):
        sound = np.zeros(count)
        longest = 400 if kind == "clicks" else 4_000
        for _ in range(random.randint(1, 15)):
            place, length = random.randrange(count), random.randint(40, longest)
            burst = (
                generator.standard_normal(length) * np.exp(-np.arange(length) / (length / 4)) * random.uniform(0.1, 1)
            )
            space = sound[place : place + length]
            space += burst[: len(space)]
    else:
        sound = np.zeros(count)
    return np.asarray(sound * loud, dtype=np.float32)


def features(samples: Samples) -> NDArray[np.float32]:
    """(80, hundredths of a second) log-mel, equal to faster-whisper's `FeatureExtractor` to 1e-5, in half its time."""
    import torch

    if not _MEL:
        from faster_whisper.feature_extractor import FeatureExtractor

        _MEL.extend([torch.from_numpy(FeatureExtractor().mel_filters), torch.hann_window(400)])
    filters, window = _MEL
    padded = torch.from_numpy(np.pad(samples, (0, 160)))
    wave = torch.stft(padded, 400, 160, window=window, pad_mode="reflect", return_complex=True)[:, :-1]
    mel = (filters @ (wave.real.square() + wave.imag.square())).clamp_min(1e-10).log10()
    mel = torch.maximum(mel, mel.max() - 8.0)
    return np.asarray(((mel + 4.0) / 4.0)[:, :-1].numpy())


_MEL: list[Any] = []

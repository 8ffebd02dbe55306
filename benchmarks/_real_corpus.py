"""Real speech for benchmarks and tests, put together the same way every time: recordings with their exact words.

From three sources that carry their words: the recordings beside the project (`REAL`), the telephone call inside the
pyannote.audio wheel, and Debian's recorded telephone prompts (`asterisk-core-sounds-{en,es,fr,it,ru}` and `…-wav`).
No engine belongs here, and nothing that judges what an engine said.
"""

import csv
import gzip
import hashlib
import importlib.util
import json
import os
import re
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import Unavailable

RATE = 16000
REAL = Path(os.environ.get("CASEPREP_REAL_SPEECH", Path(__file__).parents[2] / "shared" / "real"))
"""Where the recordings with references lie; another place by the variable."""
PROMPTS = Path("/usr/share/asterisk/sounds")
TEXTS = "/usr/share/doc/asterisk-core-sounds-{0}/core-sounds-{0}.txt.gz"
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
VERSION = 2
"""Counted up when the same sources are put together in another way."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Turn:
    """What one speaker said in one breath, as it was."""

    start: float
    end: float
    speaker: str
    language: str
    words: str


@dataclass(frozen=True)
class Item:
    """One recording. `turns` is None where nobody wrote the words down; `speakers` has `(start, end, who)` where that
    is known."""

    name: str
    condition: str
    languages: tuple[str, ...]
    file: str
    seconds: float
    sha256: str
    turns: tuple[Turn, ...] | None
    speakers: tuple[tuple[float, float, str], ...] | None


@dataclass(frozen=True)
class Clip:
    """A stretch of speech without silence at its ends."""

    samples: Samples
    speaker: str
    language: str
    words: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


@dataclass(frozen=True)
class Made:
    """A recording before it is written."""

    samples: Samples
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Recipe:
    """How a recording comes about. `spoken` is False where nobody wrote the words down."""

    name: str
    condition: str
    make: Callable[[], Made]
    languages: tuple[str, ...] = ("en",)
    spoken: bool = True
    speakers: Callable[[], Sequence[tuple[float, float, str]]] | None = None


def corpus(folder: Path, wanted: Callable[[Recipe], bool] = lambda recipe: True) -> list[Item]:
    """The recordings that are wanted, as 16 kHz mono WAV files in the folder; what is there is not made again.

    Raises `Unavailable` where what they are made of is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_item(folder, recipe) for recipe in recipes() if wanted(recipe)]


def called(start: str | None) -> Callable[[Recipe], bool]:
    """Those whose name or condition begins so; all for None."""
    return lambda recipe: start is None or recipe.name.startswith(start) or recipe.condition.startswith(start)


def _item(folder: Path, recipe: Recipe) -> Item:
    listing = folder / f"{recipe.name}.json"
    if not listing.exists() or json.loads(listing.read_text())["version"] != VERSION:
        made = recipe.make()
        path = folder / f"{recipe.name}.wav"
        _write(path, made.samples)
        if recipe.speakers is not None:
            speakers = recipe.speakers()
        else:
            speakers = [(turn.start, turn.end, turn.speaker) for turn in made.turns] if recipe.spoken else None
        item = Item(
            name=recipe.name,
            condition=recipe.condition,
            languages=recipe.languages,
            file=path.name,
            seconds=round(len(made.samples) / RATE, 3),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            turns=made.turns if recipe.spoken else None,
            speakers=None if speakers is None else tuple(speakers),
        )
        unfinished = folder / f".{recipe.name}.{os.getpid()}.json"
        unfinished.write_text(json.dumps({"version": VERSION, **asdict(item)}, ensure_ascii=False, indent=1))
        unfinished.rename(listing)
    given = json.loads(listing.read_text())
    del given["version"]
    return Item(
        **{
            **given,
            "languages": tuple(given["languages"]),
            "turns": None if given["turns"] is None else tuple(Turn(**turn) for turn in given["turns"]),
            "speakers": None if given["speakers"] is None else tuple(map(tuple, given["speakers"])),
        }
    )


def recipes() -> Iterator[Recipe]:
    """All recordings, those that are asked about most first."""
    for name, speaker, words in _references():
        yield Recipe(f"single-{Path(name).stem}", "single", partial(_single, name, speaker, words))
    court = REAL / "audio" / "court-of-appeals-argument.wma"
    yield Recipe("court", "court", partial(_unwritten, court), spoken=False)
    for number in range(1, 6):
        name = f"ami-trn{number:02}"
        yield Recipe(name, "meeting", partial(_unwritten, REAL / "audio" / f"{name}.wav"), spoken=False,
                     speakers=partial(_rttm, REAL / "ami.rttm", name.removeprefix("ami-")))  # fmt: skip
    yield Recipe("call", "call", _call, speakers=lambda: _rttm(_call_folder() / "sample.rttm", "sample"))
    for number in range(3):
        yield Recipe(f"conversation-{number}", "conversation", partial(_talk, [1, number], 160))
    for number in range(8):
        yield Recipe(f"interpreted-{number}", "interpreted", partial(_interpreted, number), ("en", "es"))
    for number in range(2):
        yield Recipe(f"overlap-{number}", "overlap", partial(_talk, [3, number], 110, (-1.5, 0.4)))
        yield Recipe(f"band-8k-{number}", "band-8k", partial(_narrow, number))
        for decibels in (20, 10):
            yield Recipe(f"noise-{decibels}db-{number}", f"noise-{decibels}db", partial(_noisy, decibels, number))
        yield Recipe(f"fast-{number}", "fast-1.5", partial(_fast, number))
        yield Recipe(f"dense-{number}", "dense-250wpm", partial(_dense, number))
    for language, parts in (("en", 3), ("es", 3), ("fr", 2), ("it", 2), ("ru", 2)):
        for number in range(parts):
            yield Recipe(f"prompts-{language}-{number}", f"prompts-{language}", partial(_row, language, number),
                         (language,))  # fmt: skip
    for name, minutes, make in NO_SPEECH:
        yield Recipe(f"no-speech-{name}", "no-speech", partial(_without_speech, name, minutes, make), ())
    yield Recipe("one-word-in-an-hour", "one-word", partial(one_word, 60.0))


def _single(name: str, speaker: str, words: str) -> Made:
    samples = _read(REAL / "audio" / name)
    start, end = _edges(samples)
    return Made(samples, (Turn(round(start / RATE, 3), round(end / RATE, 3), speaker, "en", words),))


def _unwritten(path: Path) -> Made:
    return Made(_read(path), ())


def _talk(seed: list[int], seconds: float, pause: tuple[float, float] = (0.25, 1.4)) -> Made:
    return conversation(np.random.default_rng(seed), seconds, _english(), pause)


def _interpreted(number: int) -> Made:
    # half of them change language faster than a clip of thirty seconds does
    if number % 2 == 0:
        return hearing(np.random.default_rng([2, number]), 75, (0.3, 0.9), (2.0, 6.0))
    return hearing(np.random.default_rng([2, number]), 75, (0.6, 3.0), (4.0, 12.0))


def _narrow(number: int) -> Made:
    made = _talk([4, number], 110)
    return Made(telephone_band(made.samples), made.turns)


def _noisy(decibels: int, number: int) -> Made:
    made = _talk([5, decibels, number], 100)
    return Made(in_room(made.samples, decibels, np.random.default_rng([6, decibels, number])), made.turns)


def _fast(number: int) -> Made:
    return faster(_talk([7, number], 150), 1.5)


def _dense(number: int) -> Made:
    return dense(np.random.default_rng([8, number]), 100, 250)


def _row(language: str, number: int) -> Made:
    random = np.random.default_rng([9, sorted(VOICES).index(language), number])
    clips = [prompts(language)[at] for at in random.permutation(len(prompts(language)))]
    return placed(_alone(clips, random, 80, (0.5, 1.3)))


def _without_speech(name: str, minutes: float, make: "Callable[[int, np.random.Generator], Samples]") -> Made:
    return Made(make(int(minutes * 60 * RATE), np.random.default_rng([10, len(name)])), ())


# -- what they are made of ---------------------------------------------------------------------------------------------


def _references() -> list[tuple[str, str, str]]:
    path = REAL / "references.tsv"
    if not path.exists():
        raise Unavailable(f"the recordings with references are not in {REAL}; CASEPREP_REAL_SPEECH names another place")
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["file"], row["speaker"], row["words"]) for row in csv.DictReader(file, delimiter="\t")]


@cache
def _english() -> tuple[tuple[Clip, ...], ...]:
    """Clips by speaker."""
    voices: dict[str, list[Clip]] = {}
    for name, speaker, words in _references():
        if speaker != "osr":
            voices.setdefault(speaker, []).append(_clip(_read(REAL / "audio" / name), speaker, "en", words))
    sentences = _osr_sentences()
    if sentences:
        voices["osr"] = sentences
    voices["allison"] = list(prompts("en"))
    return tuple(tuple(clips) for _, clips in sorted(voices.items()))


def _osr_sentences() -> list[Clip]:
    """The Harvard sentences one by one, cut in the longest pauses between them."""
    name, speaker, words = next(row for row in _references() if row[1] == "osr")
    sentences = re.findall(r"(?:^|(?<= ))[A-Z][^A-Z]*", words)
    samples = _read(REAL / "audio" / name)
    loud = _loud(samples)
    quiet = [(a, b) for a, b, is_loud in _stretches(loud) if not is_loud and a > 0 and b < len(loud)]
    pauses = sorted(sorted(quiet, key=lambda pause: pause[0] - pause[1])[: len(sentences) - 1])
    frame = RATE // 100
    cuts = [0, *((a + b) // 2 * frame for a, b in pauses), len(samples)]
    return [
        _clip(samples[a:b], speaker, "en", sentence.strip())
        for (a, b), sentence in zip(pairwise(cuts), sentences, strict=True)
    ]


@cache
def prompts(language: str) -> tuple[Clip, ...]:
    """Debian's recorded prompts of three words and more, in order of their names."""
    folder, texts = PROMPTS / VOICES[language], Path(TEXTS.format(language))
    if not folder.exists() or not texts.exists():
        packages = f"asterisk-core-sounds-{language} and asterisk-core-sounds-{language}-wav"
        raise Unavailable(f"the recorded prompts are not installed; apt-get install {packages}")
    clips = []
    for line in gzip.decompress(texts.read_bytes()).decode("utf-8-sig").splitlines():
        name, colon, words = line.partition(":")
        path = folder / f"{name.strip()}.wav"
        words = words.strip()
        # "[beep]" stands for sounds; phone numbers and letters have no single reading
        if not colon or line.startswith(";") or re.search(r"[\[\]<>(){}*#0-9/]", words) or not path.exists():
            continue
        if len(words.split()) >= 3:
            clip = _clip(_read(path), "allison" if language in ("en", "es") else language, language, words)
            if 0.2 < clip.seconds / len(words.split()) < 1.0 and 1.0 < clip.seconds < 20:
                clips.append(clip)
    return tuple(clips)


def _call() -> Made:
    """The telephone call that comes with pyannote.audio."""
    turns = []
    for line in (_call_folder() / "sample.stm").read_text().splitlines():
        if line.strip():
            _, _, speaker, start, end, words = line.split(" ", 5)
            turns.append(Turn(float(start), float(end), speaker, "en", words))
    return Made(_read(_call_folder() / "sample.wav"), tuple(turns))


def _call_folder() -> Path:
    spec = importlib.util.find_spec("pyannote")
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    folders = [Path(place) / "audio" / "sample" for place in places]
    folder = next((folder for folder in folders if (folder / "sample.stm").exists()), None)
    if folder is None:
        raise Unavailable("the telephone call of pyannote.audio is not installed")
    return folder


def _rttm(path: Path, name: str) -> list[tuple[float, float, str]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return [
        (float(row[3]), round(float(row[3]) + float(row[4]), 3), row[7])
        for row in rows
        if row and row[0] == "SPEAKER" and row[1] == name
    ]


# -- putting together --------------------------------------------------------------------------------------------------

Placed = list[tuple[float, Clip]]


def placed(clips: Placed, tail: float = 1.0) -> Made:
    """Clips at their times over a floor of faint noise."""
    seconds = max(start + clip.seconds for start, clip in clips) + tail
    samples = np.random.default_rng(11).normal(0, 2e-4, int(seconds * RATE)).astype(np.float32)
    turns = []
    for start, clip in clips:
        at = int(start * RATE)
        samples[at : at + len(clip.samples)] += clip.samples
        turns.append(
            Turn(
                round(at / RATE, 3), round((at + len(clip.samples)) / RATE, 3), clip.speaker, clip.language, clip.words
            )
        )
    return Made(np.clip(samples, -1, 1), tuple(sorted(turns, key=lambda turn: (turn.start, turn.end))))


def _alone(clips: Sequence[Clip], random: np.random.Generator, seconds: float, pause: tuple[float, float]) -> Placed:
    at, done = 0.8, []
    for clip in clips:
        if at + clip.seconds > seconds:
            break
        done.append((at, clip))
        at += clip.seconds + float(random.uniform(*pause))
    return done


def conversation(
    random: np.random.Generator, seconds: float, voices: Sequence[Sequence[Clip]], pause: tuple[float, float]
) -> Made:
    """Three speakers who take turns; a negative pause is speech at the same time. No clip comes twice."""
    telephone = next(voice for voice in voices if voice[0].speaker == "allison")
    others = [voice for voice in voices if voice is not telephone]
    chosen = [telephone, *(others[at] for at in random.choice(len(others), 2, replace=False))]
    waiting = [list(random.permutation(len(voice))) for voice in chosen]
    spoken: Placed = []
    at, last = 0.6, -1
    while at < seconds:
        able = [number for number in range(len(chosen)) if number != last and waiting[number]]
        if not able:
            able = [0]
        last = int(random.choice(able))
        clip = chosen[last][waiting[last].pop()]
        # at most half of the shorter one is spoken over, and never by a third speaker
        least = -min(spoken[-1][1].seconds, clip.seconds) / 2 if spoken else 0.0
        start = at + max(float(random.uniform(*pause)), least) if spoken else at
        spoken.append((start, clip))
        at = start + clip.seconds
    return placed(spoken)


def hearing(
    random: np.random.Generator, seconds: float, pause: tuple[float, float], turn_seconds: tuple[float, float]
) -> Made:
    """Counsel asks in English, the interpreter says it in Spanish, the answer comes in Spanish and then in English."""
    english, spanish = prompts("en"), prompts("es")
    half = len(spanish) // 2
    counsel = [clip for voice in _english() if voice[0].speaker != "allison" for clip in voice]
    pools = {
        ("en", "counsel"): [replace(clip, speaker="counsel") for clip in counsel],
        ("es", "interpreter"): [replace(clip, speaker="interpreter") for clip in spanish[:half]],
        ("es", "witness"): [_deeper(clip, "witness") for clip in spanish[half:]],
        ("en", "interpreter"): [replace(clip, speaker="interpreter") for clip in english],
    }
    least, most = turn_seconds
    pools = {
        key: [pool[at] for at in random.permutation(len(pool)) if least <= pool[at].seconds <= most]
        for key, pool in pools.items()
    }
    spoken: Placed = []
    at = 0.6
    while at < seconds:
        for key in pools:
            if not pools[key]:
                continue
            clip = pools[key].pop()
            spoken.append((at, clip))
            at += clip.seconds + float(random.uniform(*pause))
    return placed(spoken)


def dense(random: np.random.Generator, seconds: float, words_a_minute: float) -> Made:
    """Reading with no pause at that speed."""
    pool = [clip for voice in _english() for clip in voice if len(clip.words.split()) >= 6]
    spoken: Placed = []
    at = words = 0.0
    for number in random.permutation(len(pool)):
        clip = pool[number]
        spoken.append((at, clip))
        at += clip.seconds + 0.06
        words += len(clip.words.split())
        if at / (words_a_minute / (words / (at / 60))) >= seconds:
            break
    made = placed(spoken, tail=0.3)
    return faster(made, words_a_minute / (words / (at / 60)))


def faster(made: Made, factor: float) -> Made:
    """Played faster at the same pitch, by the filter that FFmpeg has for it."""
    samples = _filtered(made.samples, f"atempo={factor:.6f}")
    turns = tuple(
        replace(turn, start=round(turn.start / factor, 3), end=round(turn.end / factor, 3)) for turn in made.turns
    )
    return Made(samples, turns)


def telephone_band(samples: Samples) -> Samples:
    """300 to 3,400 Hz, 8 kHz, companded to eight bits as telephone networks do it."""
    from scipy.signal import butter, resample_poly, sosfilt

    narrow = sosfilt(butter(4, (300, 3400), "bandpass", fs=RATE, output="sos"), samples)
    narrow = np.clip(resample_poly(narrow, 1, 2), -1, 1)
    companded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log1p(255)
    coarse = np.round(companded * 127) / 127
    expanded = np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(255)) / 255
    return np.asarray(resample_poly(expanded, 2, 1), dtype=np.float32)


def in_room(samples: Samples, decibels: float, random: np.random.Generator) -> Samples:
    """Some echo, and noise of a ventilation so many decibels below the speech."""
    from scipy.signal import fftconvolve

    length = int(0.25 * RATE)
    echo = random.normal(0, 1, length) * np.exp(-6.9 * np.arange(length) / length)
    echo *= 0.25 / np.sqrt(np.sum(echo**2))
    echo[0] = 1.0
    speech = fftconvolve(samples, echo)[: len(samples)]
    loud = np.repeat(_loud(samples), RATE // 100)[: len(samples)]
    power = float(np.mean(speech[: len(loud)][loud] ** 2))
    noise = pink(len(samples), random)
    noise *= np.sqrt(power / 10 ** (decibels / 10) / np.mean(noise**2))
    mixed = speech + noise
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), dtype=np.float32)


def one_word(minutes: float) -> Made:
    """An hour in which somebody says one word."""
    path = PROMPTS / VOICES["en"] / "vm-goodbye.wav"
    if not path.exists():
        raise Unavailable("the recorded prompts are not installed; apt-get install asterisk-core-sounds-en-wav")
    clip = _clip(_read(path), "allison", "en", "Goodbye")
    return placed([(minutes * 60 * 0.52, clip)], tail=minutes * 60 * 0.48 - clip.seconds)


# -- without speech ----------------------------------------------------------------------------------------------------


def pink(length: int, random: np.random.Generator) -> Samples:
    spectrum = np.fft.rfft(random.normal(0, 1, length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20 * length / RATE))
    noise = np.fft.irfft(spectrum, length)
    return np.asarray(noise / np.abs(noise).max(), dtype=np.float32)


def _noise(length: int, random: np.random.Generator) -> Samples:
    """White, then pink, then rising and falling."""
    third = length // 3
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * np.arange(length - 2 * third) / RATE / 7)
    parts = [random.normal(0, 0.05, third), 0.4 * pink(third, random), 0.4 * swell * pink(length - 2 * third, random)]
    return np.asarray(np.concatenate(parts), dtype=np.float32)


def _silence(length: int, random: np.random.Generator) -> Samples:
    """Digital silence, then the faint noise of a microphone."""
    half = length // 2
    return np.concatenate([np.zeros(half), random.normal(0, 3e-4, length - half)]).astype(np.float32)


def _music(length: int, random: np.random.Generator) -> Samples:
    """Chords, a bass and a melody with vibrato."""
    beat = int(0.5 * RATE)
    samples = np.zeros(length + 8 * beat)
    chords = [(0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14)]

    def tone(semitone: float, beats: float, loud: float, vibrato: float) -> NDArray[np.float64]:
        time = np.arange(int(beats * beat)) / RATE
        base = 220 * 2 ** (semitone / 12) * time + vibrato * np.sin(2 * np.pi * 5.5 * time)
        wave_ = sum(np.sin(2 * np.pi * harmonic * base) / harmonic**1.5 for harmonic in range(1, 7))
        shape = np.minimum(1, time / 0.02) * np.exp(-1.2 * time / (beats * beat / RATE))
        return np.asarray(loud * wave_ * shape)

    for bar, at in enumerate(range(0, length, 4 * beat)):
        chord = chords[bar % 4]
        for semitone, beats, loud, vibrato, place in (
            *((note, 4, 0.05, 0.0, 0) for note in chord),
            (chord[0] - 12, 4, 0.1, 0.0, 0),
            *((int(random.choice(chord)) + 12, 1, 0.09, 0.02, step) for step in range(4)),
        ):
            note = tone(semitone, beats, loud, vibrato)
            start = at + place * beat
            samples[start : start + len(note)] += note
    return np.asarray(samples[:length], dtype=np.float32)


def _hum(length: int, random: np.random.Generator) -> Samples:
    time = np.arange(length) / RATE
    hum = sum(0.1 / harmonic * np.sin(2 * np.pi * 60 * harmonic * time) for harmonic in (1, 2, 3, 5))
    return np.asarray(hum + random.normal(0, 2e-3, length), dtype=np.float32)


def _ringing(length: int, random: np.random.Generator) -> Samples:
    """An American ringback, then a bell, by turns of a minute."""
    time = np.arange(length) / RATE
    ringback = 0.2 * (np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 480 * time)) * (time % 6 < 2)
    bell = 0.15 * (np.sin(2 * np.pi * 1050 * time) + np.sin(2 * np.pi * 1320 * time))
    bell *= (np.sin(2 * np.pi * 20 * time) > 0) & (time % 4 < 2)
    ringing = np.where(time // 60 % 2 == 0, ringback, bell)
    return np.asarray(ringing + random.normal(0, 1e-3, length), dtype=np.float32)


def _dial_tone(length: int, random: np.random.Generator) -> Samples:
    """A dial tone, then the signal of a receiver off its hook."""
    time = np.arange(length) / RATE
    tone = 0.2 * (np.sin(2 * np.pi * 350 * time) + np.sin(2 * np.pi * 440 * time))
    alarm = 0.1 * sum(np.sin(2 * np.pi * pitch * time) for pitch in (1400, 2060, 2450, 2600)) * (time % 0.2 < 0.1)
    return np.asarray(np.where(time // 60 % 3 < 2, tone, alarm) + random.normal(0, 1e-3, length), dtype=np.float32)


NO_SPEECH: tuple[tuple[str, float, Callable[[int, np.random.Generator], Samples]], ...] = (
    ("noise", 6, _noise),
    ("silence", 5, _silence),
    ("music", 6, _music),
    ("hum", 4, _hum),
    ("ringing", 5, _ringing),
    ("dial-tone", 4, _dial_tone),
)


# -- samples -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Samples:
    if not path.exists():
        raise Unavailable(f"{path} is not there")
    from faster_whisper import decode_audio

    return np.asarray(decode_audio(str(path), sampling_rate=RATE), dtype=np.float32)


def _write(path: Path, samples: Samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def _clip(samples: Samples, speaker: str, language: str, words: str) -> Clip:
    start, end = _edges(samples)
    own = samples[start:end]
    # as loud as each other
    own = own * (0.07 / max(1e-6, float(np.sqrt(np.mean(own**2)))))
    return Clip(np.asarray(np.clip(own, -1, 1), dtype=np.float32), speaker, language, words)


def _deeper(clip: Clip, speaker: str) -> Clip:
    """Another voice: pitch lower by a fifth of its value, at the same speed."""
    lower = _filtered(clip.samples, f"asetrate={int(RATE * 0.82)},aresample={RATE},atempo={1 / 0.82:.6f}")
    return replace(clip, speaker=speaker, samples=lower)


def _filtered(samples: Samples, filters: str) -> Samples:
    import av
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=RATE, layout="mono", time_base=None)
    ends = [source]
    for each in filters.split(","):
        name, _, arguments = each.partition("=")
        ends.append(graph.add(name, arguments))
    ends.append(graph.add("abuffersink"))
    graph.link_nodes(*ends).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], dtype=np.float32), "flt", "mono")
    frame.sample_rate = RATE
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.EOFError, av.BlockingIOError):
            break
    return np.asarray(np.concatenate(parts), dtype=np.float32)


def _loud(samples: Samples) -> NDArray[np.bool_]:
    """For each hundredth of a second, whether it is less than 35 dB below the loudest parts."""
    frame = RATE // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    loud = power > np.percentile(power, 95) * 10**-3.5
    return np.asarray(loud)


def _edges(samples: Samples) -> tuple[int, int]:
    loud = np.flatnonzero(_loud(samples))
    if not len(loud):
        return 0, len(samples)
    frame = RATE // 100
    # 60 ms more on either side, for soft consonants
    return max(0, int(loud[0]) * frame - 960), min(len(samples), (int(loud[-1]) + 1) * frame + 960)


def _stretches(loud: NDArray[np.bool_]) -> list[tuple[int, int, bool]]:
    edges = [0, *(np.flatnonzero(np.diff(loud)) + 1).tolist(), len(loud)]
    return [(a, b, bool(loud[a])) for a, b in pairwise(edges) if b > a]

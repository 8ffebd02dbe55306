"""Many distinguishable pretended people out of a few synthesizer voices, and conversations between them.

A speaker is a voice with a pitch, a speed and a length of the vocal tract of their own; the last comes from
resampling, which moves formants as a longer or shorter throat does. Training, tuning and evaluation each make their
speakers here, from voices that the others never use. Nothing of networks or of files belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from models.demo import language, synthesis

RATE = 16_000
JOINED = 0.3
"""Silence in seconds between two words of one speaker below which their speech counts as one stretch."""

Samples = NDArray[np.float32]

_ACCENTS = ("en-us", "gmw/en", "gmw/en-US-nyc", "gmw/en-029", "gmw/en-GB-scotland")
_MORE = """
    Alex Andrea Denis Diogo Gene Gene2 Henrique Jacky Marco Mike Nguyen RicishayMax Storm Tweaky anika antonio
    boris david ed edward grandma gustave ian iven kaukovalta klatt klatt5 marcelo max miguel mike2 pedro quincy
    robert sandro steph2 travis announcer
"""

TRAINING_VOICES = tuple(
    list(synthesis.TRAIN_VOICES)
    + [f"{_ACCENTS[index % len(_ACCENTS)]}+{variant}" for index, variant in enumerate(_MORE.split())]
)
"""More than the recogniser trains on: telling people apart takes many. No variant is in two of the three sets."""
TUNING_VOICES = (
    *("en-us+Mario", "gmw/en+Reed", "en-us+shelby", "gmw/en+grandpa", "en-us+benjamin", "gmw/en-US-nyc+Alicia"),
    *("en-us+rob", "gmw/en+victor", "en-us+norbert", "gmw/en+caleb"),
)
UNSEEN_VOICES = (
    *(
        "en-us+m2",
        "en-us+m7",
        "en-us+f3",
        "en-us+f5",
        "gmw/en-US-nyc+m5",
        "en-us+Annie",
        "gmw/en+Andy",
        "en-us+Michael",
    ),
    *("gmw/en-US-nyc+Lee", "gmw/en+pablo", "en-us+aunty", "en-us+Hugo"),
)


@dataclass(frozen=True)
class Speaker:
    """A pretended person. `tract` multiplies every formant: above one is a smaller head."""

    voice: str
    pitch_shift: int
    rate: int
    tract: float


@dataclass(frozen=True)
class Spoken:
    """One utterance by one speaker: samples at 16 kHz and the (start, end) of each word in seconds."""

    samples: Samples
    words: list[tuple[float, float]]

    def stretches(self) -> list[tuple[float, float]]:
        """Where speech is: words joined over gaps that nobody would call a pause."""
        joined: list[tuple[float, float]] = []
        for start, end in self.words:
            if joined and start - joined[-1][1] < JOINED:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return joined


@dataclass(frozen=True)
class Placed:
    """A line of a conversation where it is heard: seconds from the beginning of the recording."""

    speaker: int
    text: str
    start: float
    spoken: Spoken


def invent(random: Random, voice: str) -> Speaker:
    """A new person with one of the synthesizer's voices."""
    return Speaker(voice, random.randint(-22, 22), random.randint(140, 190), round(random.uniform(0.87, 1.15), 3))


def cast(random: Random, voices: tuple[str, ...], size: int) -> list[Speaker]:
    """People who share a conversation: different voices, and no two with nearly the same throat and pitch."""
    while True:
        people = [invent(random, voice) for voice in random.sample(voices, size)]
        pairs = [(a, b) for index, a in enumerate(people) for b in people[:index]]
        if all(abs(a.tract - b.tract) > 0.04 or abs(a.pitch_shift - b.pitch_shift) > 12 for a, b in pairs):
            return people


def speak(speaker: Speaker, text: str, random: Random) -> Spoken:
    """What this person makes of the text, never twice exactly alike in pitch and speed."""
    from scipy.signal import resample_poly

    rate = speaker.rate + random.randint(-10, 10)
    pitch = speaker.pitch_shift + random.randint(-3, 3)
    seed = random.getrandbits(31)
    said = synthesis.say(text, speaker.voice, round(rate / speaker.tract), pitch, seed)
    samples = resample_poly(said.samples, 200, round(200 * speaker.tract)).astype(np.float32)
    squeeze = len(samples) / len(said.samples)
    loudness = float(np.sqrt(np.mean(np.square(samples)))) or 1.0
    words = [(start * squeeze, end * squeeze) for start, end in said.words]
    return Spoken(samples * np.float32(0.08 / loudness), words)


def converse(random: Random, people: list[Speaker], kind: str, seconds: float, overlap: float = 0.1) -> list[Placed]:
    """A conversation of about that many seconds: mostly short gaps, some pauses, some talking over the other."""
    placed: list[Placed] = []
    clock = random.uniform(0.3, 1.5)
    while clock < seconds:
        for line in language.conversation(random, len(people), kind, test=True):
            spoken = speak(people[line.speaker], line.text, random)
            other = bool(placed) and placed[-1].speaker != line.speaker
            gap = random.uniform(0.15, 0.7) if random.random() < 0.8 else random.uniform(0.7, 3.0)
            if other and random.random() < overlap:
                gap = -random.uniform(0.2, 1.0)
            earliest = max(
                (p.start + len(p.spoken.samples) / RATE for p in placed if p.speaker == line.speaker), default=0
            )
            start = max(clock + gap, earliest + 0.1)
            placed.append(Placed(line.speaker, line.text, start, spoken))
            clock = max(clock, start + len(spoken.samples) / RATE)
            if clock >= seconds:
                break
    return placed


def mix(placed: list[Placed], gains: list[float], tail: float = 0.8) -> Samples:
    """All lines of a conversation on one channel, each speaker at their own gain."""
    end = max(p.start * RATE + len(p.spoken.samples) for p in placed)
    samples = np.zeros(int(end + tail * RATE), dtype=np.float32)
    for p in placed:
        first = round(p.start * RATE)
        samples[first : first + len(p.spoken.samples)] += gains[p.speaker] * p.spoken.samples
    return samples


def noise(random: Random, length: int) -> Samples:
    """Room noise of level one: white, tilted, or the hum of the mains, and usually a mixture."""
    from scipy import fft

    generator = np.random.default_rng(random.getrandbits(32))
    size = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(generator.standard_normal(size, dtype=np.float32))
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    tilt = random.choice([0.0, 0.5, 0.5, 1.0])
    sound = fft.irfft(spectrum / np.maximum(frequency, 40.0) ** tilt, size)[:length]
    sound /= np.sqrt(np.mean(np.square(sound)))
    if random.random() < 0.3:
        mains, time = random.choice([50.0, 60.0]), np.arange(length) / RATE
        hum = sum(
            random.uniform(0, 1) * np.sin(2 * np.pi * mains * k * time + random.uniform(0, 6)) for k in (1, 2, 3, 5)
        )
        sound = sound + random.uniform(0.3, 1.0) * hum
    return (sound / np.sqrt(np.mean(np.square(sound)))).astype(np.float32)


def telephone(samples: Samples) -> Samples:
    """Through a telephone line: 300 to 3,400 Hz in eight mu-law bits, at 16 kHz again."""
    from scipy.signal import butter, resample_poly, sosfiltfilt

    band = butter(4, [300, 3_400], "bandpass", fs=RATE, output="sos")
    narrow = resample_poly(sosfiltfilt(band, samples), 1, 2)
    peak = max(float(np.abs(narrow).max()), 1e-6)
    coded = np.sign(narrow) * np.log1p(255 * np.abs(narrow / peak)) / np.log(256)
    coded = np.round(coded * 127) / 127
    heard = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255 * peak
    return np.asarray(resample_poly(heard, 2, 1), dtype=np.float32)

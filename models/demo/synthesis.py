"""Text to speech with known times, by espeak-ng: which voices there are, and one function that says a sentence.

The library comes with the package `espeakng-loader`; where that is missing, the system's own is taken. What is said
belongs in `language`; noise, telephone lines and conversations belong to those who need them.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Samples per second of everything that `say` returns."""

TRAIN_VOICES = (
    *("en-us", "en-us+m1", "en-us+m3", "en-us+m4", "en-us+m6", "en-us+m8", "en-us+f1", "en-us+f2", "en-us+f4"),
    *("en-us+klatt2", "en-us+klatt4", "en-us+adam", "en-us+belinda", "en-us+linda", "en-us+john", "en-us+paul"),
    *("en-us+steph", "en-us+zac", "gmw/en-US-nyc", "gmw/en-US-nyc+f1", "gmw/en", "gmw/en+f2", "gmw/en+m4"),
    "en-gb-x-rp+f4",
)
TEST_VOICES = ("en-us+m7", "en-us+f3", "en-us+f5", "en-us+Annie", "gmw/en+Andy", "gmw/en-US-nyc+m5")
"""Voices of which no training and no tuning may use so much as the variant (what follows the plus)."""

TRAIN_RATES = (138, 145, 150, 155, 160, 168, 175, 180, 188, 195)
TEST_RATES = (142, 153, 164, 171, 184)
"""Words per minute kept for evaluation, between those of training."""

_WORD, _PHONEME = 1, 7
_RETRIEVAL, _PHONEME_EVENTS = 2, 1
_CHARACTERS, _UTF8 = 1, 1
_SET_RATE, _SET_PITCH = 1, 3
_AUDIBLE = 2e-3


@dataclass(frozen=True)
class Utterance:
    """Speech and where everything in it is, in seconds from its first sample."""

    samples: NDArray[np.float32]
    """16 kHz, between -1 and 1, beginning and ending with sound."""
    words: list[tuple[float, float]]
    """(start, end) of each word of the text as `str.split` parts it; a pause belongs to no word."""
    phones: list[tuple[str, float, float]]
    """(symbol, start, end) in espeak's notation, without stress marks and pauses."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("symbol", ctypes.c_char * 8),
    )


class _Engine:
    """The one espeak-ng of this process, which collects what its callback is handed."""

    def __init__(self) -> None:
        self.sound: list[NDArray[np.int16]] = []
        self.events: list[tuple[int, int, int, str]] = []
        self.voice = ""
        path, data = _library()
        self.library = ctypes.CDLL(path)
        self.rate = self.library.espeak_Initialize(_RETRIEVAL, 0, data, _PHONEME_EVENTS)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng did not start: its data folder was not found")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        where = ctypes.c_char_p()
        self.library.espeak_Info(ctypes.byref(where))
        # listed, as a file system that knows no capitals would find what another does not
        self.variants = {path.name for path in Path((where.value or b"").decode(), "voices", "!v").iterdir()}
        self.callback = kind(self._collect)  # kept alive as long as the library may call it
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if count > 0:
            self.sound.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while (event := events[index]).type:
            symbol = event.symbol.decode("utf-8", "replace") if event.type == _PHONEME else ""
            self.events.append((event.type, event.position, event.sample, symbol))
            index += 1
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int, seed: int) -> NDArray[np.int16]:
        self._choose(voice)
        self._seed(seed)
        self.library.espeak_SetParameter(_SET_RATE, rate, 0)
        self.library.espeak_SetParameter(_SET_PITCH, pitch, 0)
        self.sound.clear()
        self.events.clear()
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, len(data), 0, _CHARACTERS, 0, _UTF8, None, None)
        return np.concatenate(self.sound)

    def _choose(self, voice: str) -> None:
        """Espeak-ng speaks with the bare accent, without a word, where it does not find the variant."""
        if voice == self.voice:
            return
        _, plus, variant = voice.partition("+")
        missing = plus and variant not in self.variants
        if missing or self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}; capitals count")
        self.voice = voice

    def _seed(self, seed: int) -> None:
        """Espeak-ng makes some voices unsteady at random, seeded by the clock: without this no two runs are alike."""
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        ctypes.CDLL(None).srand(seed)  # the Klatt voices have another source of chance


def _library() -> tuple[str, bytes | None]:
    try:
        import espeakng_loader
    except ImportError:
        return "libespeak-ng.so.1", None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()


@cache
def _engine() -> _Engine:
    return _Engine()


def say(text: str, voice: str, rate: int = 165, pitch_shift: int = 0, seed: int = 0) -> Utterance:
    """Speak the text at `rate` words per minute, the voice's own pitch moved by up to ±50 of espeak's steps. `seed`
    decides what espeak-ng leaves to chance; where its wavering has got to, it carries from one utterance to the next,
    so the same calls in the same order give the same samples. ValueError for a voice that espeak-ng does not have."""
    from scipy.signal import resample_poly

    engine = _engine()
    raw = engine.speak(text, voice, rate, int(np.clip(50 + pitch_shift, 0, 99)), seed)
    samples = resample_poly(raw.astype(np.float32) / 32_768, RATE // 50, engine.rate // 50).astype(np.float32)
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    first, last = int(audible[0]), min(int(audible[-1]) + RATE // 100, len(samples))
    length = (last - first) / RATE

    def moment(sample: int) -> float:
        return min(max(sample / engine.rate - first / RATE, 0.0), length)

    phones = _phones(engine.events, len(raw))
    times = _words(text, engine.events, phones, len(raw))
    return Utterance(
        samples[first:last],
        [(moment(start), moment(end)) for start, end in times],
        [(symbol, moment(start), moment(end)) for symbol, start, end in phones],
    )


def _phones(events: list[tuple[int, int, int, str]], length: int) -> list[tuple[str, int, int]]:
    heard = [(symbol, sample) for kind, _, sample, symbol in events if kind == _PHONEME]
    ends = [sample for _, sample in heard[1:]] + [length]
    spans = [(symbol.strip("',"), start, end) for (symbol, start), end in zip(heard, ends, strict=True)]
    return [
        (symbol, start, end) for symbol, start, end in spans if end > start and symbol and not symbol.startswith("_")
    ]


def _words(
    text: str, events: list[tuple[int, int, int, str]], phones: list[tuple[str, int, int]], length: int
) -> list[tuple[int, int]]:
    """Sample numbers of each word. Espeak joins some short words into one event: those share its time by letters."""
    places: list[tuple[int, int]] = []
    for word in text.split():
        begin = text.index(word, places[-1][1] if places else 0)
        places.append((begin, begin + len(word)))
    starts: list[int | None] = [None] * len(places)
    for kind, position, sample, _ in events:
        for index, (begin, end) in enumerate(places):
            if kind == _WORD and begin <= position - 1 < end and starts[index] is None:
                starts[index] = sample
    starts[0] = 0
    known = [index for index, start in enumerate(starts) if start is not None]
    filled: list[int] = []
    for index, following in zip(known, [*known[1:], len(places)], strict=True):
        begin = starts[index] or 0
        limit = length if following == len(places) else (starts[following] or 0)
        letters = np.cumsum([0] + [end - start for start, end in places[index:following]])
        filled += [begin + round((limit - begin) * part / letters[-1]) for part in letters[:-1]]
    spans: list[tuple[int, int]] = []
    for start, limit in zip(filled, [*filled[1:], length], strict=True):
        spoken = [end for _, begin, end in phones if start <= begin < limit]
        spans.append((start, min(limit, max(spoken, default=limit))))
    return spans

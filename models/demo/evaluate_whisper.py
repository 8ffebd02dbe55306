"""Measure a demo Whisper on what it never heard: `python -m models.demo.evaluate_whisper` prints and keeps the figures.

Held-out sentences, voices and speeds, spoken in conversations of several minutes with pauses and noise, go through the
product's own path: its speech detection, its clips, its transcriber over the real faster-whisper. Then a minute each of
silence, hum and noise, in which there must be no words, not even where the speech detector is passed over.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.demo import language, synthesis
from models.demo.diarization_voices import Placed, Spoken
from models.demo.train_whisper import SHIPPED

FIGURES = Path(__file__).with_name("FIGURES-whisper.json")
SENTENCES, PER_CONVERSATION, NOISE_DECIBELS = 200, 50, 20.0
RATE = synthesis.RATE

Samples = NDArray[np.float32]
Timed = tuple[str, float, float]


@dataclass(frozen=True)
class Conversation:
    """A recording and everything that is said in it."""

    samples: Samples
    lines: list[Placed]

    @property
    def words(self) -> list[Timed]:
        """Every word with its times in seconds from the beginning of the recording."""
        return [
            (word, line.start + start, line.start + end)
            for line in self.lines
            for word, (start, end) in zip(line.text.split(), line.spoken.words, strict=True)
        ]


def conversation(random: Random, kind: str, sentences: int, test: bool = True) -> Conversation:
    """Held-out sentences, each once, by two to four held-out voices taking turns, over noise `NOISE_DECIBELS` below
    the speech. With `test` false: the same of training's sentences and voices, for looking at progress."""
    return record(random, held_out_lines(random, random.choice([2, 3, 3, 4]), kind, sentences, test), test)


def held_out_lines(random: Random, speakers: int, kind: str, sentences: int, test: bool = True) -> list[language.Line]:
    """Lines between that many people, all of them held-out sentences, each once."""
    lines: dict[str, language.Line] = {}
    while len(lines) < sentences:
        for line in language.conversation(random, speakers, kind, test):
            if language.held_out(line.text) is test and len(lines) < sentences:
                lines.setdefault(line.text, line)
    return list(lines.values())


def record(random: Random, lines: list[language.Line], test: bool = True) -> Conversation:
    """The lines spoken one after the other, each speaker with a voice, speed, pitch and level of their own."""
    speakers = 1 + max(line.speaker for line in lines)
    voices = random.sample(synthesis.TEST_VOICES if test else synthesis.TRAIN_VOICES, speakers)
    rates = synthesis.TEST_RATES if test else synthesis.TRAIN_RATES
    people = [
        (voice, random.choice(rates), random.randint(-15, 15), 10 ** random.uniform(-0.15, 0.15)) for voice in voices
    ]
    parts: list[Samples] = []
    placed: list[Placed] = []
    clock = 0.5
    parts.append(np.zeros(int(clock * RATE), dtype=np.float32))
    for line in lines:
        voice, rate, pitch, gain = people[line.speaker]
        said = synthesis.say(line.text, voice, rate, pitch, seed=random.getrandbits(31))
        level = float(np.sqrt(np.mean(np.square(said.samples))))
        placed.append(Placed(line.speaker, line.text, clock, Spoken(said.samples, said.words)))
        gap = int((random.uniform(0.2, 0.8) if random.random() < 0.75 else random.uniform(0.8, 3.0)) * RATE)
        parts += [said.samples * np.float32(0.1 * gain / level), np.zeros(gap, dtype=np.float32)]
        clock += (len(said.samples) + gap) / RATE
    clean = np.concatenate(parts)
    noise = np.random.default_rng(random.getrandbits(32)).standard_normal(len(clean)).astype(np.float32)
    return Conversation(clean + noise * np.float32(0.1 * 10 ** (-NOISE_DECIBELS / 20)), placed)


def telephone(samples: Samples) -> Samples:
    """As an 8 kHz mu-law line gives it, at 16 kHz again."""
    from scipy.signal import resample_poly

    narrow = np.clip(resample_poly(samples, 1, 2), -1, 1)
    coded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    return np.asarray(resample_poly(np.sign(coded) * (256 ** np.abs(coded) - 1) / 255, 2, 1), dtype=np.float32)


def open_transcriber(model: Path, beam_size: int = 1) -> Any:
    """The product's transcriber over a model directory, on the processor."""
    from caseprep_pipelines.models.directories import open_model
    from caseprep_pipelines.speech.whisper import load_transcriber

    return load_transcriber(
        model, open_model(model, "whisper", model.name, model.parent).identity, device="cpu", beam_size=beam_size
    )


def hear(transcriber: Any, samples: Samples, hotwords: tuple[str, ...] = (), blind: bool = False) -> list[Timed]:
    """The words that the product finds. `blind` cuts clips every so many seconds instead of where somebody speaks."""
    import soundfile

    from caseprep_pipelines.speech.documents import Span
    from caseprep_pipelines.speech.transcriber import TranscribeOptions
    from caseprep_pipelines.speech.transcription import recognise_channel
    from caseprep_pipelines.speech.voice_activity import detect

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "channel.flac"
        soundfile.write(path, np.clip(samples, -1, 1), RATE)
        limit = transcriber.identity.clip_seconds
        clips: Any = detect(path).clips(limit)
        if blind:
            seconds = len(samples) / RATE
            clips = tuple(Span(start=at, end=min(at + limit, seconds)) for at in np.arange(0, seconds, limit).tolist())
        segments = recognise_channel(transcriber, path, clips, TranscribeOptions(("en",), hotwords=hotwords))
    return [(word.text, word.start, word.end) for segment in segments for word in segment.words]


def compare(spoken: list[Timed], heard: list[Timed]) -> dict[str, float]:
    """Word error rate, and how far off the starts and ends of rightly heard words are, in milliseconds."""
    import jiwer

    wanted = [(word, start, end) for text, start, end in spoken for word in language.normal(text)]
    found = [(word, start, end) for text, start, end in heard for word in language.normal(text)]
    aligned = jiwer.process_words(" ".join(word for word, _, _ in wanted), " ".join(word for word, _, _ in found))
    pairs = [
        (wanted[chunk.ref_start_idx + k], found[chunk.hyp_start_idx + k])
        for chunk in aligned.alignments[0]
        if chunk.type == "equal"
        for k in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    starts = [abs(a[1] - b[1]) * 1_000 for a, b in pairs] or [float("nan")]
    ends = [abs(a[2] - b[2]) * 1_000 for a, b in pairs] or [float("nan")]
    return {
        "word_error_rate": round(aligned.wer, 4),
        "words": len(wanted),
        "start_error_ms_median": round(float(np.median(starts)), 1),
        "start_error_ms_90th": round(float(np.quantile(starts, 0.9)), 1),
        "end_error_ms_median": round(float(np.median(ends)), 1),
    }


def minutes_without_speech() -> dict[str, Samples]:
    """A minute each of what is not speech."""
    time = np.arange(60 * RATE) / RATE
    hum = sum(np.sin(2 * np.pi * 60 * k * time) / k for k in (1, 2, 3, 5))
    noise = np.random.default_rng(7).standard_normal(len(time))
    return {
        "silence": np.zeros(len(time), dtype=np.float32),
        "hum": np.asarray(0.05 * hum, dtype=np.float32),
        "noise": np.asarray(0.03 * noise, dtype=np.float32),
    }


def measure(model: Path, sentences: int, seed: int, test: bool = True, quick: bool = False) -> dict[str, Any]:
    """All figures. `quick`: only the word error rate and times."""
    random = Random(seed)
    count = max(1, sentences // PER_CONVERSATION)
    kinds = [language.KINDS[number % len(language.KINDS)] for number in range(count)]
    spoken = [conversation(random, kind, sentences // count, test) for kind in kinds]
    transcriber = open_transcriber(model)
    figures: dict[str, Any] = {
        "sentences": sentences,
        "minutes": round(sum(len(each.samples) for each in spoken) / RATE / 60, 1),
        "clip_seconds": transcriber.identity.clip_seconds,
        "model_digest": transcriber.identity.digest,
        "conversations": _over(spoken, lambda each: hear(transcriber, each.samples)),
    }
    if quick:
        return figures
    wide = open_transcriber(model, beam_size=5)
    figures["conversations_beam_5"] = _over(spoken, lambda each: hear(wide, each.samples))
    figures["conversations_by_telephone"] = _over(spoken, lambda each: hear(transcriber, telephone(each.samples)))
    free = record(random, [language.Line(number % 3, language.free(random)) for number in range(sentences // 4)], test)
    figures["words_in_free_order"] = _over([free], lambda each: hear(transcriber, each.samples))
    vocabulary = ("Carter", "Kowalczyk", "warehouse", "Reyes")
    figures["conversations_with_hotwords"] = _over(spoken, lambda each: hear(transcriber, each.samples, vocabulary))
    figures["words_without_speech"] = {
        name: len(hear(transcriber, samples)) for name, samples in minutes_without_speech().items()
    }
    figures["words_without_speech_or_detector"] = {
        name: len(hear(transcriber, samples, blind=True)) for name, samples in minutes_without_speech().items()
    }
    return figures


def _over(spoken: list[Conversation], listen: Any) -> dict[str, float]:
    wanted: list[Timed] = []
    found: list[Timed] = []
    before = 0.0
    for each in spoken:
        wanted += [(word, start + before, end + before) for word, start, end in each.words]
        found += [(word, start + before, end + before) for word, start, end in listen(each)]
        before += len(each.samples) / RATE
    return compare(wanted, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--sentences", type=int, default=SENTENCES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tuning", action="store_true", help="training's sentences and voices; only for development")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    figures = measure(chosen.model, chosen.sentences, chosen.seed, not chosen.tuning, chosen.quick)
    print(json.dumps(figures, indent=2))
    if chosen.model == SHIPPED and chosen.sentences == SENTENCES and not (chosen.tuning or chosen.quick):
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Many recordings of 20 to 60 s, and a long one, against faster-whisper's own batched pipeline; Whisper base."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from benchmarks import Result
from benchmarks._made_models import TOKENS, make_whisper
from benchmarks.common import RATE, clean_environment, demo_speech
from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio

CLIPS = 40
LONG_MINUTES = 10
ROUNDS = 3

#: Both load everything before the clock starts, are warm, and are handed decoded audio; greedy, the same limit on
#: tokens, word times, voice activity detection by the same network. Each prints its seconds.
PEER = """
import sys, time, soundfile
from faster_whisper import BatchedInferencePipeline, WhisperModel
model, threads, *paths = sys.argv[1:]
whisper = BatchedInferencePipeline(WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=int(threads)))
audio = [soundfile.read(path, dtype="float32")[0] for path in paths]
def hear(samples):
    segments, _ = whisper.transcribe(samples, language="en", beam_size=1, temperature=0, word_timestamps=True,
                                     batch_size=8, max_new_tokens=220)
    return sum(len(segment.tokens) for segment in segments)
hear(audio[0][:480000])
started = time.perf_counter()
tokens = sum(hear(samples) for samples in audio)
print(time.perf_counter() - started, tokens)
"""
OURS = """
import sys, time
from pathlib import Path
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.transcriber import TranscribeOptions
from caseprep_pipelines.speech.transcription import Job, transcribe, transcribe_many
from caseprep_pipelines.speech.whisper import load_transcriber
from benchmarks.short_clips import normalized
model, _, *paths = sys.argv[1:]
whisper = load_transcriber(Path(model), ModelIdentity(name="made", digest="0" * 64), device="cpu")
def job(path):
    return Job(normalized(path), path.parent, whisper, TranscribeOptions("en"))
transcribe(job(Path(paths[0])))
started = time.perf_counter()
words = 0
for outcome in transcribe_many([Path(path) for path in paths], job):
    if isinstance(outcome.result, Exception):
        raise outcome.result
    words += sum(len(segment.words) for channel in outcome.result.channels for segment in channel.segments)
print(time.perf_counter() - started, words)
"""


def normalized(path: Path) -> NormalizedAudio:
    """The document that the stage before would have written for a mono FLAC."""
    info = soundfile.info(path)
    return NormalizedAudio(
        partition=path.stem,
        source_sha256="0" * 64,
        duration_seconds=info.frames / info.samplerate,
        container_duration_seconds=None,
        channels=(
            ChannelAudio(index=0, file=path.name, sha256=f"{hash(path.name) & 0xFFFF:064x}", stream=0,
                         channel_in_stream=0, samples=info.frames, loudness_lufs=None, peak_dbfs=None, rms_dbfs=None,
                         clipped_ratio=0.0, silence_ratio=0.0),
        ),
        libraries={},
    )  # fmt: skip


def run() -> Result:
    threads = str(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        make_whisper(folder / "whisper")
        random = np.random.default_rng(1)
        speech = demo_speech()
        lengths = [*random.uniform(20, 60, CLIPS), LONG_MINUTES * 60]
        files = []
        for number, seconds in enumerate(lengths):
            start = number * 7 * RATE
            files.append(folder / f"r-{number:03}.flac")
            soundfile.write(files[-1], np.take(speech, range(start, start + int(seconds * RATE)), mode="wrap"), RATE)
        figures: dict[str, float | str] = {"clips": CLIPS, "long_minutes": LONG_MINUTES, "tokens_in_a_clip": TOKENS}
        ratios = {}
        for what, paths in (("short_clips", files[:-1]), ("long", files[-1:])):
            seconds_of: dict[str, list[float]] = {"peer": [], "ours": []}
            for _ in range(ROUNDS):
                for who, code in (("peer", PEER), ("ours", OURS)):
                    said = subprocess.run(
                        [sys.executable, "-c", code, str(folder / "whisper"), threads, *map(str, paths)],
                        env=environment, check=True, capture_output=True, text=True,
                    ).stdout.split()  # fmt: skip
                    seconds_of[who].append(float(said[0]))
            pairs = [peer / own for peer, own in zip(seconds_of["peer"], seconds_of["ours"], strict=True)]
            ratios[f"{what}_vs_faster_whisper"] = round(median(pairs), 2)
            figures[f"{what}_seconds"] = round(median(seconds_of["ours"]), 1)
            figures[f"{what}_seconds_faster_whisper"] = round(median(seconds_of["peer"]), 1)
    return Result(ratios=ratios, figures=figures)

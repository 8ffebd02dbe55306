"""Many recordings of 20 to 60 s, and a long one, against faster-whisper, whisper-ctranslate2 and WhisperX.

The time that counts is taken with a model of the size of Whisper base that says as many tokens in every clip whoever
decodes it, on fewer recordings; time is taken with the demo model on all of them too, and its words are compared.
WhisperX is not asked with the demo model: it always hands thirty seconds to the encoder, and the demo's holds six.
faster-whisper's own batched pipeline is called file by file in one warm process with decoded audio, against ours with
its models loaded. The two command lines get all files in one invocation and are timed from start to end, and so is our
process then, loading included. Greedy, no fallback to other temperatures, batches of eight where they are the peer's to
choose, int8, as many threads as there are cores, nothing from a network.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from benchmarks import Result
from benchmarks._made_models import TOKENS, make_whisper
from benchmarks._peers import peers, versions
from benchmarks.common import RATE, clean_environment, demo_speech
from caseprep_pipelines import large_pages
from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.speech.engines import usable_cores
from caseprep_pipelines_tests.spoken import bare

CLIPS, LONG_MINUTES = 300, 120
"""With the demo model."""

REAL_CLIPS, REAL_LONG_MINUTES = 40, 10
"""With a model of real size: on two cores twenty minutes for all programs and rounds."""

ROUNDS = 3
DEMO = ("deposition-of-a-witness", "roadside-camera")
"""Demo recordings of one channel, whose words are known."""

FASTER_WHISPER = """
import json, sys, time
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
model, threads, *paths = sys.argv[1:]
whisper = BatchedInferencePipeline(WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=int(threads)))
audio = [decode_audio(path) for path in paths]
def hear(samples):
    segments, _ = whisper.transcribe(samples, language="en", beam_size=5, temperature=0, word_timestamps=True,
                                     batch_size=8)
    return "".join(segment.text for segment in segments)
hear(audio[0][:480000])
started = time.perf_counter()
said = [hear(samples) for samples in audio]
print(json.dumps([time.perf_counter() - started, said]))
"""
OURS = """
import json, sys, time
from pathlib import Path
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.transcriber import TranscribeOptions
from caseprep_pipelines.speech.transcription import Job, transcribe_many
from caseprep_pipelines.speech.whisper import load_transcriber
from benchmarks.short_clips import normalized
model, clip_seconds, *paths = sys.argv[1:]
identity = ModelIdentity(name="made", digest="0" * 64, clip_seconds=float(clip_seconds))
whisper = load_transcriber(Path(model), identity, device="cpu")
def job(path):
    return Job(normalized(path), path.parent, whisper, TranscribeOptions(("en",)))
started = time.perf_counter()
said = {}
for outcome in transcribe_many([Path(path) for path in paths], job):
    if isinstance(outcome.result, Exception):
        raise outcome.result
    (channel,) = outcome.result.channels
    said[str(outcome.item)] = " ".join(word.text for segment in channel.segments for word in segment.words)
print(json.dumps([time.perf_counter() - started, [said[path] for path in paths]]))
"""


@dataclass(frozen=True)
class Heard:
    inside: float
    """Seconds that the work took by the program's own clock; NaN where it has none."""
    wall: float
    """Seconds from the start of the process to its end."""
    said: list[str]
    """For each file."""


@dataclass(frozen=True)
class Model:
    path: Path
    clip_seconds: float


Program = Callable[[Model, Sequence[Path], dict[str, str]], Heard]


def ours(model: Model, files: Sequence[Path], environment: dict[str, str]) -> Heard:
    # as the program and every run have it
    environment = {**environment, large_pages.VARIABLE: large_pages.LARGE}
    return _script([sys.executable, "-c", OURS, str(model.path), str(model.clip_seconds)], files, environment)


def faster_whisper(model: Model, files: Sequence[Path], environment: dict[str, str]) -> Heard:
    return _script([str(peers() / "python"), "-c", FASTER_WHISPER, str(model.path), _threads()], files, environment)


def whisper_ctranslate2(model: Model, files: Sequence[Path], environment: dict[str, str]) -> Heard:
    own = ["--model_directory", str(model.path), "--local_files_only", "True", "--batched", "True",
           "--word_timestamps", "True"]  # fmt: skip
    return _command("whisper-ctranslate2", own, files, environment)


def whisperx(model: Model, files: Sequence[Path], environment: dict[str, str]) -> Heard:
    """Its detector of speech by default lies in its own package; without alignment it has no times of words."""
    own = ["--model", str(model.path), "--model_cache_only", "True", "--no_align", "--vad_method", "pyannote",
           "--chunk_size", f"{model.clip_seconds:.0f}"]  # fmt: skip
    return _command("whisperx", own, files, environment)


PROGRAMS: dict[str, Program] = {
    "ours": ours,
    "faster_whisper": faster_whisper,
    "whisper_ctranslate2": whisper_ctranslate2,
    "whisperx": whisperx,
}


WARM = ("ours", "faster_whisper")
"""Timed by their own clock."""

DEMO_PROGRAMS = [name for name in PROGRAMS if name != "whisperx"]


def demo(folder: Path) -> Model:
    from caseprep_pipelines.models.directories import resolve_whisper

    found = resolve_whisper("demo", folder / "none")
    return Model(found.path, found.identity.clip_seconds)


def _script(command: Sequence[str], files: Sequence[Path], environment: dict[str, str]) -> Heard:
    started = time.perf_counter()
    output = _output([*command, *map(str, files)], environment)
    seconds, said = json.loads(output.splitlines()[-1])
    return Heard(seconds, time.perf_counter() - started, said)


def _command(name: str, own: Sequence[str], files: Sequence[Path], environment: dict[str, str]) -> Heard:
    with tempfile.TemporaryDirectory() as folder:
        common = [
            "--language", "en", "--device", "cpu", "--compute_type", "int8", "--threads", _threads(), "--beam_size",
            "5", "--temperature", "0", "--temperature_increment_on_fallback", "None", "--batch_size", "8",
            "--output_format", "json", "--output_dir", folder, "--verbose", "False",
        ]  # fmt: skip
        path = f"{peers()}{os.pathsep}{environment.get('PATH', '')}"
        started = time.perf_counter()
        _output([str(peers() / name), *map(str, files), *own, *common], {**environment, "PATH": path})
        wall = time.perf_counter() - started
        written = [json.loads((Path(folder) / f"{file.stem}.json").read_text()) for file in files]
    return Heard(float("nan"), wall, ["".join(each["text"] for each in one["segments"]) for one in written])


def _output(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _threads() -> str:
    return str(usable_cores())


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


@dataclass
class Times:
    inside: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def measured(
    names: Iterable[str], model: Model, files: Sequence[Path], environment: dict[str, str]
) -> dict[str, Times]:
    """Each program's times, by turns."""
    times = {name: Times() for name in names}
    for _ in range(ROUNDS):
        for name, own in times.items():
            heard = PROGRAMS[name](model, files, environment)
            own.inside.append(heard.inside)
            own.wall.append(heard.wall)
    return times


def run() -> Result:
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        # one pool of threads for each program's own networks, as large as the command lines make theirs
        environment["OMP_NUM_THREADS"] = _threads()
        make_whisper(folder / "whisper")
        ratios: dict[str, float] = {}
        figures: dict[str, float | str] = {f"version_{name}": version for name, version in versions().items()}
        figures["tokens_in_a_clip"] = TOKENS
        for size, model, programs, clips, long_minutes in (
            ("", Model(folder / "whisper", 30.0), PROGRAMS, REAL_CLIPS, REAL_LONG_MINUTES),
            ("demo_", demo(folder), DEMO_PROGRAMS, CLIPS, LONG_MINUTES),
        ):
            files = recordings(folder / f"{size}recordings", clips, long_minutes)
            figures |= {f"{size}clips": clips, f"{size}long_minutes": long_minutes}
            amounts = (
                ("short_clips", files[:-1], programs),
                ("long", files[-1:], ("ours", "faster_whisper")),
            )
            for what, chosen, asked in amounts:
                times = measured(asked, model, chosen, environment)
                for who, own in times.items():
                    clocked = own.inside if who in WARM else own.wall
                    figures[f"{size}{what}_seconds_{who}"] = round(median(clocked), 1)
                    if who != "ours":
                        mine = times["ours"].inside if who in WARM else times["ours"].wall
                        ratios[f"{size}{what}_vs_{who}"] = _ratio(clocked, mine)
        figures |= _words(folder, environment)
    return Result(ratios=ratios, figures=figures)


def _ratio(peer: Sequence[float], own: Sequence[float]) -> float:
    return round(median(a / b for a, b in zip(peer, own, strict=True)), 2)


def recordings(folder: Path, clips: int, long_minutes: float) -> list[Path]:
    """The demo's speech in recordings of 20 to 60 s, and at last in a long one."""
    folder.mkdir()
    random = np.random.default_rng(1)
    speech = demo_speech()
    files = []
    for number, seconds in enumerate([*random.uniform(20, 60, clips), long_minutes * 60]):
        start = number * 7 * RATE
        files.append(folder / f"r-{number:03}.flac")
        with soundfile.SoundFile(files[-1], "w", RATE, 1) as file:
            for at in range(start, start + int(seconds * RATE), 60 * RATE):
                end = min(at + 60 * RATE, start + int(seconds * RATE))
                file.write(np.take(speech, range(at, end), mode="wrap"))
    return files


def _words(folder: Path, environment: dict[str, str]) -> dict[str, float | str]:
    """Percentage of the words that each program gets wrong with the demo model."""
    import jiwer
    from faster_whisper import decode_audio

    from caseprep_pipelines.demo import demo_recordings

    chosen = [recording for recording in demo_recordings() if recording.path.stem in DEMO]
    files = []
    for recording in chosen:
        files.append(folder / f"{recording.path.stem}.flac")
        soundfile.write(files[-1], decode_audio(str(recording.path)), RATE)
    spoken = [
        bare(" ".join(said["words"] for said in json.loads(recording.reference.read_text())))
        for recording in chosen
        if recording.reference is not None
    ]
    wrong: dict[str, float | str] = {"demo_words": sum(len(words.split()) for words in spoken)}
    for name in DEMO_PROGRAMS:
        heard = PROGRAMS[name](demo(folder), files, environment).said
        wrong[f"demo_words_wrong_percent_{name}"] = round(100 * jiwer.wer(spoken, [bare(text) for text in heard]), 1)
    return wrong

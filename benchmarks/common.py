"""What several benchmarks need: measuring processes, made audio, a clean place to run `caseprep`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import psutil
import soundfile

from caseprep_pipelines.demo.calls import RATE, demo_speech

if TYPE_CHECKING:
    import dagster as dg

    from caseprep_pipelines.catalog.registry import NewRecording
    from caseprep_pipelines.resources.pipeline import Pipeline


#: PyAV's decoding and resampling, faster-whisper's own batched pipeline with voice activity detection and pyannote's
#: own call on every file, in one process, models loaded once. Same models, same clip length, same device. Prints the
#: seconds of all files but the first, which only warms up, and how many those are.
ENGINES = """
import os, sys, time
from pathlib import Path
os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
import torch
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from pyannote.audio import Pipeline
whisper_path, pyannote_path, clip_seconds, threads = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
whisper = BatchedInferencePipeline(WhisperModel(whisper_path, device="cpu", compute_type="int8", cpu_threads=threads))
diarize = Pipeline.from_pretrained(pyannote_path)
for number, path in enumerate(sys.argv[5:]):
    if number == 1:
        started = time.perf_counter()
    audio = decode_audio(path, sampling_rate=16000)
    segments, _ = whisper.transcribe(audio, language="en", beam_size=5, temperature=0, word_timestamps=True,
        batch_size=8, vad_filter=True,
        vad_parameters=dict(max_speech_duration_s=clip_seconds, min_silence_duration_ms=160))
    list(segments)
    diarize({"waveform": torch.from_numpy(audio)[None], "sample_rate": 16000, "uri": Path(path).stem})
print(time.perf_counter() - started, number)
"""


@contextmanager
def clean_environment(folder: Path) -> Iterator[dict[str, str]]:
    """An environment whose storage and state lie under `folder`, with the demo models on the CPU."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CASEPREP_", "DAGSTER_"))}
    yield {
        **environment,
        "CASEPREP_STORAGE": str(folder / "storage"),
        "CASEPREP_DAGSTER_HOME": str(folder / "dagster"),
        "CASEPREP_MODELS_DIRECTORY": str(folder / "models"),
        "CASEPREP_MODEL": "demo",
        "CASEPREP_DIARIZATION": "demo",
        "CASEPREP_LANGUAGE": "en",
        "CASEPREP_DEVICE": "cpu",
        "PYANNOTE_METRICS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS", "1"),
    }


def median_seconds(command: Sequence[str], runs: int = 7, environment: dict[str, str] | None = None) -> float:
    """Median wall time of a command that must succeed, after one run that does not count."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - started)
    return median(times[1:])


def run_watched(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Runs a command; returns wall seconds, the largest process's peak and the tree's peak memory, in MB of RSS."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    watched = psutil.Process(process.pid)
    largest = together = 0.0
    while process.poll() is None:
        sizes = []
        try:
            for one in [watched, *watched.children(recursive=True)]:
                with one.oneshot():
                    sizes.append(one.memory_info().rss / 1e6)
        except psutil.Error:
            pass
        largest, together = max([largest, *sizes]), max(together, sum(sizes))
        time.sleep(0.1)
    if process.returncode:
        assert process.stderr is not None
        sys.exit(f"{command[0]} ended with {process.returncode}: {process.stderr.read().decode()[-2000:]}")
    return time.perf_counter() - started, largest, together


def write_long_recording(path: Path, hours: float, channels: int) -> None:
    """A WAV of that length: the demo's speech over and over, another stretch of it on each channel, and low noise."""
    speech = demo_speech()
    block = RATE * 60
    random = np.random.default_rng(1)
    with soundfile.SoundFile(path, "w", RATE, channels, subtype="PCM_16", format="RF64") as file:
        for minute in range(int(hours * 60)):
            starts = [(minute * block + channel * len(speech) // 2) % len(speech) for channel in range(channels)]
            columns = [np.take(speech, range(start, start + block), mode="wrap") for start in starts]
            noise = random.normal(0, 1e-3, (block, channels))
            file.write(np.stack(columns, axis=1) + noise)


def stage_names() -> list[str]:
    """The whole graph, in its order."""
    from caseprep_pipelines.assets import STAGES

    return [stage.name for stage in STAGES]


def tool(name: str) -> str:
    """A program that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


@contextmanager
def running(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process, and its children, that are ended afterwards; what it says goes to a file."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            for child in [process, *psutil.wait_procs(children, timeout=20)[1]]:
                child.kill()
            process.wait()


@contextmanager
def registered(
    folder: Path, environment: dict[str, str], new: "Sequence[NewRecording]", postgres: tuple[str, str] | None = None
) -> "Iterator[tuple[Pipeline, dg.DagsterInstance, list[str]]]":
    """State under `folder` with these recordings registered and their partitions, and their keys; in SQLite, or in the
    databases given: one for Dagster and one for the catalog, as both keep their schema's version in the same table.

    Completes the environment for those who shall work on it.
    """
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.embedded import instance_configuration, open_instance
    from caseprep_pipelines.partitions import add_partitions
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.settings import read_settings

    home = folder / "dagster"
    home.mkdir(parents=True)
    environment["DAGSTER_HOME"] = str(home)
    configuration = instance_configuration().read_text()
    if postgres is not None:
        environment["CASEPREP_DATABASE_URL"] = postgres[1]
        # SQLAlchemy 2.1 takes psycopg 3 where nothing is said, and Dagster's notifications are no SQL to it
        url = postgres[0].replace("postgresql://", "postgresql+psycopg2://")
        configuration += f"\nstorage:\n  postgres:\n    postgres_url: {json.dumps(url)}\n"
    (home / "dagster.yaml").write_text(configuration)
    pipeline = Pipeline(
        read_settings(storage=str(folder / "storage"), dagster_home=home, database_url=postgres and postgres[1])
    )
    keys = [entry.partition for entry in registry.register(pipeline.catalog, new, "archive")]
    with mock.patch.dict("os.environ"), open_instance(home) as instance:
        add_partitions(pipeline, instance)
        yield pipeline, instance, keys
    pipeline.catalog.close()


def launch_backfill(folder: Path, environment: dict[str, str], partitions: Sequence[str]) -> str:
    """Asks for a backfill of every stage over these recordings, as a click in the UI does; returns its id."""
    assets = ", ".join(f'{{path: ["{name}"]}}' for name in stage_names())
    asked = (
        f"mutation {{ launchPartitionBackfill(backfillParams: {{assetSelection: [{assets}], "
        f"partitionNames: {json.dumps(list(partitions))}}}) {{ __typename "
        "... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"
    )
    document = folder / "launch.graphql"
    document.write_text(asked)
    command = [
        tool("dagster-graphql"),
        "-m",
        "caseprep_pipelines.definitions",
        "--file",
        str(document),
    ]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    launched = json.JSONDecoder().raw_decode(said[said.index("{") :])[0]["data"]["launchPartitionBackfill"]
    if "backfillId" not in launched:
        sys.exit(f"the backfill was not launched: {launched}")
    return str(launched["backfillId"])


def wait_for(condition: Callable[[], bool], log: Path, seconds: float = 1800) -> None:
    """Until the condition holds; a process that takes longer has failed, and its log's end says how."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not done after {seconds} s; {log.name} ends with: {log.read_text()[-3000:]}")
        time.sleep(0.2)

"""What several benchmarks need: measuring processes, made audio, a clean place to run `caseprep`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import soundfile

from caseprep_pipelines.demo.calls import RATE, demo_speech


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

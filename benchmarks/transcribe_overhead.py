"""What `caseprep transcribe` costs on 50 one-minute recordings against the bare engines in one loop in one process.

The engines have a thread for every core.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import Result
from benchmarks.common import ENGINES, clean_environment, run_watched, tool
from caseprep_pipelines.demo.calls import write_calls
from caseprep_pipelines.speech.engines import usable_cores

RECORDINGS = 50
SECONDS = 60
ROUNDS = 3


def run() -> Result:
    from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper

    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        (folder / "recordings").mkdir()
        files = write_calls(folder / "recordings", RECORDINGS, SECONDS)
        threads = str(usable_cores())
        whisper = resolve_whisper("demo", folder / "models")
        pyannote = resolve_diarization("demo", folder / "models")
        engines = [
            sys.executable, "-c", ENGINES, str(whisper.path), str(pyannote.path), str(whisper.identity.clip_seconds),
            threads, *map(str, files),
        ]  # fmt: skip
        ours, bare = [], []
        for number in range(ROUNDS):
            bare.append(run_watched(engines, environment | {"OMP_NUM_THREADS": threads})[0])
            with clean_environment(folder / str(number)) as own:
                started = time.perf_counter()
                run_watched(
                    [
                        tool("caseprep"),
                        "transcribe",
                        str(folder / "recordings"),
                        "--out",
                        str(folder / str(number) / "out"),
                    ],
                    own,
                )
                ours.append(time.perf_counter() - started)
    pairs = [a / b for a, b in zip(ours, bare, strict=True)]
    return Result(
        ratios={"transcribe_vs_engines": round(median(pairs), 3)},
        figures={"transcribe_seconds": round(median(ours), 1), "engines_seconds": round(median(bare), 1)},
    )

"""Peak memory of the largest process for the whole graph over a ten-hour, two-channel recording, demo models."""

import sys
import tempfile
from pathlib import Path

from benchmarks import Result
from benchmarks.common import clean_environment, run_watched, write_long_recording

HOURS = 10.0


def run() -> Result:
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        write_long_recording(folder / "long.wav", HOURS, 2)
        wall, largest, together = run_watched(
            [
                str(Path(sys.executable).parent / "caseprep"),
                "transcribe",
                str(folder / "long.wav"),
                "--out",
                str(folder / "out"),
            ],
            environment,
        )
    return Result(
        figures={
            "hours": HOURS,
            "channels": 2,
            "largest_process_mb": round(largest),
            "all_processes_mb": round(together),
            "times_real_time": round(HOURS * 3600 / wall, 1),
        }
    )

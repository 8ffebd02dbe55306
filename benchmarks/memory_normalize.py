"""Peak memory of normalizing a ten-hour, two-channel recording, all processes together."""

import sys
import tempfile
from pathlib import Path

from benchmarks import Result
from benchmarks.common import clean_environment, run_watched, write_long_recording

HOURS = 10.0

WORK = """
import sys
from pathlib import Path
from caseprep_pipelines.audio.documents import Origin
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.normalize import normalize
from caseprep_pipelines.audio.register import register
original, folder = map(Path, sys.argv[1:])
source = register(original, partition="bench-000000000000", matter="bench", original="originals/bench",
                  origin=Origin(kind="file", received_at="2026-01-01T00:00:00+00:00"), limits=Limits())
normalize(original, source, folder, Limits())
"""


def run() -> Result:
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        write_long_recording(folder / "long.wav", HOURS, 2)
        (folder / "product").mkdir()
        wall, _, together = run_watched(
            [sys.executable, "-c", WORK, str(folder / "long.wav"), str(folder / "product")], environment
        )
    return Result(
        figures={
            "hours": HOURS,
            "channels": 2,
            "peak_mb_all_processes": round(together),
            "times_real_time": round(HOURS * 3600 / wall),
        }
    )

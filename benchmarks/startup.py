"""How long `caseprep --help` takes, and importing the definitions against importing Dagster alone."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import Result
from benchmarks.common import clean_environment, median_seconds

HEAVY = ("torch", "pyannote", "ctranslate2", "faster_whisper", "dagster_aws", "dagster_k8s", "boto3")


def run() -> Result:
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        python = sys.executable
        command = median_seconds([str(Path(python).parent / "caseprep"), "--help"], environment=environment)
        dagster = median_seconds([python, "-c", "import dagster"], environment=environment)
        definitions = median_seconds(
            [python, "-c", "import caseprep_pipelines.definitions as d; d.defs()"], environment=environment
        )
        listing = (
            "import sys, caseprep_pipelines.definitions as d; d.defs(); "
            f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
        )
        loaded = subprocess.run(
            [python, "-c", listing], check=True, capture_output=True, text=True, env=environment
        ).stdout.strip()
    return Result(
        ratios={"definitions_vs_dagster": round(definitions / dagster, 2)},
        figures={
            "help_seconds": round(command, 3),
            "import_dagster_seconds": round(dagster, 3),
            "definitions_seconds": round(definitions, 3),
            "heavy_packages_loaded": loaded or "none",
        },
    )

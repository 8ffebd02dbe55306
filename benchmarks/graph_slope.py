"""What one more recording costs in a backfill through the real daemon, against the bare engines in one warm process.

From the launch of a backfill of every stage over all registered recordings to the last row of the catalog, at two
sizes of an archive: the difference is the slope, and what is left at no recordings the fixed cost (the daemon's ticks,
of which each stage waits for one, and process starts). Default settings; with models of real size, which count, and
with the demo's. The engines have a thread for every core.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import Result
from benchmarks._made_models import make_diarization, make_whisper
from benchmarks.common import (
    ENGINES,
    clean_environment,
    launch_backfill,
    registered,
    running,
    stage_names,
    tool,
    wait_for,
)
from caseprep_pipelines.demo.calls import write_calls
from caseprep_pipelines.speech.engines import usable_cores
from caseprep_pipelines_tests.postgres_server import running_server

SECONDS = 20
#: Recordings in the smaller and the larger archive, with models of real size and with the demo's.
SIZES = {"": (4, 16), "demo_": (10, 50)}
#: Recordings that the engines are timed on.
TIMED = 8


def run() -> Result:
    from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper

    ratios: dict[str, float] = {}
    figures: dict[str, float | str] = {"recording_seconds": SECONDS}
    with tempfile.TemporaryDirectory() as name, running_server() as server:
        folder = Path(name)
        make_whisper(folder / "whisper")
        make_diarization(folder / "diarization")
        (folder / "calls").mkdir()
        files = write_calls(folder / "calls", max(large for _, large in SIZES.values()), SECONDS)
        for size, (small, large) in SIZES.items():
            models = ("demo", "demo") if size else (str(folder / "whisper"), str(folder / "diarization"))
            whisper = resolve_whisper(models[0], folder / "models")
            diarization = resolve_diarization(models[1], folder / "models")
            clip = str(whisper.identity.clip_seconds)
            engines = _engines([str(whisper.path), str(diarization.path), clip], files[: TIMED + 1])
            first = _graph(folder / f"{size}small", files[:small], models)
            second = _graph(folder / f"{size}large", files[:large], models)
            slope = (second - first) / (large - small)
            ratios[f"{size}graph_slope_vs_engines"] = round(slope / engines, 2)
            figures |= {
                f"{size}recordings": f"{small} and {large}",
                f"{size}graph_seconds": f"{first:.0f} and {second:.0f}",
                f"{size}graph_seconds_each": round(slope, 2),
                f"{size}engines_seconds_each": round(engines, 2),
                f"{size}fixed_seconds": round(first - slope * small, 1),
            }
        databases = (server.new_database(), server.new_database())
        small = SIZES["demo_"][0]
        postgres = _graph(folder / "postgresql", files[:small], ("demo", "demo"), databases)
        figures["demo_graph_seconds_postgresql"] = f"{postgres:.0f} for {small}"
    return Result(ratios=ratios, figures=figures)


def _graph(folder: Path, files: list[Path], models: tuple[str, str], postgres: tuple[str, str] | None = None) -> float:
    """Seconds from the launch of the backfill to the last row of the catalog."""
    from caseprep_pipelines.automation.intake import sha256_of
    from caseprep_pipelines.catalog import progress
    from caseprep_pipelines.catalog.registry import NewRecording
    from caseprep_pipelines.storage.keys import origin_digest_of_file

    last = stage_names()[-1]
    new = [NewRecording("2019-cv-1", f.name, str(f), origin_digest_of_file(sha256_of(f))) for f in files]
    with clean_environment(folder) as environment, registered(folder, environment, new, postgres) as state:
        pipeline, instance, keys = state
        environment |= {"CASEPREP_MODEL": models[0], "CASEPREP_DIARIZATION": models[1]}
        log = folder / "daemon.log"

        def done() -> bool:
            made = progress.products(pipeline.catalog, keys)
            return len(made) == len(keys) and all(last in stages for stages in made.values())

        with running([tool("dagster-daemon"), "run", "-m", "caseprep_pipelines.definitions"], environment, log):
            backfill = instance.get_backfill(launch_backfill(folder, environment, keys))
            assert backfill is not None
            wait_for(done, log)
        rows = [stages[last] for stages in progress.products(pipeline.catalog, keys).values()]
        if any(row.rejected for row in rows):
            sys.exit("a recording of the benchmark was rejected")
        return max(row.at.timestamp() for row in rows) - backfill.backfill_timestamp


def _engines(models: list[str], files: list[Path]) -> float:
    """Seconds that the bare engines take for a recording."""
    threads = str(usable_cores())
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ENGINES, *models, threads, *map(str, files)]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    return float(said[-2]) / int(said[-1])

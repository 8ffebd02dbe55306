"""How long the daemon blocks when a backfill of 10,000 recordings is launched, on PostgreSQL and on SQLite.

A tick of the daemon's backfill thread is timed inside the real `dagster-daemon`, from the launch to the end of the
second tick: the first creates the runs of the first stage, the second looks at everything again.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from benchmarks import Result
from benchmarks.common import clean_environment, launch_backfill, registered, running, wait_for
from caseprep_pipelines_tests.postgres_server import running_server

RECORDINGS = 10_000
TICKS = 2

#: The daemon, with a stopwatch at its backfill iteration: a line of JSON for each, its end and its seconds.
DAEMON = """
import json, os, sys, time
from dagster._daemon import backfill, cli
real = backfill.execute_asset_backfill_iteration
async def timed(*arguments, **named):
    started = time.time()
    try:
        return await real(*arguments, **named)
    finally:
        with open(os.environ["TICKS"], "a") as file:
            file.write(json.dumps([time.time(), time.time() - started]) + "\\n")
backfill.execute_asset_backfill_iteration = timed
sys.argv[0] = "dagster-daemon"
cli.main()
"""


def run() -> Result:
    figures: dict[str, float | str] = {"recordings": RECORDINGS}
    with tempfile.TemporaryDirectory() as name, running_server() as server:
        for database, urls in (("postgresql", (server.new_database(), server.new_database())), ("sqlite", None)):
            figures |= {f"{database}_{key}": value for key, value in _launch(Path(name) / database, urls).items()}
    return Result(figures=figures)


def _launch(folder: Path, postgres: tuple[str, str] | None) -> dict[str, float]:
    from caseprep_pipelines.catalog.registry import NewRecording

    ticks, log = folder / "ticks", folder / "daemon.log"
    new = [
        NewRecording("2019-cv-1", f"{n}.wav", f"{folder}/nowhere/{n}.wav", f"{n:064x}"[::-1]) for n in range(RECORDINGS)
    ]
    with clean_environment(folder) as environment, registered(folder, environment, new, postgres) as state:
        _, instance, keys = state
        environment["TICKS"] = str(ticks)
        daemon = [sys.executable, "-c", DAEMON, "run", "-m", "caseprep_pipelines.definitions"]
        with running(daemon, environment, log):
            started = time.time()
            launch_backfill(folder, environment, keys)
            launched = time.time()
            wait_for(lambda: ticks.exists() and len(ticks.read_text().splitlines()) >= TICKS, log)
            wait_for(lambda: bool(_begun(instance)), log)
        blocked = [json.loads(line)[1] for line in ticks.read_text().splitlines()]
        return {
            "longest_tick_seconds": round(max(blocked), 1),
            "first_run_after_seconds": round(min(_begun(instance)) - launched, 1),
            "launch_seconds": round(launched - started, 1),
            "runs_created": len(instance.get_runs(limit=1000)),
        }


def _begun(instance: dg.DagsterInstance) -> list[float]:
    return [record.start_time for record in instance.get_run_records(limit=1000) if record.start_time]

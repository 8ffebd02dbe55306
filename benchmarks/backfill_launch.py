"""How long the daemon blocks when a backfill of 10,000 recordings is launched, on PostgreSQL and on SQLite.

Timed inside the real `dagster-daemon`: the backfill daemon's own loop, which others' backfills wait for, and the thread
that it gives this backfill to. The first turn of the thread creates the runs of the first stage, one after the other,
each with an event for every recording; the second looks at everything again.
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
TURNS = 2

#: The daemon, with stopwatches: a line of JSON for each turn of its loop and of the thread.
DAEMON = """
import json, os, sys, time
from dagster._daemon import backfill, cli
def note(what, started):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps([what, time.time() - started]) + "\\n")
loop, thread = backfill.execute_backfill_iteration, backfill.execute_asset_backfill_iteration
def timed_loop(*arguments, **named):
    started = time.time()
    yield from loop(*arguments, **named)
    note("loop", started)
async def timed_thread(*arguments, **named):
    started = time.time()
    await thread(*arguments, **named)
    note("thread", started)
backfill.execute_backfill_iteration, backfill.execute_asset_backfill_iteration = timed_loop, timed_thread
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

    notes, log = folder / "notes", folder / "daemon.log"
    new = [
        NewRecording("2019-cv-1", f"{n}.wav", f"{folder}/nowhere/{n}.wav", f"{n:064x}"[::-1]) for n in range(RECORDINGS)
    ]
    with clean_environment(folder) as environment, registered(folder, environment, new, postgres) as state:
        _, instance, keys = state
        environment["NOTES"] = str(notes)
        daemon = [sys.executable, "-c", DAEMON, "run", "-m", "caseprep_pipelines.definitions"]
        with running(daemon, environment, log):
            started = time.time()
            launch_backfill(folder, environment, keys)
            launched = time.time()
            wait_for(lambda: len(_noted(notes, "thread")) >= TURNS and bool(_begun(instance)), log)
        return {
            "longest_block_seconds": round(max(_noted(notes, "loop")), 1),
            "first_run_after_seconds": round(min(_begun(instance)) - launched, 1),
            "creating_runs_seconds": round(_noted(notes, "thread")[0], 1),
            "looking_again_seconds": round(_noted(notes, "thread")[1], 1),
            "launch_seconds": round(launched - started, 1),
            "runs_created": len(instance.get_runs(limit=1000)),
        }


def _noted(notes: Path, what: str) -> list[float]:
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [seconds for name, seconds in map(json.loads, lines) if name == what]


def _begun(instance: dg.DagsterInstance) -> list[float]:
    return [record.start_time for record in instance.get_run_records(limit=1000) if record.start_time]

"""Which process of this machine executes a run, and what becomes of a run whose process died.

Nothing about pods: Kubernetes says what became of those (`cluster`).
"""

import os
import socket
from pathlib import Path

import dagster as dg

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tags() -> dict[str, str]:
    """Tags by which a later process can tell whether the one that executes a run still lives."""
    return {
        "caseprep/host": socket.gethostname(),
        "caseprep/pid": str(os.getpid()),
        "caseprep/process_started": _process_started(os.getpid()) or "",
    }


def _process_started(pid: int) -> str | None:
    """When the process began, as the system counts it; None where no such process lives.

    A pid alone is not enough: after a restart another process may have it.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return stat.read_text().rsplit(")", 1)[1].split()[19]
        except (OSError, IndexError):
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fails the runs of `caseprep` processes of this machine that no longer live, and frees their pool slots.

    A SIGKILL leaves a run that looks as if it were going on and slots that nobody gives back: the next run in the
    same pool would wait for ever. Returns the runs' ids.
    """
    dead = []
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED, tags={"caseprep/host": socket.gethostname()}))
    for run in runs:
        started = _process_started(int(run.tags["caseprep/pid"]))
        if started is not None and started == run.tags["caseprep/process_started"]:
            continue
        # the slots first: killed between the two, this once left slots of a run that counted as ended to nobody
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.report_run_failed(run, message="The process that executed this run ended without finishing it.")
        dead.append(run.run_id)
    return dead

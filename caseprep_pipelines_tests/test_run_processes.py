"""Runs whose process died: what becomes of them, and of what they held."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from caseprep_pipelines.embedded import open_instance
from caseprep_pipelines.run_processes import fail_dead_runs, process_tags


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return open_instance(tmp_path / "dagster")


def a_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    @dg.job
    def work() -> None: ...

    return instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED, tags=tags)


def test_runs_of_a_dead_process_are_failed_and_those_of_a_living_one_left(instance: dg.DagsterInstance) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    dead = a_run(instance, {**process_tags(), "caseprep/pid": finished.stdout.strip()})
    reused = a_run(instance, {**process_tags(), "caseprep/process_started": "1"})
    alive = a_run(instance, process_tags())
    elsewhere = a_run(instance, {**process_tags(), "caseprep/host": "another-machine", "caseprep/pid": "1"})
    assert set(fail_dead_runs(instance)) == {dead.run_id, reused.run_id}
    statuses = {run.run_id: instance.get_run_by_id(run.run_id).status for run in (dead, reused, alive, elsewhere)}  # type: ignore[union-attr]
    assert statuses[dead.run_id] == statuses[reused.run_id] == dg.DagsterRunStatus.FAILURE
    assert statuses[alive.run_id] == statuses[elsewhere.run_id] == dg.DagsterRunStatus.STARTED


def test_the_slots_of_a_dead_run_are_freed(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    dead = a_run(instance, {**process_tags(), "caseprep/process_started": "1"})
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", dead.run_id, "raw_transcript").is_claimed
    waiting = a_run(instance, process_tags())
    assert not storage.claim_concurrency_slot("gpu", waiting.run_id, "raw_transcript").is_claimed
    fail_dead_runs(instance)
    assert storage.claim_concurrency_slot("gpu", waiting.run_id, "raw_transcript").is_claimed

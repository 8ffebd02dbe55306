"""The shipped dagster.yaml, by Dagster's own daemon code: who goes first, and what is started again."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.execution.submit_asset_runs import submit_asset_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from caseprep_pipelines.automation.archive_sensor import ARCHIVE_PRIORITY
from caseprep_pipelines.automation.sensors import PRIORITY, RUSH_PRIORITY
from caseprep_pipelines.catalog import progress, registry
from caseprep_pipelines.embedded import open_instance
from caseprep_pipelines.partitions import add_partitions
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.run_processes import fail_dead_runs
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests import killed_workers
from caseprep_pipelines_tests.conftest import environment


@dg.job
def work_job() -> None: ...


RUSH = {PRIORITY: RUSH_PRIORITY}
ARCHIVE = {PRIORITY: ARCHIVE_PRIORITY}
BACKFILL = {"dagster/backfill": "abc"}
UPLOAD: dict[str, str] = {}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with open_instance(tmp_path / "dagster") as instance:
        yield instance


# Who goes first


class Queue:
    """The run queue of an instance, whose launched runs only take their slots."""

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance, self.launched, self.names = instance, list[str](), dict[str, str]()
        monkeypatch.setattr(
            instance.run_launcher, "launch_run", lambda run: self.launched.append(self.names[run.dagster_run.run_id])
        )
        self.daemon = QueuedRunCoordinatorDaemon(interval_seconds=5)

    def add(self, name: str, tags: dict[str, str]) -> None:
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository")
        run = self.instance.create_run_for_job(
            work_job,
            status=dg.DagsterRunStatus.QUEUED,
            tags=tags,
            remote_job_origin=RemoteJobOrigin(place, "work_job"),
            job_code_origin=dg.reconstructable(work_job).get_python_origin(),
        )
        self.names[run.run_id] = name

    def tick(self) -> list[str]:
        """The names of those that one look of the daemon at the queue launches, in their order."""
        before = len(self.launched)
        context = SimpleNamespace(instance=self.instance, create_request_context=lambda: None)
        for _ in self.daemon.run_iteration(cast("Any", context)):
            pass
        return self.launched[before:]

    def finish(self, name: str) -> None:
        (run_id,) = [run_id for run_id, known in self.names.items() if known == name]
        run = self.instance.get_run_by_id(run_id)
        assert run
        self.instance.report_run_canceled(run)


@pytest.fixture
def queue(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(instance, monkeypatch)


def test_a_matter_in_a_rush_goes_before_uploads_and_uploads_before_the_archive(queue: Queue) -> None:
    for number in range(8):
        queue.add(f"running {number}", UPLOAD)
    assert len(queue.tick()) == 8
    for name, tags in (("archive", ARCHIVE), ("upload", UPLOAD), ("rush", RUSH)):
        queue.add(name, tags)
    assert queue.tick() == []
    for number, name in enumerate(("rush", "upload", "archive")):
        queue.finish(f"running {number}")
        assert queue.tick() == [name]


def test_an_upload_finds_a_slot_whatever_backfill_and_archive_have_queued(queue: Queue) -> None:
    for number in range(20):
        queue.add(f"backfill {number}", BACKFILL)
        queue.add(f"archive {number}", ARCHIVE)
    begun = queue.tick()
    assert {name.split()[0] for name in begun} == {"backfill", "archive"}
    assert queue.tick() == []
    queue.add("upload", UPLOAD)
    assert queue.tick() == ["upload"]
    queue.finish("upload")
    queue.add("rush", RUSH)
    assert queue.tick() == ["rush"]


# What is started again


def said(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    return [entry.dagster_event_type.value for entry in instance.all_logs(run.run_id) if entry.dagster_event_type]


class Worked:
    """Runs of `killed_workers`, launched by the daemon's code in processes of their own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, context: WorkspaceProcessContext) -> None:
        self.begun, self.instance, self.context = folder / "begun", instance, context
        self.pipeline = Pipeline(read_settings())
        self.queue, self.log = QueuedRunCoordinatorDaemon(interval_seconds=5), EventLogConsumerDaemon()
        new = [registry.NewRecording("2024-cv-1", f"{n}.wav", f"/nowhere/{n}", f"{n:064x}"[::-1]) for n in range(10)]
        self.keys = [entry.partition for entry in registry.register(self.pipeline.catalog, new, "test")]
        add_partitions(self.pipeline, instance)
        self.tick(self.log)
        self.tick(self.queue)

    def tick(self, daemon: EventLogConsumerDaemon | QueuedRunCoordinatorDaemon) -> None:
        for _ in daemon.run_iteration(self.context):
            pass

    def run(self, keys: list[str]) -> list[dg.DagsterRun]:
        """All runs that come of one over these neighbours, the first one first."""
        request = dg.RunRequest(
            asset_selection=[dg.AssetKey("first")],
            tags={"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]},
        )
        run = asyncio.run(
            submit_asset_run(
                None, request, 0, self.instance, self.context, self.context.create_request_context(), {}, {},
                logging.getLogger(__name__),
            )
        )  # fmt: skip
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            self.tick(self.queue)
            if time.monotonic() > deadline - 240:
                # who watches the processes is Dagster's code server; where a busy machine kept it from saying that one
                # died, a sensor does at its next tick, or whoever opens the state directory next
                fail_dead_runs(self.instance)
            group = self.instance.get_run_group(run.run_id)
            runs = sorted(group[1] if group else [], key=lambda run: int(run.tags.get("dagster/retry_number", 0)))
            # a failed run's tag, which says whether another takes its place, comes a moment after its event: Dagster's
            # daemon, which looks every five seconds, passes over one that it sees in between, and sensors drive it then
            if runs and all(each.is_success or "dagster/will_retry" in each.tags for each in runs):
                if not any(each.is_complete_and_waiting_to_retry for each in runs):
                    return runs
                self.tick(self.log)
            time.sleep(0.1)
        raise AssertionError(
            "the runs did not end: "
            + "; ".join(f"{run.status} {run.tags.get('dagster/will_retry')} {said(self.instance, run)}" for run in runs)
        )

    def times_begun(self) -> list[int]:
        return [self.keys.index(line) for line in self.begun.read_text().split()]


@pytest.fixture
def work(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[int, int | str]], Worked]]:
    for name, value in environment(tmp_path, BEGUN=str(tmp_path / "begun")).items():
        monkeypatch.setenv(name, value)
    contexts = []

    def started(ends: dict[int, int | str]) -> Worked:
        digests = {number: f"{number:064x}"[::-1][:12] for number in ends}
        monkeypatch.setenv("ENDS", json.dumps({f"2024-cv-1-{digests[n]}": how for n, how in ends.items()}))
        target = PythonFileTarget(killed_workers.__file__, None, None, "killed")
        contexts.append(WorkspaceProcessContext(instance, target).__enter__())
        return Worked(tmp_path, instance, contexts[-1])

    yield started
    for context in contexts:
        context.__exit__(None, None, None)


def test_a_killed_run_is_started_again_and_goes_on_and_what_kills_it_comes_last(
    work: Callable[[dict[int, int | str]], Worked],
) -> None:
    worked = work({1: 2})
    runs = worked.run(worked.keys[:4])
    statuses = [run.status for run in runs]
    assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    assert worked.times_begun() == [0, 1, 2, 3, 1, 1]
    assert worked.instance.get_materialized_partitions(dg.AssetKey("first")) == set(worked.keys[:4])
    assert progress.faults(worked.pipeline.catalog, worked.keys) == {}


def test_neither_a_fault_nor_a_rejection_starts_a_run_again(work: Callable[[dict[int, int | str]], Worked]) -> None:
    worked = work({1: "rejection", 6: "fault"})
    assert [run.status for run in worked.run(worked.keys[:4])] == [dg.DagsterRunStatus.SUCCESS]
    assert [run.status for run in worked.run(worked.keys[5:9])] == [dg.DagsterRunStatus.FAILURE]
    # what the run itself tried again is left to the sensors, which wait
    assert worked.times_begun() == [0, 1, 2, 3, 5, 6, 7, 8, 6, 6]
    assert list(progress.faults(worked.pipeline.catalog, worked.keys)) == [worked.keys[6]]

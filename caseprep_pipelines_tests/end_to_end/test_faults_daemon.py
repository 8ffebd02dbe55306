"""The daemon away for a day, and two of them at once: nothing is lost, nothing is run twice, no budget is made up."""

import multiprocessing
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation import archive, archive_sensor, sensors
from caseprep_pipelines.automation.intake import Intake, take_new
from caseprep_pipelines.automation.notified import Watch, take_changed
from caseprep_pipelines.automation.windows import night_at
from caseprep_pipelines.catalog import progress, registry
from caseprep_pipelines.catalog.progress import ARCHIVE
from caseprep_pipelines.embedded import open_instance
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings

NAMES = [stage.name for stage in STAGES]
NOW = datetime(2026, 1, 5, 20, 30, tzinfo=UTC)
DAY = timedelta(days=1)
#: Queued runs say which code location they come from.
_ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository"), "work")
HOUR = int(3600 * archive.ASSUMED_BYTES_PER_SECOND)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def pipeline_at(folder: Path, **settings: Any) -> Pipeline:
    storage, home = str(folder / "storage"), folder / "dagster"
    return Pipeline(read_settings(storage=storage, dagster_home=home, incoming_settle_seconds=0, **settings))


def upload(folder: Path, *names: str) -> None:
    incoming = folder / "storage" / "incoming" / "2024-cv-1"
    incoming.mkdir(parents=True, exist_ok=True)
    for name in names:
        (incoming / f"{name}.wav").write_bytes(name.encode())


def asked(result: dg.SensorResult | dg.SkipReason) -> list[dg.RunRequest]:
    return list(result.run_requests or ()) if isinstance(result, dg.SensorResult) else []


def begun(instance: dg.DagsterInstance, requests: list[dg.RunRequest]) -> list[dg.DagsterRun]:
    """The runs that Dagster makes of them, in its queue."""

    @dg.job
    def work() -> None: ...

    runs = []
    for each in requests:
        tags = {**each.tags, **({"dagster/partition": each.partition_key} if each.partition_key else {})}
        status = dg.DagsterRunStatus.QUEUED
        runs.append(instance.create_run_for_job(work, status=status, tags=tags, remote_job_origin=_ORIGIN))
    return runs


def covered(instance: dg.DagsterInstance, requests: list[dg.RunRequest]) -> list[str]:
    order = list(instance.get_dynamic_partitions("recordings"))
    found = []
    for each in requests:
        first = each.partition_key or each.tags["dagster/asset_partition_range_start"]
        last = each.partition_key or each.tags["dagster/asset_partition_range_end"]
        found += order[order.index(first) : order.index(last) + 1]
    return found


@pytest.mark.parametrize("listening", [False, True])
def test_after_a_day_away_every_upload_is_taken_up_and_what_is_queued_stays_queued(
    tmp_path: Path, instance: dg.DagsterInstance, *, listening: bool
) -> None:
    def started() -> sensors.Look:
        """A daemon's process that knows nothing of the one before."""
        if not listening:
            return take_new
        watch = Watch(tmp_path / "storage", "incoming/")
        return lambda pipeline, now: take_changed(pipeline, watch, now)

    upload(tmp_path, "monday")
    first = asked(sensors.evaluate(pipeline_at(tmp_path), instance, NOW, started()))
    (queued,) = begun(instance, first)
    upload(tmp_path, "tuesday", "wednesday")
    later = asked(sensors.evaluate(pipeline_at(tmp_path), instance, NOW + DAY, started()))
    names = {row.partition: row.name for row in registry.recordings_in_order(pipeline_at(tmp_path).catalog)}
    assert sorted(names[key] for key in covered(instance, later)) == ["tuesday.wav", "wednesday.wav"]
    run = instance.get_run_by_id(queued.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.QUEUED
    # what was asked for and never became a run, because the daemon stopped in between, is asked for again
    again = asked(sensors.evaluate(pipeline_at(tmp_path), instance, NOW + 2 * DAY, started()))
    assert sorted(covered(instance, again)) == sorted(covered(instance, later))


def test_nights_that_were_missed_are_not_made_up(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    pipeline = pipeline_at(tmp_path, archive_budget_hours=2)
    new = [
        registry.NewRecording("2019-cv-1", f"{number}.wav", f"/tapes/{number}.wav", f"{number:064x}"[::-1], None, HOUR)
        for number in range(9)
    ]
    keys = [entry.partition for entry in registry.register(pipeline.catalog, new, ARCHIVE)]
    for nights, expected in ((0, keys[:2]), (3, keys[2:4]), (4, keys[4:6])):
        now = NOW + nights * DAY
        # a day's clock went by, and every process is another one
        tonight = asked(archive_sensor.evaluate(pipeline_at(tmp_path, archive_budget_hours=2), instance, now))
        assert covered(instance, tonight) == expected
        for run in begun(instance, tonight):
            instance.report_run_canceled(run)
        for key in expected:
            for name in NAMES:
                progress.record_product(
                    pipeline.catalog, key, name, version="000001-0", digest="0" * 64, code_version="c", inputs={},
                    rejected=False, run_id="r",
                )  # fmt: skip
        night = night_at(archive.window(pipeline.settings), now)
        assert night is not None
        assert archive_sensor.spent(instance, night, "recordings").hours == 2
        assert asked(archive_sensor.evaluate(pipeline, instance, now + timedelta(hours=1))) == []


ROUNDS = 8
EACH = 5


def daemon(folder: Path, url: str, listening: bool, turn: Barrier, told: "multiprocessing.Queue[list[str]]") -> None:
    """One daemon's ticks, each at the same moment as the other's."""
    pipeline = pipeline_at(folder, database_url=url)
    watch = Watch(folder / "storage", "incoming/")

    def look(pipeline: Pipeline, now: datetime) -> Intake:
        return take_changed(pipeline, watch, now) if listening else take_new(pipeline, now)

    with open_instance(folder / "dagster") as instance:
        for number in range(ROUNDS):
            turn.wait(60)
            now = NOW + number * timedelta(minutes=1)
            requests = asked(sensors.evaluate(pipeline, instance, now, look))
            found = covered(instance, requests)
            begun(instance, requests)
            told.put(found)
            turn.wait(60)
    watch.close()


@pytest.mark.postgres
def test_of_two_daemons_each_recording_is_run_by_one(tmp_path: Path, postgres_url: str) -> None:
    """One lists, the other listens, both see everything: the first asks for a run once, whoever it is."""
    context = multiprocessing.get_context("spawn")
    turn, told = context.Barrier(3), context.Queue()
    daemons = [
        context.Process(target=daemon, args=(tmp_path, postgres_url, listening, turn, told))
        for listening in (False, True)
    ]
    for each in daemons:
        each.start()
    found: list[str] = []
    for number in range(ROUNDS):
        upload(tmp_path, *(f"{number}-{each}" for each in range(EACH)))
        turn.wait(120)
        found += told.get(timeout=60) + told.get(timeout=60)
        turn.wait(60)
    for each in daemons:
        each.join(60)
    assert [each.exitcode for each in daemons] == [0, 0]
    # what the last tick registered after the other's had read is asked for by the next
    last = pipeline_at(tmp_path, database_url=postgres_url)
    with open_instance(tmp_path / "dagster") as instance:
        found += covered(instance, asked(sensors.evaluate(last, instance, NOW + timedelta(minutes=ROUNDS))))
    assert len(found) == ROUNDS * EACH
    assert sorted(found) == sorted(registry.all_partitions(last.catalog))
    last.catalog.close()
    os.environ.pop("DAGSTER_HOME", None)

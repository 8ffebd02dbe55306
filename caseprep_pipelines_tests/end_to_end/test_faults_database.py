"""The catalog's PostgreSQL is gone for a minute in the middle of a stage: the run waits, or is driven again."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from caseprep_pipelines.assets import STAGES, stage
from caseprep_pipelines.catalog import database, progress, registry
from caseprep_pipelines.catalog.database import open_catalog
from caseprep_pipelines.custody import chain
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.end_to_end.driving import finish, job_of, run, tick
from caseprep_pipelines_tests.postgres_server import PostgresServer, running_server

pytestmark = pytest.mark.postgres

NAMES = [stage.name for stage in STAGES]
RECORDINGS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of our own, which nobody else misses while it is stopped."""
    with running_server() as server:
        yield server


class Outage:
    """The server is stopped, and comes back after so many seconds, of which those that somebody waits take no time
    here."""

    def __init__(self, server: PostgresServer, seconds: float) -> None:
        self.server, self.seconds = server, seconds
        self.waited = self.began = 0.0
        self.lasts = False

    def time(self) -> float:
        return time.time() + self.waited

    def begin(self) -> None:
        self.server.stop()
        self.lasts, self.began = True, self.time()

    def sleep(self, seconds: float) -> None:
        self.waited += seconds
        if self.lasts and self.time() - self.began >= self.seconds:
            self.end()

    def end(self) -> None:
        self.server.start()
        self.lasts = False


@pytest.fixture
def outage(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Outage]]:
    made: list[Outage] = []

    def of(seconds: float) -> Outage:
        made.append(Outage(server, seconds))
        # whoever waits does so by this clock: a connection for its server, a run before it tries again
        clock = SimpleNamespace(sleep=made[-1].sleep, time=made[-1].time)
        monkeypatch.setattr(database, "time", clock)
        monkeypatch.setattr("dagster._core.execution.plan.active.time", clock)
        return made[-1]

    yield of
    for each in made:
        if each.lasts:
            each.end()


class Archive:
    """Files that are no media, which every stage passes on: what a stage does is not what fails here."""

    def __init__(self, folder: Path, url: str) -> None:
        self.pipeline = Pipeline(
            read_settings(
                storage=str(folder / "storage"), dagster_home=folder / "dagster", database_url=url, model="demo",
                diarization="demo", incoming_settle_seconds=0,
            )
        )  # fmt: skip
        incoming = folder / "storage" / "incoming" / "2024-cv-1"
        incoming.mkdir(parents=True)
        for number in range(RECORDINGS):
            (incoming / f"{number}.mp3").write_text(f"no sound {number}")
        self.job = job_of(self.pipeline)

    def tick(self, instance: dg.DagsterInstance, now: datetime) -> list[dg.RunRequest]:
        return tick(self.pipeline, instance, now)

    def run(self, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
        return run(self.job, instance, request).success

    def finish(self, instance: dg.DagsterInstance) -> list[bool]:
        return finish(self.pipeline, self.job, instance)

    def assert_whole(self) -> None:
        keys = registry.all_partitions(self.pipeline.catalog)
        made = progress.products(self.pipeline.catalog, keys)
        assert len(keys) == RECORDINGS
        assert all(sorted(made[key]) == sorted(NAMES) for key in keys)
        assert progress.faults(self.pipeline.catalog, keys) == {}
        for key in keys:
            entries = [entry.kind for entry in chain.entries(self.pipeline.catalog, key)]
            assert entries.count("product") == len(NAMES)
            assert all(len(self.pipeline.products.versions(name, key)) == 1 for name in NAMES)
        with self.pipeline.catalog.reading() as session:
            assert session.execute(text("SELECT count(*) FROM stage_runs")).scalar() == RECORDINGS * len(NAMES)


@pytest.fixture
def archive(tmp_path: Path, server: PostgresServer) -> Iterator[Archive]:
    made = Archive(tmp_path, server.new_database())
    yield made
    made.pipeline.catalog.close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def break_off(monkeypatch: pytest.MonkeyPatch, outage: Outage, where: str) -> None:
    """Begins the outage the third time that a recording comes to a place in the third stage."""
    seen: list[str] = []
    real: Any = getattr(stage, "append_custody") if where == "between" else progress.record_product  # noqa: B009

    def broken(catalog: Any, partition: str, *arguments: Any, **named: Any) -> Any:
        name = getattr(arguments[0], "asset", arguments[0])
        if name == NAMES[2]:
            seen.append(partition)
        if name == NAMES[2] and len(seen) == 3:
            if where == "between":
                outage.begin()
            else:
                with catalog.writing() as session:
                    session.execute(text("UPDATE recordings SET priority = priority"))
                    outage.begin()
                    session.execute(text("SELECT 1"))
        return real(catalog, partition, *arguments, **named)

    if where == "between":
        monkeypatch.setattr(stage, "append_custody", broken)
    else:
        monkeypatch.setattr(progress, "record_product", broken)


@pytest.mark.parametrize("seconds", [20, 60])
def test_a_minute_without_the_database_is_waited_for(
    archive: Archive,
    instance: dg.DagsterInstance,
    outage: Callable[[float], Outage],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    """Half of it by who needs a connection; then the run tries again, and fails no recording for good."""
    away = outage(seconds)
    break_off(monkeypatch, away, "between")
    assert all(archive.finish(instance))
    assert away.began
    assert not away.lasts
    archive.assert_whole()


def test_a_transaction_that_breaks_off_is_a_fault_of_its_recording_and_tried_again(
    archive: Archive, instance: dg.DagsterInstance, outage: Callable[[float], Outage], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = outage(10)
    break_off(monkeypatch, short, "within")
    assert all(archive.finish(instance))
    archive.assert_whole()


def test_what_an_outage_failed_is_driven_again(
    archive: Archive, instance: dg.DagsterInstance, outage: Callable[[float], Outage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away for longer than a run waits: the run fails, and a tick while it is away as well, each as a fault."""
    long = outage(float("inf"))
    break_off(monkeypatch, long, "between")
    now = datetime.now(UTC)
    for _ in NAMES[:3]:
        (request,) = archive.tick(instance, now)
        ended_well = archive.run(instance, request)
    assert not ended_well
    assert long.lasts
    with pytest.raises(Fault):
        archive.tick(instance, now)
    long.end()
    monkeypatch.undo()
    # two of the five were done and are not asked for again
    requests = archive.tick(instance, now + timedelta(hours=1))
    asked = [request for request in requests if NAMES[2] in {key.path[-1] for key in request.asset_selection or ()}]
    assert sum(1 for request in asked) == 3
    for request in requests:
        assert archive.run(instance, request)
    archive.finish(instance)
    archive.assert_whole()


def test_a_database_that_never_answered_is_told_at_once(
    server: PostgresServer, outage: Callable[[float], Outage]
) -> None:
    url = server.new_database()
    away = outage(float("inf"))
    away.begin()
    started = time.monotonic()
    with pytest.raises(Exception, match="cannot be reached"):
        open_catalog(url)
    assert away.waited == 0
    assert time.monotonic() - started < 10

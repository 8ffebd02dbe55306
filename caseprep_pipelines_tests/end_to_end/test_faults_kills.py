"""SIGKILL at fifty random moments in a mixed archive: nothing lost, nothing twice, the same products."""

import json
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation.schedules import ALSO_SWEPT
from caseprep_pipelines.storage.objects import open_store
from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.end_to_end.driving import mixed_archive
from caseprep_pipelines_tests.end_to_end.killable import Worker, killable_worker
from caseprep_pipelines_tests.end_to_end.stopping import products

KILLS = 50
SEED = 3

#: Writes of an attempt before it is killed, at most. The whole work is about 3,400, taking up again about 200.
FURTHEST = 400

#: What says when it was, or which attempt it was: everything else in the catalog is the same however often one began.
_PASSING = {"registered_at", "partition_added_at", "loaded_at", "at", "run_id", "first_at", "last_at", "started",
            "wall_seconds", "cpu_seconds", "location", "entry_hash", "previous_hash", "once", "payload", "inputs",
            "sequence", "id"}  # fmt: skip


@dataclass(frozen=True)
class Archive:
    folder: Path
    inputs: Path

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.folder, CASEPREP_BATCH_SIZE="2")

    @property
    def call(self) -> list[str | Path]:
        return ["transcribe", self.inputs, "--out", self.folder / "out", "--json"]

    def whole(self) -> dict[str, Path]:
        """Folders of product versions by stage and recording, but for the registration's, which says when it was."""
        derived = self.folder / "storage" / "derived"
        manifests = [path.relative_to(derived) for path in derived.rglob("manifest.json")]
        found = {f"{path.parts[0]}/{path.parts[1]}": derived / path.parent for path in manifests}
        assert len(found) == len(manifests), "one version of everything"
        return {name: path for name, path in found.items() if not name.startswith("source_recording/")}

    def documents(self) -> dict[str, bytes]:
        """What products consist of."""
        return {
            f"{name}/{path.name}": path.read_bytes()
            for name, folder in self.whole().items()
            for path in folder.iterdir()
            if path.name not in ("run.json", "manifest.json")
        }

    def digests(self) -> dict[str, str]:
        return {
            name: json.loads((folder / "manifest.json").read_text())["digest"] for name, folder in self.whole().items()
        }

    def exports(self) -> dict[str, bytes]:
        exports = self.folder / "storage" / "exports"
        return {str(p.relative_to(exports)): p.read_bytes() for p in exports.rglob("*") if p.is_file()}

    def catalog(self) -> dict[str, list[dict[str, Any]]]:
        """Every table's rows, without what says when and by which run."""
        file = self.folder / "storage" / "catalog.sqlite"
        engine = create_engine(f"sqlite:///{file}")
        found = {}
        with engine.connect() as connection:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
            for name in names:
                # an index of the utterances in the order in which they came
                if name.startswith(("sqlite_", "alembic_", "utterances_full_text")):
                    continue
                rows = connection.execute(text(f"SELECT * FROM {name}")).mappings()  # noqa: S608 - our own tables
                found[name] = sorted(
                    (
                        {key: value for key, value in row.items() if key not in _PASSING}
                        # the registration's document holds the time of the receipt
                        | ({"digest": None, "version": None} if row.get("stage") == "source_recording" else {})
                        for row in rows
                    ),
                    key=str,
                )
        engine.dispose()
        return found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed_archive(tmp_path_factory.mktemp("mixed") / "inputs")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    with killable_worker(folder, environment(folder)) as worker:
        yield worker


def test_fifty_kills_leave_no_trace(worker: Worker, inputs: Path, tmp_path: Path) -> None:
    whole = Archive(tmp_path / "whole", inputs)
    unfaulted = worker.run(whole.call, whole.environment)
    assert unfaulted.status == 1, unfaulted.said
    summary = by_name(unfaulted.said)
    assert sorted(entry["status"] for entry in summary.values()) == ["done"] * 4 + ["rejected"] * 2

    moments = random.Random(SEED)
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        archive = Archive(tmp_path / f"round-{rounds}", inputs)
        while True:
            die_at = moments.randint(1, FURTHEST) if kills < KILLS else 0
            before = products(archive.folder)
            ended = worker.run(archive.call, archive.environment, die_at, moments.randrange(1 << 30))
            # what was there is there, as it was
            assert products(archive.folder).items() >= before.items()
            if ended.status != -signal.SIGKILL:
                break
            kills += 1
        assert ended.status == 1, ended.said
        assert by_name(ended.said) == summary
        assert_same(archive, whole)


def by_name(said: str) -> dict[str, Any]:
    return {entry["input"]: entry for entry in json.loads(said[said.index("[\n") :])}


def assert_same(archive: Archive, whole: Archive) -> None:
    # a file that was being written lies beside its place, or in the version that took its number, until somebody sweeps
    objects = open_store(str(archive.folder / "storage"))
    for prefix in ("derived/", *ALSO_SWEPT):
        objects.sweep_unfinished(prefix, timedelta(0))
    assert archive.digests() == whole.digests()
    assert archive.documents() == whole.documents()
    assert archive.exports() == whole.exports()
    # one version of everything, and one entry for it everywhere
    assert len(products(archive.folder)) == 6 * len(STAGES)
    catalog, expected = archive.catalog(), whole.catalog()
    assert catalog == expected
    assert len(catalog["stage_runs"]) == len(catalog["stage_products"]) == 6 * len(STAGES)
    assert catalog["faults"] == []
    assert not [path for path in (archive.folder / "storage" / "checkpoints").rglob("*") if path.is_file()]
    checked = caseprep(["verify"], archive.environment)
    assert checked.returncode == 0, checked.stdout
    with dg.DagsterInstance.from_config(archive.environment["CASEPREP_DAGSTER_HOME"]) as instance:
        assert len(instance.get_dynamic_partitions("recordings")) == 6
        assert all(run.is_finished for run in instance.get_runs())

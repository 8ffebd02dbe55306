"""One stage over many recordings, on a real Dagster instance: neighbours go on, rejections are data, faults pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import dagster as dg
import pytest

from caseprep_pipelines.assets import stage as machinery
from caseprep_pipelines.assets.stage import Made, Recording, Stage, stage_asset
from caseprep_pipelines.catalog import frames, loading, progress, registry
from caseprep_pipelines.catalog.registry import NewRecording
from caseprep_pipelines.custody.chain import entries
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.io_managers import io_managers
from caseprep_pipelines.partitions import recordings_partitions
from caseprep_pipelines.rejections import Reason, RejectedRecording, Rejection
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.keys import origin_digest_of_file
from caseprep_pipelines_tests.s3_server import S3Server

SECRET = "the witness is Jane Roe"


class Note(Document):
    document: Literal["note"] = "note"
    schema_version: Literal[1] = 1
    partition: str
    said: str


def make_first(recording: Recording) -> Made:
    return Made(Note(partition=recording.partition, said="first"), metadata={"figure": 1}, audio_seconds=2.0)


def make_second(recording: Recording) -> Made:
    first = recording.document("first", Note)
    return Made(Note(partition=recording.partition, said=first.said + " second"))


def a_stage(name: str, make: Callable[[Recording], Made], upstream: tuple[str, ...] = (), batch: int = 10) -> Stage:
    return Stage(name, upstream, "A stage.", frozenset({"json"}), batch, make=make)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machinery, "FAULT_RETRY_SECONDS", 0)


class Bench:
    """A pipeline with eight registered recordings and an instance that knows them."""

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        self.settings = read_settings(storage=storage or str(folder / "storage"), dagster_home=folder / "dagster")
        self.pipeline = Pipeline(self.settings)
        self.instance = dg.DagsterInstance.ephemeral()
        new = [
            NewRecording(
                "2024-cv-1", f"{number}.wav", f"/nowhere/{number}.wav", origin_digest_of_file(f"{number:064x}")
            )
            for number in range(8)
        ]
        self.keys = [entry.partition for entry in registry.register(self.pipeline.catalog, new, "test")]
        self.instance.add_dynamic_partitions("recordings", self.keys)

    def run(self, *stages: Stage, keys: list[str] | None = None) -> dg.ExecuteInProcessResult:
        keys = keys or self.keys
        partitions = recordings_partitions(self.settings)
        job = dg.Definitions(
            assets=[stage_asset(stage, self.settings, partitions) for stage in stages],
            resources={
                "pipeline": dg.ResourceDefinition.hardcoded_resource(self.pipeline),
                **io_managers(lambda: self.pipeline.products),
            },
        ).resolve_implicit_global_asset_job_def()
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        return job.execute_in_process(
            instance=self.instance,
            partition_key=keys[0] if len(keys) == 1 else None,
            tags=tags if len(keys) > 1 else None,
            raise_on_error=False,
        )

    def materialized(self, asset: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(asset))

    def last_event(self, asset: str, key: str) -> dg.AssetMaterialization:
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[key]), limit=1
        ).records
        assert records[0].asset_materialization is not None
        return records[0].asset_materialization


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def make_with_a_picture(recording: Recording) -> Made:
    folder = recording.folder / "product"
    folder.mkdir()
    (folder / "picture.png").write_bytes(b"picture")
    return Made(
        Note(partition=recording.partition, said="first"), folder, links={"picture": "picture.png"}, audio_seconds=1.0
    )


def test_a_products_file_is_shown_by_its_path_which_a_person_can_open(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "with a space")
    bench.run(a_stage("first", make_with_a_picture), keys=bench.keys[:1])
    shown = bench.last_event("first", bench.keys[0]).metadata["picture"]
    assert isinstance(shown, dg.PathMetadataValue)
    assert Path(str(shown.path)).read_bytes() == b"picture"


def test_a_products_file_in_a_bucket_is_shown_by_its_address(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEPREP_S3_ENDPOINT_URL", s3.endpoint_url)
    bench = Bench(tmp_path, storage=s3.root)
    bench.run(a_stage("first", make_with_a_picture), keys=bench.keys[:1])
    shown = bench.last_event("first", bench.keys[0]).metadata["picture"]
    assert isinstance(shown, dg.UrlMetadataValue)
    assert str(shown.url).startswith(f"{s3.root}/derived/first/")


def test_one_rejected_recording_ends_its_run_well_though_nobody_could_look_at_its_other_checks(bench: Bench) -> None:
    times: list[str] = []
    stage = replace(
        a_stage("first", failing_for(bench.keys[0], RejectedRecording(Reason.CORRUPT), times)),
        checks=(("long_enough", "It is long enough."),),
    )
    result = bench.run(stage, keys=bench.keys[:1])
    assert result.success
    assert times == bench.keys[:1]
    passed = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert passed == {"accepted": False, "long_enough": True}


def failing_for(bad: str, error: Exception, times: list[str]) -> Callable[[Recording], Made]:
    def make(recording: Recording) -> Made:
        times.append(recording.partition)
        if recording.partition == bad:
            raise error
        return make_first(recording)

    return make


def test_a_fault_costs_its_neighbours_nothing_and_is_tried_again(bench: Bench) -> None:
    times: list[str] = []
    bad = bench.keys[3]
    result = bench.run(a_stage("first", failing_for(bad, Fault("the disk is full"), times)))
    assert not result.success
    assert bench.materialized("first") == set(bench.keys) - {bad}
    # good ones are not done again by the retries over what is unfinished
    assert {key: times.count(key) for key in bench.keys} == {key: 3 if key == bad else 1 for key in bench.keys}
    assert progress.faults(bench.pipeline.catalog, [bad])[bad]["first"].message == "the disk is full"
    assert bench.run(a_stage("first", make_first), keys=[bad]).success
    assert progress.faults(bench.pipeline.catalog, [bad]) == {}
    assert bench.materialized("first") == set(bench.keys)


def test_a_passing_fault_passes(bench: Bench) -> None:
    seen: list[str] = []

    def make(recording: Recording) -> Made:
        seen.append(recording.partition)
        if seen.count(recording.partition) == 1 and recording.partition in bench.keys[2:4]:
            raise Fault("a connection broke")
        return make_first(recording)

    assert bench.run(a_stage("first", make)).success
    assert len(seen) == 10
    assert bench.materialized("first") == set(bench.keys)


def test_a_rejection_is_a_product_that_later_stages_pass_on(bench: Bench) -> None:
    bad = bench.keys[2]
    first = a_stage("first", failing_for(bad, RejectedRecording(Reason.NO_AUDIO, "0 samples"), []))
    assert bench.run(first).success
    assert bench.run(first, a_stage("second", make_second, ("first",)), keys=[bad]).success
    assert bench.run(a_stage("second", make_second, ("first",))).success
    for asset in ("first", "second"):
        product = bench.pipeline.products.read(asset, bad, Note)
        assert isinstance(product, Rejection)
        assert (product.reason, product.stage) == (Reason.NO_AUDIO, "first")
    assert bench.materialized("second") == set(bench.keys)
    assert loading.rejections(bench.pipeline.catalog)[bad].reason == "no-audio"


def test_the_check_fails_for_the_rejected_and_for_nobody_else(bench: Bench) -> None:
    bad = bench.keys[2]
    bench.run(a_stage("first", failing_for(bad, RejectedRecording(Reason.NO_AUDIO), [])))
    key = dg.AssetCheckKey(dg.AssetKey("first"), "accepted")
    history = bench.instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    results = {}
    for record in history:
        assert record.event is not None
        evaluation = (
            record.event.asset_check_evaluation_data if hasattr(record.event, "asset_check_evaluation_data") else None
        )
        data = evaluation or record.event.dagster_event.event_specific_data  # type: ignore[union-attr]
        if data.partition is not None:
            results[data.partition] = data.passed
    assert results == {each: each != bad for each in bench.keys}


def test_one_recording_goes_through_several_stages_in_one_run(bench: Bench) -> None:
    key = bench.keys[0]
    result = bench.run(a_stage("first", make_first), a_stage("second", make_second, ("first",)), keys=[key])
    assert result.success
    product = bench.pipeline.products.read("second", key, Note)
    assert isinstance(product, Note)
    assert product.said == "first second"


def test_versions_and_figures_are_stamped_on_every_event(bench: Bench) -> None:
    stage = a_stage("first", make_first)
    bench.run(stage)
    for key in bench.keys:
        event = bench.last_event("first", key)
        head = bench.pipeline.products.head("first", key)
        assert head is not None
        assert event.tags is not None
        assert event.tags["dagster/data_version"] == head.digest
        assert event.tags["dagster/code_version"] == stage.code_version(bench.settings)
        assert {"figure", "version", "audio_duration_seconds", "real_time_factor"} <= set(event.metadata)


def test_each_product_enters_custody_once_however_often_it_is_made(bench: Bench) -> None:
    stage, key = a_stage("first", make_first), bench.keys[0]
    bench.run(stage, keys=[key])
    bench.run(stage, keys=[key])
    assert [entry.kind for entry in entries(bench.pipeline.catalog, key)] == ["product"]
    assert len(bench.pipeline.products.versions("first", key)) == 1


def test_a_run_record_lies_beside_the_product(bench: Bench) -> None:
    bench.run(a_stage("first", make_first), keys=[bench.keys[0]])
    record = bench.pipeline.products.run_record("first", bench.keys[0])
    assert record is not None
    assert {"wall_seconds", "cpu_seconds", "audio_seconds", "run_id"} <= set(record)


def runs(bench: Bench) -> list[dict[str, object]]:
    return frames.stage_runs(bench.pipeline.catalog).to_dict("records")


def test_what_each_version_took_is_in_the_catalog_once(bench: Bench) -> None:
    stage, key = a_stage("first", make_first), bench.keys[0]
    bench.run(stage, keys=[key])
    bench.run(stage, keys=[key])
    [run] = runs(bench)
    assert (run["partition"], run["matter"], run["stage"]) == (key, "2024-cv-1", "first")
    assert (run["audio_seconds"], run["device"], run["gpu_seconds"], run["rejected"]) == (2.0, "cpu", 0.0, False)
    record = bench.pipeline.products.run_record("first", key)
    assert record is not None
    assert {name: run[name] for name in ("run_id", "wall_seconds", "cpu_seconds")}.items() <= record.items()


def test_a_stage_on_a_gpu_held_it_for_its_wall_time(bench: Bench) -> None:
    def on_a_gpu(recording: Recording) -> Made:
        made = make_first(recording)
        return Made(made.document, metadata={"snr_db": 21.5}, record={"device": "NVIDIA L4", "batch_size": 16})

    bench.run(a_stage("first", on_a_gpu), keys=bench.keys[:1])
    [run] = runs(bench)
    assert (run["device"], run["batch_size"], run["snr_db"]) == ("NVIDIA L4", 16, 21.5)
    assert run["gpu_seconds"] == run["wall_seconds"]


def test_a_run_that_was_stopped_before_the_catalog_knew_of_it_is_entered_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Fault("the database is away")

    stage, key = a_stage("first", make_first), bench.keys[0]
    with monkeypatch.context() as patched:
        patched.setattr(progress, "record_product", stopped)
        bench.run(stage, keys=[key])
    record = bench.pipeline.products.run_record("first", key)
    bench.run(stage, keys=[key])
    assert record is not None
    assert [run["run_id"] for run in runs(bench)] == [record["run_id"]]


def test_rejections_are_on_record_too(bench: Bench) -> None:
    bench.run(a_stage("first", failing_for(bench.keys[0], RejectedRecording(Reason.EMPTY), [])), keys=[bench.keys[0]])
    assert [run["rejected"] for run in runs(bench)] == [True]


def test_a_stage_before_its_time_is_a_fault_that_says_what_to_do(bench: Bench) -> None:
    key = bench.keys[0]
    assert not bench.run(a_stage("second", make_second, ("first",)), keys=[key]).success
    assert "materialize it first" in progress.faults(bench.pipeline.catalog, [key])[key]["second"].message


def test_a_configuration_error_stops_at_once_with_its_line(bench: Bench) -> None:
    times: list[str] = []
    result = bench.run(a_stage("first", failing_for(bench.keys[0], ConfigurationError("fetch the model"), times)))
    assert not result.success
    assert times == [bench.keys[0]]
    failures = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    assert "fetch the model" in str(failures[0])


def test_what_a_library_says_never_reaches_the_event_log(bench: Bench) -> None:
    """Errors of libraries print what they were given; only an error's kind goes on record."""
    result = bench.run(a_stage("first", failing_for(bench.keys[0], ValueError(SECRET), [])))
    assert not result.success
    assert bench.materialized("first") == set(bench.keys[1:])
    assert not any(SECRET in str(event) for event in result.all_events)

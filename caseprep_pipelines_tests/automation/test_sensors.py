"""The upload sensor's ticks against a real instance and a real catalog."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation.decisions import BACKOFF, RANGE_FROM
from caseprep_pipelines.automation.intake import Intake
from caseprep_pipelines.automation.notified import Watch, take_changed
from caseprep_pipelines.automation.sensors import evaluate, partitions_in_flight
from caseprep_pipelines.catalog import loading, progress, registry, waiting
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.run_processes import process_tags
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.catalog.conftest import catalog, catalog_url

__all__ = ["catalog", "catalog_url"]

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
NAMES = [stage.name for stage in STAGES]


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def upload(pipeline: Pipeline, count: int, first: int = 0) -> None:
    folder = Path(pipeline.settings.storage) / "incoming" / "2024-cv-1"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        path = folder / f"{number}.wav"
        path.write_bytes(str(number).encode())
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))


def requests(result: dg.SensorResult | dg.SkipReason) -> list[dg.RunRequest]:
    return list(result.run_requests or ()) if isinstance(result, dg.SensorResult) else []


def test_an_upload_becomes_a_partition_and_a_run_over_the_whole_graph(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    upload(pipeline, 1)
    assert requests(evaluate(pipeline, instance, NOW)) == []
    (request,) = requests(evaluate(pipeline, instance, LATER))
    assert request.partition_key in instance.get_dynamic_partitions("recordings")
    assert [key.path[-1] for key in request.asset_selection or ()] == NAMES


def test_many_uploads_share_one_run_of_the_first_stage(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    upload(pipeline, RANGE_FROM + 2)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    keys = instance.get_dynamic_partitions("recordings")
    assert request.tags["dagster/asset_partition_range_start"] == keys[0]
    assert request.tags["dagster/asset_partition_range_end"] == keys[-1]
    assert [key.path[-1] for key in request.asset_selection or ()] == ["source_recording"]


def start(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    @dg.job
    def work() -> None: ...

    tags = {**request.tags, **({"dagster/partition": request.partition_key} if request.partition_key else {})}
    return instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED, tags=tags)


@pytest.mark.parametrize("count", [1, RANGE_FROM + 1])
def test_what_is_running_is_not_asked_for_again(pipeline: Pipeline, instance: dg.DagsterInstance, count: int) -> None:
    upload(pipeline, count)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    run = start(instance, request)
    keys = instance.get_dynamic_partitions("recordings")
    assert partitions_in_flight(instance, "recordings", keys) == set(keys)
    assert requests(evaluate(pipeline, instance, LATER)) == []
    instance.report_run_canceled(run)
    assert len(requests(evaluate(pipeline, instance, LATER + waiting.CLAIM))) == 1


def test_a_run_that_died_unnoticed_is_asked_for_again(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    upload(pipeline, 1)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    run = start(instance, request)
    instance.add_run_tags(run.run_id, process_tags())
    assert requests(evaluate(pipeline, instance, LATER + waiting.CLAIM)) == []
    # as if another process had this number by now
    instance.add_run_tags(run.run_id, {"caseprep/process_started": "1"})
    assert len(requests(evaluate(pipeline, instance, LATER + waiting.CLAIM))) == 1
    failed = instance.get_run_by_id(run.run_id)
    assert failed is not None
    assert failed.status == dg.DagsterRunStatus.FAILURE


def test_what_the_daemon_is_about_to_start_again_is_not_asked_for_too(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    upload(pipeline, 1)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    run, keys = start(instance, request), instance.get_dynamic_partitions("recordings")
    instance.report_run_failed(run)
    assert partitions_in_flight(instance, "recordings", keys) == set()
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert partitions_in_flight(instance, "recordings", keys) == set(keys)
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "another"})
    assert partitions_in_flight(instance, "recordings", keys) == set()


def test_what_failed_is_driven_again_when_its_time_has_come(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    upload(pipeline, 1)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    key = str(request.partition_key)
    loading.record_fault(pipeline.catalog, key, "source_recording", "Fault", "the disk is full", LATER)
    assert requests(evaluate(pipeline, instance, LATER + BACKOFF[0] / 2)) == []
    assert len(requests(evaluate(pipeline, instance, LATER + BACKOFF[0]))) == 1


def test_a_finished_recording_is_never_run_again(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    upload(pipeline, 1)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    for name in NAMES:
        progress.record_product(
            pipeline.catalog, str(request.partition_key), name, version="000001-0", digest="0" * 64, code_version="c",
            inputs={}, rejected=False, run_id="r",
        )  # fmt: skip
    assert requests(evaluate(pipeline, instance, LATER + timedelta(days=30))) == []


def test_a_partition_that_dagster_lost_track_of_is_added_again(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """The daemon died between the registry's write and Dagster's."""
    new = registry.NewRecording("2024-cv-1", "a.wav", "/nowhere/a.wav", "a" * 64)
    (entry,) = registry.register(pipeline.catalog, [new], "upload-sensor")
    evaluate(pipeline, instance, NOW)
    assert instance.get_dynamic_partitions("recordings") == [entry.partition]


def test_what_a_command_registered_is_the_commands_own_business(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    new = registry.NewRecording("2024-cv-1", "a.wav", "/nowhere/a.wav", "a" * 64)
    registry.register(pipeline.catalog, [new], "transcribe")
    assert requests(evaluate(pipeline, instance, NOW)) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["upload_sensor", "upload_events_sensor"]),
        ({"storage": "s3://bucket/prefix"}, ["upload_sensor"]),
        (
            {"storage": "s3://bucket/prefix", "sqs_queue_url": "https://sqs.eu-west-1.amazonaws.com/1/uploads"},
            ["upload_sensor", "upload_events_sensor"],
        ),
    ],
)
def test_the_sensors_are_listed_and_off_until_somebody_turns_them_on(
    tmp_path: Path, settings: dict[str, str], expected: list[str]
) -> None:
    storage = {"storage": str(tmp_path), **settings}
    sensors = build_defs(read_settings(model="demo", diarization="demo", **storage)).sensors or ()
    made = [sensor for sensor in sensors if isinstance(sensor, dg.SensorDefinition) and "upload" in sensor.name]
    assert [sensor.name for sensor in made] == expected
    assert {sensor.default_status for sensor in made} == {dg.DefaultSensorStatus.STOPPED}


def test_of_two_sensors_that_read_the_same_state_one_asks(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """Dagster makes runs after a tick: until then nothing but the claim tells the other sensor."""
    upload(pipeline, RANGE_FROM)
    evaluate(pipeline, instance, NOW)
    assert len(requests(evaluate(pipeline, instance, LATER))) == 1
    assert requests(evaluate(pipeline, instance, LATER + waiting.CLAIM / 2)) == []
    assert len(requests(evaluate(pipeline, instance, LATER + waiting.CLAIM))) == 1


def test_a_fault_frees_its_own_claim_and_no_other(catalog: Catalog) -> None:
    new = [registry.NewRecording("2024-cv-1", f"{n}.wav", f"/{n}.wav", f"{n:064x}"[::-1]) for n in range(2)]
    one, other = (entry.partition for entry in registry.register(catalog, new, "upload-sensor"))
    work = {(one, NAMES[0]), (one, NAMES[1]), (other, NAMES[0])}
    assert waiting.claim(catalog, work, NOW) == work
    loading.record_fault(catalog, one, NAMES[0], "Fault", "the disk is full", LATER)
    assert waiting.claim(catalog, work, LATER) == {(one, NAMES[0])}


def test_a_run_that_began_and_ended_between_look_and_claim_is_not_asked_for(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(pipeline, 1)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    claim = waiting.claim

    def late(*arguments: Any) -> set[tuple[str, str]]:
        for name in NAMES:
            progress.record_product(
                pipeline.catalog, str(request.partition_key), name, version="000001-0", digest="0" * 64,
                code_version="c", inputs={}, rejected=False, run_id="r",
            )  # fmt: skip
        return claim(*arguments)

    monkeypatch.setattr(waiting, "claim", late)
    assert requests(evaluate(pipeline, instance, LATER + waiting.CLAIM)) == []


def test_two_sensors_at_once_ask_for_one_run(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    watch = Watch(Path(pipeline.settings.storage), "incoming/")

    def listen(pipeline: Pipeline, now: datetime) -> Intake:
        return take_changed(pipeline, watch, now)

    upload(pipeline, 1)
    evaluate(pipeline, instance, NOW)
    (request,) = requests(evaluate(pipeline, instance, LATER))
    start(instance, request)
    assert requests(evaluate(pipeline, instance, LATER, listen)) == []
    watch.close()


def test_a_ticks_runs_are_of_dagsters_own_asset_job(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """A job of the sensor's own would have to choose one of the stages' batch sizes for all of them."""
    settings = read_settings(
        storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster", model="demo", diarization="demo",
        incoming_settle_seconds=0,
    )  # fmt: skip
    pipeline = Pipeline(settings)
    upload(pipeline, RANGE_FROM)
    defs = build_defs(settings, pipeline=pipeline)
    with dg.build_sensor_context(instance, definitions=defs, resources={"pipeline": pipeline}) as context:
        (request,) = defs.resolve_sensor_def("upload_sensor").evaluate_tick(context).run_requests or ()
    assert request.job_name == defs.resolve_implicit_global_asset_job_def().name
    assert request.asset_selection == [dg.AssetKey("source_recording")]

"""What of an archive runs tonight: budget, order and pauses, as its owner would state them; and the sensor's ticks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation import archive, archive_sensor, sensors
from caseprep_pipelines.automation.archive import MOST, UNMEASURED, Amount, Budget, Candidate, Rates, choose
from caseprep_pipelines.automation.decisions import RANGE_FROM
from caseprep_pipelines.automation.windows import Night
from caseprep_pipelines.catalog import loading, progress, registry, speed, tables, waiting
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.catalog.conftest import catalog, catalog_url

__all__ = ["catalog", "catalog_url"]

EVENING = datetime(2026, 1, 5, 20, tzinfo=UTC)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NAMES = [stage.name for stage in STAGES]
FAST = Rates(seconds=60.0, cost=0.1)


def waits(*hours: float) -> list[Candidate]:
    return [Candidate(f"k{number}", "m", length) for number, length in enumerate(hours)]


def chosen(candidates: list[Candidate], rates: Rates = FAST, budget: Budget | None = None, **more: Any) -> list[str]:
    options: dict[str, Any] = {"spent": Amount(), "seconds": 3600.0, "most": archive.at_once(rates), **more}
    return [c.partition for c in choose(candidates, rates, budget or Budget(), **options).begun]


def test_a_night_begins_what_its_budget_in_hours_allows() -> None:
    assert chosen(waits(2, 2, 2), budget=Budget(hours=5)) == ["k0", "k1"]
    assert chosen(waits(2, 2, 2), budget=Budget(hours=5), spent=Amount(2)) == ["k0"]
    assert chosen(waits(2, 2, 2), budget=Budget(hours=5), spent=Amount(4)) == []


def test_a_night_begins_what_its_budget_in_money_allows() -> None:
    assert chosen(waits(2, 2, 2), budget=Budget(cost=0.5)) == ["k0", "k1"]
    assert chosen(waits(2, 2, 2), budget=Budget(hours=5, cost=0.3)) == ["k0"]


def test_a_recording_longer_than_the_budget_has_a_night_of_its_own() -> None:
    assert chosen(waits(9, 1), budget=Budget(hours=5)) == ["k0"]
    assert chosen(waits(1, 9), budget=Budget(hours=5)) == ["k0"]


def test_money_that_cannot_be_counted_is_not_spent() -> None:
    choice = choose(waits(1), Rates(), Budget(cost=100), Amount(), seconds=3600, most=MOST)
    assert (choice.begun, choice.held_by) == ((), "unmeasured")


def test_while_nothing_is_measured_a_few_run_at_a_time() -> None:
    assert len(chosen(waits(*[1.0] * 50), Rates())) == UNMEASURED
    assert len(chosen(waits(*[1.0] * 50), Rates(), under_way=[1.0] * UNMEASURED)) == 0


def test_only_as_much_is_begun_as_is_finished_in_time_but_never_nothing() -> None:
    assert len(chosen(waits(*[30.0] * 5))) == 2
    assert chosen(waits(600)) == ["k0"]
    assert chosen(waits(600), under_way=[1]) == []
    assert chosen(waits(1), seconds=0) == []


def test_every_gpu_has_its_own_work_ahead_and_never_more_than_the_night_has_left() -> None:
    night = Night(NOON, NOON + timedelta(hours=10))
    assert archive.ahead(night, NOON, 1) == archive.AHEAD.total_seconds()
    assert archive.ahead(night, NOON, 4) == 4 * archive.AHEAD.total_seconds()
    assert archive.ahead(night, night.end - timedelta(minutes=3), 4) == 4 * 180
    assert archive.ahead(night, night.end, 4) == 0


@given(
    st.lists(st.floats(0, 40), max_size=60),
    st.none() | st.floats(0.1, 100),
    st.none() | st.floats(0.1, 10),
    st.builds(Amount, st.floats(0, 50), st.floats(0, 5)),
    st.lists(st.floats(0, 5), max_size=5),
)
def test_no_budget_is_overdrawn_and_the_order_is_kept(
    lengths: list[float], hours: float | None, cost: float | None, spent: Amount, under_way: list[float]
) -> None:
    candidates = waits(*lengths)
    budget = Budget(hours, cost)
    choice = choose(candidates, FAST, budget, spent, seconds=7200, under_way=under_way, most=MOST)
    assert list(choice.begun) == candidates[: len(choice.begun)]
    assert (choice.held_by is None) == (len(choice.begun) == len(candidates))
    # one recording may be longer than any budget
    beyond_the_first = len([c for c in choice.begun if c.hours]) > 1 or spent != Amount()
    if choice.begun and beyond_the_first:
        assert hours is None or choice.spent.hours <= hours + 1e-9 or choice.begun[-1].hours == 0
        assert cost is None or choice.spent.cost <= cost + 1e-9 or choice.begun[-1].hours == 0
    assert len(choice.begun) + len(under_way) <= max(MOST, len(under_way))


# What the catalog knows


def register(catalog: Catalog, count: int, matter: str = "2019-cv-1", by: str = "archive", **more: Any) -> list[str]:
    first = len(registry.all_partitions(catalog))
    new = [
        registry.NewRecording(matter, f"{n}.mp3", f"s3://court/{n}.mp3", f"{n:064x}"[::-1], **more)
        for n in range(first, first + count)
    ]
    return [entry.partition for entry in registry.register(catalog, new, by)]


def product(catalog: Catalog, partition: str, stage: str) -> None:
    progress.record_product(
        catalog, partition, stage, version="000001-0", digest="0" * 64, code_version="c", inputs={}, rejected=False,
        run_id="r",
    )  # fmt: skip


def took(catalog: Catalog, partition: str, stage: str, seconds: float, audio: float | None, gpu: float = 0.0) -> None:
    with catalog.writing() as session:
        session.add(
            tables.StageRun(
                partition=partition, stage=stage, version="000001-0", matter="m", run_id="r", started=NOON,
                wall_seconds=seconds, cpu_seconds=seconds, gpu_seconds=gpu, audio_seconds=audio, device="cpu",
                batch_size=None, snr_db=None, rejected=False,
            )
        )  # fmt: skip


def names(rows: list[waiting.Waiting]) -> list[str]:
    return [row.partition for row in rows]


def test_what_waits_comes_in_the_order_that_its_owner_wants(catalog: Catalog) -> None:
    low = register(catalog, 2)
    high = register(catalog, 2, priority=5)
    rush = register(catalog, 1, "2020-cv-9")
    register(catalog, 1, by="upload-sensor")
    assert names(waiting.waiting(catalog, "priority")) == [*high, *low, *rush]
    assert names(waiting.waiting(catalog, "newest")) == [*rush, *reversed(high), *reversed(low)]
    assert names(waiting.waiting(catalog, "priority", ["2020-cv-9"], limit=2)) == [*rush, high[0]]
    assert waiting.matters(catalog, NAMES[-1]) == {"2019-cv-1", "2020-cv-9"}


def test_what_was_begun_is_under_way_until_it_is_finished(catalog: Catalog) -> None:
    one, two, three, four = register(catalog, 4)
    product(catalog, one, NAMES[0])
    loading.record_fault(catalog, two, NAMES[0], "Fault", "the disk is full", NOON)
    for name in NAMES:
        product(catalog, three, name)
    assert names(waiting.under_way(catalog, NAMES[-1], 10)) == [one, two]
    assert names(waiting.waiting(catalog, "priority")) == [four]


def test_the_upload_sensor_leaves_the_archive_alone_even_when_it_failed(catalog: Catalog) -> None:
    (one,) = register(catalog, 1)
    loading.record_fault(catalog, one, NAMES[0], "Fault", "the disk is full", NOON)
    assert progress.unfinished(catalog, NAMES[-1], 10) == []


def test_a_run_is_asked_for_by_one_of_two_daemons(catalog: Catalog) -> None:
    one, two = register(catalog, 2)
    work = [(one, "a"), (two, "a"), (two, "b")]
    assert waiting.claim(catalog, work[:2], NOON) == set(work[:2])
    assert waiting.claim(catalog, work, NOON + timedelta(seconds=1)) == {(two, "b")}
    assert waiting.claim(catalog, work, NOON + waiting.CLAIM) == set(work[:2])
    assert waiting.claim(catalog, [], NOON) == set()


def test_of_many_that_ask_at_the_same_moment_each_run_has_one_winner(catalog: Catalog) -> None:
    work = [(partition, stage) for partition in register(catalog, 300) for stage in ("a", "b")]
    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(lambda _: waiting.claim(catalog, work, NOON), range(6)))
    assert sum(map(len, won)) == len(set.union(*won)) == len(work)


def test_rates_come_from_what_the_stages_took(catalog: Catalog) -> None:
    assert speed.measured(catalog, NOON) == speed.Measured()
    one, two = register(catalog, 2, size_bytes=36_000_000)
    for partition in (one, two):
        took(catalog, partition, "source_recording", 36, None)
        took(catalog, partition, "raw_transcript", 72, 3600, gpu=72)
    took(catalog, one, "speaker_turns", 36, 3600, gpu=36)  # the second one's is still to come
    measured = speed.measured(catalog, NOON + timedelta(days=1))
    assert measured.audio_hours == 2
    assert measured.wall_seconds == pytest.approx(2 * (36 + 72 + 36))
    assert measured.bytes_per_second == {".mp3": pytest.approx(10_000)}
    rates = archive.rates(measured, gpu_hour=1.0, cpu_hour=0.1)
    assert rates.seconds == pytest.approx(144)
    assert rates.cost == pytest.approx((108 * 1.0 + 36 * 0.1) / 3600)
    assert speed.measured(catalog, NOON + timedelta(days=60)) == speed.Measured()


def test_a_camera_s_hour_is_not_counted_as_a_hundred_of_a_telephone_s(catalog: Catalog) -> None:
    names = ("call.WAV", "camera.mp4", "other.mp4", "call-0001", "x.ts", "hearing.flac", "v1.2/notes", ".wav", "")
    new = [
        registry.NewRecording("m", name, f"s3://court/{n}", f"{n:064x}"[::-1], size_bytes=3600 * (n + 1) * 1000)
        for n, name in enumerate(names)
    ]
    keys = [entry.partition for entry in registry.register(catalog, new, "archive")]
    assert {row.partition: row.kind for row in waiting.waiting(catalog, "priority")} == dict(
        zip(keys, (".wav", ".mp4", ".mp4", "", ".ts", ".flac", "", ".wav", ""), strict=True)
    )
    for partition in keys[:2]:
        took(catalog, partition, "raw_transcript", 1, 3600)
    measured = speed.measured(catalog, NOON)
    assert measured.bytes_per_second == {".wav": pytest.approx(1000), ".mp4": pytest.approx(2000)}
    rows = waiting.waiting(catalog, "priority")
    hours = {candidate.partition: candidate.hours for candidate in archive.candidates(rows, (), measured)}
    assert hours[keys[2]] == pytest.approx(1.5)
    assert hours[keys[5]] == pytest.approx(6000 / archive.ASSUMED_BYTES_PER_SECOND)


# Ticks


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def pipeline_at(folder: Path, **settings: Any) -> Pipeline:
    return Pipeline(read_settings(storage=str(folder / "storage"), dagster_home=folder / "dagster", **settings))


def tick(pipeline: Pipeline, instance: dg.DagsterInstance, now: datetime = EVENING) -> list[dg.RunRequest]:
    result = archive_sensor.evaluate(pipeline, instance, now)
    return list(result.run_requests or ()) if isinstance(result, dg.SensorResult) else []


def start(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    @dg.job
    def work() -> None: ...

    tags = {**request.tags, **({"dagster/partition": request.partition_key} if request.partition_key else {})}
    return instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED, tags=tags)


def covered(instance: dg.DagsterInstance, requests: list[dg.RunRequest]) -> list[str]:
    order = list(instance.get_dynamic_partitions("recordings"))
    found = []
    for request in requests:
        first = request.tags.get("dagster/asset_partition_range_start", request.partition_key)
        last = request.tags.get("dagster/asset_partition_range_end", first)
        found.extend(order[order.index(str(first)) : order.index(str(last)) + 1])
    return found


def test_the_archive_waits_for_its_window_and_goes_on_the_next_night(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    pipeline = pipeline_at(tmp_path, archive_budget_hours=5)
    keys = register(pipeline.catalog, 8, size_bytes=int(2 * 3600 * archive.ASSUMED_BYTES_PER_SECOND))
    assert tick(pipeline, instance, NOON) == []
    tonight = tick(pipeline, instance)
    assert covered(instance, tonight) == keys[:2]
    for request in tonight:
        assert request.tags["dagster/priority"] == archive_sensor.ARCHIVE_PRIORITY
        instance.report_run_canceled(start(instance, request))
    for key in keys[:2]:
        for name in NAMES:
            product(pipeline.catalog, key, name)
    # the budget is used up, whatever the daemon forgot
    assert tick(pipeline, instance, EVENING + timedelta(hours=2)) == []
    assert tick(pipeline, instance, EVENING + timedelta(hours=13)) == []
    assert covered(instance, tick(pipeline, instance, EVENING + timedelta(days=1))) == keys[2:4]


def test_what_was_begun_goes_on_before_anything_else_and_costs_nothing_again(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    pipeline = pipeline_at(tmp_path, archive_budget_hours=1)
    keys = register(pipeline.catalog, 3, size_bytes=int(3600 * archive.ASSUMED_BYTES_PER_SECOND))
    product(pipeline.catalog, keys[2], NAMES[0])
    begun, new = tick(pipeline, instance)
    assert begun.partition_key == keys[2]
    assert (begun.tags[archive_sensor.HOURS_TAG], new.tags[archive_sensor.HOURS_TAG]) == ("0.000000", "1.000000")
    assert new.partition_key == keys[0]


def test_two_daemons_at_once_do_not_ask_for_the_same_work(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    one, other = pipeline_at(tmp_path), pipeline_at(tmp_path)
    keys = register(one.catalog, 5)
    assert sorted(covered(instance, [*tick(one, instance), *tick(other, instance)])) == sorted(keys)
    assert tick(one, instance, EVENING + timedelta(minutes=1)) == []


def test_what_runs_is_not_asked_for_again_and_what_was_lost_is(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    pipeline = pipeline_at(tmp_path)
    register(pipeline.catalog, 5)
    (request,) = tick(pipeline, instance)
    run = start(instance, request)
    later = EVENING + waiting.CLAIM
    assert tick(pipeline, instance, later) == []
    instance.report_run_canceled(run)
    assert len(tick(pipeline, instance, later)) == 1


def test_a_matter_in_a_rush_goes_first_and_before_uploads(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    pipeline = pipeline_at(tmp_path, archive_budget_hours=2)
    sizes = {"size_bytes": int(3600 * archive.ASSUMED_BYTES_PER_SECOND)}
    usual = register(pipeline.catalog, 2, "2019-cv-1", priority=9, **sizes)
    rush = register(pipeline.catalog, 1, "2019-cv-2", **sizes)
    folder = tmp_path / "storage" / "incoming"
    for matter, text in (("2019-cv-1", "rush = 3"), ("2019-cv-2", "rush = true"), ("2019-cv-3", "rush = true")):
        (folder / matter).mkdir(parents=True)
        (folder / matter / "matter.toml").write_text(text)
    first, second = tick(pipeline, instance)
    assert (first.partition_key, first.tags["dagster/priority"]) == (rush[0], sensors.RUSH_PRIORITY)
    assert (second.partition_key, second.tags["dagster/priority"]) == (usual[0], archive_sensor.ARCHIVE_PRIORITY)


def test_an_upload_of_a_matter_in_a_rush_goes_before_other_uploads(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    pipeline = pipeline_at(tmp_path)
    (usual,) = register(pipeline.catalog, 1, "2019-cv-1", by="upload-sensor")
    (rush,) = register(pipeline.catalog, 1, "2019-cv-2", by="upload-sensor")
    (tmp_path / "storage" / "incoming" / "2019-cv-2").mkdir(parents=True)
    (tmp_path / "storage" / "incoming" / "2019-cv-2" / "matter.toml").write_text("rush = true")
    result = sensors.evaluate(pipeline, instance, EVENING)
    assert isinstance(result, dg.SensorResult)
    first, second = result.run_requests or ()
    assert (first.partition_key, first.tags["dagster/priority"]) == (rush, sensors.RUSH_PRIORITY)
    assert (second.partition_key, "dagster/priority" in second.tags) == (usual, False)


def test_a_recording_that_keeps_failing_keeps_no_other_from_being_begun(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    pipeline = pipeline_at(tmp_path)
    keys = register(pipeline.catalog, UNMEASURED + 1)
    for key in keys[:-1]:
        loading.record_fault(pipeline.catalog, key, NAMES[0], "Fault", "the disk is full", EVENING)
    assert covered(instance, tick(pipeline, instance)) == [keys[-1]]


def test_uploads_and_archive_are_each_taken_by_their_own_sensor(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    pipeline = pipeline_at(tmp_path)
    (upload,) = register(pipeline.catalog, 1, by="upload-sensor")
    (old,) = register(pipeline.catalog, 1)
    result = sensors.evaluate(pipeline, instance, EVENING)
    assert isinstance(result, dg.SensorResult)
    assert covered(instance, list(result.run_requests or ())) == [upload]
    assert covered(instance, tick(pipeline, instance)) == [old]


def test_the_sensor_is_off_until_somebody_turns_it_on_and_ticks_in_a_daemon(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    settings = read_settings(
        storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster", model="demo", diarization="demo",
        archive_window_start="00:00", archive_window_end="00:00",
    )  # fmt: skip
    pipeline = Pipeline(settings)
    register(pipeline.catalog, RANGE_FROM)
    defs = build_defs(settings, pipeline=pipeline)
    sensor = defs.resolve_sensor_def("archive_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    with dg.build_sensor_context(instance, definitions=defs, resources={"pipeline": pipeline}) as context:
        (request,) = sensor.evaluate_tick(context).run_requests or ()
    assert request.tags["dagster/priority"] == archive_sensor.ARCHIVE_PRIORITY


def job_of(pipeline: Pipeline) -> dg.JobDefinition:
    return build_defs(pipeline.settings, pipeline=pipeline).resolve_implicit_global_asset_job_def()


def test_an_archive_goes_through_the_whole_graph_night_after_night(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Files that are no media: rejected by the first stage, and passed on by every other one."""
    pipeline = pipeline_at(tmp_path, archive_budget_hours=4.5, model="demo", diarization="demo")
    size = int(3600 * archive.ASSUMED_BYTES_PER_SECOND)
    new = []
    for number in range(2 * RANGE_FROM):
        path = tmp_path / f"{number}.mp3"
        path.write_text(f"no sound {number}")
        new.append(registry.NewRecording("2019-cv-1", path.name, str(path), f"{number:064x}"[::-1], None, size))
    keys = [entry.partition for entry in registry.register(pipeline.catalog, new, "archive")]
    job = job_of(pipeline)
    asked: list[tuple[str, str]] = []
    finished = []
    for night in range(3):
        now = EVENING + timedelta(days=night)
        while requests := tick(pipeline, instance, now):
            now += timedelta(minutes=1)
            for request in requests:
                stages = [key.path[-1] for key in request.asset_selection or ()]
                asked.extend((partition, stage) for partition in covered(instance, [request]) for stage in stages)
                job.execute_in_process(
                    instance=instance, asset_selection=list(request.asset_selection or ()),
                    partition_key=request.partition_key, tags=dict(request.tags), raise_on_error=False,
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )  # fmt: skip
        done = progress.products(pipeline.catalog, keys)
        finished.append(sum(NAMES[-1] in stages for stages in done.values()))
    assert finished == [RANGE_FROM, 2 * RANGE_FROM, 2 * RANGE_FROM]
    assert sorted(asked) == sorted((key, name) for key in keys for name in NAMES)


def test_the_limit_of_dagsters_pool_says_how_many_gpus_there_are(instance: dg.DagsterInstance) -> None:
    assert archive_sensor.gpu_slots(instance) == 1
    instance.event_log_storage.set_concurrency_slots(archive_sensor.GPU_POOL, 4)
    assert archive_sensor.gpu_slots(instance) == 4
    assert {stage.name for stage in STAGES if stage.gpu} == {
        key.path[-1] for key in gpu_assets(archive_sensor.GPU_POOL)
    }


def gpu_assets(pool: str) -> set[dg.AssetKey]:
    assets = build_defs(read_settings()).resolve_asset_graph().assets_defs
    return {key for asset in assets for key in asset.keys if pool in asset.op.pools}


# The dry run


def test_the_plan_says_what_the_next_window_would_begin(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    pipeline = pipeline_at(tmp_path, archive_budget_hours=3, archive_time_zone="Europe/Berlin", gpu_hour_price=2.0)
    register(pipeline.catalog, 4, size_bytes=36_000_000)
    unmeasured = archive.plan(pipeline, NOON, Amount(), NAMES[-1], 1)
    assert (unmeasured["work_hours"], unmeasured["cost_usd"], unmeasured["held_by"]) == (None, None, "budget")
    assert unmeasured["window_start"] == "2026-01-05T20:00+01:00"
    (done,) = register(pipeline.catalog, 1, by="transcribe", size_bytes=36_000_000)
    took(pipeline.catalog, done, "raw_transcript", 360, 3600, gpu=360)
    plan = archive.plan(pipeline, NOON, Amount(), NAMES[-1], 1)
    assert (plan["recordings"], plan["audio_hours"], plan["waiting_recordings"]) == (3, 3.0, 4)
    assert (plan["work_hours"], plan["cost_usd"], plan["waiting_cost_usd"]) == (0.3, 0.6, 0.8)
    # within the window, what it began already counts
    later = archive.plan(pipeline, EVENING, Amount(2, 0.4), NAMES[-1], 1)
    assert (later["recordings"], later["now_in_window"]) == (1, True)
    assert instance.get_dynamic_partitions("recordings") == []

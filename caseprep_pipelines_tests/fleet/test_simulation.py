"""The fleet in simulation: what it must reach with the product's own defaults, and what holds for every fleet."""

import random
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation.archive_sensor import ARCHIVE_PRIORITY
from caseprep_pipelines.fleet import workload
from caseprep_pipelines.fleet.rates import StageRate, shipped
from caseprep_pipelines.fleet.simulation import Fleet, Outcome, Stage, simulate
from caseprep_pipelines.fleet.workload import HOUR, Arrival

GRAPH = [Stage(stage.name, stage.batch, stage.gpu, stage.in_children) for stage in STAGES]
RATES = dict(shipped())
GPU_STAGES = [stage.name for stage in GRAPH if stage.gpu]
#: 2,000 recordings of an office's usual mixture.
LENGTHS = workload.lengths(random.Random(1), 2000)
FOUR_GPUS = Fleet(gpus=4, pod_seconds=8, load_seconds=15)


DEPLOYED = Path(__file__).parents[2] / "deploy/kubernetes/base/dagster.yaml"


def test_a_fleet_is_set_up_as_the_deployment_is() -> None:
    limits = yaml.safe_load(DEPLOYED.read_text())["concurrency"]
    (archive,) = (tag for tag in limits["runs"]["tag_concurrency_limits"] if tag.get("value") == ARCHIVE_PRIORITY)
    assert limits["runs"]["max_concurrent_runs"] == Fleet().most_runs
    assert archive["limit"] == Fleet().archive_runs


def run(arrivals: list[Arrival], fleet: Fleet, rates: dict[str, StageRate] | None = None, seed: int = 1) -> Outcome:
    return simulate(arrivals, GRAPH, rates or RATES, fleet, seed)


def with_gpus_as_fast_as(times: float) -> dict[str, StageRate]:
    return {
        name: replace(rate, per_audio_hour=rate.per_audio_hour / times) if name in GPU_STAGES else rate
        for name, rate in RATES.items()
    }


@pytest.mark.parametrize("way_in", ["archive", "uploads"])
@pytest.mark.parametrize("gpu_speed", [0.5, 1, 2])
def test_four_gpus_are_kept_busy_by_two_thousand_recordings(way_in: str, gpu_speed: float) -> None:
    arrivals = [Arrival(0, hours, archive=way_in == "archive") for hours in LENGTHS]
    outcome = run(arrivals, FOUR_GPUS, with_gpus_as_fast_as(gpu_speed))
    assert outcome.busy >= 0.85
    assert outcome.wasted == 0


@pytest.mark.parametrize("notice", [120, 30, 0])
def test_with_a_node_reclaimed_every_ten_minutes_all_finish_and_little_is_wasted(notice: float) -> None:
    outcome = run(workload.archive(LENGTHS), replace(FOUR_GPUS, reclaim_every=600, notice_seconds=notice))
    assert outcome.reclaimed >= outcome.finished // 600 - 1
    assert max(outcome.catalogued) < float("inf")
    assert outcome.wasted < 0.05


def test_an_upload_overtakes_the_archive() -> None:
    busy = workload.archive(LENGTHS[:400])
    outcome = run([*busy, Arrival(2 * HOUR, 0.1)], FOUR_GPUS)
    assert outcome.drafted[-1] < median(outcome.drafted[:-1]) / 2


def test_a_rush_goes_before_other_uploads() -> None:
    crowd = [Arrival(0, hours) for hours in LENGTHS[:200]]
    late = [Arrival(HOUR, 0.5)] * 8
    patient, urgent = (
        run([*crowd, *(replace(one, rush=rush) for one in late)], Fleet()).drafted[-1] for rush in (False, True)
    )
    assert urgent < patient


def test_with_more_slots_than_gpus_runs_of_the_archive_go_on_by_day() -> None:
    night = Fleet(window=(20, 6))
    arrivals = workload.archive(LENGTHS[:600], 20 * HOUR)
    assert run(arrivals, replace(night, slots=16)).finished < 0.7 * run(arrivals, night).finished


def test_the_archive_pauses_between_its_windows_and_uploads_do_not() -> None:
    night = replace(FOUR_GPUS, window=(20, 6))
    arrivals = [*workload.archive(LENGTHS[:600]), Arrival(12 * HOUR, 0.1)]
    begun_by_day = [at for at in run(arrivals, night).drafted[:-1] if 8.5 * HOUR < at < 20 * HOUR]
    assert begun_by_day == []
    assert run(arrivals, night).drafted[-1] < HOUR


def test_nodes_come_only_when_there_is_work_and_go_when_there_is_none() -> None:
    fleet = Fleet(gpus=4, provision_seconds=100, idle_seconds=60)
    one = run([Arrival(5 * HOUR, 1)], fleet)
    assert 100 < one.node_seconds < 100 + 2 * 60 + one.gpu_done + one.gpu_starting + 60
    warm = run([Arrival(5 * HOUR, 1)], replace(fleet, warm_gpus=1))
    assert one.drafted[0] - warm.drafted[0] == pytest.approx(100, abs=5)
    assert warm.node_seconds > 5 * HOUR


def test_with_room_for_few_runs_gpus_stand_idle() -> None:
    """What the settings for one machine would do to four GPUs."""
    one_machine = replace(FOUR_GPUS, most_runs=6, archive_runs=2)
    assert run(workload.archive(LENGTHS), one_machine).busy < 0.5


def test_nothing_to_do_ends_at_once() -> None:
    assert run([], Fleet()).finished == 0


FLEETS = st.builds(
    Fleet,
    gpus=st.integers(1, 6),
    warm_gpus=st.integers(0, 1),
    provision_seconds=st.floats(0, 300),
    reclaim_hours=st.none() | st.floats(0.5, 10),
    reclaim_every=st.none() | st.floats(600, 5000),
    notice_seconds=st.sampled_from([0.0, 30.0, 120.0]),
    cpu_pods=st.integers(1, 8),
    most_runs=st.integers(1, 30),
    archive_runs=st.integers(1, 30),
    slots=st.none() | st.integers(1, 16),
    run_buffer=st.integers(0, 4),
    window=st.sampled_from([(0.0, 24.0), (20.0, 6.0), (9.0, 17.0)]),
)
WORK = st.lists(
    st.builds(Arrival, at=st.floats(0, 2 * workload.DAY), hours=st.floats(0.001, 6), rush=st.booleans())
    | st.builds(Arrival, at=st.just(0.0), hours=st.floats(0.001, 6), archive=st.just(True)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(WORK, FLEETS, st.integers(0, 5))
def test_nothing_is_lost_and_work_is_conserved(arrivals: list[Arrival], fleet: Fleet, seed: int) -> None:
    outcome = run(arrivals, fleet, seed=seed)
    assert all(
        0 < drafted < done < float("inf") for drafted, done in zip(outcome.drafted, outcome.catalogued, strict=True)
    )
    assert outcome.gpu_done == pytest.approx(outcome.gpu_needed + outcome.gpu_lost)
    assert outcome.node_seconds >= outcome.gpu_done + outcome.gpu_starting - 1e-6
    assert 0 <= outcome.busy <= 1 + 1e-9
    assert outcome == run(arrivals, fleet, seed=seed)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 4), min_size=1, max_size=300), st.integers(1, 4))
@example([1.0] * 7, 1)
def test_more_nodes_never_lengthen_the_end_by_much(hours: list[float], gpus: int) -> None:
    few, many = (run(workload.archive(hours), Fleet(gpus=count)) for count in (gpus, gpus + 2))
    # by at most one more start of a node and two of pods: runs are cut otherwise
    assert many.finished <= 1.1 * few.finished + 600

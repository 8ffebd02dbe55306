"""What runs next: the rules, as a user of the pipeline would state them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.automation.decisions import (
    BACKOFF,
    RANGE_FROM,
    Ask,
    StageState,
    contiguous_ranges,
    due,
    next_work,
    plan_runs,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
STAGES = ("first", "second", "third")
DONE = StageState(done=True)


def test_a_new_recording_begins_at_the_first_stage() -> None:
    assert next_work(["a"], STAGES, {}, set(), NOW) == [Ask("first", ("a",))]


def test_a_recording_goes_on_where_it_stands_and_the_nearly_finished_come_first() -> None:
    states = {"a": {"first": DONE}, "b": {"first": DONE, "second": DONE}}
    assert next_work(["a", "b", "c"], STAGES, states, set(), NOW) == [
        Ask("third", ("b",)),
        Ask("second", ("a",)),
        Ask("first", ("c",)),
    ]


def test_what_is_finished_or_in_flight_is_left_alone() -> None:
    states = {"a": dict.fromkeys(STAGES, DONE)}
    assert next_work(["a", "b"], STAGES, states, {"b"}, NOW) == []


def test_a_stale_product_is_made_again_before_what_follows_it() -> None:
    states = {"a": {**dict.fromkeys(STAGES, DONE), "second": StageState(done=True, stale=True)}}
    assert next_work(["a"], STAGES, states, set(), NOW) == [Ask("second", ("a",))]


def test_a_failed_recording_waits_and_its_neighbour_does_not() -> None:
    states = {"a": {"first": StageState(faults=1, last_fault=NOW - BACKOFF[0] / 2)}}
    assert next_work(["a", "b"], STAGES, states, set(), NOW) == [Ask("first", ("b",))]
    later = NOW + BACKOFF[0]
    assert next_work(["a", "b"], STAGES, states, set(), later) == [Ask("first", ("a", "b"))]


@given(st.integers(1, 1000))
def test_a_fault_never_becomes_a_verdict(faults: int) -> None:
    state = StageState(faults=faults, last_fault=NOW)
    assert not due(state, NOW)
    assert due(state, NOW + BACKOFF[-1])


@given(st.lists(st.integers(0, 30), unique=True), st.sets(st.integers(0, 40)))
def test_ranges_hold_what_was_wanted_and_only_neighbours(order: list[int], wanted: set[int]) -> None:
    keys = [str(number) for number in order]
    ranges = contiguous_ranges({str(number) for number in wanted}, keys)
    assert [key for group in ranges for key in group] == [key for key in keys if int(key) in wanted]
    for group in ranges:
        start = keys.index(group[0])
        assert keys[start : start + len(group)] == group


def test_a_few_recordings_get_runs_of_their_own_over_all_that_remains() -> None:
    asks = [Ask("second", ("a", "b"))]
    plans = plan_runs(asks, STAGES, ["a", "b"], dict.fromkeys(STAGES, 10))
    assert [(plan.stages, plan.partitions) for plan in plans] == [
        (("second", "third"), ("a",)),
        (("second", "third"), ("b",)),
    ]


def test_many_neighbours_share_runs_of_one_stage_up_to_its_batch() -> None:
    keys = [f"k{number}" for number in range(2 * RANGE_FROM + 1)]
    plans = plan_runs([Ask("first", tuple(keys))], STAGES, keys, dict.fromkeys(STAGES, RANGE_FROM))
    assert {plan.stages for plan in plans} == {("first",)}
    assert [key for plan in plans for key in plan.partitions] == keys
    assert max(len(plan.partitions) for plan in plans) == RANGE_FROM


@given(st.sets(st.integers(0, 60)), st.integers(1, 9))
def test_no_plan_loses_or_doubles_a_recording(wanted: set[int], batch: int) -> None:
    order = [f"k{number:02}" for number in range(50)]
    ask = Ask("first", tuple(f"k{number:02}" for number in sorted(wanted)))
    plans = plan_runs([ask], STAGES, order, dict.fromkeys(STAGES, batch))
    assert sorted(key for plan in plans for key in plan.partitions) == [key for key in order if key in ask.partitions]


def test_backoff_grows() -> None:
    assert list(BACKOFF) == sorted(BACKOFF)
    assert BACKOFF[0] >= timedelta(minutes=1)

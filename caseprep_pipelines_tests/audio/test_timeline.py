"""Second t of the FLAC is second t of the player."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.audio.timeline import CONFIRMED, MAX_OVERLAP, TOLERANCE, Patience, Placement, Timeline

FRAME = 0.02
HORIZON = 36_000.0


def test_a_stream_that_starts_late_starts_exactly_that_late() -> None:
    timeline = Timeline(HORIZON)
    assert timeline.place(0.013, FRAME) == Placement(silence=0.013)
    assert timeline.position == pytest.approx(0.033)


def test_jitter_of_timestamps_changes_nothing() -> None:
    timeline = Timeline(HORIZON)
    for number in range(1000):
        jitter = 0.015 * (-1) ** number if number else 0.0
        assert timeline.place(number * FRAME + jitter, FRAME) == Placement()
    assert timeline.position == pytest.approx(20.0)
    assert timeline.merged_gaps() == []


def test_skipped_time_becomes_silence_and_is_listed() -> None:
    timeline = Timeline(HORIZON)
    timeline.place(0.0, FRAME)
    assert timeline.place(5.0, FRAME).silence == pytest.approx(4.98)
    assert timeline.merged_gaps() == [(0.02, 5.0)]


def test_small_gaps_add_up_until_they_are_filled() -> None:
    timeline = Timeline(HORIZON)
    for number in range(100):
        timeline.place(number * (FRAME + 0.005), FRAME)
        assert abs(number * (FRAME + 0.005) + FRAME - timeline.position) <= TOLERANCE + 1e-9


def test_audio_sent_twice_is_left_out() -> None:
    timeline = Timeline(HORIZON)
    for number in range(50):
        timeline.place(number * FRAME, FRAME)
    assert timeline.place(0.9, FRAME).trim == FRAME
    assert timeline.trimmed == pytest.approx(FRAME)
    assert timeline.position == pytest.approx(1.0)


def test_a_clock_that_starts_again_loses_no_audio() -> None:
    timeline = Timeline(HORIZON)
    for number in range(500):
        timeline.place(number * FRAME, FRAME)
    for number in range(500):
        assert timeline.place(number * FRAME, FRAME) == Placement()
    assert timeline.position == pytest.approx(20.0)
    assert timeline.clock_resets == 1


def test_a_leap_beyond_the_recording_is_no_gap() -> None:
    timeline = Timeline(60.0)
    timeline.place(0.0, FRAME)
    assert timeline.place(90_000.0, FRAME) == Placement()
    assert timeline.place(90_000.0 + FRAME, FRAME) == Placement()
    assert timeline.clock_resets == 1


def test_gaps_that_touch_are_one() -> None:
    timeline = Timeline(HORIZON)
    timeline.place(0.0, FRAME)
    timeline.lose(0.02)
    timeline.lose(0.02)
    assert timeline.merged_gaps() == [(0.02, 0.06)]


@given(st.lists(st.floats(0, 2.0).filter(lambda gap: gap == 0 or gap > 0.001), max_size=200))
def test_whatever_is_skipped_every_frame_lands_where_its_timestamp_says(gaps: list[float]) -> None:
    timeline = Timeline(HORIZON)
    stamp = 0.0
    for gap in gaps:
        stamp += gap
        placement = timeline.place(stamp, FRAME)
        begins = timeline.position - (FRAME - placement.trim)
        assert abs(begins - stamp) <= TOLERANCE + 1e-6
        stamp += FRAME


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.001, 0.1)), max_size=200))
def test_time_never_runs_backwards_and_all_of_it_is_accounted_for(frames: list[tuple[float, float]]) -> None:
    timeline = Timeline(HORIZON)
    given_seconds = silence = stamp = 0.0
    for step, duration in frames:
        stamp = max(0.0, stamp + step)
        before = timeline.position
        placement = timeline.place(stamp, duration)
        assert timeline.position >= before
        assert 0 <= placement.trim <= min(duration, MAX_OVERLAP)
        given_seconds += duration
        silence += placement.silence
        stamp += duration
    assert timeline.position == pytest.approx(given_seconds + silence - timeline.trimmed)


def placed(stamps: list[float | None], duration: float = FRAME) -> tuple[Timeline, Patience[int], list[float]]:
    """Where the frames of these stamps begin."""
    timeline = Timeline(HORIZON)
    patience: Patience[int] = Patience(timeline)
    begins: list[float] = []

    def put(decided) -> None:  # type: ignore[no-untyped-def]
        for number, time, seconds in decided:
            assert number == len(begins)
            timeline.place(time, seconds)
            begins.append(timeline.position - seconds)

    for number, stamp in enumerate(stamps):
        put(patience.take(number, stamp, duration))
    put(patience.end())
    return timeline, patience, begins


def steady(count: int, start: float = 0.0) -> list[float | None]:
    return [start + number * FRAME for number in range(count)]


@given(st.integers(1, 400), st.integers(1, 90), st.floats(-3_000, 30_000).filter(lambda leap: abs(leap) > 0.1))
def test_stamps_that_leap_and_come_back_change_nothing(before: int, wild: int, leap: float) -> None:
    stamps = steady(before + wild + 200)
    for number in range(before, before + wild):
        stamps[number] += leap  # type: ignore[operator]
    timeline, patience, begins = placed(stamps)
    assert begins == pytest.approx(steady(len(stamps)), abs=0.05)
    assert timeline.gaps == []
    assert patience.wild <= 2


@given(st.integers(1, 300), st.floats(1, 30_000))
def test_a_break_that_lasts_is_one(before: int, leap: float) -> None:
    enough = round(CONFIRMED / FRAME) + 2
    timeline, patience, begins = placed([*steady(before), *steady(enough, before * FRAME + leap)])
    assert patience.wild == 0
    assert timeline.position == pytest.approx((before + enough) * FRAME + leap)
    assert begins[before] == pytest.approx(before * FRAME + leap)


@given(st.lists(st.one_of(st.none(), st.floats(-100, 100)), max_size=120))
def test_whatever_the_stamps_every_frame_comes_out_once_and_in_order(stamps: list[float | None]) -> None:
    _, _, begins = placed(stamps, 0.1)
    assert len(begins) == len(stamps)


def test_a_short_rest_after_a_break_is_believed() -> None:
    timeline, _, _ = placed([*steady(100), *steady(3, 100.0)])
    assert timeline.position == pytest.approx(100.06)


def test_a_last_frame_alone_is_not() -> None:
    timeline, patience, _ = placed([*steady(100), 3_600.0])
    assert timeline.position == pytest.approx(2.02)
    assert patience.wild == 1

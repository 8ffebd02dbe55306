"""Nightly windows by the clock on somebody's wall, whatever is done to that clock."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.automation.windows import Night, Window, next_night, night_at

START = datetime(2020, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]
minutes = st.integers(0, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))
windows = st.builds(Window, minutes, minutes, st.sampled_from(ZONES).map(ZoneInfo))
moments = st.integers(0, 15 * 366 * 24 * 3600).map(lambda seconds: START + timedelta(seconds=seconds))


def window(start: str, end: str, zone: str = "UTC") -> Window:
    return Window(time.fromisoformat(start), time.fromisoformat(end), ZoneInfo(zone))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_window_over_midnight_is_one_night() -> None:
    hours = window("20:00", "06:00")
    night = Night(at("2026-01-05T20:00"), at("2026-01-06T06:00"))
    assert night_at(hours, at("2026-01-05T23:59")) == night
    assert night_at(hours, at("2026-01-06T05:59")) == night
    assert night_at(hours, at("2026-01-06T06:00")) is None
    assert next_night(hours, at("2026-01-05T12:00")) == night


def test_the_same_times_are_the_whole_day() -> None:
    assert night_at(window("07:00", "07:00"), at("2026-01-05T06:59")) == Night(
        at("2026-01-04T07:00"), at("2026-01-05T07:00")
    )


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-28T18:00", 9), ("2026-10-24T18:00", 11), ("2026-06-10T18:00", 10)],
    ids=["spring", "autumn", "summer"],
)
def test_a_night_is_as_long_as_it_really_is(day: str, hours: int) -> None:
    night = next_night(window("20:00", "06:00", "Europe/Berlin"), at(day))
    assert night.end - night.start == timedelta(hours=hours)


def test_a_window_that_the_clock_jumps_over_is_left_out() -> None:
    hours = window("02:30", "03:10", "America/New_York")
    nights = [next_night(hours, at("2026-03-07T12:00"))]
    assert nights[0].start.date().isoformat() == "2026-03-09"


@given(windows, moments)
def test_a_moment_is_in_the_window_when_the_clock_says_so(hours: Window, now: datetime) -> None:
    offsets = {(now + timedelta(hours=step)).astimezone(hours.zone).utcoffset() for step in range(-50, 51)}
    if len(offsets) > 1:
        return  # the clock is changed around then: the other tests are about that
    clock = now.astimezone(hours.zone).time().replace(tzinfo=None)
    over_midnight = hours.start >= hours.end
    inside = over_midnight + (clock < hours.end) + (clock >= hours.start) == 2
    assert (night_at(hours, now) is not None) == inside


@given(windows, moments)
def test_nights_follow_each_other_without_overlap(hours: Window, now: datetime) -> None:
    nights = [next_night(hours, now)]
    for _ in range(4):
        nights.append(next_night(hours, nights[-1].end))
    for night in nights:
        assert night.start < night.end
        assert night.end - night.start <= timedelta(hours=25)
        assert night_at(hours, night.start) == night_at(hours, night.end - timedelta(microseconds=1)) == night
    for before, after in pairwise(nights):
        assert before.end <= after.start
    assert nights[0].end > now


@given(windows, moments)
def test_every_moment_of_a_night_knows_the_same_night(hours: Window, now: datetime) -> None:
    night = night_at(hours, now)
    if night is not None:
        assert night.start <= now < night.end
        assert next_night(hours, now) == night
    else:
        assert next_night(hours, now).start > now

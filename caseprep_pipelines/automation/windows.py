"""Nightly windows: when an archive may run, by the clock on somebody's wall. Pure functions of time.

Where the clock is changed, a window is as long as the night really is: an hour that is left out is not worked in, one
that comes twice is worked in twice, and no two nights overlap.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Window:
    """From `start` to `end` by the clock of `zone`, over midnight where the end is earlier; equal is the whole day."""

    start: time
    end: time
    zone: ZoneInfo


@dataclass(frozen=True)
class Night:
    """One occurrence of a window, in UTC; the end does not belong to it."""

    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """What runs of this night are tagged with."""
        return self.start.strftime("%Y-%m-%dT%H:%MZ")

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


def night_at(window: Window, now: datetime) -> Night | None:
    """The night that `now` is in."""
    night = next_night(window, now)
    return night if night.start <= now else None


def next_night(window: Window, now: datetime) -> Night:
    """The night that `now` is in, else the first one after it."""
    day = now.astimezone(window.zone).date() - timedelta(days=2)
    while True:
        night = _night_of(window, day)
        # a window that the change of the clock leaves nothing of is left out
        if night.end > max(now, night.start):
            return night
        day += timedelta(days=1)


def _night_of(window: Window, day: date) -> Night:
    """The night that begins on a day of the window's zone."""
    end = day if window.end > window.start else day + timedelta(days=1)
    following = _moment(day + timedelta(days=1), window.start, window.zone)
    return Night(_moment(day, window.start, window.zone), min(_moment(end, window.end, window.zone), following))


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When that clock shows this: the first time where it does twice, later by the jump where it never does."""
    return datetime.combine(day, at, zone).astimezone(UTC)

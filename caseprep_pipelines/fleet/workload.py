"""What there is to do: recordings with lengths and times of arrival, drawn with a seed where they are not known."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Kind:
    """A sort of recording. Lengths are log-normal: most near the median, some several times as long."""

    name: str
    share: float
    """Of the recordings, not of the hours."""
    median_minutes: float
    sigma: float
    longest_hours: float


#: An office's mixture, ASSUMED from what such recordings usually are: many short calls, and most of the hours in few
#: hearings and depositions; the median is 17 minutes, the mean 40. Where an archive is registered, its own lengths take
#: its place.
MIXTURE = (
    Kind("call", 0.45, 5, 0.9, 1.0),
    Kind("interview", 0.20, 35, 0.6, 3.0),
    Kind("body-worn camera", 0.20, 25, 0.8, 4.0),
    Kind("hearing", 0.08, 75, 0.8, 8.0),
    Kind("deposition", 0.07, 180, 0.5, 8.0),
)

#: Uploads by the hour of the day, from midnight: hardly any at night, most in the late afternoon, when the courts rise.
ARRIVALS_BY_HOUR = (1, 1, 1, 1, 1, 1, 2, 4, 8, 10, 10, 9, 8, 9, 10, 12, 14, 12, 7, 4, 3, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A recording of the workload."""

    at: float
    """Seconds from the beginning, which is midnight."""
    hours: float
    """Of audio."""
    archive: bool = False
    """Waits for the archive's window; else it is an upload."""
    rush: bool = False


def lengths(rng: random.Random, count: int) -> list[float]:
    """So many lengths in hours, drawn from the mixture."""
    kinds = rng.choices(MIXTURE, [kind.share for kind in MIXTURE], k=count)
    return [min(kind.longest_hours, kind.median_minutes / 60 * rng.lognormvariate(0.0, kind.sigma)) for kind in kinds]


def lengths_for(rng: random.Random, hours: float) -> list[float]:
    """Lengths from the mixture until they hold so many hours."""
    drawn: list[float] = []
    left = hours
    while left > 0:
        (length,) = lengths(rng, 1)
        drawn.append(length)
        left -= length
    return drawn


def archive(hours: Sequence[float], at: float = 0.0) -> list[Arrival]:
    """A backlog that is registered all at once."""
    return [Arrival(at, length, archive=True) for length in hours]


def uploads(rng: random.Random, hours_a_day: float, days: int) -> list[Arrival]:
    """Uploads over so many days, in order of arrival."""
    arrivals = []
    by_hour = list(accumulate(ARRIVALS_BY_HOUR))
    for day in range(days):
        for length in lengths_for(rng, hours_a_day):
            (hour,) = rng.choices(range(24), cum_weights=by_hour)
            arrivals.append(Arrival(day * DAY + (hour + rng.random()) * HOUR, length))
    return sorted(arrivals, key=lambda arrival: arrival.at)

"""What the simulation has to do: lengths and arrivals as they are said to be."""

import random
from statistics import mean, median

import pytest

from caseprep_pipelines.fleet import workload
from caseprep_pipelines.fleet.workload import DAY, HOUR


def test_most_recordings_are_short_and_most_hours_are_in_long_ones() -> None:
    lengths = workload.lengths(random.Random(2), 20_000)
    assert median(lengths) * 60 == pytest.approx(17, abs=1)
    assert mean(lengths) * 60 == pytest.approx(40, abs=2)
    assert sum(length for length in lengths if length > 1) > 0.6 * sum(lengths)
    assert max(lengths) <= 8


def test_a_backlog_holds_the_hours_asked_for_and_is_there_from_the_beginning() -> None:
    backlog = workload.archive(workload.lengths_for(random.Random(3), 100))
    assert 100 <= sum(arrival.hours for arrival in backlog) <= 108
    assert {(arrival.at, arrival.archive) for arrival in backlog} == {(0, True)}


def test_uploads_come_in_the_order_of_the_clock_and_mostly_in_office_hours() -> None:
    uploads = workload.uploads(random.Random(4), 50, 3)
    times = [arrival.at for arrival in uploads]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < 3 * DAY
    assert sum(8 * HOUR <= at % DAY < 18 * HOUR for at in times) > 0.6 * len(times)
    assert uploads == workload.uploads(random.Random(4), 50, 3)

"""Measured claims: each module here is one benchmark, a function `run() -> Result` and a line that says what it shows.

Ratios compare two things in one run on one machine; figures are what they were on that machine. Nothing here is a
test: a timed test fails for the weather.
"""

from dataclasses import dataclass, field


class Unavailable(Exception):
    """This machine lacks what the benchmark needs; says what, in a line."""


@dataclass(frozen=True)
class Result:
    ratios: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float | str] = field(default_factory=dict)

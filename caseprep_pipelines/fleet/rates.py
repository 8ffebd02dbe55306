"""How long each stage takes: by what this catalog measured, else by the table that ships."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from caseprep_pipelines.catalog.speed import StageSums


@dataclass(frozen=True)
class StageRate:
    """Wall seconds of one worker in one stage."""

    per_recording: float
    per_audio_hour: float

    def seconds(self, hours: float) -> float:
        return self.per_recording + self.per_audio_hour * hours


@cache
def shipped() -> Mapping[str, StageRate]:
    """The rates of `rates.toml`, whose every line says where it is from."""
    text = files("caseprep_pipelines.fleet").joinpath("rates.toml").read_text(encoding="utf-8")
    return {
        row["stage"]: StageRate(row["seconds_per_recording"], row["seconds_per_audio_hour"])
        for row in tomllib.loads(text)["rate"]
    }


def fitted(sums: StageSums) -> StageRate:
    """The line of least squares through the runs, with no negative part: one share for every recording, and one for
    every hour of it."""
    spread = sums.count * sums.hours_squared - sums.hours**2
    alike = spread <= 1e-9 * sums.count * sums.hours_squared
    slope = 0.0 if alike else (sums.count * sums.hours_by_seconds - sums.hours * sums.seconds) / spread
    base = (sums.seconds - slope * sums.hours) / sums.count
    if slope < 0:
        return StageRate(sums.seconds / sums.count, 0.0)
    if base < 0 or alike:
        return StageRate(0.0, sums.seconds / sums.hours)
    return StageRate(base, slope)


def rates(measured: Mapping[str, StageSums], stages: Iterable[str]) -> tuple[dict[str, StageRate], list[str]]:
    """A rate for every stage, and the stages whose rate is the shipped one because nothing was measured."""
    assumed = [stage for stage in stages if stage not in measured]
    return {stage: shipped()[stage] if stage in assumed else fitted(measured[stage]) for stage in stages}, assumed

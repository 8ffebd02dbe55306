"""What of an archive runs tonight: the window, the budget and the order, as pure functions over the state.

What is read for it comes from `catalog.waiting` and `catalog.speed`; runs are asked for by `archive_sensor`, and
`caseprep archive plan` shows what they would be.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from caseprep_pipelines.automation.windows import Night, Window, next_night, night_at

if TYPE_CHECKING:
    from caseprep_pipelines.catalog.speed import Measured
    from caseprep_pipelines.catalog.waiting import Waiting
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.settings import Settings

#: Work that is begun ahead of what is finished, for each GPU that may work at once: about a run of every stage, so that
#: a GPU that is through finds the next one waiting, and a pause leaves little lying half done. With one hour for all
#: together, the fleet's simulation kept four GPUs busy a fifth of the time.
AHEAD = timedelta(hours=2)
#: Recordings under way at once, however short they are.
MOST = 2000
#: Recordings under way at once while nothing was measured yet.
UNMEASURED = 8

#: Bytes in a second of audio where none of its kind of file was measured yet: the telephone's own rate, which is low,
#: so that a budget is rather not used up than overdrawn.
ASSUMED_BYTES_PER_SECOND = 8_000.0
#: Hours of a recording whose size nobody told.
ASSUMED_HOURS = 1.0


@dataclass(frozen=True)
class Candidate:
    """A recording that waits, and how long it probably is."""

    partition: str
    matter: str
    hours: float
    rush: bool = False


@dataclass(frozen=True)
class Rates:
    """What an hour of audio takes through the whole graph; None where nothing was measured yet."""

    seconds: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Amount:
    """Hours of audio, and money in USD."""

    hours: float = 0.0
    cost: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.hours + other.hours, self.cost + other.cost)


@dataclass(frozen=True)
class Budget:
    """What one night may begin; None is without limit."""

    hours: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Choice:
    """What is begun, and why no more."""

    begun: tuple[Candidate, ...] = ()
    spent: Amount = field(default_factory=Amount)
    held_by: str | None = None
    """`budget`, `time` or `unmeasured`; None where nothing is left."""


def amount(candidate: Candidate, rates: Rates) -> Amount:
    """What a recording takes of the budget: in full in the night in which it is begun, whenever it is finished."""
    return Amount(candidate.hours, candidate.hours * (rates.cost or 0.0))


def choose(
    candidates: Iterable[Candidate],
    rates: Rates,
    budget: Budget,
    spent: Amount,
    *,
    seconds: float,
    under_way: Sequence[float] = (),
    most: int,
) -> Choice:
    """The candidates to begin now, in their order, out of what is left of the night's budget and of `seconds` of work.

    `spent` is what this night began already, `under_way` the hours of each recording that is begun and not finished,
    `most` how many may be.
    A recording that is longer than the whole budget runs in a night that has begun nothing else; one that is longer
    than the time when nothing else is under way. A budget in money cannot be kept before a rate was measured, so
    nothing is begun.
    """
    if budget.cost is not None and rates.cost is None:
        return Choice(spent=spent, held_by="unmeasured")
    work, count = sum(under_way), len(under_way)
    begun: list[Candidate] = []
    for candidate in candidates:
        total = spent + amount(candidate, rates)
        over = (budget.hours is not None and total.hours > budget.hours) or (
            budget.cost is not None and total.cost > budget.cost
        )
        if over and spent != Amount():
            return Choice(tuple(begun), spent, "budget")
        late = rates.seconds is not None and (work + candidate.hours) * rates.seconds > seconds
        if count >= most or (late and count) or seconds <= 0:
            return Choice(tuple(begun), spent, "time")
        begun.append(candidate)
        work, count, spent = work + candidate.hours, count + 1, total
    return Choice(tuple(begun), spent)


def at_once(rates: Rates) -> int:
    """How many recordings may be under way."""
    return UNMEASURED if rates.seconds is None else MOST


def ahead(night: Night, now: datetime, gpus: int) -> float:
    """Seconds of work, one after the other, that may be under way now: what is begun shall be finished about when the
    night ends."""
    return max(0.0, min(AHEAD, night.end - now).total_seconds()) * gpus


def candidates(waiting: "Iterable[Waiting]", rush: Iterable[str], measured: "Measured") -> list[Candidate]:
    """What waits, with its length as far as its size tells it."""
    urgent, rates = set(rush), measured.bytes_per_second
    return [
        Candidate(
            row.partition,
            row.matter,
            ASSUMED_HOURS
            if row.size_bytes is None
            else row.size_bytes / rates.get(row.kind, ASSUMED_BYTES_PER_SECOND) / 3600,
            row.matter in urgent,
        )
        for row in waiting
    ]


def rates(measured: "Measured", gpu_hour: float, cpu_hour: float) -> Rates:
    """What an hour of audio takes, from what was measured and what an hour of GPU and CPU costs."""
    if not measured.audio_hours:
        return Rates()
    return Rates(
        seconds=measured.wall_seconds / measured.audio_hours,
        cost=(measured.gpu_seconds * gpu_hour + measured.cpu_only_seconds * cpu_hour) / 3600 / measured.audio_hours,
    )


# What the settings say


def window(settings: "Settings") -> Window:
    return Window(
        time.fromisoformat(settings.archive_window_start),
        time.fromisoformat(settings.archive_window_end),
        ZoneInfo(settings.archive_time_zone),
    )


def budget(settings: "Settings") -> Budget:
    return Budget(settings.archive_budget_hours, settings.archive_budget_usd)


def rush_matters(pipeline: "Pipeline", matters: Collection[str]) -> list[str]:
    """Those whose matter.toml says `rush`. Only those that have a folder can say so."""
    from caseprep_pipelines.errors import ConfigurationError

    found = []
    prefix = f"{pipeline.settings.incoming_prefix.rstrip('/')}/"
    for matter in sorted(set(matters) & set(pipeline.objects.folders(prefix) if matters else ())):
        try:
            if pipeline.matter(matter).rush:
                found.append(matter)
        except ConfigurationError:
            continue  # the recording's own first stage says what is wrong with the file
    return found


def plan(pipeline: "Pipeline", now: datetime, spent: Amount, last_stage: str, gpus: int) -> dict[str, Any]:
    """What the night that is on, or the next one, would begin; `spent` is what it began already, `gpus` how many GPU
    steps may run at once."""
    from caseprep_pipelines.catalog import speed, waiting

    settings, catalog = pipeline.settings, pipeline.catalog
    hours = window(settings)
    night = next_night(hours, now)
    measured = speed.measured(catalog, now)
    rate = rates(measured, pipeline.rates.gpu_hour, pipeline.rates.cpu_hour)
    rush = rush_matters(pipeline, waiting.matters(catalog, last_stage))
    rows = waiting.waiting(catalog, settings.archive_order, rush)
    everything = candidates(rows, rush, measured)
    left = (night.end - max(now, night.start)).total_seconds() * gpus
    choice = choose(everything, rate, budget(settings), spent, seconds=left, most=len(everything))
    begun = sum(candidate.hours for candidate in choice.begun)
    waits = sum(candidate.hours for candidate in everything)

    def money(audio_hours: float) -> float | None:
        return None if rate.cost is None else round(audio_hours * rate.cost, 2)

    return {
        "window_start": night.start.astimezone(hours.zone).isoformat(timespec="minutes"),
        "window_end": night.end.astimezone(hours.zone).isoformat(timespec="minutes"),
        "now_in_window": night_at(hours, now) is not None,
        "recordings": len(choice.begun),
        "audio_hours": round(begun, 2),
        "matters": list(dict.fromkeys(candidate.matter for candidate in choice.begun)),
        "rush_recordings": sum(candidate.rush for candidate in choice.begun),
        "work_hours": None if rate.seconds is None else round(begun * rate.seconds / 3600, 2),
        "cost_usd": money(begun),
        "held_by": choice.held_by,
        "spent_audio_hours": round(spent.hours, 2),
        "spent_usd": round(spent.cost, 2),
        "waiting_recordings": len(everything),
        "waiting_audio_hours": round(waits, 2),
        "waiting_cost_usd": money(waits),
        "measured_audio_hours": round(measured.audio_hours, 2),
        "seconds_per_audio_hour": None if rate.seconds is None else round(rate.seconds, 1),
        "usd_per_audio_hour": None if rate.cost is None else round(rate.cost, 4),
        "bytes_per_second": {
            kind: round(measured.bytes_per_second[kind]) if kind in measured.bytes_per_second else None
            for kind, _ in Counter(row.kind for row in rows if row.size_bytes is not None).most_common()
        },
        "bytes_per_second_assumed": round(ASSUMED_BYTES_PER_SECOND),
        "size_unknown": sum(row.size_bytes is None for row in rows),
        "prices": pipeline.rates.basis,
    }

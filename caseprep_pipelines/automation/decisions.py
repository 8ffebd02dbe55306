"""What runs next and what is driven again after a fault: one pure function over the state.

The command and the sensors both call it; neither decides anything itself. Reading the state and starting runs do not
belong here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: A recording that failed is tried again after these waits, the last one for ever: faults pass, verdicts do not.
BACKOFF = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=12),
)


@dataclass(frozen=True)
class StageState:
    """How one stage stands for one recording."""

    done: bool = False
    """A product exists, a rejection included."""
    stale: bool = False
    """The product was made from other inputs or settings than the caller asks for now."""
    faults: int = 0
    """Failed attempts since the last product."""
    last_fault: datetime | None = None


@dataclass(frozen=True)
class Ask:
    """Run this stage for these recordings."""

    stage: str
    partitions: tuple[str, ...]


def due(state: StageState, now: datetime) -> bool:
    """Whether a stage that failed may be tried again."""
    if not state.faults or state.last_fault is None:
        return True
    return now >= state.last_fault + BACKOFF[min(state.faults, len(BACKOFF)) - 1]


def next_work(
    partitions: Iterable[str],
    stages: Sequence[str],
    states: Mapping[str, Mapping[str, StageState]],
    in_flight: Collection[str],
    now: datetime,
) -> list[Ask]:
    """The next stage of every recording that is neither finished, nor in flight, nor waiting after a fault.

    `partitions` in registration order, `stages` in graph order; a recording that `states` does not hold has done
    nothing yet. Asks come in graph order, latest stage first: what is nearly finished is finished before something
    new is begun.
    """
    wanted: dict[str, list[str]] = {}
    for partition in partitions:
        if partition in in_flight:
            continue
        state = states.get(partition, {})
        for stage in stages:
            here = state.get(stage, StageState())
            if here.done and not here.stale:
                continue
            if due(here, now):
                wanted.setdefault(stage, []).append(partition)
            break
    return [Ask(stage, tuple(wanted[stage])) for stage in reversed(stages) if stage in wanted]


@dataclass(frozen=True)
class RunPlan:
    """One run: these stages for these recordings, which are neighbours in registration order."""

    stages: tuple[str, ...]
    partitions: tuple[str, ...]


#: From this many neighbours on, a run takes one stage over all of them, so that models load once and the GPU is kept
#: busy; fewer go through all their stages in a run of their own, so that a single call is done in one pod's start.
RANGE_FROM = 4


def plan_runs(
    asks: Iterable[Ask], stages: Sequence[str], order: Sequence[str], batches: Mapping[str, int]
) -> list[RunPlan]:
    """Asks as runs.

    `order` is the registration order of all partitions, `batches` the most recordings that a stage's run takes.
    """
    plans: list[RunPlan] = []
    for ask in asks:
        for group in contiguous_ranges(ask.partitions, order):
            if len(group) < RANGE_FROM:
                remaining = tuple(stages[stages.index(ask.stage) :])
                plans.extend(RunPlan(remaining, (partition,)) for partition in group)
                continue
            plans.extend(RunPlan((ask.stage,), piece) for piece in pieces(group, batches[ask.stage]))
    return plans


def pieces(group: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Neighbours cut into runs of at most so many."""
    return [tuple(group[i : i + most]) for i in range(0, len(group), most)]


def contiguous_ranges(partitions: Iterable[str], order: Iterable[str]) -> list[list[str]]:
    """`partitions` cut into runs of neighbours in `order`, the order of registration.

    Dagster names a range by its first and last key and means everything between them, so only neighbours can share
    a run. Partitions that `order` does not hold are left out.
    """
    wanted = set(partitions)
    ranges: list[list[str]] = []
    previous_wanted = False
    for partition in order:
        if partition in wanted:
            if previous_wanted:
                ranges[-1].append(partition)
            else:
                ranges.append([partition])
        previous_wanted = partition in wanted
    return ranges

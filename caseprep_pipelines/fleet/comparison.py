"""The settings that an operator would consider, side by side: what each costs, and how long people wait."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from caseprep_pipelines.fleet.rates import StageRate
from caseprep_pipelines.fleet.simulation import Fleet, Outcome, Stage, simulate
from caseprep_pipelines.fleet.workload import HOUR, Arrival
from caseprep_pipelines.report.prices import Rates

GPUS = (1, 2, 4, 8)
ALL_DAY = (0.0, 24.0)


@dataclass(frozen=True)
class Row:
    """One setting and what it gives. Money in USD, times in hours."""

    gpus: int
    spot: bool
    all_day: bool
    cost_per_audio_hour: float
    cost: float
    hours_to_finish: float
    """From the first arrival to the end."""
    draft_median: float
    """From arrival to the words."""
    draft_95: float
    catalogued_median: float
    catalogued_95: float
    gpu_busy: float
    """Of the time between the first and the last GPU step, of all GPUs."""
    gpu_worked: float
    """Of the time that GPU nodes are paid for."""
    gpu_wasted: float
    gpu_node_hours: float
    nodes_reclaimed: int


def compare(
    workload: Sequence[Arrival],
    stages: Sequence[Stage],
    rates: dict[str, StageRate],
    fleet: Fleet,
    *,
    on_demand: Rates,
    spot: Rates,
    reclaim_hours: float,
    gpus: Iterable[int] = GPUS,
    seed: int = 0,
) -> Iterator[Row]:
    """A row for each number of GPUs, on demand and spot; an archive in the fleet's own window, and all day.

    A spot node is taken back once in `reclaim_hours`, at random; the other steps run on demand.
    """
    # uploads wait for no window
    windows = dict.fromkeys((fleet.window, ALL_DAY) if any(arrival.archive for arrival in workload) else [ALL_DAY])
    for count in gpus:
        for interruptible in (False, True):
            for window in windows:
                tried = replace(
                    fleet,
                    gpus=count,
                    window=window,
                    reclaim_hours=reclaim_hours if interruptible else None,
                )
                outcome = simulate(workload, stages, rates, tried, seed)
                gpu_hour = spot.gpu_hour if interruptible else on_demand.gpu_hour
                yield _row(tried, workload, outcome, gpu_hour, on_demand.cpu_hour)


def _row(fleet: Fleet, workload: Sequence[Arrival], outcome: Outcome, gpu_hour: float, cpu_hour: float) -> Row:
    cost = (outcome.node_seconds * gpu_hour + outcome.core_seconds * cpu_hour) / HOUR
    return Row(
        gpus=fleet.gpus,
        spot=fleet.reclaim_hours is not None,
        all_day=fleet.window == ALL_DAY,
        cost_per_audio_hour=cost / sum(arrival.hours for arrival in workload),
        cost=cost,
        hours_to_finish=(outcome.finished - min(arrival.at for arrival in workload)) / HOUR,
        draft_median=quantile(outcome.drafted, 0.5) / HOUR,
        draft_95=quantile(outcome.drafted, 0.95) / HOUR,
        catalogued_median=quantile(outcome.catalogued, 0.5) / HOUR,
        catalogued_95=quantile(outcome.catalogued, 0.95) / HOUR,
        gpu_busy=outcome.busy,
        gpu_worked=outcome.worked,
        gpu_wasted=outcome.wasted,
        gpu_node_hours=outcome.node_seconds / HOUR,
        nodes_reclaimed=outcome.reclaimed,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """What that share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

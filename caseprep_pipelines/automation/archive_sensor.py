"""The archive's sensor: a tick within the window asks `archive` what to begin and hands Dagster the runs.

What a night began stands in the tags of the runs that it made, so that it is known after any restart and to every
daemon. Of two daemons that tick at once one wins each recording, through the catalog's claims.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from caseprep_pipelines.automation import archive
from caseprep_pipelines.automation.archive import Amount, Choice
from caseprep_pipelines.automation.decisions import Ask, RunPlan, next_work, plan_runs
from caseprep_pipelines.automation.sensors import (
    LOOK_AT,
    PRIORITY,
    RUSH_PRIORITY,
    claimed,
    partitions_in_flight,
    request,
)
from caseprep_pipelines.automation.windows import Night, next_night, night_at
from caseprep_pipelines.settings import Settings

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

WINDOW_TAG = "caseprep/archive-window"
#: Archives in code locations of their own share an instance, not a budget.
SET_TAG = "caseprep/archive-partition-set"
HOURS_TAG = "caseprep/archive-hours"
COST_TAG = "caseprep/archive-usd"

#: Dagster's pool that the GPU stages share.
GPU_POOL = "gpu"

#: Below that of uploads, which is 0.
ARCHIVE_PRIORITY = "-10"


def archive_sensor(settings: Settings, assets: Sequence[dg.AssetsDefinition]) -> dg.SensorDefinition:
    @dg.sensor(
        name="archive_sensor",
        asset_selection=list(assets),
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Within the archive's window, takes what caseprep archive register registered through the graph, as far "
            "as the night's budget goes; pauses when it ends and goes on the next night. caseprep archive plan shows "
            "what would run."
        ),
        required_resource_keys={"pipeline"},
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return evaluate(context.resources.pipeline, context.instance, datetime.now(UTC))

    return sensor


def evaluate(pipeline: "Pipeline", instance: dg.DagsterInstance, now: datetime) -> dg.SensorResult | dg.SkipReason:
    """One tick."""
    from caseprep_pipelines.assets import STAGES, batches
    from caseprep_pipelines.automation.state import read_states
    from caseprep_pipelines.catalog import speed, waiting
    from caseprep_pipelines.partitions import add_partitions

    settings, catalog = pipeline.settings, pipeline.catalog
    hours = archive.window(settings)
    night = night_at(hours, now)
    if night is None:
        begins = next_night(hours, now).start.astimezone(hours.zone)
        return dg.SkipReason(f"the archive waits for its window, which begins {begins:%Y-%m-%d %H:%M %Z}")

    add_partitions(pipeline, instance)
    stages = [stage.name for stage in STAGES]
    order = instance.get_dynamic_partitions(settings.partition_set)
    flying = partitions_in_flight(instance, settings.partition_set, order)
    measured = speed.measured(catalog, now)
    rates = archive.rates(measured, pipeline.rates.gpu_hour, pipeline.rates.cpu_hour)
    rush = archive.rush_matters(pipeline, waiting.matters(catalog, stages[-1]))
    begun = archive.candidates(waiting.under_way(catalog, stages[-1], LOOK_AT), rush, measured)
    unbegun = archive.candidates(waiting.waiting(catalog, settings.archive_order, rush, LOOK_AT), rush, measured)
    # what waits for a fault to pass keeps nothing else from being begun
    states = read_states(pipeline, [candidate.partition for candidate in begun], settings_matter=False)
    due = {p for ask in next_work([c.partition for c in begun], stages, states, flying, now) for p in ask.partitions}
    choice = archive.choose(
        [candidate for candidate in unbegun if candidate.partition not in flying],
        rates,
        archive.budget(settings),
        spent(instance, night, settings.partition_set),
        seconds=archive.ahead(night, now, gpu_slots(instance)),
        most=archive.at_once(rates),
        under_way=[c.hours for c in (*begun, *unbegun) if c.partition in flying or c.partition in due],
    )
    known = {candidate.partition: candidate for candidate in (*begun, *choice.begun)}
    in_order = [partition for partition in order if partition in known]
    asks = claimed(pipeline, instance, next_work(in_order, stages, states, flying, now), order, now)
    entering = {candidate.partition: archive.amount(candidate, rates) for candidate in choice.begun}
    requests: list[dg.RunRequest] = []
    for urgent in (True, False):
        ours = [
            Ask(ask.stage, mine)
            for ask in asks
            if (mine := tuple(p for p in ask.partitions if known[p].rush == urgent))
        ]
        plans = plan_runs(ours, stages, order, batches(settings))
        requests.extend(_request(plan, pipeline, night, entering, urgent=urgent) for plan in plans)
    if not requests:
        return dg.SkipReason(_why_nothing(choice, len(begun), len(flying)))
    return dg.SensorResult(run_requests=requests)


def gpu_slots(instance: dg.DagsterInstance) -> int:
    """How many GPU steps Dagster lets run at once; one where nobody set it."""
    for pool in instance.event_log_storage.get_pool_limits():
        if pool.name == GPU_POOL:
            return max(1, pool.limit)
    return max(1, instance.get_concurrency_config().pool_config.default_pool_limit or 1)


def spent(instance: dg.DagsterInstance, night: Night, partition_set: str) -> Amount:
    """What a night began of an archive, from the tags of its runs."""
    total = Amount()
    for run in instance.get_runs(filters=dg.RunsFilter(tags={WINDOW_TAG: night.name, SET_TAG: partition_set})):
        total += Amount(float(run.tags.get(HOURS_TAG, 0)), float(run.tags.get(COST_TAG, 0)))
    return total


def _request(
    plan: RunPlan, pipeline: "Pipeline", night: Night, entering: dict[str, Amount], *, urgent: bool
) -> dg.RunRequest:
    amount = sum((entering[p] for p in plan.partitions if p in entering), Amount())
    return request(
        plan,
        pipeline,
        {
            PRIORITY: RUSH_PRIORITY if urgent else ARCHIVE_PRIORITY,
            WINDOW_TAG: night.name,
            SET_TAG: pipeline.settings.partition_set,
            HOURS_TAG: f"{amount.hours:.6f}",
            COST_TAG: f"{amount.cost:.6f}",
        },
    )


def _why_nothing(choice: Choice, under_way: int, flying: int) -> str:
    held = {
        "budget": "the night's budget is used up",
        "time": "enough is under way for the time that is left",
        "unmeasured": "no cost was measured yet, so a budget in money cannot be kept; transcribe some recordings "
        "first, or set CASEPREP_ARCHIVE_BUDGET_HOURS instead of CASEPREP_ARCHIVE_BUDGET_USD",
        None: "nothing of the archive waits",
    }[choice.held_by]
    return f"{held}; {under_way} recordings are under way, {flying} in runs"

"""Sensors: a tick reads the state, asks `intake` and `decisions`, and hands Dagster the runs. No rule stands here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from caseprep_pipelines.automation.decisions import RunPlan, next_work, plan_runs
from caseprep_pipelines.settings import Settings

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Unfinished recordings that one tick looks at; the next tick sees the rest.
LOOK_AT = 5000

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def sensors(settings: Settings, assets: Sequence[dg.AssetsDefinition]) -> list[dg.SensorDefinition]:
    @dg.sensor(
        name="upload_sensor",
        # not `target`, which would make one job of all assets, with a warning that their backfill policies differ: they
        # do on purpose, and each run request names its assets
        asset_selection=list(assets),
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Registers what is new under incoming/ and takes it through the graph; drives again what failed by a "
            "passing fault. Files that are still being written are left until they have settled."
        ),
        required_resource_keys={"pipeline"},
    )
    def upload_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return evaluate(context.resources.pipeline, context.instance, datetime.now(UTC))

    return [upload_sensor]


def evaluate(pipeline: "Pipeline", instance: dg.DagsterInstance, now: datetime) -> dg.SensorResult | dg.SkipReason:
    """One tick of the upload sensor."""
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.automation.intake import take_new
    from caseprep_pipelines.automation.state import read_states
    from caseprep_pipelines.catalog import progress
    from caseprep_pipelines.embedded import add_partitions

    intake = take_new(pipeline, now)
    add_partitions(pipeline, instance)
    stages = [stage.name for stage in STAGES]
    unfinished = progress.unfinished(pipeline.catalog, stages[-1], LOOK_AT)
    order = instance.get_dynamic_partitions(pipeline.settings.partition_set) if unfinished else []
    asks = next_work(
        unfinished,
        stages,
        read_states(pipeline, unfinished, settings_matter=False),
        partitions_in_flight(instance, pipeline.settings.partition_set, order) if unfinished else set(),
        now,
    )
    plans = plan_runs(asks, stages, order, {stage.name: stage.batch for stage in STAGES})
    if not plans:
        return dg.SkipReason(
            f"nothing to run; {intake.settling} files still settling, {intake.left} left for the next tick, "
            f"{intake.misplaced} in folders whose names are no matter ids"
        )
    return dg.SensorResult(run_requests=[_request(plan, pipeline) for plan in plans])


def partitions_in_flight(instance: dg.DagsterInstance, partition_set: str, order: Sequence[str]) -> set[str]:
    """The partitions that queued or running runs are about."""
    position = {partition: index for index, partition in enumerate(order)}
    flying: set[str] = set()
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_IN_FLIGHT)):
        first = run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
        last = run.tags.get("dagster/asset_partition_range_end") or first
        if first in position and last in position:
            flying.update(order[position[first] : position[last] + 1])
    return flying


def _request(plan: RunPlan, pipeline: "Pipeline") -> dg.RunRequest:
    prefix = [part for part in pipeline.settings.asset_key_prefix.split("/") if part]
    selection = [dg.AssetKey([*prefix, stage]) for stage in plan.stages]
    if len(plan.partitions) == 1:
        return dg.RunRequest(partition_key=plan.partitions[0], asset_selection=selection)
    return dg.RunRequest(
        asset_selection=selection,
        tags={
            "dagster/asset_partition_range_start": plan.partitions[0],
            "dagster/asset_partition_range_end": plan.partitions[-1],
        },
    )

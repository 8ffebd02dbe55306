"""Sensors: a tick reads the state, asks `intake` and `decisions`, and hands Dagster the runs. No rule stands here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from caseprep_pipelines.automation.archive import rush_matters
from caseprep_pipelines.automation.decisions import Ask, RunPlan, next_work, plan_runs
from caseprep_pipelines.automation.intake import Intake, take_new
from caseprep_pipelines.automation.notified import Watch, take_announced, take_changed
from caseprep_pipelines.run_processes import fail_dead_runs
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.storage.queue import open_queue

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

#: A way of looking for uploads, and registering them.
Look = Callable[["Pipeline", datetime], Intake]

#: Unfinished recordings that one tick looks at; the next tick sees the rest.
LOOK_AT = 5000

#: Dagster's queue takes higher numbers first, and a run without this tag as 0: so are uploads. A matter in a rush goes
#: before them, the archive after.
PRIORITY, RUSH_PRIORITY = "dagster/priority", "10"

#: The daemon starts a run whose process died again within seconds; after this time it will not.
START_AGAIN_WITHIN = timedelta(minutes=5)

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


_AFTER = "and takes it through the graph; drives again what failed by a passing fault."
_SETTLING = "Files that are still being written are left until they have settled."


def sensors(settings: Settings, assets: Sequence[dg.AssetsDefinition]) -> list[dg.SensorDefinition]:
    """The listing sensor and, where something tells of uploads, the one that listens. Either is enough, both are
    allowed: what one took up the other leaves alone.
    """
    listing = _sensor(
        "upload_sensor", settings, assets, take_new,
        f"Lists incoming/, registers what is new there {_AFTER} {_SETTLING}",
    )  # fmt: skip
    listening = _listening(settings)
    return [listing] if listening is None else [listing, _sensor("upload_events_sensor", settings, assets, *listening)]


def _listening(settings: Settings) -> tuple[Look, str] | None:
    """How to look only where an upload was told of, and its description; None where nothing tells."""
    if not settings.remote:
        watch = Watch(Path(settings.storage), settings.incoming_prefix.rstrip("/") + "/")
        return (
            lambda pipeline, now: take_changed(pipeline, watch, now),
            f"Registers what the system says is new under incoming/ {_AFTER} {_SETTLING} Lists everything when it "
            "begins to listen, and every hour.",
        )
    if settings.sqs_queue_url is None:
        return None
    queue = cache(partial(open_queue, settings.sqs_queue_url, settings.s3_region))
    return (
        lambda pipeline, now: take_announced(pipeline, queue(), now),
        f"Registers what the bucket's notifications announce {_AFTER} A notification is deleted when its recording is "
        "registered, and left where it is about something else.",
    )


def _sensor(
    name: str, settings: Settings, assets: Sequence[dg.AssetsDefinition], look: Look, description: str
) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        # not `target`, which would make one job of all assets, with a warning that their backfill policies differ: they
        # do on purpose, and each run request names its assets
        asset_selection=list(assets),
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=description,
        required_resource_keys={"pipeline"},
    )
    def upload_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return evaluate(context.resources.pipeline, context.instance, datetime.now(UTC), look)

    return upload_sensor


def evaluate(
    pipeline: "Pipeline", instance: dg.DagsterInstance, now: datetime, look: Look = take_new
) -> dg.SensorResult | dg.SkipReason:
    """One tick of an upload sensor, which looks for uploads by `look`."""
    from caseprep_pipelines.assets import STAGES, batches
    from caseprep_pipelines.automation.state import read_states
    from caseprep_pipelines.catalog import progress, registry
    from caseprep_pipelines.partitions import add_partitions

    intake = look(pipeline, now)
    add_partitions(pipeline, instance)
    stages = [stage.name for stage in STAGES]
    unfinished = progress.unfinished(pipeline.catalog, stages[-1], LOOK_AT)
    order = instance.get_dynamic_partitions(pipeline.settings.partition_set) if unfinished else []
    flying = partitions_in_flight(instance, pipeline.settings.partition_set, order) if unfinished else set()
    states = read_states(pipeline, unfinished, settings_matter=False)
    asks = claimed(pipeline, instance, next_work(unfinished, stages, states, flying, now), order, now)
    rows = registry.recordings(pipeline.catalog, [partition for ask in asks for partition in ask.partitions])
    rush = set(rush_matters(pipeline, {row.matter for row in rows.values()}))
    requests: list[dg.RunRequest] = []
    for urgent in (True, False):
        ours = [
            Ask(ask.stage, mine)
            for ask in asks
            if (mine := tuple(p for p in ask.partitions if (rows[p].matter in rush) == urgent))
        ]
        plans = plan_runs(ours, stages, order, batches(pipeline.settings))
        requests.extend(request(plan, pipeline, {PRIORITY: RUSH_PRIORITY} if urgent else {}) for plan in plans)
    if not requests:
        return dg.SkipReason(
            f"nothing to run; {intake.settling} files still settling, {intake.left} left for the next tick, "
            f"{intake.misplaced} in folders whose names are no matter ids (caseprep status names these)"
            + (f"; {intake.foreign} messages are not about this bucket" if intake.foreign else "")
        )
    return dg.SensorResult(run_requests=requests)


def claimed(
    pipeline: "Pipeline", instance: dg.DagsterInstance, asks: Sequence[Ask], order: Sequence[str], now: datetime
) -> list[Ask]:
    """What of it is ours to ask for, whoever else asks at the same time: two sensors that were both on, each right in
    what it had read, once ran the same recordings side by side.

    What is claimed is looked at again: between the look and the claim another one's run may have begun, then it is in
    flight, or even ended, and then what it made is there.
    """
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.automation.state import read_states
    from caseprep_pipelines.catalog import waiting

    there = set(order)
    wanted = {(p, ask.stage) for ask in asks for p in ask.partitions if p in there}
    if not wanted:
        return []
    won = waiting.claim(pipeline.catalog, wanted, now)
    ours = [p for p in order if any((p, ask.stage) in won for ask in asks)]
    flying = partitions_in_flight(instance, pipeline.settings.partition_set, order)
    states = read_states(pipeline, ours, settings_matter=False)
    again = next_work(ours, [stage.name for stage in STAGES], states, flying, now)
    mine = (Ask(ask.stage, tuple(p for p in ask.partitions if (p, ask.stage) in won)) for ask in again)
    return [ask for ask in mine if ask.partitions]


def partitions_in_flight(instance: dg.DagsterInstance, partition_set: str, order: Sequence[str]) -> set[str]:
    """The partitions that queued or running runs are about, and those that the daemon is about to start again because
    their process died.

    A run whose process is gone from this machine is failed first. Dagster's code server reports a process that died,
    but on a busy machine it once did not, and the recordings of that run waited until somebody opened the state again.
    """
    from caseprep_pipelines.partitions import partitions_of_run

    fail_dead_runs(instance)
    position = {partition: index for index, partition in enumerate(order)}
    flying: set[str] = set()
    died = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={"dagster/will_retry": "true"},
        updated_after=datetime.now(UTC) - START_AGAIN_WITHIN,
    )
    again = [run for run in instance.get_runs(filters=died) if run.is_complete_and_waiting_to_retry]
    for run in (*again, *instance.get_runs(filters=dg.RunsFilter(statuses=_IN_FLIGHT))):
        flying.update(partitions_of_run(run.tags, order, position))
    return flying


def request(plan: RunPlan, pipeline: "Pipeline", tags: Mapping[str, str]) -> dg.RunRequest:
    """A planned run, as Dagster is asked for it."""
    prefix = [part for part in pipeline.settings.asset_key_prefix.split("/") if part]
    selection = [dg.AssetKey([*prefix, stage]) for stage in plan.stages]
    if len(plan.partitions) == 1:
        return dg.RunRequest(partition_key=plan.partitions[0], asset_selection=selection, tags=dict(tags))
    return dg.RunRequest(
        asset_selection=selection,
        tags={
            **tags,
            "dagster/asset_partition_range_start": plan.partitions[0],
            "dagster/asset_partition_range_end": plan.partitions[-1],
        },
    )

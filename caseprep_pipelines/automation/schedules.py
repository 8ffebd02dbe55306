"""Schedules: what runs by the clock. All are stopped until somebody turns them on."""

from datetime import timedelta

import dagster as dg

from caseprep_pipelines.cluster.placement import op_tags
from caseprep_pipelines.settings import Settings

#: Unfinished work of that age belongs to nobody: no upload takes so long, and what was interrupted was driven again.
LEFT_OVER_AFTER = timedelta(days=14)

#: Where else a writer that is killed leaves the part that nobody reads. Not `incoming/`: that is the users'.
ALSO_SWEPT = ("exports/", "originals/", "results/", "checkpoints/")


def report_schedule(report: dg.AssetsDefinition) -> dg.ScheduleDefinition:
    """The archive report, early every day."""
    return dg.ScheduleDefinition(
        name="daily_archive_report",
        target=[report],
        cron_schedule="15 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Makes the archive report, a quarter past five in the morning (UTC).",
    )


def sweep_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Removal of what killed attempts left in the storage root, once a week."""

    @dg.op(out=dg.Out(dg.Nothing), required_resource_keys={"pipeline"}, tags=op_tags(settings))
    def sweep_leftovers(context: dg.OpExecutionContext) -> None:
        from caseprep_pipelines.storage.saved_work import sweep

        pipeline = context.resources.pipeline
        unfinished = pipeline.products.sweep_unfinished(LEFT_OVER_AFTER)
        unfinished += sum(pipeline.objects.sweep_unfinished(prefix, LEFT_OVER_AFTER) for prefix in ALSO_SWEPT)
        parts = sweep(pipeline.objects, LEFT_OVER_AFTER)
        context.log.info(f"{unfinished} objects of unfinished versions and {parts} parts of unfinished work removed")

    @dg.job(
        name="sweep",
        description=(
            "Removes what killed attempts left unfinished and nobody took up for two weeks. "
            "Originals, exports and whole versions are never touched."
        ),
    )
    def sweep_job() -> None:
        sweep_leftovers()

    return dg.ScheduleDefinition(
        name="weekly_sweep",
        job=sweep_job,
        cron_schedule="45 4 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )

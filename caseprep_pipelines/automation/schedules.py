"""Schedules: what runs by the clock. All are stopped until somebody turns them on."""

import dagster as dg


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

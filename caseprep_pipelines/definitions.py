"""Wiring only: settings in, Dagster definitions out. What the parts do stands in their modules."""

import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg

from caseprep_pipelines import large_pages
from caseprep_pipelines.assets import STAGES, batches
from caseprep_pipelines.assets.archive_report import archive_report_asset
from caseprep_pipelines.assets.stage import stage_asset
from caseprep_pipelines.automation.archive_sensor import archive_sensor
from caseprep_pipelines.automation.schedules import report_schedule, sweep_schedule
from caseprep_pipelines.automation.sensors import sensors
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.io_managers import io_managers
from caseprep_pipelines.partitions import recordings_partitions
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import Settings, read_settings


def build_defs(
    settings: Settings | None = None, *, pipeline: Pipeline | None = None, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Fresh definitions; tests and the embedded runner hand in their own settings and pipeline."""
    settings = settings or read_settings()
    pipeline = pipeline or Pipeline(settings)
    batches(settings)  # wrong ones are told here, where a person reads it, rather than by a run
    partitions = recordings_partitions(settings)
    assets = [stage_asset(stage, settings, partitions) for stage in STAGES]
    report = archive_report_asset(settings)
    return dg.Definitions(
        assets=[*assets, report],
        sensors=[*sensors(settings, assets), archive_sensor(settings, assets)],
        schedules=[report_schedule(report), sweep_schedule(settings)],
        resources={
            "pipeline": dg.ResourceDefinition.hardcoded_resource(pipeline),
            **io_managers(lambda: pipeline.products, settings.asset_key_prefix),
            **(resources or {}),
        },
        executor=_executor(settings),
    )


def _executor(settings: Settings) -> dg.ExecutorDefinition:
    if settings.executor == "kubernetes":
        from caseprep_pipelines.cluster.executor import pods_executor

        return pods_executor(settings, [stage.name for stage in STAGES])
    # every step of a run in one process, so that models load once
    return dg.in_process_executor


@dg.definitions
def defs() -> dg.Definitions:
    """The code location, from the environment's settings."""
    large_pages.for_children()  # of which every run is one
    try:
        return build_defs()
    except ConfigurationError as error:
        # Dagster shows a traceback; who reads a pod's log finds the line itself
        sys.stderr.write(f"caseprep: {error}\n")
        raise

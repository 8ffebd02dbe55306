"""`archive_report`: the archive in figures, as a page in the UI and as Parquet. Not a stage: it has no recording.

It has no partitions either. Each report is of everything, with a row for each day; a day's row goes on changing while
its recordings are finished, so that a partition for each day would hold what was true once. What earlier reports said
stays in the versions of the product.
"""

import base64
from pathlib import Path

import dagster as dg

from caseprep_pipelines import __version__
from caseprep_pipelines.assets.stage import FAULT_RETRIES, FAULT_RETRY_SECONDS, link
from caseprep_pipelines.cluster.placement import op_tags
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.io_managers.products import UNPARTITIONED
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import Settings

NAME = "archive_report"


def archive_report_asset(settings: Settings) -> dg.AssetsDefinition:
    prefix = [part for part in settings.asset_key_prefix.split("/") if part]

    @dg.asset(
        name=NAME,
        key_prefix=prefix or None,
        deps=[dg.AssetKey([*prefix, "transcript_catalog"])],
        description=(
            "Hours in and done, speed, cost, waiting time and quality of the whole archive, by day, by matter and by "
            "stage; tables and plots here, the full tables as Parquet. Figures only: no names, no words."
        ),
        owners=["team:caseprep"],
        kinds={"pandas", "parquet", "report"},
        group_name="reports",
        code_version="1",
        io_manager_key="products",
        output_required=False,
        op_tags=op_tags(settings),
        retry_policy=dg.RetryPolicy(max_retries=FAULT_RETRIES, delay=FAULT_RETRY_SECONDS),
        required_resource_keys={"pipeline"},
    )
    def archive_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        try:
            return materialize(context.resources.pipeline, context.run.run_id)
        except ConfigurationError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    return archive_report


def materialize(pipeline: Pipeline, run_id: str) -> dg.MaterializeResult[None]:
    """Writes the report as a product, where it is another than the last one, and shows it."""
    from caseprep_pipelines.report import shown
    from caseprep_pipelines.report.archive import archive_report, write_tables

    report = archive_report(pipeline.catalog, pipeline.rates)
    plots = shown.picture(report)
    with pipeline.work_folder() as name:
        folder = Path(name)
        write_tables(report, folder)
        (folder / "plots.png").write_bytes(plots)
        version = pipeline.products.write(
            NAME,
            UNPARTITIONED,
            report,
            folder,
            fingerprint="",
            inputs={},
            run_record={"run_id": run_id, "software": __version__},
        )
    total = report.total
    figures = {
        "audio_hours_done": total.hours_done,
        "audio_hours_per_wall_hour": total.hours_per_wall_hour,
        "usd_per_audio_hour": total.cost_per_hour,
        "wait_hours_median": total.wait_hours_median,
        "wait_hours_95": total.wait_hours_95,
    }
    return dg.MaterializeResult(
        metadata={
            "summary": dg.MetadataValue.md(shown.summary(report)),
            # Dagster has no image of its own; Markdown may hold one
            "plots": dg.MetadataValue.md(f"![plots](data:image/png;base64,{base64.b64encode(plots).decode()})"),
            "by_day": dg.MetadataValue.md(shown.by_day(report)),
            "by_matter": dg.MetadataValue.md(shown.by_matter(report)),
            "by_stage": dg.MetadataValue.md(shown.by_stage(report)),
            **{label: figure for label, figure in figures.items() if figure is not None},
            "version": version.version,
            "document": link(pipeline.products.uri(version)),
        },
        data_version=dg.DataVersion(version.digest),
    )

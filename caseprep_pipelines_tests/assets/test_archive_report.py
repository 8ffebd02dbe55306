"""The report as an asset, on a real Dagster instance."""

import base64
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.io_managers.values import ProductFiles
from caseprep_pipelines.report.documents import ArchiveReport
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import Settings, read_settings
from caseprep_pipelines_tests.report.archives import NAME, Kept, fill


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(settings_in(tmp_path))


def settings_in(folder: Path, **others: object) -> Settings:
    return read_settings(
        storage=str(folder / "storage"), dagster_home=folder / "dagster", model="demo", diarization="demo", **others
    )


def materialize(pipeline: Pipeline, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    defs = build_defs(pipeline.settings, pipeline=pipeline)
    job = defs.resolve_implicit_global_asset_job_def()
    prefix = [part for part in pipeline.settings.asset_key_prefix.split("/") if part]
    return job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey([*prefix, "archive_report"])], raise_on_error=False
    )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    [event] = result.get_asset_materialization_events()
    return {label: value.value for label, value in event.materialization.metadata.items()}


def test_the_report_is_a_page_with_tables_and_plots(pipeline: Pipeline) -> None:
    fill(pipeline.catalog, [Kept(), Kept("m2", ends="rejected")])
    page = shown(materialize(pipeline, dg.DagsterInstance.ephemeral()))
    assert "| all |" in str(page["summary"])
    assert "g6.xlarge" in str(page["summary"])
    assert "2024-05-06" in str(page["by_day"])
    assert "| m2 |" in str(page["by_matter"])
    assert "raw_transcript" in str(page["by_stage"])
    head, _, image = str(page["plots"]).partition("base64,")
    assert head == "![plots](data:image/png;"
    assert base64.b64decode(image.removesuffix(")")).startswith(b"\x89PNG")
    assert (page["audio_hours_done"], page["audio_hours_per_wall_hour"]) == (1.0, pytest.approx(3.3, abs=0.1))
    assert NAME not in str(page)


def test_the_report_is_loaded_as_a_document_or_as_parquet(pipeline: Pipeline, tmp_path: Path) -> None:
    fill(pipeline.catalog, [Kept()])
    instance = dg.DagsterInstance.ephemeral()
    assert materialize(pipeline, instance).success
    defs = build_defs(pipeline.settings, pipeline=pipeline)
    report = defs.load_asset_value("archive_report", instance=instance)
    assert isinstance(report, ArchiveReport)
    assert report.total.hours_done == 1.0
    files = defs.load_asset_value("archive_report", instance=instance, python_type=ProductFiles)
    assert isinstance(files, ProductFiles)
    files.fetch(tmp_path / "report")
    assert list(pd.read_parquet(tmp_path / "report" / "matters.parquet")["matter"]) == ["m1"]


def test_an_equal_report_is_no_new_version_and_another_one_is(pipeline: Pipeline) -> None:
    fill(pipeline.catalog, [Kept()])
    instance = dg.DagsterInstance.ephemeral()
    first, second = (shown(materialize(pipeline, instance))["version"] for _ in range(2))
    fill(pipeline.catalog, [Kept("m2")])
    third = shown(materialize(pipeline, instance))["version"]
    assert first == second != third


def test_a_code_location_of_its_own_has_a_report_of_its_own(tmp_path: Path) -> None:
    pipeline = Pipeline(settings_in(tmp_path, asset_key_prefix="court/2019", partition_set="recordings-2019"))
    assert materialize(pipeline, dg.DagsterInstance.ephemeral()).success
    assert pipeline.products.head("archive_report", "all") is not None


def test_an_unknown_instance_fails_with_its_line(tmp_path: Path) -> None:
    pipeline = Pipeline(settings_in(tmp_path, gpu_instance="g99.xlarge"))
    result = materialize(pipeline, dg.DagsterInstance.ephemeral())
    assert not result.success
    [failure] = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    assert "CASEPREP_GPU_INSTANCE" in str(failure)


def test_a_catalog_that_is_away_is_asked_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from caseprep_pipelines.errors import Fault
    from caseprep_pipelines.report import archive

    asked: list[Catalog] = []
    report = archive.archive_report

    def away(catalog: Catalog, rates: object) -> ArchiveReport:
        asked.append(catalog)
        if len(asked) == 1:
            raise Fault("the catalog's database failed")
        return report(catalog, rates)  # type: ignore[arg-type]

    monkeypatch.setattr(archive, "archive_report", away)
    monkeypatch.setattr("caseprep_pipelines.assets.archive_report.FAULT_RETRY_SECONDS", 0)
    assert materialize(pipeline, dg.DagsterInstance.ephemeral()).success
    assert len(asked) == 2


def test_the_report_is_made_every_day_once_somebody_turns_it_on(pipeline: Pipeline) -> None:
    schedules = build_defs(pipeline.settings, pipeline=pipeline).schedules or ()
    [schedule] = [found for found in schedules if found.name == "daily_archive_report"]
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "15 5 * * *"

"""The embedded runner: what a killed process left, and two at once."""

import os
from pathlib import Path

import dagster as dg
import pytest

from caseprep_pipelines.catalog import registry
from caseprep_pipelines.embedded import drive, open_instance
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.partitions import add_partitions
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return open_instance(tmp_path / "dagster")


def test_telemetry_is_off_and_the_gpu_pool_is_limited(instance: dg.DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_a_state_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="CASEPREP_DAGSTER_HOME"):
        open_instance(tmp_path / "file" / "dagster")


def test_an_operators_own_configuration_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    own = "telemetry:\n  enabled: false\n"
    (tmp_path / "dagster.yaml").write_text(own)
    open_instance(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == own
    assert os.environ["DAGSTER_HOME"] == str(tmp_path)


def test_a_commands_runs_are_no_larger_than_the_stages_batch(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    pipeline = Pipeline(
        read_settings(storage=str(tmp_path / "storage"), model="demo", diarization="demo",
                      stage_batches="source_recording=2")
    )  # fmt: skip
    (tmp_path / "empty.wav").write_bytes(b"")
    new = [
        registry.NewRecording("2024-cv-1", "empty.wav", str(tmp_path / "empty.wav"), f"{n:064x}"[::-1])
        for n in range(3)
    ]
    keys = [entry.partition for entry in registry.register(pipeline.catalog, new, "transcribe")]
    add_partitions(pipeline, instance)
    drive(pipeline, instance, keys, ["source_recording"])
    begun = [
        run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
        for run in instance.get_runs(ascending=True)
    ]
    assert begun == [keys[0], keys[2]]

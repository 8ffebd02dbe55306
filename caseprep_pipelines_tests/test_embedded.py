"""The embedded runner: what a killed process left, and two at once."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from caseprep_pipelines.catalog import registry
from caseprep_pipelines.embedded import drive, fail_dead_runs, open_instance, process_tags
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


def a_run(instance: dg.DagsterInstance, tags: dict[str, str]) -> dg.DagsterRun:
    @dg.job
    def work() -> None: ...

    return instance.create_run_for_job(work, status=dg.DagsterRunStatus.STARTED, tags=tags)


def test_runs_of_a_dead_process_are_failed_and_those_of_a_living_one_left(instance: dg.DagsterInstance) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    dead = a_run(instance, {**process_tags(), "caseprep/pid": finished.stdout.strip()})
    reused = a_run(instance, {**process_tags(), "caseprep/process_started": "1"})
    alive = a_run(instance, process_tags())
    elsewhere = a_run(instance, {**process_tags(), "caseprep/host": "another-machine", "caseprep/pid": "1"})
    assert set(fail_dead_runs(instance)) == {dead.run_id, reused.run_id}
    statuses = {run.run_id: instance.get_run_by_id(run.run_id).status for run in (dead, reused, alive, elsewhere)}  # type: ignore[union-attr]
    assert statuses[dead.run_id] == statuses[reused.run_id] == dg.DagsterRunStatus.FAILURE
    assert statuses[alive.run_id] == statuses[elsewhere.run_id] == dg.DagsterRunStatus.STARTED


def test_the_slots_of_a_dead_run_are_freed(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    dead = a_run(instance, {**process_tags(), "caseprep/process_started": "1"})
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", dead.run_id, "raw_transcript").is_claimed
    waiting = a_run(instance, process_tags())
    assert not storage.claim_concurrency_slot("gpu", waiting.run_id, "raw_transcript").is_claimed
    fail_dead_runs(instance)
    assert storage.claim_concurrency_slot("gpu", waiting.run_id, "raw_transcript").is_claimed


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

"""What runs by the clock."""

import os
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg

from caseprep_pipelines.automation.schedules import LEFT_OVER_AFTER
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.saved_work import SavedWork


def aged(path: Path, age: timedelta) -> None:
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))


def test_the_sweep_takes_what_nobody_took_up_again_and_nothing_else(tmp_path: Path) -> None:
    settings = read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster")
    pipeline = Pipeline(settings)
    for partition in ("m-1-old", "m-1-new"):
        SavedWork(pipeline.objects, "raw_transcript", partition, "m-1", "settings").add("json", b"[]")
    pipeline.objects.write_bytes("originals/m-1-old/original.wav", b"evidence")
    root = tmp_path / "storage"
    for path in root.rglob("*"):
        if path.is_file() and "m-1-old" in str(path):
            aged(path, LEFT_OVER_AFTER + timedelta(hours=1))
    job = build_defs(settings, pipeline=pipeline).resolve_job_def("sweep")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
    left = {str(path.relative_to(root).parts[0:3]) for path in root.rglob("*") if path.is_file()}
    assert left == {
        str(("checkpoints", "raw_transcript", "m-1-new")),
        str(("originals", "m-1-old", "original.wav")),
    }

"""An archive of a few unlike recordings, and what a daemon would do with it, in this process: ticks and their runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import soundfile

from caseprep_pipelines.automation import sensors
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.resources.pipeline import Pipeline

_PHONE = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav")


def mixed_archive(folder: Path) -> Path:
    """Two short calls, a longer hearing, a call with a channel each, a letter and an empty file."""
    folder.mkdir(parents=True)
    speech, rate = soundfile.read(_PHONE, dtype="float32")
    soundfile.write(folder / "call.wav", speech[: 5 * rate], rate)
    soundfile.write(folder / "another call.wav", speech[5 * rate : 9 * rate], rate)
    soundfile.write(folder / "hearing.flac", speech[: 30 * rate], rate)
    both = np.stack([speech[: 6 * rate], speech[10 * rate : 16 * rate]], axis=1)
    soundfile.write(folder / "jail call.wav", both, rate)
    (folder / "letter.mp3").write_text("Dear counsel, please find enclosed.\n" * 50)
    (folder / "empty.mp3").write_bytes(b"")
    return folder


def job_of(pipeline: Pipeline) -> dg.JobDefinition:
    return build_defs(pipeline.settings, pipeline=pipeline).resolve_implicit_global_asset_job_def()


def tick(pipeline: Pipeline, instance: dg.DagsterInstance, now: datetime) -> list[dg.RunRequest]:
    """What the upload sensor asks for."""
    asked = sensors.evaluate(pipeline, instance, now)
    return list(asked.run_requests or ()) if isinstance(asked, dg.SensorResult) else []


def run(job: dg.JobDefinition, instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return job.execute_in_process(
        instance=instance, asset_selection=list(request.asset_selection or ()), partition_key=request.partition_key,
        tags=dict(request.tags), raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )  # fmt: skip


def finish(
    pipeline: Pipeline, job: dg.JobDefinition, instance: dg.DagsterInstance, now: datetime | None = None
) -> list[bool]:
    """Ticks, an hour apart, until nothing is left to be done; whether each run ended well."""
    ended, now = [], now or datetime.now(UTC)
    while requests := tick(pipeline, instance, now):
        ended += [run(job, instance, request).success for request in requests]
        now += timedelta(hours=1)
    return ended

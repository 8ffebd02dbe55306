"""A code location of one stage whose process dies at chosen recordings, for tests of what the daemon then does.

`ENDS` in the environment says how a recording ends that does not end well: how often its process is killed, `fault` or
`rejection`. Every beginning is written down in the file that `BEGUN` names.
"""

import json
import os
import signal
from pathlib import Path
from typing import Literal

import dagster as dg

from caseprep_pipelines.assets import stage as machinery
from caseprep_pipelines.assets.stage import Made, Recording, Stage, stage_asset
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.io_managers import io_managers
from caseprep_pipelines.partitions import recordings_partitions
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.document import Document

if "BEGUN" in os.environ:
    # in the runs' own processes only: the tests import this module too, and others of theirs count on the wait
    machinery.FAULT_RETRY_SECONDS = 0


class Note(Document):
    document: Literal["note"] = "note"
    schema_version: Literal[1] = 1
    partition: str


def make(recording: Recording) -> Made:
    begun = Path(os.environ["BEGUN"])
    with begun.open("a") as file:
        file.write(f"{recording.partition}\n")
    what = json.loads(os.environ["ENDS"]).get(recording.partition)
    times = begun.read_text().split().count(recording.partition)
    if isinstance(what, int) and times <= what:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fault":
        raise Fault("the disk is full")
    if what == "rejection":
        raise RejectedRecording(Reason.EMPTY)
    return Made(Note(partition=recording.partition))


@dg.definitions
def defs() -> dg.Definitions:
    settings = read_settings()
    pipeline = Pipeline(settings)
    stage = Stage("first", (), "A stage.", frozenset({"json"}), 10, make=make, gpu=False)
    return dg.Definitions(
        assets=[stage_asset(stage, settings, recordings_partitions(settings))],
        resources={
            "pipeline": dg.ResourceDefinition.hardcoded_resource(pipeline),
            **io_managers(lambda: pipeline.products),
        },
        executor=dg.in_process_executor,
    )

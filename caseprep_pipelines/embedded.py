"""Runs the graph in this process on an embedded Dagster instance: what `caseprep` uses instead of a daemon.

The instance is the one of `DAGSTER_HOME`, shared with `make dev`. What runs next is decided in `automation.decisions`;
what a stage does stands in `assets`.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from caseprep_pipelines.automation.decisions import Ask, contiguous_ranges, next_work, pieces
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.run_processes import fail_dead_runs, process_tags

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Recordings that go through all stages together: enough to share a run's overhead, few enough to see results early.
CHUNK = 50

_INTERRUPTIONS = {"KeyboardInterrupt", "DagsterExecutionInterruptedError"}


def instance_configuration() -> Path:
    """`dagster.yaml` as shipped: inside the installed package, or at the top of a checkout."""
    here = Path(__file__).parent
    packaged = here / "dagster.yaml"
    return packaged if packaged.exists() else here.parent / "dagster.yaml"


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance of `home`, which is made, with the shipped configuration, where it does not exist yet."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        configuration = home / "dagster.yaml"
        if not configuration.exists():
            unfinished = configuration.with_suffix(f".{os.getpid()}")
            shutil.copyfile(instance_configuration(), unfinished)
            unfinished.replace(configuration)
        # what the UI notes when somebody closes its invitation to a newsletter: nobody is asked here for an address
        # that would be sent to another host
        (home / ".nux").mkdir(exist_ok=True)
        (home / ".nux" / "nux.yaml").write_text("seen: 1\n")
    except OSError as error:
        raise ConfigurationError(
            f"Dagster's state cannot be kept in {home} ({error.strerror}); set CASEPREP_DAGSTER_HOME to a directory "
            "on this machine"
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)
    with (home / ".opening").open("w") as turn:
        # Dagster makes its SQLite tables without asking who else does: of two that begin in a new home one failed
        fcntl.flock(turn, fcntl.LOCK_EX)
        instance = dg.DagsterInstance.get()
    fail_dead_runs(instance)
    return instance


def drive(
    pipeline: "Pipeline",
    instance: dg.DagsterInstance,
    partitions: Sequence[str],
    stages: Sequence[str] | None = None,
    finished: Callable[[Sequence[str]], None] = lambda _partitions: None,
) -> None:
    """Takes the recordings through the graph, `CHUNK` at a time, until nothing more can be done now.

    `finished` is called with each chunk's recordings when it is through.
    """
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.definitions import build_defs

    names = [stage.name for stage in STAGES if stages is None or stage.name in stages]
    defs = build_defs(pipeline.settings, pipeline=pipeline)
    job = defs.resolve_implicit_global_asset_job_def()
    for start in range(0, len(partitions), CHUNK):
        chunk = list(partitions[start : start + CHUNK])
        tried: set[tuple[str, str]] = set()
        while asks := _new_asks(pipeline, chunk, names, tried):
            for ask in asks:
                _execute(job, instance, pipeline, ask)
        finished(chunk)


def _new_asks(pipeline: "Pipeline", chunk: list[str], names: list[str], tried: set[tuple[str, str]]) -> list[Ask]:
    """What to run now. A stage that this call tried without success is left to a later call, and so is what follows."""
    from caseprep_pipelines.automation.state import read_states

    states = read_states(pipeline, chunk, settings_matter=True, look_again=not tried)
    given_up = {
        partition for partition, stage in tried if not states[partition][stage].done or states[partition][stage].stale
    }
    # a person who asks again does not wait for the time that a fault is given to pass
    impatient = {p: {s: replace(state, faults=0) for s, state in of.items()} for p, of in states.items()}
    asks = [
        Ask(ask.stage, tuple(p for p in ask.partitions if (p, ask.stage) not in tried))
        for ask in next_work(chunk, names, impatient, given_up, datetime.now(UTC))
    ]
    tried.update((partition, ask.stage) for ask in asks for partition in ask.partitions)
    return [ask for ask in asks if ask.partitions]


def _execute(job: dg.JobDefinition, instance: dg.DagsterInstance, pipeline: "Pipeline", ask: Ask) -> None:
    from caseprep_pipelines.assets import batches

    prefix = [part for part in pipeline.settings.asset_key_prefix.split("/") if part]
    order = instance.get_dynamic_partitions(pipeline.settings.partition_set)
    most = batches(pipeline.settings)[ask.stage]
    for keys in (keys for group in contiguous_ranges(ask.partitions, order) for keys in pieces(group, most)):
        range_tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey([*prefix, ask.stage])],
            partition_key=keys[0] if len(keys) == 1 else None,
            # the command itself does again what it left, and no daemon could
            tags={**process_tags(), "dagster/max_retries": "0", **(range_tags if len(keys) > 1 else {})},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        if _interrupted(result):
            raise KeyboardInterrupt


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether somebody pressed Ctrl-C: Dagster counts that as a failed step like any other."""
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return any(error and error.cls_name in _INTERRUPTIONS for error in failures)

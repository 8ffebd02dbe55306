"""One stage over many recordings: looping, isolating failures, events, progress, run records. Written once.

A stage is a function for one recording (`Stage.make`); it lives in the module of its asset. What a stage may do is
return a product, raise `RejectedRecording` (data: materialized as a rejection, passed on by later stages) or raise
`Fault` (the world failed: retried over what is unfinished, then failed, and driven again later).

A run over a range of partitions logs one materialization for each recording after its durable write and ends with one
`Failure` that names those that failed: a bad neighbour costs nobody else anything. Returning an output from such a run
would mark every key of the range as materialized, also those that failed, so none is returned; a single-key run
returns its result in the ordinary way, so that later stages of the same run go on.
"""

import hashlib
import json
import os
import platform
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import dagster as dg

from caseprep_pipelines import __version__
from caseprep_pipelines.audio import sandbox
from caseprep_pipelines.checks.outcome import ACCEPTED, Outcome
from caseprep_pipelines.cluster.placement import op_tags
from caseprep_pipelines.cluster.retries import again_elsewhere, retry_policy
from caseprep_pipelines.custody.chain import Product
from caseprep_pipelines.custody.chain import append as append_custody
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.matters import Matter
from caseprep_pipelines.models.identity import ModelDirectory
from caseprep_pipelines.rejections import REMEDIES, RejectedRecording, Rejection
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.run_processes import process_tags
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.products import ProductVersion

if TYPE_CHECKING:
    from caseprep_pipelines.storage.saved_work import SavedWork

D = TypeVar("D", bound=Document)

#: Dagster's pool of the stages that need a GPU.
GPU_POOL = "gpu"

#: How often a run asks again for what a fault left unfinished, and how many seconds it waits before the first time; it
#: waits six times as long before the second, so that a database that is gone for a minute fails no run.
FAULT_RETRIES = 2
FAULT_RETRY_SECONDS = 5

#: On runs that the daemon starts in place of one whose process died (`run_retries` in dagster.yaml).
CRASH_RETRY_TAG = "dagster/retry_number"

#: What run records call the processor; any other device is a GPU.
CPU = "cpu"

#: Name under which the matter's own settings stand among a product's inputs.
MATTER_INPUT = "matter"

Metadata = Mapping[str, Any]


class UpstreamRejectedError(Exception):
    """An earlier stage rejected the recording; the rejection is passed on."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(str(rejection.reason))
        self.rejection = rejection


@dataclass(frozen=True)
class Made:
    """What a stage made of one recording."""

    document: Document
    folder: Path | None = None
    """Files that belong to the product beside its document."""
    metadata: Metadata = field(default_factory=dict)
    """For people in the UI: figures, never text or names."""
    outcomes: tuple[Outcome, ...] = ()
    audio_seconds: float | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    """Into the run record: `device` (`cpu`, or what the GPU is called), `batch_size`. Where a GPU was held for another
    time than the recording's wall time, `gpu_seconds`."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Files of the product that a person may want to open, by label."""
    notes: tuple[str, ...] = ()
    """What people must hear of it beside its result, a sentence each: figures, never text or names. `status` and the
    closing table show it."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Digests of the models that made it, by use: into custody."""


@dataclass(frozen=True)
class Stage:
    """A stage of the graph, as data."""

    name: str
    upstream: tuple[str, ...]
    description: str
    kinds: frozenset[str]
    batch: int
    """Most recordings in one run, where the settings name no other number."""
    make: Callable[["Recording"], Made] | None = None
    """The stage for one recording."""
    make_many: Callable[[Iterable["Recording"]], Iterator[tuple["Recording", Made | Exception]]] | None = None
    """In its place, for a stage that gains from seeing many at once: each with its product or the error that kept it
    from one, in the order in which they are done."""
    checks: tuple[tuple[str, str], ...] = ()
    """Name and description of the checks beside `accepted`."""
    shaped_by: Callable[[Settings], Mapping[str, Any]] = lambda _settings: {}
    """What in the settings shapes every product of the stage: part of the code version."""
    matter_fields: tuple[str, ...] = ()
    """What of the matter's own settings shapes the product."""
    gpu: bool = False
    in_children: bool = False
    """The work happens in child processes, so that as many recordings as there are cores are worked on at once."""
    revision: int = 1
    """Raised when the stage's code makes other products from the same inputs."""
    after: Callable[["Recording", ProductVersion, Document], None] | None = None
    """Runs after the durable write, also when the product was there already; must be idempotent."""

    def batch_in(self, settings: Settings) -> int:
        """Most recordings in one run."""
        return settings.batches.get(self.name, self.batch)

    def matter_digest(self, matter: Matter) -> str:
        """Digest of what the stage takes from the matter's settings; stands among the product's inputs."""
        return digest_of({name: getattr(matter, name) for name in self.matter_fields})

    def code_version(self, settings: Settings) -> str:
        """Short digest of the revision and the settings that shape every product."""
        return digest_of({"stage": self.name, "revision": self.revision, "shaped_by": self.shaped_by(settings)})[:16]


@dataclass
class Recording:
    """One recording on its way through one stage: access to its earlier products, and a place to work."""

    pipeline: Pipeline
    stage: Stage
    partition: str
    folder: Path
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of every earlier product that was read."""
    saved: "SavedWork | None" = None
    """What was put away of the work, where the stage does that."""

    @property
    def settings(self) -> Settings:
        return self.pipeline.settings

    def matter(self, matter: str) -> Matter:
        """The settings of the matter, which become part of what the product was made from."""
        found = self.pipeline.matter(matter)
        self.inputs[MATTER_INPUT] = self.stage.matter_digest(found)
        return found

    def document(self, asset: str, kind: type[D]) -> D:
        """An earlier product. Raises `UpstreamRejectedError`, or `Fault` where it does not exist yet."""
        head = self.pipeline.products.head(asset, self.partition)
        if head is None:
            raise Fault(f"{asset} does not exist yet for this recording; materialize it first")
        self.inputs[asset] = head.digest
        product = self.pipeline.products.read(asset, self.partition, kind, head.version)
        if isinstance(product, Rejection):
            raise UpstreamRejectedError(product)
        return product

    def files(self, asset: str, names: tuple[str, ...] | None = None) -> Path:
        """A folder that holds an earlier product's files, digests checked."""
        folder = self.folder / asset
        folder.mkdir(exist_ok=True)
        self.pipeline.products.fetch(asset, self.partition, folder, names)
        return folder

    def saved_work(self, matter: str, shaped_by: object) -> "SavedWork":
        """Where the stage puts away what it has done of a long recording; `shaped_by` is all that shapes the result."""
        from caseprep_pipelines.storage.saved_work import SavedWork

        self.saved = SavedWork(self.pipeline.objects, self.stage.name, self.partition, matter, shaped_by)
        return self.saved

    def progress(self, total: float) -> Callable[[float], None]:
        """A function to call with the audio seconds done."""
        return lambda done: self.pipeline.progress(self.stage.name, self.partition, done, total)


@dataclass(frozen=True)
class Done:
    version: ProductVersion
    metadata: dict[str, Any]
    outcomes: tuple[Outcome, ...]


def digest_of(value: object) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def installed_digest(resolve: Callable[[str, Path], ModelDirectory], name: str, models_directory: Path) -> str:
    """The digest of the model that a setting names, as pinned; a model that is not there yet has none.

    The code location must load, and say so in the UI, before the model is fetched; running a stage then fails with
    the line that says how to fetch it.
    """
    try:
        return resolve(name, models_directory).identity.digest
    except ConfigurationError:
        return "not installed"


def run_one(pipeline: Pipeline, stage: Stage, partition: str, run_id: str) -> Done:
    """One stage for one recording. Raises `Fault` or `ConfigurationError`; a rejection is a product like any other."""
    ((_, done),) = run_many(pipeline, stage, [partition], run_id)
    if isinstance(done, Exception):
        raise done
    return done


class _Attempt:
    """One stage's work on one recording, from its beginning to the entries in custody and catalog."""

    def __init__(self, pipeline: Pipeline, stage: Stage, partition: str, run_id: str) -> None:
        self.run_id = run_id
        self.started, self.wall, self.cpu = datetime.now(UTC), time.monotonic(), cpu_seconds(stage)
        self.folder = pipeline.work_folder()
        self.recording = Recording(pipeline, stage, partition, Path(self.folder.name))

    def settle(
        self, made: Made | Exception, wall: float | None = None, cpu: float | None = None
    ) -> Done | Fault | ConfigurationError:
        """Writes durably what was made, or the rejection, and answers for it; wall and CPU seconds are the attempt's
        own where they are not given."""
        wall = time.monotonic() - self.wall if wall is None else wall
        cpu = cpu_seconds(self.recording.stage) - self.cpu if cpu is None else cpu
        try:
            with self.folder:
                return self._write(made, wall, cpu)
        except (Fault, ConfigurationError) as error:
            return error
        except OSError as error:
            return Fault(f"{self.recording.stage.name}: {error.strerror or type(error).__name__}")
        except MemoryError:
            return Fault(f"{self.recording.stage.name}: out of memory")
        except Exception as error:
            # what a library says may quote what it was given, so only the kind of error and its place go on record
            return Fault(f"unexpected {type(error).__name__} at {_place(error)}")

    def _write(self, made: Made | Exception, wall: float, cpu: float) -> Done:
        from caseprep_pipelines.catalog import loading, progress

        recording, run_id = self.recording, self.run_id
        pipeline, stage, partition = recording.pipeline, recording.stage, recording.partition
        rejected: Rejection | None = None
        if isinstance(made, UpstreamRejectedError):
            rejected = made.rejection
        elif isinstance(made, RejectedRecording):
            rejected = Rejection(
                partition=partition,
                stage=stage.name,
                reason=made.reason,
                detail=made.detail,
                remedy=REMEDIES[made.reason],
            )
        elif isinstance(made, Exception):
            raise made
        if rejected is not None:
            made = Made(
                document=rejected,
                metadata={"rejected": str(rejected.reason), "rejected_by": rejected.stage, "remedy": rejected.remedy},
            )
        assert isinstance(made, Made)  # noqa: S101 - narrows the type
        device = made.record.get("device", CPU)
        record = {
            "run_id": run_id,
            "stage": stage.name,
            "started": self.started.isoformat(timespec="milliseconds"),
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "gpu_seconds": 0.0 if device == CPU else round(wall, 3),
            "audio_seconds": made.audio_seconds,
            "device": device,
            "machine": platform.machine(),
            "software": __version__,
            **made.record,
        }
        code_version = stage.code_version(pipeline.settings)
        fingerprint = digest_of({"code": code_version, "inputs": recording.inputs})
        version = pipeline.products.write(
            stage.name,
            partition,
            made.document,
            made.folder,
            fingerprint=fingerprint,
            inputs=recording.inputs,
            run_record=record,
        )
        if not version.new:
            # made by an attempt that was stopped before the catalog knew of it: what that one took is on record
            record |= pipeline.products.run_record(stage.name, partition, version.version) or {}
        append_custody(
            pipeline.catalog,
            partition,
            Product(
                asset=stage.name,
                version=version.version,
                digest=version.digest,
                inputs={name: digest for name, digest in recording.inputs.items() if name != MATTER_INPUT},
                settings=version.fingerprint,
                models=dict(made.models),
                software=f"caseprep-pipelines {__version__}",
            ),
        )
        if stage.after is not None and rejected is None:
            stage.after(recording, version, made.document)
        if recording.saved is not None:
            recording.saved.settle(version.version)
        if rejected is not None:
            loading.record_rejection(pipeline.catalog, rejected)
        else:
            loading.clear_rejection(pipeline.catalog, partition, stage.name)
        progress.record_product(
            pipeline.catalog,
            partition,
            stage.name,
            version=version.version,
            digest=version.digest,
            code_version=code_version,
            inputs=recording.inputs,
            rejected=rejected is not None,
            run_id=run_id,
            notes=made.notes,
            record={**record, "snr_db": made.metadata.get("snr_db")},
        )
        metadata: dict[str, Any] = {"version": version.version, **made.metadata}
        for label, file in made.links.items():
            metadata[label] = link(pipeline.products.uri(version, file))
        if made.audio_seconds:
            metadata["audio_duration_seconds"] = round(made.audio_seconds, 3)
            metadata["real_time_factor"] = round(made.audio_seconds / max(wall, 1e-3), 1)
        accepted = Outcome(ACCEPTED, rejected is None, {"reason": str(rejected.reason)} if rejected else {})
        return Done(version, metadata, (accepted, *made.outcomes))


def link(uri: str) -> dg.MetadataValue:
    """An address in S3 as it is, a file on this machine as its path: no browser follows `file:` from a web page."""
    if uri.startswith("file:"):
        return dg.MetadataValue.path(url2pathname(urlsplit(uri).path))
    return dg.MetadataValue.url(uri)


def cpu_seconds(stage: Stage) -> float:
    """Of the recording's own work: its thread's where several are worked on side by side, else the process's."""
    return (time.thread_time() if stage.in_children else time.process_time()) + sandbox.cpu_seconds()


def run_stage(context: dg.AssetExecutionContext, stage: Stage, pipeline: Pipeline) -> Iterator[Any]:
    """One stage over the run's recordings; yields what Dagster wants of an asset."""
    from caseprep_pipelines.catalog import progress
    from caseprep_pipelines.catalog.loading import record_fault

    if pipeline.settings.executor == "in-process":
        # so that a machine that comes back after a power cut can tell that nobody works on the run any more. A step's
        # pod is only one process of its run's, and Kubernetes says what became of it
        context.instance.add_run_tags(context.run.run_id, process_tags())
    keys = list(context.partition_keys)
    single = len(keys) == 1
    finished = (
        progress.made_by_run(pipeline.catalog, stage.name, keys, context.run.run_id) if context.retry_number else set()
    )
    if CRASH_RETRY_TAG in context.run.tags and not single:
        finished |= _logged_before_the_crash(context)
    todo = [key for key in keys if key not in finished]
    if CRASH_RETRY_TAG in context.run.tags and not context.retry_number and todo:
        # whichever the process died of, it was probably the first that was not finished: if it kills again, then as
        # the last, and alone, and after a wait that grows
        record_fault(pipeline.catalog, todo[0], stage.name, "Fault", "the process that worked on it was killed")
        todo = [*todo[1:], todo[0]]
    failures: dict[str, str] = {}
    passed: dict[str, bool] = {}
    for key, done in run_many(pipeline, stage, todo, context.run.run_id):
        if isinstance(done, ConfigurationError):
            # nothing that follows could go better, so no retry and no further recording
            for waiting in todo[todo.index(key) :]:
                record_fault(pipeline.catalog, waiting, stage.name, type(done).__name__, str(done))
            raise dg.Failure(f"{stage.name}: {done}", allow_retries=False) from None
        if isinstance(done, Fault):
            failures[key] = str(done)
            continue
        for outcome in done.outcomes:
            passed[outcome.name] = passed.get(outcome.name, True) and outcome.passed
        if single:
            yield dg.MaterializeResult(
                metadata=done.metadata,
                data_version=dg.DataVersion(done.version.digest),
                check_results=[_check_result(outcome, stage) for outcome in _every_outcome(stage, done.outcomes)],
            )
            return
        _log_materialization(context, stage, pipeline, key, done)
    if failures:
        retrying = context.retry_number < FAULT_RETRIES
        for key, why in failures.items():
            context.log.warning(f"{stage.name} {key}: {why}{' (will be tried again)' if retrying else ''}")
        if retrying:
            raise _again(context)
        for key, why in failures.items():
            record_fault(pipeline.catalog, key, stage.name, "Fault", why)
        named = ", ".join(list(failures)[:20]) + (f" and {len(failures) - 20} more" if len(failures) > 20 else "")
        raise dg.Failure(
            f"{stage.name}: {len(failures)} of {len(keys)} recordings failed and are driven again later: {named}",
            metadata={"failed": list(failures), "why": sorted(set(failures.values()))},
            allow_retries=False,
        )
    for name, _description in _check_names(stage):
        yield dg.AssetCheckResult(
            passed=passed.get(name, True), check_name=name, asset_key=context.asset_key, severity=_severity(name)
        )


def _again(context: dg.AssetExecutionContext) -> dg.RetryRequested:
    return dg.RetryRequested(FAULT_RETRIES, FAULT_RETRY_SECONDS * 6**context.retry_number)


def _logged_before_the_crash(context: dg.AssetExecutionContext) -> set[str]:
    """The recordings that earlier runs finished and logged which this one was started in place of."""
    done: set[str] = set()
    run: dg.DagsterRun | None = context.run
    while run and CRASH_RETRY_TAG in run.tags and run.parent_run_id:
        for entry in context.instance.all_logs(run.parent_run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            event = entry.asset_materialization
            if event and event.asset_key == context.asset_key and event.partition:
                done.add(event.partition)
        run = context.instance.get_run_by_id(run.parent_run_id)
    return done


def run_many(
    pipeline: Pipeline, stage: Stage, keys: Sequence[str], run_id: str
) -> Iterator[tuple[str, Done | Fault | ConfigurationError]]:
    """Every recording's end. One that fails does not stop the others."""
    try:
        yield from _worked(pipeline, stage, keys, run_id)
    finally:
        if stage.gpu:
            from caseprep_pipelines.speech.engines import give_back_memory

            give_back_memory()


def _worked(
    pipeline: Pipeline, stage: Stage, keys: Sequence[str], run_id: str
) -> Iterator[tuple[str, Done | Fault | ConfigurationError]]:
    if stage.make_many is not None:
        yield from _streamed(pipeline, stage, keys, run_id)
        return

    def work(key: str) -> Done | Fault | ConfigurationError:
        try:
            attempt = _Attempt(pipeline, stage, key, run_id)
        except Fault as fault:
            return fault
        made: Made | Exception
        try:
            assert stage.make is not None  # noqa: S101 - a stage has one or the other
            made = stage.make(attempt.recording)
        except Exception as error:
            made = error
        return attempt.settle(made)

    if not stage.in_children or len(keys) == 1:
        yield from ((key, work(key)) for key in keys)
        return
    _ = pipeline.products, pipeline.catalog  # opened once, before threads could do it twice
    with ThreadPoolExecutor(pipeline.settings.workers or os.cpu_count()) as threads:
        try:
            yield from zip(keys, threads.map(work, keys), strict=True)
        finally:
            threads.shutdown(cancel_futures=True)
            sandbox.close_idle()


def _streamed(
    pipeline: Pipeline, stage: Stage, keys: Sequence[str], run_id: str
) -> Iterator[tuple[str, Done | Fault | ConfigurationError]]:
    """The same for a stage that takes a stream of recordings, in the order in which it is done with them.

    Recordings share the engine's time, so a recording's wall seconds are the share that the stage names, and its CPU
    seconds the same share of what the process used so far.
    """
    assert stage.make_many is not None  # noqa: S101 - the caller looked
    _ = pipeline.products, pipeline.catalog  # opened once, before threads could do it twice
    attempts: dict[str, _Attempt] = {}
    unbegun: list[tuple[str, Fault]] = []

    def begun() -> Iterator[Recording]:
        for key in keys:
            try:
                attempts[key] = _Attempt(pipeline, stage, key, run_id)
            except Fault as fault:
                unbegun.append((key, fault))
            else:
                yield attempts[key].recording

    began, shared = cpu_seconds(stage), 0.0
    try:
        for recording, made in stage.make_many(begun()):
            wall = float(made.record.get("wall_seconds", 0.0)) if isinstance(made, Made) else 0.0
            shared += wall
            cpu = (cpu_seconds(stage) - began) * wall / shared if shared else 0.0
            yield recording.partition, attempts.pop(recording.partition).settle(made, wall, cpu)
        yield from unbegun
    finally:
        for attempt in attempts.values():
            attempt.folder.cleanup()


def _place(error: BaseException) -> str:
    """Module and line in this package nearest to where an error was raised."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if "caseprep_pipelines" in f.filename]
    return f"{Path(own[-1].filename).stem}:{own[-1].lineno}" if own else "an unknown place"


def _check_names(stage: Stage) -> tuple[tuple[str, str], ...]:
    return ((ACCEPTED, "The recording can be processed; a rejection names its reason."), *stage.checks)


def _every_outcome(stage: Stage, found: Sequence[Outcome]) -> Iterator[Outcome]:
    """An outcome for each check: Dagster fails a step that leaves one out. The checks of a rejected recording, which
    nobody could look at, pass with a word about it; `accepted` is the one that fails."""
    known = {outcome.name: outcome for outcome in found}
    for name, _description in _check_names(stage):
        yield known.get(name) or Outcome(name, True, {"not_evaluated": "rejected"})


def _severity(name: str) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if name == ACCEPTED else dg.AssetCheckSeverity.WARN


def _check_result(outcome: Outcome, stage: Stage) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=outcome.passed,
        check_name=outcome.name,
        metadata=dict(outcome.metadata),
        severity=_severity(outcome.name),
    )


def _log_materialization(
    context: dg.AssetExecutionContext, stage: Stage, pipeline: Pipeline, key: str, done: Done
) -> None:
    """Logged events carry only the tags given, so the versions that Dagster would stamp are stamped here."""
    context.log_event(
        dg.AssetMaterialization(
            asset_key=context.asset_key,
            partition=key,
            metadata=done.metadata,
            tags={
                "dagster/data_version": done.version.digest,
                "dagster/data_version_is_user_provided": "true",
                "dagster/code_version": stage.code_version(pipeline.settings),
            },
        )
    )
    for outcome in done.outcomes:
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=outcome.name,
                passed=outcome.passed,
                metadata={name: dg.MetadataValue.text(str(value)) for name, value in outcome.metadata.items()},
                severity=_severity(outcome.name),
                partition=key,
            )
        )


def stage_asset(stage: Stage, settings: Settings, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The stage as a Dagster asset. `pipeline` is the resource of that name."""
    prefix = [part for part in settings.asset_key_prefix.split("/") if part]

    with warnings.catch_warnings():
        # partitioned checks are a preview and backfill policies a beta in Dagster 1.13; a pin and tests stand for them
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)

        @dg.asset(
            name=stage.name,
            key_prefix=prefix or None,
            deps=[dg.AssetKey([*prefix, name]) for name in stage.upstream],
            partitions_def=partitions,
            description=stage.description,
            owners=["team:caseprep"],
            kinds=set(stage.kinds),
            group_name="recordings",
            code_version=stage.code_version(settings),
            backfill_policy=dg.BackfillPolicy.multi_run(stage.batch_in(settings)),
            check_specs=[
                dg.AssetCheckSpec(
                    name=name,
                    asset=dg.AssetKey([*prefix, stage.name]),
                    description=description,
                    partitions_def=partitions,
                )
                for name, description in _check_names(stage)
            ],
            output_required=False,
            io_manager_key="products",
            pool=GPU_POOL if stage.gpu else None,
            op_tags={**({"caseprep/gpu": "true"} if stage.gpu else {}), **op_tags(settings, gpu=stage.gpu)},
            retry_policy=retry_policy(settings),
            required_resource_keys={"pipeline"},
        )
        def asset(context: dg.AssetExecutionContext) -> Iterator[Any]:
            try:
                yield from run_stage(context, stage, context.resources.pipeline)
            except Fault as fault:
                # not one recording's: the catalog is away, and with it the place to say which recordings failed
                if context.retry_number < FAULT_RETRIES:
                    raise _again(context) from None
                raise dg.Failure(f"{stage.name}: {fault}", allow_retries=False) from None
            except dg.DagsterExecutionInterruptedError:
                if settings.executor == "kubernetes":
                    again_elsewhere(context)
                raise

    return asset

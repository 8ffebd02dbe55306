"""What `caseprep status`, `verify`, `search` and `report` read and print. Nothing here changes anything."""

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from caseprep_pipelines.terminal import clock, one_line, shorten

if TYPE_CHECKING:
    from caseprep_pipelines.catalog.progress import Standing
    from caseprep_pipelines.report.documents import ArchiveReport
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Rows of the registry that are read at once.
PAGE = 1000

#: Recordings that `status` shows on a terminal.
ROWS = 50

#: Days and matters that a report on a terminal shows; `--json` has all.
REPORT_ROWS = 10


def status(
    pipeline: "Pipeline",
    wanted: str | None = None,
    matter: str | None = None,
    only: "Standing | None" = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """One row for each recording, in registration order, with every stage's state; at most `limit`.

    Raises `ConfigurationError` where `wanted` is no recording's key or name.
    """
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.catalog import progress, registry
    from caseprep_pipelines.errors import ConfigurationError

    if wanted is not None:
        rows = registry.find(pipeline.catalog, wanted)
        if not rows:
            raise ConfigurationError(f"no recording has the key or the file name {wanted!r}")
        return _states(pipeline, rows)
    states: list[dict[str, Any]] = []
    after = 0
    while limit is None or len(states) < limit:
        page = progress.standing_so(
            pipeline.catalog, STAGES[-1].name, only, matter=matter, after=after,
            limit=PAGE if limit is None else min(PAGE, limit - len(states)),
        )  # fmt: skip
        if not page:
            break
        states.extend(_states(pipeline, page))
        after = page[-1].position
    return states


def _states(pipeline: "Pipeline", rows: list[Any]) -> list[dict[str, Any]]:
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.catalog import loading, progress
    from caseprep_pipelines.rejections import REMEDIES, Reason

    partitions = [row.partition for row in rows]
    products = progress.products(pipeline.catalog, partitions)
    faults = progress.faults(pipeline.catalog, partitions)
    rejections = loading.rejections(pipeline.catalog, partitions)
    found = []
    for row in rows:
        done, failed = products.get(row.partition, {}), faults.get(row.partition, {})
        rejection = rejections.get(row.partition)
        stages = {}
        for stage in STAGES:
            product, fault = done.get(stage.name), failed.get(stage.name)
            if fault is not None:
                stages[stage.name] = f"failed {fault.attempts} time{'s' * (fault.attempts != 1)}: {fault.message}"
            elif product is None:
                stages[stage.name] = "waiting"
            elif product.rejected:
                stages[stage.name] = f"rejected: {rejection.reason if rejection else 'by an earlier stage'}"
            else:
                stages[stage.name] = f"done, version {product.version}"
        if rejection is not None:
            overall = "rejected"
        elif failed:
            overall = "failed"
        else:
            overall = "done" if all(stage.name in done for stage in STAGES) else "waiting"
        found.append(
            {
                "recording": row.partition,
                "name": row.name,
                "matter": row.matter,
                "status": overall,
                "reason": rejection.reason if rejection else None,
                "notes": [note for stage in STAGES if stage.name in done for note in done[stage.name].notes],
                "remedy": REMEDIES[Reason(rejection.reason)] if rejection else None,
                "stages": stages,
            }
        )
    return found


def print_recordings(rows: list[dict[str, Any]]) -> None:
    """Recordings that somebody asked for by name, stage by stage."""
    console = Console()
    for row in rows:
        console.print(
            f"{row['recording']}  {row['name']}  {row['status']}", markup=False, highlight=False, soft_wrap=True
        )
        for stage, state in row["stages"].items():
            console.print(f"  {stage:20} {state}", markup=False, highlight=False, soft_wrap=True)
        for line in [*row["notes"], *([row["remedy"]] if row["remedy"] else [])]:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def print_status(pipeline: "Pipeline", matter: str | None, only: "Standing | None") -> "dict[Standing, int]":
    """How many recordings stand how, which is also returned, and a screen of them: of more, those that failed or were
    rejected. Before them what lies in `incoming/` and cannot be taken up."""
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.automation.intake import misplaced
    from caseprep_pipelines.catalog import progress
    from caseprep_pipelines.errors import Fault

    console = Console()
    try:
        not_taken = misplaced(pipeline)
    except Fault as fault:
        not_taken = [f"incoming/ cannot be looked at now: {fault}"]
    for line in not_taken:
        console.print(escape(line), highlight=False, soft_wrap=True)
    counts = progress.standings(pipeline.catalog, STAGES[-1].name, matter)
    total = sum(counts.values())
    if not total:
        console.print("No recordings yet: try caseprep demo, or caseprep transcribe with files of yours.")
        return counts
    if only is None and total <= ROWS:
        rows, wanted = status(pipeline, matter=matter), list(counts)
    else:
        rows, wanted = [], [only] if only else ["failed", "rejected"]
        for standing in wanted:
            rows += status(pipeline, matter=matter, only=standing, limit=ROWS - len(rows))
    if rows:
        console.print(_table_of(rows))
        for row in rows:
            for note in row["notes"]:
                line = f"{one_line(row['name'])}: {note}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    console.print(f"{total:,} recording{'s' * (total != 1)}: {found}.", highlight=False, soft_wrap=True)
    unseen = progress.noted(pipeline.catalog, matter) - sum(bool(row["notes"]) for row in rows) if only is None else 0
    if unseen:
        console.print(
            f"{unseen:,} more with a note about their sound: --json has them.", highlight=False, soft_wrap=True
        )
    left = sum(counts[standing] for standing in wanted) - len(rows)
    if left:
        console.print(f"{left:,} more {' or '.join(wanted)}: --json names all.", highlight=False, soft_wrap=True)
    return counts


def _table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("Recording", "Name", "Matter", "Status", "Stages done"):
        table.add_column(heading)
    for row in rows:
        done = sum(state.startswith("done") for state in row["stages"].values())
        table.add_row(
            row["recording"],
            escape(shorten(row["name"])),
            row["matter"],
            row["status"] + (f": {row['reason']}" if row["reason"] else ""),
            f"{done} of {len(row['stages'])}",
        )
    return table


def verify(pipeline: "Pipeline", wanted: list[str]) -> list[dict[str, Any]]:
    """A report for each recording: whether its chain and its bytes hold, and the first break where they do not."""
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.custody.verify import verify as verify_custody
    from caseprep_pipelines.transcribing import one_recording

    partitions = (
        [one_recording(pipeline, name).partition for name in wanted]
        if wanted
        else registry.all_partitions(pipeline.catalog)
    )
    reports = []
    for partition in partitions:
        report = verify_custody(pipeline.catalog, pipeline.products, partition)
        reports.append(
            {
                "recording": partition,
                "ok": not report.breaks,
                "entries": report.entries,
                "first_break": report.breaks[0] if report.breaks else None,
            }
        )
    return reports


def print_verification(reports: list[dict[str, Any]]) -> None:
    console = Console()
    for report in reports:
        line = f"{report['recording']}: " + (
            f"intact, {report['entries']} custody entries" if report["ok"] else f"BROKEN: {report['first_break']}"
        )
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not reports:
        console.print("No recordings to verify.")


def search(pipeline: "Pipeline", query: str, matter: str | None, limit: int) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from caseprep_pipelines.catalog.search import search as search_catalog

    return [asdict(hit) for hit in search_catalog(pipeline.catalog, query, matter, limit)]


def print_hits(hits: list[dict[str, Any]]) -> None:
    console = Console()
    for hit in hits:
        where = f" {hit['page_line']}" if hit["page_line"] else ""
        console.print(
            f"{hit['name']}  {clock(hit['start'])}{where}  {hit['speaker'] or 'unknown speaker'}: {hit['snippet']}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    if not hits:
        console.print("Nothing found.")


def print_report(report: "ArchiveReport") -> None:
    """The latest days, the largest matters and everything, on one screen."""
    from caseprep_pipelines.report import shown

    console = Console()
    if not report.total.recordings_in:
        console.print("No recordings yet: try caseprep demo, or caseprep transcribe with files of yours.")
        return
    blocks = [
        shown.latest_days(report, REPORT_ROWS),
        shown.largest_matters(report, REPORT_ROWS),
        [("all", report.total)],
    ]
    headings, rows = shown.table([row for block in blocks for row in block])
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    ends = set(accumulate(len(block) for block in blocks))
    for number, row in enumerate(rows, start=1):
        table.add_row(*row)
        if number in ends:
            table.add_row()
    # a figure that is cut off is none: where the screen is narrow, its lines wrap
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
    console.print(f"Cost in USD, counted with {report.prices}.", highlight=False, soft_wrap=True)

"""How the command looks: progress and the closing table on a terminal, plain lines elsewhere.

File names may stand here and nowhere in logs: it is the user's own screen.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: What a stage is called while it works.
DOING = {
    "source_recording": "registering",
    "normalized_audio": "normalizing",
    "raw_transcript": "transcribing",
    "speaker_turns": "finding speakers",
    "transcript": "merging",
    "transcript_exports": "writing files",
    "transcript_catalog": "cataloguing",
}


class Reporter(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def named(self, partition: str, name: str) -> None: ...
    def progress(self, stage: str, partition: str, done: float, total: float) -> None: ...
    def finished(self, entry: dict[str, Any]) -> None: ...


def reporter(*, quiet: bool) -> Reporter:
    """A live display on a terminal, plain lines elsewhere, nothing where the output is JSON."""
    console = Console(stderr=True)
    if quiet:
        return _Plain(None)
    return _Live(console) if console.is_terminal else _Plain(console)


class _Plain:
    """One line when a recording is through a stage that listens, and one when it is finished."""

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self.names: dict[str, str] = {}
        self.through: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def named(self, partition: str, name: str) -> None:
        self.names.setdefault(partition, one_line(name))

    def progress(self, stage: str, partition: str, done: float, total: float) -> None:
        if total and done >= total and (stage, partition) not in self.through:
            self.through.add((stage, partition))
            self._print(f"{self._name(partition)}: {DOING[stage]}, {clock(total)} of audio")

    def finished(self, entry: dict[str, Any]) -> None:
        if self.console:
            reason = f" ({entry['reason']})" if entry["reason"] else ""
            self._print(f"{self._name(entry['recording'])}: {entry['status']}{reason}")

    def _name(self, partition: str) -> str:
        return self.names.get(partition, partition)

    def _print(self, line: str) -> None:
        if self.console:
            _plainly(self.console, line)


class _Live(_Plain):
    """A bar for the recording in work: audio seconds done, and how fast."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[audio]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("getting ready", total=None, audio="")
        self.started: dict[tuple[str, str], float] = {}

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def progress(self, stage: str, partition: str, done: float, total: float) -> None:
        started = self.started.setdefault((stage, partition), time.monotonic())
        elapsed = time.monotonic() - started
        speed = f", {done / elapsed:.0f} x real time" if elapsed > 1 and done else ""
        self.bar.update(
            self.task,
            description=f"{DOING[stage]}: {escape(shorten(self._name(partition)))}",
            completed=done,
            total=total or None,
            audio=f"{clock(done)} of {clock(total)}{speed}" if total else "",
        )

    def finished(self, entry: dict[str, Any]) -> None:
        colour = {"done": "green", "rejected": "yellow", "failed": "red"}[entry["status"]]
        reason = f" ({escape(entry['reason'])})" if entry["reason"] else ""
        self.bar.console.print(
            f"[{colour}]{entry['status']:>8}[/] {escape(self._name(entry['recording']))}{reason}", highlight=False
        )


@contextmanager
def transfer(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how far `name` has come; what it yields is called with bytes done and bytes in all."""
    console = Console(stderr=True)
    if console.is_terminal:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = TextColumn("{task.description}"), BarColumn(24), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(f"fetching {escape(shorten(name))}", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total or None)
        return
    shown = 0

    def tell(done: int, total: int) -> None:
        nonlocal shown
        tenth = done * 10 // total if total else 0
        if tenth != shown:
            shown = tenth
            _plainly(console, f"{name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    _plainly(console, f"fetching {name}")
    yield tell


def _plainly(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def shorten(name: str, width: int = 40) -> str:
    """The name in one line of at most so many characters; its end says what kind of file it is, so that is kept."""
    name = one_line(name)
    if len(name) <= width:
        return name
    end = min(12, width // 3)
    return f"{name[: width - end - 1]}…{name[-end:]}"


def one_line(text: str) -> str:
    """The text without line ends and characters that change the order of others or the screen."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


#: What the closing table keeps for names where the screen is narrow.
LEAST_NAME = 16


def summary_table(summary: list[dict[str, Any]], width: int) -> Table:
    """A line for each recording, in columns that fit into so many characters; reasons stand below the table."""
    headings = ("Result", "Length", "Speakers", "Words", "Flagged")
    rows = []
    for entry in summary:
        figures = ["", "", "", ""]
        if entry["status"] == "done":
            figures = [clock(entry["duration_seconds"]), *(str(entry[k]) for k in ("speakers", "words", "flagged"))]
        reason = f": {one_line(str(entry['reason']))}" if entry["status"] == "rejected" else ""
        rows.append([entry["status"] + reason, *figures])
    taken = sum(max(len(heading), *(len(row[n]) for row in rows)) + 2 for n, heading in enumerate(headings))
    if width - taken < LEAST_NAME:
        rows = [[row[0].partition(":")[0], *row[1:]] for row in rows]
        taken = sum(max(len(heading), *(len(row[n]) for row in rows)) + 2 for n, heading in enumerate(headings))
    room = max(LEAST_NAME, min(40, width - taken))
    table = Table(box=None, pad_edge=False)
    table.add_column("Recording", no_wrap=True, max_width=room)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "Result" else "right", no_wrap=True)
    for entry, row in zip(summary, rows, strict=True):
        table.add_row(escape(shorten(Path(entry["input"]).name, room)), *map(escape, row))
    return table


def print_summary(summary: list[dict[str, Any]], out: Path) -> None:
    """The closing table, what people must know of its lines, and where to look."""
    console = Console()
    console.print(summary_table(summary, console.width))
    for entry in summary:
        name, lines = one_line(Path(entry["input"]).name), list(entry.get("notes") or ())
        if entry["status"] == "rejected":
            detail = f": {entry['detail']}" if entry.get("detail") else ""
            lines.insert(0, f"rejected ({entry['reason']}{detail}). {entry.get('remedy') or ''}")
        elif entry["status"] == "failed":
            lines.insert(0, f"failed. {str(entry['reason']).rstrip('.')}. {entry.get('remedy') or ''}")
        for line in lines:
            console.print(f"{name}: {one_line(line).strip()}", markup=False, highlight=False, soft_wrap=True)
    if any(entry.get("demo_models") for entry in summary):
        console.print(
            "Made with demo models, which know only the demo's own small language: real speech comes out as nonsense. "
            "Real ones come with `caseprep models fetch starter`.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    first = next((entry for entry in summary if entry["status"] == "done"), None)
    if first is not None:
        console.print(
            f"\nTranscripts: {out}\nFor example: {out / first['folder'] / 'transcript.txt'}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    failed = sum(entry["status"] == "failed" for entry in summary)
    if failed:
        print(  # noqa: T201
            f"{failed} failed for a reason that may pass; run the same command again. Finished work is kept.",
            file=sys.stderr,
        )
    unexpected = [entry for entry in summary if entry.get("as_expected") is False]
    for entry in unexpected:
        print(f"{Path(entry['input']).name} did not end as it should have", file=sys.stderr)  # noqa: T201

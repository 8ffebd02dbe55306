"""What `caseprep evaluate` does and prints: references found, their transcripts looked up, scores shown.

How words and turns are scored stands in `evaluation`; nothing here changes a product.
"""

import difflib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.terminal import shorten

if TYPE_CHECKING:
    from caseprep_pipelines.evaluation.report import Evaluation, Row
    from caseprep_pipelines.evaluation.transcripts import Hypothesis
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Recordings that are shown on a terminal; `--json` and `--out` have all.
ROWS = 40

Lookup = Callable[[str], "Hypothesis | str"]
"""The transcript of a recording, or a line that says why there is none."""


def evaluate(references: Sequence[Path], lookup: Lookup) -> "Evaluation":
    """Raises `ConfigurationError` where no reference can be compared."""
    from caseprep_pipelines.evaluation.references import read_references
    from caseprep_pipelines.evaluation.report import evaluation
    from caseprep_pipelines.evaluation.scoring import check_libraries, score

    check_libraries()
    read = read_references(references)
    problems, scored = list(read.problems), []
    for reference in read.found:
        found = lookup(reference.name)
        if isinstance(found, str):
            problems.append(f"{reference.files[0]}: {found}")
        else:
            scored.append((found.names[0], reference.condition, score(reference, found)))
    if not scored:
        raise ConfigurationError(problems[0] if problems else "there are no references in the folders given")
    return evaluation(scored, problems, read.notes)


def in_folder(folder: Path) -> Lookup:
    """Transcripts that `caseprep transcribe --out` wrote, or other programs' files. Raises `ConfigurationError`."""
    from caseprep_pipelines.evaluation.transcripts import read_transcripts

    by_name: dict[str, list[Hypothesis]] = {}
    for transcript in read_transcripts(folder):
        for name in {name.casefold() for name in transcript.names}:
            by_name.setdefault(name, []).append(transcript)

    def lookup(name: str) -> "Hypothesis | str":
        for wanted in (name.casefold(), Path(name).name.casefold(), Path(name).stem.casefold()):
            found = by_name.get(wanted, [])
            if len(found) > 1:
                keys = ", ".join(transcript.names[-1] for transcript in found[:5])
                return f"{len(found)} transcripts are of a recording called {name!r}; name it by its key: {keys}"
            if found:
                return found[0]
        near = difflib.get_close_matches(name.casefold(), by_name, n=1)
        hint = f"; the nearest name is {near[0]!r}" if near else f"; there are {', '.join(sorted(by_name)[:3])}, …"
        return f"no transcript in {folder} is of a recording called {name!r}{hint}"

    return lookup


def in_storage(pipeline: "Pipeline", matter: str | None) -> Lookup:
    """The adopted transcripts of the storage."""
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.evaluation.references import SpeakerTurn
    from caseprep_pipelines.evaluation.transcripts import of_transcript
    from caseprep_pipelines.speech.documents import SpeakerTurns
    from caseprep_pipelines.transcript.document import Transcript

    def lookup(name: str) -> "Hypothesis | str":
        rows = [row for row in registry.find(pipeline.catalog, name) if matter is None or row.matter == matter]
        if not rows:
            return f"no recording is called {name!r}; caseprep status lists them all"
        if len(rows) > 1:
            keys = ", ".join(row.partition for row in rows[:5])
            return f"{len(rows)} recordings are called {name!r}; name one by its key: {keys}"
        partition = rows[0].partition
        rejection = pipeline.products.rejected("transcript", partition)
        if rejection is not None:
            return f"{name!r} was rejected ({rejection.reason})"
        if pipeline.products.head("transcript", partition) is None:
            return f"{name!r} has no transcript yet; run caseprep transcribe on it first"
        transcript = pipeline.products.read("transcript", partition, Transcript)
        turns = pipeline.products.read("speaker_turns", partition, SpeakerTurns)
        assert isinstance(transcript, Transcript)  # noqa: S101 - a rejection was returned above
        own = None
        if isinstance(turns, SpeakerTurns):
            own = [SpeakerTurn(turn.speaker, turn.start, turn.end) for turn in turns.turns]
        return of_transcript(transcript, [rows[0].name, partition], own)

    return lookup


def write(found: "Evaluation", out: Path) -> list[Path]:
    from caseprep_pipelines.evaluation.report import write as write_files

    try:
        out.mkdir(parents=True, exist_ok=True)
        return write_files(found, out)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to the output folder {str(out)!r} ({error.strerror}); choose another one with --out"
        ) from None


def as_json(found: "Evaluation") -> dict[str, Any]:
    from caseprep_pipelines.evaluation.report import as_json as to_json

    return to_json(found)


def print_evaluation(found: "Evaluation", written: Sequence[Path]) -> None:
    """Recordings with their speakers, conditions and everything, in percent."""
    from caseprep_pipelines.evaluation import report

    console, errors = Console(), Console(stderr=True)
    for line in (*found.problems, *found.notes):
        errors.print(line, markup=False, highlight=False, soft_wrap=True)
    recordings = found.of("recording")
    # one by one where there are few, else the worst
    worst = sorted(recordings, key=lambda row: -(row.rates()["wer"] or 0.0))[:ROWS]
    shown = recordings if len(recordings) <= ROWS else worst
    with_speakers = [row for one in shown for row in [one, *_speakers(found, one)]]
    blocks = [with_speakers if len(with_speakers) <= ROWS else shown, found.of("condition"), found.of("all")]
    headings, rows = report.table([row for block in blocks for row in block])
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    ends = set(accumulate(len(block) for block in blocks))
    for number, row in enumerate(rows, start=1):
        table.add_row(escape(shorten(row[0])), *row[1:])
        if number in ends and number < len(rows):
            table.add_row()
    # a figure that is cut off is none: where the screen is narrow, its lines wrap
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
    console.print(
        "In percent: errors of the words or of the speech, recall of negations, numbers and names. Lost: nothing "
        "stands where a word was said; invented: a word stands where nothing was said.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if len(shown) < len(recordings):
        console.print(f"The worst {len(shown)} of {len(recordings)} recordings; --json has all.", highlight=False)
    for path in written:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


def _speakers(found: "Evaluation", one: "Row") -> list["Row"]:
    own = [row for row in found.of("speaker") if (row.recording, row.condition) == (one.recording, one.condition)]
    return own if len(own) > 1 else []

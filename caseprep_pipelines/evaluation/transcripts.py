"""Transcripts as they are held against references: words with times and speakers, turns, and what is marked.

From products (`transcript` documents, with the turns beside them) and from other programs' files (STM, SegLST, RTTM,
plain text). Which product belongs to which recording of a storage is not known here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.evaluation.references import Reference, SpeakerTurn, read_references
from caseprep_pipelines.transcript.document import Transcript

SUMMARY, TRANSCRIPT, TURNS = "summary.json", "transcript.json", "turns.rttm"
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Word:
    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Hypothesis:
    """One recording's transcript."""

    names: tuple[str, ...]
    """All that a reference may call the recording, the one to show first."""
    words: tuple[Word, ...]
    """As they are read: utterance by utterance."""
    turns: tuple[SpeakerTurn, ...]
    marks: tuple[tuple[float, float], ...] | None = None
    """Where a listener is asked to check; None where the transcript knows no marks."""
    languages: tuple[str, ...] = ()
    seconds: float | None = None


def read_transcripts(folder: Path) -> list[Hypothesis]:
    """Every transcript in a folder that `caseprep transcribe --out` wrote, else in files of other programs.

    Raises `ConfigurationError` where there is none.
    """
    if not folder.exists():
        raise ConfigurationError(f"there is no file or folder {str(folder)!r}")
    # the demo keeps its storage in a hidden folder below, with every version
    products = sorted(
        path
        for path in folder.rglob(TRANSCRIPT)
        if not any(step.startswith(".") for step in path.relative_to(folder).parts)
    )
    if products:
        inputs = _inputs(folder)
        return [_product(path, inputs) for path in products]
    read = read_references([folder])
    if read.problems:
        raise ConfigurationError(read.problems[0])
    if not read.found:
        raise ConfigurationError(f"there are no transcripts in {folder}")
    return [_of_file(reference) for reference in read.found]


def of_transcript(
    transcript: Transcript, names: Sequence[str], turns: Sequence[SpeakerTurn] | None = None
) -> Hypothesis:
    """A product. Where its turns are not given, its speakers' utterances stand for them."""
    words = [
        Word(word.text, utterance.speaker or UNKNOWN, word.start, max(word.start, word.end))
        for utterance in transcript.utterances
        for word in utterance.words
    ]
    if turns is None:
        turns = [
            SpeakerTurn(utterance.speaker, utterance.start, utterance.end)
            for utterance in transcript.utterances
            if utterance.speaker is not None and utterance.end > utterance.start
        ]
    marks = [(span.start, span.end) for span in transcript.unspoken]
    marks += [(utterance.start, utterance.end) for utterance in transcript.utterances if utterance.flags]
    return Hypothesis(
        names=tuple(dict.fromkeys(names)),
        words=tuple(words),
        turns=tuple(turns),
        marks=tuple(sorted(marks)),
        languages=transcript.languages,
        seconds=transcript.duration_seconds,
    )


def _inputs(folder: Path) -> dict[str, list[str]]:
    """The names that inputs had, by recording."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        entries = [(entry["recording"], Path(entry["input"]).name) for entry in summary["recordings"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    names: dict[str, list[str]] = {}
    for recording, name in entries:
        names.setdefault(str(recording), []).extend((Path(name).stem, name))
    return names


def _product(path: Path, inputs: dict[str, list[str]]) -> Hypothesis:
    try:
        transcript = Transcript.from_bytes(path.read_bytes())
    except (OSError, ValueError):
        raise ConfigurationError(f"{path} is not a transcript that this version can read") from None
    turns = path.with_name(TURNS)
    read = read_references([turns]) if turns.exists() else None
    # `STEM--KEY`, the key's last letters being the partition's
    stem = path.parent.name.rpartition("--")[0]
    own = read.found[0].turns if read is not None and len(read.found) == 1 else None
    names = [*inputs.get(transcript.partition, ()), *([stem] if stem else ()), transcript.partition]
    return of_transcript(transcript, names, own)


def _of_file(reference: Reference) -> Hypothesis:
    words = []
    for said in reference.said or ():
        spoken = said.text.split()
        for word, start, end in spread(spoken, said.start, said.end):
            words.append(Word(word, said.speaker, start, end))
    return Hypothesis(names=(reference.name,), words=tuple(words), turns=reference.turns or ())


def spread(
    words: Sequence[str], start: float | None, end: float | None
) -> list[tuple[str, float | None, float | None]]:
    """Words over the time of all of them, each as long as its letters make it."""
    if start is None or end is None:
        return [(word, None, None) for word in words]
    letters = sum(len(word) + 1 for word in words)
    spread_words: list[tuple[str, float | None, float | None]] = []
    at = start
    for word in words:
        until = at + (end - start) * (len(word) + 1) / letters
        spread_words.append((word, at, until))
        at = until
    return spread_words

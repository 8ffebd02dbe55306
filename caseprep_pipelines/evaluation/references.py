"""What was really said, read from the files that people keep it in: STM, SegLST, RTTM and plain text.

A file may hold several recordings, and a recording may have several files (words in an STM, speakers in an RTTM). What
cannot be read is told in a line that names file and place; the other references stay. The same readers serve
transcripts of other programs.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caseprep_pipelines.errors import ConfigurationError

ENDINGS = (".seglst.json", ".json", ".stm", ".rttm", ".txt")
OVERLAP_SECONDS = 0.05
"""Turns of one speaker that overlap by less are rounded times."""
_NOT_SCORED = "ignore_time_segment_in_scoring"
_GAP = "inter_segment_gap"


@dataclass(frozen=True)
class Said:
    """Words of one speaker in a row. Without times where a text has none."""

    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class SpeakerTurn:
    speaker: str
    start: float
    end: float


@dataclass(frozen=True)
class Reference:
    """All that is known of one recording."""

    name: str
    """As the files call the recording."""
    condition: str
    """The folder that it lies in, below the one that was given; empty where there is none."""
    files: tuple[Path, ...]
    said: tuple[Said, ...] | None
    """In order of time; None where no file holds words."""
    turns: tuple[SpeakerTurn, ...] | None
    """None where nobody is named with a time."""
    not_scored: tuple[tuple[float, float], ...] = ()
    """Stretches that the reference leaves out."""


@dataclass
class References:
    found: list[Reference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What kept a file or a part of it from being a reference, a line each."""
    notes: list[str] = field(default_factory=list)
    """What looks wrong and does not keep it."""


@dataclass
class _Part:
    path: Path
    condition: str
    said: list[Said] | None = None
    turns: list[SpeakerTurn] | None = None
    not_scored: list[tuple[float, float]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """Line or entry of each of what was said."""


class _Bad(Exception):
    """A line for the user."""


def read_references(paths: Sequence[Path]) -> References:
    """Everything in these files and folders. Raises `ConfigurationError` where a path is not there."""
    parts: dict[str, list[_Part]] = {}
    result = References()
    for path, condition in reference_files(paths):
        try:
            for name, part in _read(path, condition):
                result.notes.extend(_overlaps(part))
                parts.setdefault(name, []).append(part)
        except _Bad as bad:
            result.problems.append(f"{path}{bad}")
    for name, own in parts.items():
        with_words = [part for part in own if part.said is not None]
        if len(with_words) > 1:
            places = " and ".join(str(part.path) for part in with_words)
            result.problems.append(f"The words of {name!r} stand in {places}; keep one of them.")
            continue
        result.found.append(_together(name, own))
    return result


def reference_files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The files that may be references, each with its condition, in a stable order."""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                inside = file.relative_to(path)
                if file.is_file() and _ending(file) and not any(step.startswith(".") for step in inside.parts):
                    yield file, inside.parent.as_posix() if inside.parent != Path() else ""
        elif path.is_file():
            if not _ending(path):
                raise ConfigurationError(f"{path} is not a reference: its name must end in {', '.join(ENDINGS)}")
            yield path, ""
        else:
            raise ConfigurationError(f"there is no file or folder {str(path)!r}")


def _ending(path: Path) -> str | None:
    return next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)


def _together(name: str, parts: Sequence[_Part]) -> Reference:
    said = next((part.said for part in parts if part.said is not None), None)
    # who spoke when is told better by a file that holds nothing else
    turns = next((part.turns for part in parts if part.said is None and part.turns), None)
    if turns is None and said is not None:
        timed = [each for each in said if each.speaker is not None and each.start is not None and each.text]
        turns = [SpeakerTurn(each.speaker, each.start, each.end) for each in timed]  # type: ignore[arg-type]
    if said is not None:
        said = sorted(said, key=lambda each: each.start or 0.0) if all(s.start is not None for s in said) else said
    return Reference(
        name=name,
        condition=parts[0].condition,
        files=tuple(part.path for part in parts),
        said=None if said is None else tuple(said),
        turns=tuple(turns) if turns else None,
        not_scored=tuple(span for part in parts for span in part.not_scored),
    )


def _read(path: Path, condition: str) -> Iterator[tuple[str, _Part]]:
    text = _text(path)
    reader = {".stm": _stm, ".rttm": _rttm, ".txt": _plain}.get(_ending(path) or "", _seglst)
    parts: dict[str, _Part] = {}

    def part(name: str) -> _Part:
        return parts.setdefault(name, _Part(path, condition))

    reader(path, text, part)
    if not parts:
        raise _Bad(" holds no reference; it is empty.")
    yield from parts.items()


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _Bad(f" cannot be read: {error.strerror}.") from None
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "strict")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Bad(f" is not UTF-8 (line {line}); save it as UTF-8.") from None
    if "\0" in text:
        raise _Bad(" is not text.")
    return text


def _stm(path: Path, text: str, part: Any) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith((";;", "#")):
            continue
        fields = line.split(maxsplit=5)
        if len(fields) < 5:
            raise _Bad(f" line {number} is not STM: recording, channel, speaker, start, end and words are needed.")
        name, _, speaker = fields[:3]
        start, end = _times(fields[3], fields[4], number)
        words = fields[5].strip() if len(fields) > 5 else ""
        if words.startswith("<") and ">" in words:
            # a column of labels, such as <o,f0,male>
            words = words.partition(">")[2].strip()
        own = part(name)
        if words.lower() == _NOT_SCORED:
            own.not_scored.append((start, end))
        elif speaker.lower() != _GAP:
            _add(own, Said(words, speaker, start, end), number)


def _rttm(path: Path, text: str, part: Any) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith(";;") or (fields[0] != "SPEAKER" and len(fields) == 10):
            continue
        if len(fields) < 8 or fields[0] != "SPEAKER":
            raise _Bad(f" line {number} is not RTTM: SPEAKER, recording, channel, start and seconds are needed.")
        start, length = _times(fields[3], fields[4], number, as_length=True)
        own = part(fields[1])
        own.turns = own.turns or []
        if length > 0:
            own.turns.append(SpeakerTurn(fields[7], start, round(start + length, 6)))


def _plain(path: Path, text: str, part: Any) -> None:
    words = " ".join(text.split())
    if not words:
        raise _Bad(" holds no words; for a recording without speech write an STM with no words.")
    _add(part(path.name[: -len(".txt")]), Said(words), 1)


def _seglst(path: Path, text: str, part: Any) -> None:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise _Bad(f" line {error.lineno} is not JSON.") from None
    if not isinstance(entries, list):
        raise _Bad(" is not SegLST: a list of segments is needed.")
    for number, entry in enumerate(entries, 1):
        where = f" segment {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("words"), str):
            raise _Bad(f"{where} is not SegLST: session_id, speaker, start_time, end_time and words are needed.")
        if not isinstance(entry.get("session_id"), str):
            raise _Bad(f"{where} does not say its session_id, which is the recording.")
        if "start_time" in entry or "end_time" in entry:
            start, end = _times(entry.get("start_time"), entry.get("end_time"), number, place="segment")
        else:
            start = end = None  # type: ignore[assignment]
        speaker = entry.get("speaker")
        said = Said(" ".join(entry["words"].split()), None if speaker is None else str(speaker), start, end)
        _add(part(entry["session_id"]), said, number)


def _add(part: _Part, said: Said, number: int) -> None:
    part.said = part.said if part.said is not None else []
    # a line without words says that nobody spoke: it makes a reference, and no words
    if said.text:
        part.said.append(said)
        part.lines.append(number)


def _times(
    first: object, second: object, number: int, *, as_length: bool = False, place: str = "line"
) -> tuple[float, float]:
    try:
        start, end = float(first), float(second)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise _Bad(f" {place} {number}: times must be seconds.") from None
    if not (0 <= start < 1e7 and 0 <= end < 1e7):
        raise _Bad(f" {place} {number}: times must be seconds from the recording's start.")
    if not as_length and end < start:
        raise _Bad(f" {place} {number} ends at {end:g} s, before it starts at {start:g} s.")
    return start, end


def _overlaps(part: _Part) -> Iterator[str]:
    """A note on the first turns with words of one speaker that lie over each other."""
    if part.said is None:
        return
    last: dict[str, tuple[float, int]] = {}
    for said, number in sorted(zip(part.said, part.lines, strict=True), key=lambda each: each[0].start or 0.0):
        if said.speaker is None or said.start is None or said.end is None:
            continue
        before = last.get(said.speaker)
        if before is not None and said.start < before[0] - OVERLAP_SECONDS:
            yield (
                f"{part.path} lines {before[1]} and {number}: one speaker says two things at {said.start:g} s; "
                "tcpWER and DER are unsure there."
            )
            return
        if before is None or said.end > before[0]:
            last[said.speaker] = (said.end, number)

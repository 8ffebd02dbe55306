"""What is amiss with a recording's sound: every length that the file states against what was decoded, in words.

Pure: the decoder measures, `stated_lengths` reads the bytes, and here they are compared. A difference that nothing
explains is a finding, whatever else went well. Whether a finding stops the recording is decided by the decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from caseprep_pipelines.audio.stated_lengths import Stated

#: Seconds that lengths may differ: encoders pad, and headers round.
TOLERANCE = 0.5

#: A recording is cut off where less than this share of a promised length arrives and so many seconds are missing.
MIN_DELIVERED = 0.9
MISSING_SECONDS = 2.0

#: Pauses that come to less than this, or to less than this share of a recording, stand in the metadata only.
LONG_BREAK_SECONDS = 60.0
LONG_BREAK_SHARE = 0.1

#: Sound may end this much before the picture.
PICTURE_SECONDS = 5.0


class Kind(StrEnum):
    """What can be amiss. The value is what documents, SQL and scripts see."""

    TRUNCATED = "truncated"
    SHORTER = "shorter-than-stated"
    LONGER = "longer-than-stated"
    CUT = "ends-inside-its-data"
    UNREAD_PART = "unread-part"
    UNDECODED_TRACK = "undecoded-track"
    DAMAGED = "damaged"
    OVERLAPPING = "overlapping"
    HIDDEN = "hidden-by-edit-list"
    PICTURE_GOES_ON = "picture-goes-on"
    JOINED = "joined"
    LONG_BREAK = "long-break"
    NEW_CLOCK = "new-clock"
    BEGINS_LATE = "begins-late"


#: What is told but fails no check: all sound is there, and what looks odd is explained.
EXPLAINED = frozenset({Kind.LONG_BREAK, Kind.NEW_CLOCK, Kind.BEGINS_LATE})

#: What is missing for good: a transcript says it of itself.
MISSING = frozenset({
    Kind.TRUNCATED, Kind.SHORTER, Kind.CUT, Kind.UNREAD_PART, Kind.UNDECODED_TRACK, Kind.DAMAGED, Kind.OVERLAPPING,
    Kind.HIDDEN,
})  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """What was decoded of one audio stream of one piece. Seconds."""

    sound: float
    """Decoded, and silence in place of damaged packets; without breaks."""
    span: float
    """From the piece's beginning to the stream's end, breaks and all."""
    trimmed: float = 0.0
    lost: float = 0.0
    packets: float = 0.0
    """What its packets claim to hold; 0 where they do not say."""


@dataclass(frozen=True)
class PieceHeard:
    streams: tuple[Heard, ...]
    start: float
    """The container's first timestamp: a stated length may count from there or from 0."""
    picture: float
    """Where the picture ends; 0 without one."""
    stamps: tuple[float, ...] = ()
    """Where timestamps lead that were not believed, or that a clock's new beginning left behind."""
    stated: tuple[Stated, ...] = ()

    @property
    def span(self) -> float:
        return max((stream.span for stream in self.streams), default=0.0)

    @property
    def sound(self) -> float:
        return max((stream.sound for stream in self.streams), default=0.0)


@dataclass(frozen=True)
class Compared:
    """A stated length beside what fits it best."""

    by: str
    stated: float
    held: float
    promised: bool
    reached: float
    """What fits best when pauses count, whatever the length counts: damage in the middle cuts nothing off."""

    @property
    def missing(self) -> float:
        return self.stated - self.held

    @property
    def cut_off(self) -> bool:
        short = self.stated - self.reached
        return self.promised and self.reached < MIN_DELIVERED * self.stated and short > MISSING_SECONDS


def compared(piece: PieceHeard) -> list[Compared]:
    """Every stated length of a piece with what was heard of it."""
    found = []
    for stated in piece.stated:
        streams = piece.streams if stated.stream is None else piece.streams[stated.stream : stated.stream + 1]
        if not streams:
            continue
        stream = max(streams, key=lambda heard: (heard.span, heard.sound))
        if stated.of_bytes is not None:
            counted, there = stated.of_bytes
            seconds = stream.sound * counted / max(1, there)
            found.append(Compared(stated.by, seconds, stream.sound, stated.promised, stream.sound))
            continue
        seconds = stated.seconds or 0.0
        # pauses and a late beginning count or don't, and what came twice was sent once too often
        of_sound = [stream.sound, stream.sound + stream.trimmed]
        explanations = [*of_sound, stream.span, stream.span + piece.start]
        explanations += [stamp + late for stamp in piece.stamps for late in (0.0, piece.start)]
        if stated.stream is None and piece.picture:
            explanations += [piece.picture, piece.picture + piece.start]
        reached = _nearest(explanations, seconds)
        held = _nearest(of_sound, seconds) if stated.samples else reached
        found.append(Compared(stated.by, seconds, held, stated.promised, reached))
    return found


def _nearest(lengths: Sequence[float], to: float) -> float:
    return min(lengths, key=lambda length: (abs(length - to), length))


def of_lengths(piece: PieceHeard) -> list[dict[str, Any]]:
    """The findings about one piece's length, the worst first: at most one shorter and one longer."""
    lengths = compared(piece)
    found: list[dict[str, Any]] = []
    if lengths:
        short = max(lengths, key=lambda length: length.missing)
        if short.missing > TOLERANCE:
            found.append(_finding(Kind.SHORTER, by=short.by, stated=short.stated, held=short.held))
        long = min(lengths, key=lambda length: length.missing)
        if -long.missing > TOLERANCE:
            found.append(_finding(Kind.LONGER, by=long.by, stated=long.stated, held=long.held))
    end = piece.span
    if piece.picture - end > PICTURE_SECONDS:
        found.append(_finding(Kind.PICTURE_GOES_ON, held=end, stated=piece.picture))
    return found


def cut_off(pieces: Sequence[PieceHeard]) -> tuple[str, float, float] | None:
    """What states more than arrived, the seconds stated and held, where the whole file counts as cut off."""
    missing, by, held = 0.0, "", 0.0
    for piece in pieces:
        held += piece.span
        worst = max(
            (length for length in compared(piece) if length.cut_off),
            key=lambda length: length.stated - length.reached,
            default=None,
        )
        if worst is not None:
            missing += worst.stated - worst.reached
            by = worst.by
    if missing > MISSING_SECONDS and held < MIN_DELIVERED * (held + missing):
        return by, held + missing, held
    return None


def _finding(kind: Kind, **figures: Any) -> dict[str, Any]:
    return {"kind": str(kind), **{k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}}


def finding(kind: Kind, **figures: Any) -> dict[str, Any]:
    """A finding as the child process reports it; seconds in milliseconds."""
    return _finding(kind, **figures)


def sentence(
    kind: str, *, by: str | None = None, stated: float | None = None, held: float | None = None,
    seconds: float | None = None, count: int | None = None,
) -> str:  # fmt: skip
    """What a finding means, for the closing table, `status` and notices. Holds figures only."""
    what, much = f"its {by}" if by else "the file", clock(seconds or 0.0)
    number, states, holds = count or 0, clock(stated or 0.0), clock(held or 0.0)
    many = number != 1
    return {
        Kind.TRUNCATED: f"The original is truncated: {what} states {states} and it holds {holds}.",
        Kind.SHORTER: f"Sound is missing: {what} states {states} and {holds} was found.",
        Kind.LONGER: f"The file holds {holds} though {what} states {states}; all of it was used.",
        Kind.CUT: "The file ends in the middle of its data; what came after is missing.",
        Kind.UNREAD_PART: f"{number:,} bytes of the file cannot be decoded; what they hold is missing.",
        Kind.UNDECODED_TRACK: f"{number} audio track{'s' * many} of the file cannot be decoded.",
        Kind.DAMAGED: f"{much} of sound is damaged and became silence.",
        Kind.OVERLAPPING: f"{much} of sound was left out: its timestamps put it where other sound is.",
        Kind.HIDDEN: f"The file's edit list hides {much} of sound, which was left out.",
        Kind.PICTURE_GOES_ON: f"The sound ends at {holds}, the picture at {states}.",
        Kind.JOINED: f"The file is {number} recordings one after the other; all were used.",
        Kind.LONG_BREAK: f"The sound pauses for {much} in all; there is silence instead.",
        Kind.NEW_CLOCK: f"The file's clock begins anew {number} time{'s' * many}; how long it paused is not known.",
        Kind.BEGINS_LATE: f"The file begins at {much} of the recorder's clock; what came before is not in it.",
    }[Kind(kind)]


def clock(seconds: float) -> str:
    """`1:02:03`, `2:03`, or `2.4 s` below ten seconds."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"

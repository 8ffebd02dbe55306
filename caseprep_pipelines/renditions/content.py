"""What every format needs: its inputs, words that are safe to write, notices and how times are shown.

Words come from a recogniser and may hold anything. Here they lose what no text file should carry; what only one
format cannot carry (`-->`, `<`, a space in a column) is dealt with in that format's module.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns
from caseprep_pipelines.transcript.document import DEMO_NOTICE, MACHINE_DRAFT_NOTICE, Transcript, Utterance
from caseprep_pipelines.transcript.joining import UNSPACED_LANGUAGES, join
from caseprep_pipelines.transcript.languages import language_name

#: Stands where no speaker is known.
UNKNOWN_SPEAKER = "UNKNOWN"

# explicit bidirectional controls reach past their word and can make a reader see words in another order
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Inputs:
    """What a rendition is made from."""

    transcript: Transcript
    turns: SpeakerTurns
    raw: RawTranscript
    version: str
    """Of the transcript."""


@dataclass(frozen=True)
class SpokenWord:
    text: str
    """May begin with a space where its language has none between words; `join` knows what that means."""
    start: float
    end: float
    probability: float


def clean(text: str) -> str:
    """One line without control characters, any run of white space as one space; right-to-left text is untouched."""
    kept = (c for c in text if c.isspace() or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _REORDERING))
    return " ".join("".join(kept).split())


def token(text: str) -> str:
    """`clean`, fit for a column of a format whose columns are split at white space; may be empty."""
    return clean(text).replace(" ", "_")


def speaker_id(speaker: str | None) -> str:
    """A speaker's label without white space, never empty."""
    return token(speaker or "") or UNKNOWN_SPEAKER


def spoken(utterance: Utterance) -> Iterator[SpokenWord]:
    """The utterance's words in their order, those without visible text left out.

    Seconds, never negative; a word never starts before the one before it and never ends before it starts, whatever
    the recogniser said: formats that are sorted by time must keep the order of words.
    """
    earliest = 0.0
    for word in utterance.words:
        earliest = max(earliest, word.start)
        text = clean(word.text)
        if text and word.text[0].isspace() and utterance.language in UNSPACED_LANGUAGES:
            text = f" {text}"
        if text:
            yield SpokenWord(text, earliest, max(earliest, word.end), word.probability)


def spoken_text(transcript: Transcript, utterance: Utterance) -> str:
    """The utterance's visible words as a reader of its language writes them, in one line."""
    return join((word.text for word in spoken(utterance)), transcript.language_of(utterance))


def other_language_name(utterance: Utterance, main_language: str | None) -> str | None:
    """The language of an utterance for a reader to see, as in `Spanish`, where it is not the transcript's main one."""
    if utterance.language is None or utterance.language == main_language:
        return None
    return clean(language_name(utterance.language))


def notices(transcript: Transcript) -> tuple[str, ...]:
    """What the transcript says of itself, the machine draft's notice always and first."""
    demo = (DEMO_NOTICE,) if transcript.demo else ()
    return tuple(dict.fromkeys((MACHINE_DRAFT_NOTICE, *demo, *map(clean, transcript.notices))))


def own_notices(transcript: Transcript) -> tuple[str, ...]:
    """What the transcript says of this recording alone: sound that is missing. For formats without room for all."""
    return tuple(notice for notice in notices(transcript) if notice not in (MACHINE_DRAFT_NOTICE, DEMO_NOTICE))


def milliseconds(seconds: float) -> int:
    """The nearest millisecond, never negative."""
    return max(0, round(seconds * 1000))


def clock(seconds: float) -> str:
    """`HH:MM:SS.t`, tenths of a second cut off, as a player shows a time that has been reached."""
    tenths = milliseconds(seconds) // 100
    return f"{tenths // 36000:02d}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"

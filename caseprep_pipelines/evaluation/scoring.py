"""One transcript against one reference: counts that can be added up, and the rates that follow from them.

Words are aligned by jiwer, speakers' words scored by MeetEval (cpWER, tcpWER), turns by pyannote.metrics (DER, JER).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.evaluation.alignment import Alignment, align
from caseprep_pipelines.evaluation.meaning import KINDS, kinds
from caseprep_pipelines.evaluation.normalization import Token, normalized, tokens, verbatim
from caseprep_pipelines.evaluation.references import Reference, Said, SpeakerTurn
from caseprep_pipelines.evaluation.transcripts import UNKNOWN, Hypothesis, Word, spread

COLLAR_SECONDS = 5.0
"""How far a word may stand from its time for tcpWER, as MeetEval and CHiME have it."""
MARK_SECONDS = 0.5
"""A mark so near a gap is a mark of it: times of words are not exact."""
LIBRARIES = ("jiwer", "meeteval", "pyannote.metrics", "rapidfuzz")


@dataclass
class Counts:
    """Of a recording, a speaker, or many; sums of counts are counts."""

    recordings: int = 0
    seconds: float = 0.0
    words: int = 0
    errors: int = 0
    lost: int = 0
    exchanged: int = 0
    invented: int = 0
    marked_words: int = 0
    """Words of references whose transcripts know marks."""
    lost_unmarked: int = 0
    verbatim_words: int = 0
    verbatim_errors: int = 0
    cp_words: int = 0
    cp_errors: int = 0
    tcp_words: int = 0
    tcp_errors: int = 0
    speech_seconds: float = 0.0
    """Of all speakers together, as turns have it."""
    speech_missed: float = 0.0
    speech_false: float = 0.0
    speech_confused: float = 0.0
    jaccard_speakers: float = 0.0
    jaccard_errors: float = 0.0
    critical: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    critical_found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, other: "Counts") -> None:
        for each in fields(self):
            own, more = getattr(self, each.name), getattr(other, each.name)
            setattr(
                self, each.name, {key: own[key] + more[key] for key in own} if isinstance(own, dict) else own + more
            )

    def rates(self) -> dict[str, float | None]:
        """Shares from 0 to 1 (errors may be more); None where there is nothing to count."""
        return {
            "wer": _share(self.errors, self.words),
            "wer_verbatim": _share(self.verbatim_errors, self.verbatim_words),
            "lost_rate": _share(self.lost, self.words),
            "lost_unmarked_rate": _share(self.lost_unmarked, self.marked_words),
            "exchanged_rate": _share(self.exchanged, self.words),
            "invented_rate": _share(self.invented, self.words),
            "cpwer": _share(self.cp_errors, self.cp_words),
            "tcpwer": _share(self.tcp_errors, self.tcp_words),
            "der": _share(self.speech_missed + self.speech_false + self.speech_confused, self.speech_seconds),
            "jer": _share(self.jaccard_errors, self.jaccard_speakers),
            **{f"recall_{kind}": _share(self.critical_found[kind], self.critical[kind]) for kind in KINDS},
        }


@dataclass(frozen=True)
class Scored:
    """One recording."""

    counts: Counts
    speakers: dict[str, Counts]
    """By the reference's names. Invented words belong to nobody: a speaker's errors are the words lost and exchanged;
    cpWER counts what the transcript gives to the same person."""
    alignment: Alignment | None
    reference: tuple[Token, ...]
    hypothesis: tuple[Token, ...]


def check_libraries() -> None:
    """Raises `ConfigurationError` where what scores is not installed."""
    from importlib.util import find_spec

    missing = [name for name in LIBRARIES if find_spec(name.partition(".")[0]) is None]
    if not missing and find_spec("pyannote.metrics") is None:
        missing = ["pyannote.metrics"]
    if missing:
        raise ConfigurationError(
            f"evaluating needs {', '.join(missing)}; install them with: pip install 'caseprep-pipelines[evaluate]'"
        )


def score(reference: Reference, transcript: Hypothesis) -> Scored:
    seconds = _seconds(reference, transcript)
    counts = Counts(recordings=1, seconds=seconds)
    speakers: dict[str, Counts] = {}
    alignment: Alignment | None = None
    spoken: tuple[Token, ...] = ()
    heard: tuple[Token, ...] = ()
    scored = [word for word in transcript.words if not _left_out(word, reference.not_scored)]
    if reference.said is not None:
        words, owners = _words(reference.said)
        spoken = tuple(tokens(words))
        heard = tuple(tokens([(word.text, word.start, word.end) for word in scored]))
        alignment = align(spoken, heard)
        _count_words(counts, alignment, spoken, heard, transcript)
        exact = align(_exactly(word for word, _, _ in words), _exactly(word.text for word in scored))
        counts.verbatim_words, counts.verbatim_errors = len(exact.pairs), exact.errors
        languages = transcript.languages or ("en",)
        wanted = kinds([word for word, _, _ in words], [said.text for said in reference.said], spoken, languages)
        for place, kind in wanted:
            for own in (counts, _of(speakers, owners[spoken[place].index])):
                own.critical[kind] += 1
                own.critical_found[kind] += alignment.pairs[place] is not None
        for place, token in enumerate(spoken):
            own = _of(speakers, owners[token.index])
            own.words += 1
            own.exchanged += place in alignment.exchanged
            own.errors += place in alignment.exchanged
            own.marked_words += transcript.marks is not None
        for place in alignment.lost:
            own = _of(speakers, owners[spoken[place].index])
            own.lost += 1
            own.errors += 1
            own.lost_unmarked += transcript.marks is not None and not _is_marked(place, alignment, heard, transcript)
        if any(said.speaker is not None for said in reference.said):
            _count_attributed(counts, speakers, reference.said, scored)
    if reference.turns is not None and transcript.turns:
        _count_turns(counts, reference, transcript.turns, seconds)
    speakers.pop("", None)
    return Scored(counts, speakers, alignment, spoken, heard)


def _of(speakers: dict[str, Counts], speaker: str) -> Counts:
    return speakers.setdefault(speaker, Counts(recordings=1))


def _seconds(reference: Reference, transcript: Hypothesis) -> float:
    if transcript.seconds is not None:
        return transcript.seconds
    ends = [end for each in (reference.said or (), transcript.words, reference.turns or (), transcript.turns)
            for end in (one.end for one in each) if end is not None]  # fmt: skip
    return max(ends, default=0.0)


def _left_out(word: Word, spans: Sequence[tuple[float, float]]) -> bool:
    if word.start is None or word.end is None:
        return False
    middle = (word.start + word.end) / 2
    return any(start <= middle < end for start, end in spans)


def _words(said: Iterable[Said]) -> tuple[list[tuple[str, float | None, float | None]], list[str]]:
    words, owners = [], []
    for each in said:
        spoken = spread(verbatim(each.text), each.start, each.end)
        words.extend(spoken)
        owners.extend([each.speaker or ""] * len(spoken))
    return words, owners


def _exactly(words: Iterable[str]) -> list[Token]:
    parts = [part for word in words for part in verbatim(word)]
    return [Token(word, index) for index, word in enumerate(parts)]


def _count_words(
    counts: Counts, alignment: Alignment, spoken: Sequence[Token], heard: Sequence[Token], transcript: Hypothesis
) -> None:
    counts.words = len(spoken)
    counts.errors = alignment.errors
    counts.lost, counts.exchanged = len(alignment.lost), len(alignment.exchanged)
    counts.invented = len(alignment.invented)
    if transcript.marks is not None:
        counts.marked_words = len(spoken)
        counts.lost_unmarked = sum(not _is_marked(place, alignment, heard, transcript) for place in alignment.lost)


def _is_marked(place: int, alignment: Alignment, heard: Sequence[Token], transcript: Hypothesis) -> bool:
    """Whether the transcript marks the stretch between the words around it that were found."""
    pairs = alignment.pairs
    before = next((heard[pair].end for pair in pairs[place::-1] if pair is not None), 0.0)
    after = next((heard[pair].start for pair in pairs[place:] if pair is not None), transcript.seconds)
    if before is None or after is None:
        return False
    return any(
        start <= max(before, after) + MARK_SECONDS and end >= min(before, after) - MARK_SECONDS
        for start, end in transcript.marks or ()
    )


def _count_attributed(
    counts: Counts, speakers: dict[str, Counts], said: Sequence[Said], scored: Sequence[Word]
) -> None:
    from meeteval.io.seglst import SegLST
    from meeteval.wer.wer.cp import cp_word_error_rate
    from meeteval.wer.wer.time_constrained import time_constrained_minimum_permutation_word_error_rate

    spoken = [_segment(each.text, each.speaker, each.start, each.end) for each in said]
    heard = [_segment(each.text, each.speaker, each.start, each.end) for each in scored]
    spoken, heard = ([segment for segment in side if segment["words"]] for side in (spoken, heard))
    timed = all(segment["start_time"] is not None for segment in [*spoken, *heard])
    # words are in order already, and times of a product's words may touch
    attributed = cp_word_error_rate(
        SegLST(spoken if timed else _untimed(spoken)), SegLST(heard if timed else _untimed(heard)),
        reference_sort=False, hypothesis_sort=False,
    )  # fmt: skip
    counts.cp_words, counts.cp_errors = attributed.length, attributed.errors
    for own, given in attributed.assignment:
        if own is None:
            continue
        parts = [
            [Token(word, 0) for segment in side if segment["speaker"] == speaker for word in segment["words"].split()]
            for side, speaker in ((spoken, own), (heard, given))
        ]
        one = _of(speakers, own)
        one.cp_words, one.cp_errors = len(parts[0]), align(parts[0], parts[1]).errors
    if timed:
        constrained = time_constrained_minimum_permutation_word_error_rate(
            SegLST(spoken), SegLST(heard), collar=COLLAR_SECONDS
        )
        counts.tcp_words, counts.tcp_errors = constrained.length, constrained.errors


def _segment(text: str, speaker: str | None, start: float | None, end: float | None) -> dict[str, Any]:
    words = " ".join(normalized(text))
    return {"session_id": "", "speaker": speaker or UNKNOWN, "start_time": start, "end_time": end, "words": words}


def _untimed(segments: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: segment[key] for key in ("session_id", "speaker", "words")} for segment in segments]


def _count_turns(counts: Counts, reference: Reference, turns: Sequence[SpeakerTurn], seconds: float) -> None:
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

    def annotation(given: Sequence[SpeakerTurn]) -> Any:
        made = Annotation(uri="recording")
        for number, turn in enumerate(given):
            if turn.end > turn.start:
                made[Segment(turn.start, turn.end), number] = turn.speaker
        # one speaker's turns that overlap are one
        return made.support()

    own = reference.turns or ()
    whole = Segment(0, max([seconds, *(turn.end for turn in (*own, *turns))]))
    scored = Timeline([whole])
    if reference.not_scored:
        scored = Timeline([Segment(start, end) for start, end in reference.not_scored]).gaps(whole)
    truth, said = annotation(own), annotation(turns)
    error = DiarizationErrorRate()(truth, said, uem=scored, detailed=True)
    counts.speech_seconds += error["total"]
    counts.speech_missed += error["missed detection"]
    counts.speech_false += error["false alarm"]
    counts.speech_confused += error["confusion"]
    jaccard = JaccardErrorRate()(truth, said, uem=scored, detailed=True)
    counts.jaccard_errors += jaccard["speaker error"]
    counts.jaccard_speakers += jaccard["speaker count"]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

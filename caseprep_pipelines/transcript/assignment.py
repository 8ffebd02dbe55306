"""Which speaker said each word: pure functions over the words of one channel and the turns. No document is built here.

The rules:

1. Where a model found the turns, a word goes to the speaker whose exclusive turns cover most of it; where none does, to
   the nearest turn within `NEAR_SECONDS`, as uncertain; else to nobody.
2. Where channels are speakers, a word goes to its channel's speaker, always.
3. A word is in overlap when its speaker's and another's turns together cover a good part of it.
4. One or two words at a turn's edge can land on the wrong side of it: turns and words are timed by different models.
   Within a sentence, such an island goes to the speaker of the rest (`smooth`).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from caseprep_pipelines.speech.documents import Turn, Word
from caseprep_pipelines.transcript.document import WordFlag
from caseprep_pipelines.transcript.joining import SENTENCE_ENDS

NEAR_SECONDS = 0.5
"""How far from every turn a word may lie and still go to the nearest."""
NEARLY_EQUAL = 2 / 3
"""Two speakers claim a word nearly equally when the second covers at least so much of what the first does."""
OVERLAP_SECONDS, OVERLAP_RATIO = 0.1, 0.5
"""So much of a word must two speakers' turns share for it to be in overlap, the shorter of the two."""
ISLAND_WORDS = 2
ISLAND_REST_WORDS = 3
"""The rest of the sentence must be at least so long."""
ISLAND_PAUSE_SECONDS = 0.3
"""An island parted by such a pause is left alone."""
ISLAND_CONFIDENCE = 0.8
"""An island that its turns cover by at least so much is left alone, unless its speaker also spoke just before or after
the sentence: an interjection is no island."""
SENTENCE_PAUSE_SECONDS = 0.6
_POINT_SECONDS = 0.02


@dataclass(frozen=True)
class AssignedWord:
    word: Word
    speaker: str | None
    confidence: float | None
    """Share of the word's time that its speaker's exclusive turns cover, 0 to 1; None where there are no turns."""
    flags: frozenset[WordFlag] = frozenset()
    shares: Mapping[str, float] = field(default_factory=dict)
    """The same for every speaker whose exclusive turns touch the word."""


class TurnIndex:
    """Turns by time, so that ten hours of them are not searched for every word."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._starts = [turn.start for turn in self._turns]
        self._longest = max((turn.end - turn.start for turn in turns), default=0.0)

    def __len__(self) -> int:
        return len(self._turns)

    def between(self, start: float, end: float) -> list[Turn]:
        """The turns that share some time with `start` to `end`."""
        first = bisect_left(self._starts, start - self._longest - 1e-6)
        last = bisect_right(self._starts, end)
        return [turn for turn in self._turns[first:last] if turn.end > start and turn.start < end]


def assign(words: Sequence[Word], turns: Sequence[Turn], exclusive: Sequence[Turn]) -> list[AssignedWord]:
    """Rules 1, 3 and 4: the words of one channel, in their order, with the speakers that a model found."""
    heard, sole = TurnIndex(turns), TurnIndex(exclusive)
    return smooth([_assign(word, heard, sole) for word in words])


def assign_to_channel(
    words: Sequence[Word], channel: int, turns: Sequence[Turn], bleed: Sequence[Turn]
) -> list[AssignedWord]:
    """Rules 2 and 3: the words of one channel that is a speaker, in their order.

    A word that bleed covers by half is marked as possible bleed. One that neither a turn nor bleed touches is
    uncertain. The speaker is None where the channel has no turns at all.
    """
    own = TurnIndex([turn for turn in turns if turn.channel == channel])
    others = TurnIndex([turn for turn in turns if turn.channel != channel])
    bled = TurnIndex([turn for turn in bleed if turn.channel == channel])
    speaker = next((turn.speaker for turn in turns if turn.channel == channel), None)
    assigned = []
    for word in words:
        start, end = _extent(word)
        covered, bleeding = (_covered(index.between(start, end), start, end) for index in (own, bled))
        flags = set()
        if bleeding >= 0.5 * (end - start):
            flags.add(WordFlag.POSSIBLE_BLEED)
        elif _covered(others.between(start, end), start, end) >= _much(start, end):
            flags.add(WordFlag.OVERLAP)
        if not covered and not bleeding and not own.between(start - NEAR_SECONDS, end + NEAR_SECONDS):
            flags.add(WordFlag.UNCERTAIN_SPEAKER)
        confidence = round(min(1.0, covered / (end - start)), 4) if turns else None
        assigned.append(AssignedWord(word, speaker, confidence, frozenset(flags)))
    return assigned


def smooth(words: Sequence[AssignedWord]) -> list[AssignedWord]:
    """Rule 4: the same words in the same order; islands get the speaker of their sentence's rest and are marked.

    A sentence ends with its mark or before a pause of `SENTENCE_PAUSE_SECONDS`. An island is a run of at most
    `ISLAND_WORDS` words of one speaker in a sentence whose other words are one other speaker's and at least
    `ISLAND_REST_WORDS`, with no pause between. It is one only if its speaker also said the word just outside the
    sentence on its side (the turn's edge is off by a word or two), or if its own turns hardly cover it.
    """
    smoothed = list(words)
    for first, end in _sentences(words):
        runs = _runs(words, first, end)
        for at, (a, b) in enumerate(runs):
            rest = [words[k].speaker for k in range(first, end) if not a <= k < b]
            if b - a > ISLAND_WORDS or len(rest) < ISLAND_REST_WORDS or len(set(rest)) != 1:
                continue
            if rest[0] is None or words[a].speaker is None:
                continue
            beyond = [k for k, edge in ((a - 1, at == 0), (b, at == len(runs) - 1)) if edge and 0 <= k < len(words)]
            hangs_over = any(words[k].speaker == words[a].speaker for k in beyond)
            unsure = sum(words[k].confidence or 0.0 for k in range(a, b)) / (b - a) < ISLAND_CONFIDENCE
            if (hangs_over or unsure) and not _parted(words, a, b, first, end):
                for k in range(a, b):
                    flags = words[k].flags | {WordFlag.SMOOTHED_SPEAKER}
                    share = words[k].shares.get(rest[0], 0.0)
                    smoothed[k] = replace(words[k], speaker=rest[0], confidence=share, flags=flags)
    return smoothed


def _assign(word: Word, heard: TurnIndex, sole: TurnIndex) -> AssignedWord:
    if not len(sole):
        return AssignedWord(word, None, None, frozenset({WordFlag.UNCERTAIN_SPEAKER}))
    start, end = _extent(word)
    claims: dict[str, float] = {}
    for turn in sole.between(start, end):
        claims[turn.speaker] = claims.get(turn.speaker, 0.0) + min(end, turn.end) - max(start, turn.start)
    if not claims:
        near = sole.between(start - NEAR_SECONDS, end + NEAR_SECONDS)
        nearest = min(near, key=lambda turn: (max(start - turn.end, turn.start - end), turn.start), default=None)
        flags = {WordFlag.UNCERTAIN_SPEAKER}
        if nearest is None:
            return AssignedWord(word, None, 0.0, frozenset(flags))
        if _overlaps(heard, nearest.speaker, start, end):
            flags.add(WordFlag.OVERLAP)
        return AssignedWord(word, nearest.speaker, 0.0, frozenset(flags))
    ranked = sorted(claims.items(), key=lambda claim: (-claim[1], claim[0]))
    speaker, most = ranked[0]
    flags = set()
    if len(ranked) > 1 and ranked[1][1] >= NEARLY_EQUAL * most:
        flags.add(WordFlag.UNCERTAIN_SPEAKER)
    if _overlaps(heard, speaker, start, end):
        flags.add(WordFlag.OVERLAP)
    shares = {name: round(min(1.0, claim / (end - start)), 4) for name, claim in ranked}
    return AssignedWord(word, speaker, shares[speaker], frozenset(flags), shares)


def _extent(word: Word) -> tuple[float, float]:
    """A word without length counts as a point's surroundings."""
    if word.end - word.start >= _POINT_SECONDS:
        return word.start, word.end
    middle = (word.start + word.end) / 2
    return middle - _POINT_SECONDS / 2, middle + _POINT_SECONDS / 2


def _overlaps(turns: TurnIndex, speaker: str, start: float, end: float) -> bool:
    near = turns.between(start, end)
    together = [
        (max(own.start, other.start), min(own.end, other.end))
        for own in near
        for other in near
        if own.speaker == speaker != other.speaker and own.start < other.end and other.start < own.end
    ]
    return _joint(together, start, end) >= _much(start, end)


def _much(start: float, end: float) -> float:
    return min(OVERLAP_SECONDS, OVERLAP_RATIO * (end - start))


def _covered(turns: Sequence[Turn], start: float, end: float) -> float:
    """Seconds from `start` to `end` that any of the turns covers."""
    return _joint([(turn.start, turn.end) for turn in turns], start, end)


def _joint(stretches: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Seconds from `start` to `end` that any of the stretches covers."""
    total, reached = 0.0, start
    for first, last in sorted(stretches):
        total += max(0.0, min(end, last) - max(reached, first))
        reached = max(reached, min(end, last))
    return total


def _sentences(words: Sequence[AssignedWord]) -> list[tuple[int, int]]:
    sentences, first = [], 0
    for at, assigned in enumerate(words):
        last = at + 1 == len(words)
        ends = assigned.word.text.rstrip("\"')”’").endswith(SENTENCE_ENDS)
        if last or ends or words[at + 1].word.start - assigned.word.end >= SENTENCE_PAUSE_SECONDS:
            sentences.append((first, at + 1))
            first = at + 1
    return sentences


def _runs(words: Sequence[AssignedWord], first: int, end: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for at in range(first, end):
        if runs and words[at].speaker == words[runs[-1][0]].speaker:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


def _parted(words: Sequence[AssignedWord], a: int, b: int, first: int, end: int) -> bool:
    before = a > first and words[a].word.start - words[a - 1].word.end >= ISLAND_PAUSE_SECONDS
    after = b < end and words[b].word.start - words[b - 1].word.end >= ISLAND_PAUSE_SECONDS
    return before or after

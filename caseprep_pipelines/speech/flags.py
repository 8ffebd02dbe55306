"""What is suspicious about what a recogniser said. Flags mark; nothing is ever removed, and nothing here decodes again.

Whisper's own measures do not serve alone: batched decoding has no fallback, and its no-speech probability says nothing
with some models (1e-10 throughout with large-v3-turbo).
"""

import zlib
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from caseprep_pipelines.speech.documents import Segment, Span, Suspicion, Word
from caseprep_pipelines.transcript.joining import UNSPACED_LANGUAGES

REPETITION_COMPRESSION = 2.4
"""Whisper's own bound for text that compresses too well."""
LOOP_TIMES = ((1, 6), (2, 4), (3, 4), (4, 3), (5, 3), (6, 3), (8, 3))
"""How often a sequence of so many words must follow itself to be a loop; "no, no, no" is an answer."""
LOW_AVERAGE_LOG_PROBABILITY = -1.0
LOW_WORD_PROBABILITY = 0.4
"""Mean over a segment; also the bound below which a single word is marked in the transcript."""
FAST_WORDS, FAST_SECONDS = 10, 1.25
"""Nobody says ten words in less time."""
FAST_LETTERS = 25
"""Nor so many letters, which are what words are in languages without spaces."""
STRAY_SECONDS = 0.5
"""A word whose middle is farther than this from detected speech was heard where nobody spoke."""
SAME_RATIO = 0.8
"""Two decodings agree where so much of their words is the same: difflib's ratio."""


def flag_segment(segment: Segment, speech: Sequence[Span]) -> Segment:
    """The segment with its flags, those that it had included; `speech` is the channel's speech map."""
    found = {*segment.flags, *doubts(segment, speech)}
    return segment.model_copy(update={"flags": tuple(flag for flag in Suspicion if flag in found)})


def doubts(segment: Segment | None, speech: Sequence[Span]) -> tuple[Suspicion, ...]:
    """What about the words themselves is suspicious; nothing about no words."""
    if segment is None:
        return ()
    found = {
        Suspicion.REPETITION: repeats(segment),
        Suspicion.LOW_PROBABILITY: improbable(segment),
        Suspicion.TOO_FAST: too_fast(segment.words, segment.language),
        Suspicion.NO_SPEECH_DETECTED: strays(segment.words, speech),
    }
    return tuple(flag for flag, is_so in found.items() if is_so)


def bare(word: Word) -> str:
    """What two decodings of a word have alike: its letters and digits, without case."""
    return "".join(letter for letter in word.text.casefold() if letter.isalnum())


def same_words(one: Segment | None, other: Segment | None) -> bool:
    """Whether two decodings say nearly the same."""
    first, second = (
        [text for word in segment.words if (text := bare(word))] if segment else [] for segment in (one, other)
    )
    return bool(SequenceMatcher(None, first, second, autojunk=False).ratio() >= SAME_RATIO)


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of it compressed: 1 to 2 for speech, high where it repeats itself.

    Letters that take several bytes count as one each: they begin alike, and any Thai would seem to repeat itself.
    """
    data = text.encode()
    if len(data) > 1.5 * len(text):
        letters = {letter: number for number, letter in enumerate(dict.fromkeys(text))}
        data = bytes(letters[letter] % 256 for letter in text)
    return len(data) / len(zlib.compress(data))


def repeats(segment: Segment) -> bool:
    """Whether the words run in a loop."""
    words = [bare(word) for word in segment.words]
    return segment.compression_ratio > REPETITION_COMPRESSION or any(
        _loops(words, size, times) for size, times in LOOP_TIMES
    )


def improbable(segment: Segment) -> bool:
    """Whether the recogniser itself was unsure of the segment as a whole."""
    if segment.average_log_probability < LOW_AVERAGE_LOG_PROBABILITY:
        return True
    total = sum(word.probability for word in segment.words)
    return bool(segment.words) and total / len(segment.words) < LOW_WORD_PROBABILITY


def too_fast(words: Sequence[Word], language: str | None = None) -> bool:
    """Whether somewhere more words stand than can be spoken: invented, or timed wrongly."""
    many = FAST_LETTERS if language in UNSPACED_LANGUAGES else FAST_WORDS
    return any(words[at + many - 1].end - words[at].start < FAST_SECONDS for at in range(len(words) - many + 1))


def strays(words: Sequence[Word], speech: Sequence[Span]) -> bool:
    """Whether two words running stand where no speech was detected (one alone: most segments')."""
    away = [
        all(not span.start - STRAY_SECONDS <= middle <= span.end + STRAY_SECONDS for span in near)
        for middle, near in _beside(words, speech)
    ]
    return any(a and b for a, b in pairwise(away)) or (len(away) == 1 and away[0])


def _loops(words: Sequence[str], size: int, times: int) -> bool:
    same = 0
    for at in range(size, len(words)):
        same = same + 1 if words[at] == words[at - size] else 0
        if same >= size * (times - 1):
            return True
    return False


def _beside(words: Sequence[Word], speech: Sequence[Span]) -> list[tuple[float, Sequence[Span]]]:
    """The middle of each word with the span that could be near it; both come in order of time."""
    pairs: list[tuple[float, Sequence[Span]]] = []
    first = 0
    for word in words:
        middle = (word.start + word.end) / 2
        while first < len(speech) and speech[first].end + STRAY_SECONDS < middle:
            first += 1
        pairs.append((middle, speech[first : first + 1]))
    return pairs

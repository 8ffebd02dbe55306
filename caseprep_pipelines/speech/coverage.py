"""How much of the speech has words: what a word can cover of it, and where speech is left over. Pure.

Coverage is judged by speech and not by what words claim: a recognizer that passes over ten seconds gives them to the
word before, or to the word after. What is done about a gap belongs in `listening`.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from caseprep_pipelines.speech.documents import Span, Word

MAX_WORD_SECONDS = 1.5
"""Longer is no word, drawn out as it may be; of what it claims the rest is covered by nothing."""
DIGIT_SECONDS = 0.5
"""Numbers are spoken digit by digit: "42,315" may take three seconds."""
USUAL_SECONDS = 0.5
"""What a word that claims too much is taken to cover: other words may hide behind it."""
BESIDE_SECONDS = 0.3
"""A word covers so much on either side: recognizers time words shorter than they are."""
PAUSE_SECONDS = 1.0
"""Stretches without words that such a pause parts are two."""
GAP_SECONDS = 1.0
"""Speech without words counts from here: coughs and hesitations are shorter."""


def longest(word: Word) -> float:
    """Seconds that the word can take at most."""
    return max(MAX_WORD_SECONDS, DIGIT_SECONDS * len(re.findall(r"\d", word.text)))


def covered(words: Sequence[Word]) -> list[tuple[float, float]]:
    """What each word of one clip covers, in order.

    A word that is too long begins where it says, for alignment gives what is passed over to the word before it; the
    clip's first word ends where it says, for there is none before it.
    """
    spans = []
    for at, word in enumerate(words):
        if word.end - word.start <= longest(word):
            spans.append((word.start, word.end))
        elif at == 0:
            spans.append((word.end - USUAL_SECONDS, word.end))
        else:
            spans.append((word.start, word.start + USUAL_SECONDS))
    return spans


def gaps(speech: Sequence[Span], words: Sequence[tuple[float, float]], least: float = GAP_SECONDS) -> tuple[Span, ...]:
    """Where somebody speaks, for `least` seconds and more, and no word is. `words` as `covered` gives them.

    Stretches of speech that only short pauses part, and no word, count together.
    """
    spoken = merged(words)
    starts = [start for start, _ in spoken]

    def word_between(start: float, end: float) -> bool:
        last = bisect_left(starts, end)
        return last > 0 and spoken[last - 1][1] > start

    found: list[tuple[float, float, float]] = []
    for start, end in _left(speech, merged([(a - BESIDE_SECONDS, b + BESIDE_SECONDS) for a, b in words])):
        if found and start - found[-1][1] < PAUSE_SECONDS and not word_between(found[-1][1], start):
            first, _, seconds = found[-1]
            found[-1] = (first, end, seconds + end - start)
        else:
            found.append((start, end, end - start))
    return tuple(Span(start=round(a, 3), end=round(b, 3)) for a, b, seconds in found if round(seconds, 3) >= least)


def _left(speech: Sequence[Span], taken: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    left = []
    at = 0
    for span in speech:
        start = span.start
        while at < len(taken) and taken[at][1] <= start:
            at += 1
        following = at
        while following < len(taken) and taken[following][0] < span.end:
            left.append((start, taken[following][0]))
            start = taken[following][1]
            following += 1
        left.append((start, span.end))
    return [(a, b) for a, b in left if b > a]


def merged(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The stretches in order, those that touch as one."""
    together: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if together and start <= together[-1][1]:
            together[-1] = (together[-1][0], max(end, together[-1][1]))
        else:
            together.append((start, end))
    return together

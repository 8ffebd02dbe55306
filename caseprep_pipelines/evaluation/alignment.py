"""Which word of one text is which word of another: the ground under words lost and words invented."""

from collections.abc import Sequence
from itertools import groupby

from caseprep_pipelines.evaluation.normalization import Token

MOVED_SECONDS = 3.0
"""Where two speak at once, a word may stand so far from its place; it is not lost."""


def matched(reference: Sequence[Token], hypothesis: Sequence[Token]) -> list[int | None]:
    """For each word of the reference the place of the same word in the hypothesis; None where it has none.

    First by the alignment with the fewest edits; then what is left over on both sides and is the same word at most
    `MOVED_SECONDS` away, where both have times.
    """
    pairs: list[int | None] = [None] * len(reference)
    for place, other in equal_places([token.text for token in reference], [token.text for token in hypothesis]):
        pairs[place] = other
    taken = {other for other in pairs if other is not None}
    free: dict[str, list[int]] = {}
    for other, token in enumerate(hypothesis):
        if other not in taken and token.start is not None:
            free.setdefault(token.text, []).append(other)
    for place, token in enumerate(reference):
        if pairs[place] is not None or token.start is None:
            continue
        near = [other for other in free.get(token.text, ()) if _apart(token, hypothesis[other]) <= MOVED_SECONDS]
        if near:
            pairs[place] = min(near, key=lambda other: _apart(token, hypothesis[other]))  # noqa: B023
            free[token.text].remove(pairs[place])  # type: ignore[arg-type]
    return pairs


def equal_places(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Places of equal words in the alignment with the fewest edits."""
    from rapidfuzz.distance import Levenshtein

    return [
        (block.a + step, block.b + step)
        for block in Levenshtein.editops(reference, hypothesis).as_matching_blocks()
        for step in range(block.size)
    ]


def stretches(words: Sequence[bool], least: int) -> list[tuple[int, int]]:
    """Where at least so many words in a row are marked; first and last place."""
    at, found = 0, []
    for marked, group in groupby(words):
        size = len(list(group))
        if marked and size >= least:
            found.append((at, at + size - 1))
        at += size
    return found


def _apart(one: Token, other: Token) -> float:
    assert one.start is not None and one.end is not None and other.start is not None and other.end is not None  # noqa: S101, PT018
    return max(0.0, one.start - other.end, other.start - one.end)

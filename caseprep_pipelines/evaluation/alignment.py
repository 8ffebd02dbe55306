"""Which word of one text is which word of another: the ground under words lost and words invented."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from caseprep_pipelines.evaluation.normalization import Token

MOVED_SECONDS = 3.0
"""Where two speak at once, a word may stand so far from its place; it is not lost."""


@dataclass(frozen=True)
class Alignment:
    pairs: list[int | None]
    """For each word of the reference the place of the same word in the hypothesis; None where it has none."""
    exchanged: dict[int, int]
    """Places of words of the reference in whose place another word stands, and of that one."""
    lost: list[int]
    """Places of words of the reference for which nothing stands in the hypothesis."""
    invented: list[int]
    """Places of words of the hypothesis for which nothing stands in the reference."""
    errors: int
    """The fewest words to exchange, take out and put in that make one text the other: what the word error rate counts.
    The other figures may come to more, as they keep every word that stands in both."""


def align(reference: Sequence[Token], hypothesis: Sequence[Token]) -> Alignment:
    """Pairs as many words as can be without changing their order; then, what is left over on both sides and is the same
    word at most `MOVED_SECONDS` away, where both have times. Errors are counted by jiwer, as everybody does."""
    import jiwer
    from rapidfuzz.distance import Indel

    said, heard = [token.text for token in reference], [token.text for token in hypothesis]
    counted = jiwer.process_words(" ".join(said), " ".join(heard))
    pairs: list[int | None] = [None] * len(reference)
    for block in Indel.opcodes(said, heard).as_matching_blocks():
        for step in range(block.size):
            pairs[block.a + step] = block.b + step
    instead = dict(_facing(pairs, len(hypothesis)))
    _pair_moved(reference, hypothesis, pairs)
    taken = {other for other in pairs if other is not None}
    exchanged = {place: other for place, other in instead.items() if pairs[place] is None and other not in taken}
    standing = taken | set(exchanged.values())
    return Alignment(
        pairs=pairs,
        exchanged=exchanged,
        lost=[place for place, other in enumerate(pairs) if other is None and place not in exchanged],
        invented=[other for other in range(len(hypothesis)) if other not in standing],
        errors=counted.substitutions + counted.deletions + counted.insertions,
    )


def _facing(pairs: Sequence[int | None], words: int) -> Iterator[tuple[int, int]]:
    """Words without a pair that face each other between two pairs, one by one from the left."""
    place, other = 0, 0
    for end, other_end in [*((at, pair) for at, pair in enumerate(pairs) if pair is not None), (len(pairs), words)]:
        yield from zip(range(place, end), range(other, other_end), strict=False)
        place, other = end + 1, other_end + 1


def stretches(marked: Sequence[bool], least: int) -> list[tuple[int, int]]:
    """Where at least so many in a row are marked; first and last place of each."""
    at, found = 0, []
    for is_marked, group in groupby(marked):
        size = len(list(group))
        if is_marked and size >= least:
            found.append((at, at + size - 1))
        at += size
    return found


def _pair_moved(reference: Sequence[Token], hypothesis: Sequence[Token], pairs: list[int | None]) -> None:
    taken = {other for other in pairs if other is not None}
    free: dict[str, list[int]] = {}
    for other, token in enumerate(hypothesis):
        if other not in taken:
            free.setdefault(token.text, []).append(other)
    for place, token in enumerate(reference):
        if pairs[place] is not None:
            continue
        apart = {other: _apart(token, hypothesis[other]) for other in free.get(token.text, ())}
        near = min(apart, key=lambda other: apart[other], default=None)
        if near is not None and apart[near] <= MOVED_SECONDS:
            pairs[place] = near
            free[token.text].remove(near)


def _apart(one: Token, other: Token) -> float:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return float("inf")
    return max(0.0, one.start - other.end, other.start - one.end)

"""Which word of one text is which word of another: the ground under words lost and words invented."""

from collections.abc import Sequence
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
    substitutions: int
    deletions: int
    insertions: int
    """Of the alignment with the fewest edits alone: what the word error rate counts."""

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def align(reference: Sequence[Token], hypothesis: Sequence[Token]) -> Alignment:
    """By the alignment with the fewest edits; then what is left over on both sides and is the same word at most
    `MOVED_SECONDS` away, where both have times, is one word as well."""
    import jiwer

    words = [" ".join(token.text for token in side) for side in (reference, hypothesis)]
    output = jiwer.process_words(words[0], words[1])
    pairs: list[int | None] = [None] * len(reference)
    instead: dict[int, int] = {}
    for chunk in output.alignments[0]:
        if chunk.type in ("equal", "substitute"):
            places = range(chunk.ref_start_idx, chunk.ref_end_idx)
            for place, other in zip(places, range(chunk.hyp_start_idx, chunk.hyp_end_idx), strict=True):
                if chunk.type == "equal":
                    pairs[place] = other
                else:
                    instead[place] = other
    _pair_moved(reference, hypothesis, pairs)
    taken = {other for other in pairs if other is not None}
    exchanged = {place: other for place, other in instead.items() if pairs[place] is None and other not in taken}
    standing = taken | set(exchanged.values())
    return Alignment(
        pairs=pairs,
        exchanged=exchanged,
        lost=[place for place, other in enumerate(pairs) if other is None and place not in exchanged],
        invented=[other for other in range(len(hypothesis)) if other not in standing],
        substitutions=output.substitutions,
        deletions=output.deletions,
        insertions=output.insertions,
    )


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
        near = min(apart, key=lambda other: apart[other], default=None)  # noqa: B023 - called at once
        if near is not None and apart[near] <= MOVED_SECONDS:
            pairs[place] = near
            free[token.text].remove(near)


def _apart(one: Token, other: Token) -> float:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return float("inf")
    return max(0.0, one.start - other.end, other.start - one.end)

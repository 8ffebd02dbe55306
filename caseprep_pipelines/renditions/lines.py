"""Text in lines of a given width, in any script. What the lines say belongs in the formats' own modules."""

import unicodedata
from collections import deque

from caseprep_pipelines.transcript.joining import SYLLABLE_BEGINS, unbreakable


def columns(text: str) -> int:
    """How wide the text stands in a fixed-width font: a wide East Asian character takes two columns, a mark that
    stands on another character none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns. A longer word has a line to itself.

    Lines end at spaces. Where words are written without, they end between two letters that may be parted, but rather
    at a space or a syllable that is sure, if there is one in the second half of the line.
    """
    waiting = deque((" " * (not at), piece) for word in text.split() for at, piece in enumerate(unbreakable(word)))
    lines: list[str] = []
    line: list[tuple[str, str]] = []
    used = 0
    while waiting:
        space, piece = waiting.popleft()
        added = len(space if line else "") + columns(piece)
        if not line or used + added <= width:
            line.append((space, piece))
            used += added
            continue
        waiting.appendleft((space, piece))
        kept = len(line) if space else _best_end([*line, (space, piece)], width)
        waiting.extendleft(reversed(line[kept:]))
        lines.append(_text(line[:kept]))
        line, used = [], 0
    return [*lines, _text(line)] if line else lines


def _best_end(pieces: list[tuple[str, str]], width: int) -> int:
    """How many pieces of a full line stay in it; the last of these does not fit."""
    long_enough = [at for at in range(1, len(pieces)) if 2 * columns(_text(pieces[:at])) >= width]
    at_space = [at for at in long_enough if pieces[at][0]]
    at_syllable = [at for at in long_enough if pieces[at][1][0] in SYLLABLE_BEGINS]
    return max(at_space or at_syllable or [len(pieces) - 1])


def _text(line: list[tuple[str, str]]) -> str:
    return "".join(space + piece for space, piece in line)[len(line[0][0]) :]

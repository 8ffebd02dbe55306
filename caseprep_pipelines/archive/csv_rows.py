"""Rows of a CSV file that a person wrote, one damaged row never hiding another.

Python's own reader takes an opening quote without its end for a value that goes on over all the lines that follow, and
those rows are gone. Here such a row is named, and reading goes on with the next line. What columns mean belongs in
`manifests`.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TextIO

#: A longer line or value is none that anybody means. Nothing longer is held in memory.
LONGEST = 131_072

_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"(?!") *')
_QUOTED_AFTER_SPACES = re.compile(r' +"([^"\r\n]*(?:""[^"\r\n]*)*)"(?!") *')
_ENDS = re.compile(r'[^"]*(?:""[^"]*)*"(?!")')
_LINE_ENDS = ("\r", "\n")


@dataclass
class NumberedLines:
    """The lines of a file with their ends, each with its number; lines can be given back."""

    stream: TextIO
    """Opened with `newline=""`."""
    number: int = 0
    """Of the line that `next` gave last."""
    _again: deque[str] = field(default_factory=deque)

    def next(self) -> str | None:
        """None at the file's end. Of a line that is too long the beginning comes, without an end."""
        line = self._again.popleft() if self._again else self._read()
        self.number += line is not None
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)

    def _read(self) -> str | None:
        line = more = self.stream.readline(LONGEST)
        while len(more) == LONGEST and not more.endswith(_LINE_ENDS):
            more = self.stream.readline(LONGEST)
        return line or None


@dataclass(frozen=True)
class _Split:
    """A row's values, or where in its text a quote was opened that has no end there."""

    values: list[str]
    opened: int | None = None
    closed: bool = False
    """Whether the quote has an end, but one in the middle of a value."""
    over_lines: tuple[int, ...] = ()
    """Where quotes were opened whose values go on over a line's end, by value."""


def rows(
    lines: NumberedLines, separator: str, columns: int, in_one_line: Sequence[object] = ()
) -> Iterator[tuple[int, list[str] | str]]:
    """Rows with the number of their first line; what is not a row comes as the sentence that says why.

    A row has at most so many `columns`, but for empty ones at its end. Where `in_one_line` has something for a column,
    its values do not go on over a line's end: that is an opening quote without its end, too.
    """
    while (line := lines.next()) is not None:
        first = lines.number
        if len(line) >= LONGEST and not line.endswith(_LINE_ENDS):
            yield first, f"this line has more than {LONGEST:,} characters; write one recording a line"
            continue
        taken, length = [line], len(line)
        split = _split(line, separator)
        while split.opened is not None and not split.closed:
            following = lines.next()
            if following is None:
                break
            taken.append(following)
            length += len(following)
            if length > LONGEST:
                break
            if _ENDS.match(following):
                split = _split("".join(taken), separator)
        yield _judged(lines, first, taken, split, columns, in_one_line)


def _judged(
    lines: NumberedLines, first: int, taken: list[str], split: _Split, columns: int, in_one_line: Sequence[object]
) -> tuple[int, list[str] | str]:
    too_many = any(value.strip() for value in split.values[columns:])
    # where anything is wrong with the row, the first value that goes on over a line's end should not
    wrong = too_many or split.opened is not None
    over_lines = [
        at
        for at, column in zip_longest(split.over_lines, in_one_line[: len(split.over_lines)])
        if at >= 0 and (wrong or column is not None)
    ]
    opened = over_lines[0] if over_lines else split.opened
    if opened is None:
        if too_many:
            return first, "more values than columns; put a value that holds the separator into quotes"
        return first, split.values[:columns]
    line = 0
    while opened >= len(taken[line]):
        opened -= len(taken[line])
        line += 1
    lines.give_back(taken[line + 1 :])
    end = "ends in the middle of a value" if split.closed and len(taken) == line + 1 else "has no end in its line"
    return first + line, (
        f'the quote at character {opened + 1} {end}; close it there, or write "" for a quote inside a quoted value'
    )


def _split(text: str, separator: str) -> _Split:
    """A row's text, with the end of its last line or without, as values."""
    values: list[str] = []
    if '"' not in text:
        return _Split(text.rstrip("\r\n").split(separator))
    over_lines: list[int] = []
    plain = re.compile(f"[^{re.escape(separator)}\r\n]*")
    at = 0
    while True:
        quoted = _QUOTED.match(text, at) or _QUOTED_AFTER_SPACES.match(text, at)
        ends = quoted is not None and (quoted.end() == len(text) or text[quoted.end()] in (separator, "\r", "\n"))
        if quoted is not None and ends:
            over_lines.append(at if any(end in quoted[1] for end in _LINE_ENDS) else -1)
            values.append(quoted[1].replace('""', '"'))
            at = quoted.end()
        elif text[at : at + 1] == '"':
            return _Split(values, at, closed=quoted is not None, over_lines=tuple(over_lines))
        else:
            found = plain.match(text, at)
            over_lines.append(-1)
            values.append(found[0] if found else "")
            at += len(values[-1])
        if at >= len(text) or text[at] != separator:
            return _Split(values, over_lines=tuple(over_lines))
        at += 1

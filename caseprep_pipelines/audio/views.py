"""A file, or pieces of it put together, read at any place and handed to FFmpeg as a file. Knows no format.

What `pieces` finds (a joined file's second half, samples behind a header that counts too few) is opened like a file of
its own, without a copy on disk. Runs in the child process; `bytes` in place of a descriptor serve the tests.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Bytes that a search reads at once, and how many of them it reads again so that no find is cut in two.
_BLOCK = 4 << 20
_OVERLAP = 256

#: What FFmpeg asks `seek` for when it wants the size (AVSEEK_SIZE).
_SIZE = 0x10000


@dataclass(frozen=True)
class Span:
    """Bytes of the file from `start` up to `end`."""

    start: int
    end: int


class View:
    """Spans of a file and bytes of our own, one after the other."""

    def __init__(self, source: int | bytes, parts: "tuple[Span | bytes, ...] | None" = None) -> None:
        size = len(source) if isinstance(source, bytes) else os.fstat(source).st_size
        self.source = source
        self.parts = (Span(0, size),) if parts is None else parts
        self.whole = parts is None
        """Whether it is the file as it lies."""
        self.name = ""
        self._starts = [0]
        for part in self.parts:
            self._starts.append(self._starts[-1] + _length(part))
        self.size = self._starts[-1]
        self._position = 0

    def cut(self, start: int, end: int) -> "View":
        """The bytes from `start` up to `end` of this view."""
        return View(self.source, tuple(self._between(start, end)))

    def joined(self, before: bytes, start: int, end: int) -> "View":
        """`before`, then the bytes from `start` up to `end`."""
        return View(self.source, (before, *self._between(start, end)))

    def at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on; fewer at the end."""
        found = []
        for part in self._between(offset, min(offset + length, self.size)):
            if isinstance(part, bytes):
                found.append(part)
            elif isinstance(self.source, bytes):
                found.append(self.source[part.start : part.end])
            else:
                found.append(os.pread(self.source, part.end - part.start, part.start))
        return b"".join(found)

    def find_all(self, pattern: "re.Pattern[bytes]", start: int = 0) -> Iterator[int]:
        """Where the pattern, whose finds are shorter than `_OVERLAP`, begins; from `start` on, in order."""
        last = -1
        for offset in range(start, self.size, _BLOCK):
            block = self.at(offset, _BLOCK + _OVERLAP)
            for match in pattern.finditer(block):
                if match.start() < _BLOCK and offset + match.start() > last:
                    last = offset + match.start()
                    yield last

    # what PyAV wants of a file

    def read(self, length: int) -> bytes:
        data = self.at(self._position, length)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence & _SIZE:
            return self.size
        base = {0: 0, 1: self._position, 2: self.size}[whence & 3]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def _between(self, start: int, end: int) -> "Iterator[Span | bytes]":
        for begins, part in zip(self._starts, self.parts, strict=False):
            first, last = max(start - begins, 0), min(end - begins, _length(part))
            if first < last:
                yield part[first:last] if isinstance(part, bytes) else Span(part.start + first, part.start + last)


def _length(part: Any) -> int:
    return len(part) if isinstance(part, bytes) else part.end - part.start

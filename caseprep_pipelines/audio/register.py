"""Registering one recording: its digests, whether it may be worked on, and what it declares. Changes nothing of it."""

import contextlib
import errno
import hashlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from caseprep_pipelines.audio.documents import Origin, SourceRecording
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.probe import probe
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording

_BLOCK = 1 << 20

#: Least time a scanner gets, and the slowest scanning that is waited for.
_SCAN_SECONDS = 600.0
_SCAN_BYTES_PER_SECOND = 10**6


@dataclass(frozen=True)
class Digests:
    """Of the whole file, in hex. MD5 is there because load files of litigation tools still ask for it."""

    sha256: str
    md5: str
    size_bytes: int


def read_original(path: Path, copy_to: Path | None = None) -> Digests:
    """Digests from one streamed pass, which also writes `copy_to` where it is given (removed again on any error).

    Raises `RejectedRecording(changed-during-reading)` where size, time or file differ before and after; `Fault` where
    the file is gone or the copy cannot be written.
    """
    with _as_fault(), path.open("rb") as original:
        before = os.fstat(original.fileno())
        digests = _digest(original, copy_to)
    try:
        _check_unchanged(path, before, digests.size_bytes)
    except BaseException:
        _discard(copy_to)
        raise
    return digests


def scan(path: Path, command: str) -> None:
    """Runs `command` with the file's path appended: 0 accepts, 1 raises the rejection, anything else a `Fault`.

    Raises `ConfigurationError` where the command cannot be run at all. What it prints is not kept.
    """
    with _as_fault():
        timeout = max(_SCAN_SECONDS, path.stat().st_size / _SCAN_BYTES_PER_SECOND)
    try:
        ended = subprocess.run(
            [*shlex.split(command), str(path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Fault(f"The scanner did not answer within {timeout:.0f} s.") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError("CASEPREP_SCANNER_COMMAND cannot be run; name a program that exists.") from error
    if ended.returncode == 1:
        raise RejectedRecording(Reason.SCANNER_REFUSED)
    if ended.returncode != 0:
        raise Fault(f"The scanner failed with exit code {ended.returncode}.")


def register(
    path: Path,
    *,
    partition: str,
    matter: str,
    original: str | None,
    origin: Origin,
    limits: Limits,
    scanner_command: str | None = None,
    copy_to: Path | None = None,
    received: Callable[[Digests], None] = lambda _digests: None,
) -> SourceRecording:
    """The registered original whose bytes lie at `path`: hashed first, then scanned, then probed.

    `original` and `origin` say where the bytes are kept and came from. `received` is called between scan and probe,
    when whole, unchanged and unsuspicious bytes are in hand: evidence is kept also when it cannot be used. Raises
    `RejectedRecording`, `Fault` and, for the scanner, `ConfigurationError`; `copy_to` is removed again on each of
    them that comes before `received`.
    """
    with _as_fault():
        before = path.stat()
    if before.st_size > limits.max_recording_bytes:
        raise RejectedRecording(
            Reason.TOO_LARGE, f"{before.st_size} bytes, at most {limits.max_recording_bytes} are allowed"
        )
    digests = read_original(path, copy_to)
    try:
        if scanner_command:
            scan(path, scanner_command)
        _check_unchanged(path, before, digests.size_bytes)
    except BaseException:
        _discard(copy_to)
        raise
    received(digests)
    if digests.size_bytes == 0:
        raise RejectedRecording(Reason.EMPTY)
    found = probe(copy_to or path, limits)
    return SourceRecording(
        partition=partition,
        matter=matter,
        sha256=digests.sha256,
        md5=digests.md5,
        size_bytes=digests.size_bytes,
        original=original,
        origin=origin,
        container=found.container,
        duration_seconds=found.duration_seconds,
        audio_streams=found.audio_streams,
        has_video=found.has_video,
        channels=found.channels,
    )


def _digest(original: BinaryIO, copy_to: Path | None) -> Digests:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(_new_file(copy_to)) if copy_to is not None else None
        while block := original.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
            size += len(block)
            if copy is not None:
                copy.write(block)
    return Digests(sha256.hexdigest(), md5.hexdigest(), size)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is on the disk when the block ends well, and not there when it doesn't."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        _discard(path)
        raise


def _check_unchanged(path: Path, before: os.stat_result, bytes_read: int) -> None:
    with _as_fault():
        after = path.stat()
    if _identity(after) != _identity(before) or bytes_read != before.st_size:
        raise RejectedRecording(Reason.CHANGED_DURING_READING)


def _identity(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev


def _discard(path: Path | None) -> None:
    if path is not None:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _as_fault() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise Fault(f"The copy cannot be written: {os.strerror(error.errno)}; free space there.") from error
        if isinstance(error, FileNotFoundError):
            raise Fault("The file is gone since it was found.") from error
        raise Fault(f"The file cannot be read: {os.strerror(error.errno or 0)}.") from error

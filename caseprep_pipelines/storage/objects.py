"""Objects under names: the protocol that everything stored goes through, and the local directory behind it.

S3 is in `s3`; what the objects mean (products, versions) is in `products`. A name is a relative path with `/` between
its parts. Nothing here prints a name: names of uploads can name a client or a child.
"""

import errno
import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from caseprep_pipelines.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Prefix of the store's own files in a directory: unfinished writes and locks. Never listed.
PRIVATE_PREFIX = ".caseprep-"
CHUNK_BYTES = 1 << 20
_LOCK_SECONDS = 60.0


class MissingObject(Fault):
    """There is no such object (any more)."""


class ObjectChanged(Fault):
    """A conditional write found that somebody else had written meanwhile, or a read that the object was replaced."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store knows of an object without reading it."""

    name: str
    size: int
    """Bytes."""
    etag: str
    """Changes whenever the object is written; compared, never interpreted."""
    modified: datetime
    version_id: str | None = None
    """S3's, where the bucket keeps versions; listings do not tell it, `stat` does."""
    locked: bool = False
    """Nobody can delete or replace this version now (S3 Object Lock); listings do not tell it, `stat` does."""


class ObjectStore(Protocol):
    """Bytes under names, in a directory or in S3.

    Every write is atomic: a reader sees the old object or the new one, never a part. All methods raise `Fault` for
    what may pass, `MissingObject` for what is not there and `ConfigurationError` for what only an operator can mend.
    """

    def stat(self, name: str, *, version_id: str | None = None) -> ObjectStat: ...

    def read_bytes(self, name: str) -> bytes: ...

    def open(self, name: str, *, version_id: str | None = None) -> BinaryIO:
        """A buffered reader that streams; not seekable everywhere."""
        ...

    def write_bytes(self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> None:
        """Writes `data`, on condition that no such object exists or that it still has the ETag `if_match`.

        Raises `ObjectChanged` where the condition does not hold, unless the object already holds exactly `data`: a
        write that was repeated after a lost answer has succeeded.
        """
        ...

    def write_file(self, name: str, path: Path) -> None:
        """Streams the file at `path` into the store; raises `OSError` where that file cannot be read."""
        ...

    def fetch(self, name: str, path: Path, *, version_id: str | None = None) -> None:
        """Streams an object into the file at `path`, which appears when it is whole."""
        ...

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectStat]:
        """Objects whose names begin with `prefix` and come after `start_after`, ordered by their names' UTF-8."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The next part of the names that continue `prefix` (which ends in `/`) over another `/`; sorted."""
        ...

    def delete(self, name: str) -> None:
        """Removes an object; one that is not there is no error."""
        ...

    def sweep_unfinished(self, prefix: str, older_than: timedelta) -> int:
        """Removes what killed writers left under `prefix` and no reader can see; returns how many."""
        ...

    def uri(self, name: str) -> str: ...

    def local_path(self, name: str) -> Path | None:
        """Where the object lies on this machine, or None where it does not."""
        ...


def open_store(
    root: str,
    s3_client: "S3Client | None" = None,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
) -> ObjectStore:
    """The store at a directory or `s3://bucket/prefix`. Touches neither; raises `ConfigurationError` for a bad root.

    `endpoint_url` and `region` shape the S3 client where none is given.
    """
    if root.startswith("s3://"):
        from caseprep_pipelines.storage.s3 import S3Objects, make_client, split_uri

        bucket, prefix, _ = split_uri(root)
        return S3Objects(s3_client or make_client(endpoint_url, region), bucket, prefix)
    if not root or "://" in root:
        raise ConfigurationError("CASEPREP_STORAGE must be a directory or s3://bucket/prefix")
    return LocalObjects(Path(root))


def check_object_name(name: str) -> str:
    """`name` itself; raises `ConfigurationError` where it could leave a root or hide in it."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or part.startswith(PRIVATE_PREFIX) for part in parts) or "\0" in name:
        raise ConfigurationError(f"{ascii(name)[:80]} is no object name")
    return name


def receive(
    stream: BinaryIO,
    path: Path,
    watch: Callable[[bytes], object] | None = None,
    *,
    folder: Path | None = None,
    sync: bool = False,
) -> None:
    """Writes a stream into the file at `path`, which appears when it is whole; `watch` sees every chunk.

    Raises `Fault` naming `folder` (by default the file's own) where it cannot be written. What the stream raises
    passes through.
    """
    folder = folder or path.parent
    with _whole_file(path, folder, sync=sync) as file:
        while chunk := stream.read(CHUNK_BYTES):
            if watch is not None:
                watch(chunk)
            left = memoryview(chunk)
            with disk_faults(folder):
                while left:
                    left = left[file.write(left) :]


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Turns what a disk refuses into one clear line that names the directory and what to do."""
    try:
        yield
    except OSError as error:
        raise Fault(_disk_message(folder, error)) from None


def _disk_message(folder: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full at {folder}: free some space there, then run again."
        case errno.EFBIG:
            return f"A file grew beyond the size allowed at {folder}: raise the limit (ulimit -f), then run again."
        case errno.EROFS:
            return f"{folder} is read-only: mount it for writing or choose another directory, then run again."
        case errno.EACCES | errno.EPERM:
            return f"No permission to use {folder}: give this user access or choose another directory."
        case errno.ENOTDIR | errno.EEXIST | errno.EISDIR:
            return f"A file stands where a directory is needed, or the reverse, in {folder}: move it away."
        case errno.ENAMETOOLONG:
            return f"A name is too long for the file system at {folder}."
        case _:
            return f"The disk failed at {folder}: {error.strerror or type(error).__name__}."


@contextmanager
def _whole_file(path: Path, folder: Path, *, sync: bool) -> Iterator[BinaryIO]:
    """A file that takes its name only when it was written to its end."""
    unfinished = path.with_name(f"{PRIVATE_PREFIX}{secrets.token_hex(8)}.tmp")
    with disk_faults(folder):
        file = unfinished.open("xb", buffering=0)
    try:
        with file:
            yield file
            if sync:
                with disk_faults(folder):
                    os.fsync(file.fileno())
        with disk_faults(folder):
            unfinished.replace(path)
            if sync:
                _sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class LocalObjects:
    """An `ObjectStore` in a directory, made when first written to. Symbolic links are not followed out of it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 - resolve() would touch the disk

    def stat(self, name: str, *, version_id: str | None = None) -> ObjectStat:
        path = self._path(name)
        with self._reading():
            return _stat(name, path.stat())

    def read_bytes(self, name: str) -> bytes:
        with self.open(name) as stream, self._reading():
            return stream.read()

    def open(self, name: str, *, version_id: str | None = None) -> BinaryIO:
        path = self._path(name)
        with self._reading():
            return path.open("rb")

    def write_bytes(self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> None:
        path = self._path(name)
        if not if_absent and if_match is None:
            self._write(path, io.BytesIO(data))
            return
        with self._lock(name):
            try:
                found: str | None = self.stat(name).etag
            except MissingObject:
                found = None
            if found == (None if if_absent else if_match):
                self._write(path, io.BytesIO(data))
            elif found is None or self.read_bytes(name) != data:
                raise ObjectChanged("somebody else wrote the same object meanwhile")

    def write_file(self, name: str, path: Path) -> None:
        target = self._path(name)
        with path.open("rb") as stream:
            self._write(target, stream)

    def fetch(self, name: str, path: Path, *, version_id: str | None = None) -> None:
        with self.open(name) as stream:
            receive(stream, path)

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectStat]:
        folder = prefix.rpartition("/")[0]
        after = _bytes(start_after) if start_after is not None else b""
        base = self._path(folder) if folder else self.root
        yield from self._walk(base, f"{folder}/" if folder else "", prefix, after)

    def folders(self, prefix: str) -> Iterator[str]:
        base = self._path(prefix.rstrip("/")) if prefix else self.root
        yield from (name for name, entry in self._entries(base) if entry.is_dir(follow_symlinks=False))

    def delete(self, name: str) -> None:
        path = self._path(name)
        with disk_faults(self.root):
            path.unlink(missing_ok=True)
        self._prune(path.parent)

    def sweep_unfinished(self, prefix: str, older_than: timedelta) -> int:
        base = self._path(prefix.rstrip("/")) if prefix else self.root
        limit = datetime.now(UTC) - older_than
        swept = 0
        with disk_faults(self.root):
            for folder, folders, files in os.walk(base):
                if not folders and not files and _modified(os.lstat(folder)) < limit:
                    self._prune(Path(folder))
                for file in files:
                    path = Path(folder, file)
                    if not (file.startswith(PRIVATE_PREFIX) and file.endswith(".tmp")):
                        continue
                    with suppress(FileNotFoundError):
                        if _modified(path.lstat()) < limit:
                            path.unlink()
                            swept += 1
                            self._prune(path.parent)
        return swept

    def uri(self, name: str) -> str:
        return self._path(name).as_uri()

    def local_path(self, name: str) -> Path | None:
        return self._path(name)

    def _path(self, name: str) -> Path:
        path = self.root / check_object_name(name)
        with disk_faults(self.root):
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))
        if not inside:
            raise ConfigurationError(f"A symbolic link leads out of {self.root}: put the files themselves there.")
        return path

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise MissingObject(f"an object is missing under {self.root}") from None
        except OSError as error:
            raise Fault(_disk_message(self.root, error)) from None

    def _write(self, path: Path, stream: BinaryIO) -> None:
        with disk_faults(self.root):
            self._make_directory(path.parent)
        receive(stream, path, folder=self.root, sync=True)

    def _make_directory(self, folder: Path) -> None:
        missing = [folder]
        while not missing[-1].exists():
            missing.append(missing[-1].parent)
        folder.mkdir(parents=True, exist_ok=True)
        for existing in missing[1:]:
            _sync_directory(existing)

    def _prune(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        # A few lock files for all names: one beside every object would outnumber the objects.
        stripe = hashlib.sha256(_bytes(name)).hexdigest()[:2]
        folder = self.root / f"{PRIVATE_PREFIX}locks"
        with disk_faults(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{stripe}.lock", timeout=_LOCK_SECONDS)
            try:
                lock.acquire()
            except Timeout:
                raise Fault(f"Another process held a lock under {self.root} for over {_LOCK_SECONDS:.0f} s.") from None
        try:
            yield
        finally:
            lock.release()

    def _entries(self, folder: Path) -> Sequence[tuple[str, os.DirEntry[str]]]:
        try:
            with self._reading(), os.scandir(folder) as entries:
                kept = [(entry.name, entry) for entry in entries if not entry.name.startswith(PRIVATE_PREFIX)]
        except MissingObject:
            return []
        # A directory sorts as its name with the slash, as the objects in it do.
        return sorted(kept, key=lambda pair: _bytes(pair[0]) + b"/" * pair[1].is_dir(follow_symlinks=False))

    def _walk(self, folder: Path, above: str, prefix: str, after: bytes) -> Iterator[ObjectStat]:
        for part, entry in self._entries(folder):
            name = above + part
            if entry.is_dir(follow_symlinks=False):
                inside = f"{name}/"
                relevant = inside.startswith(prefix) or prefix.startswith(inside)
                if relevant and (_bytes(inside) > after or after.startswith(_bytes(inside))):
                    yield from self._walk(folder / part, inside, prefix, after)
            elif entry.is_file(follow_symlinks=False) and name.startswith(prefix) and _bytes(name) > after:
                with suppress(FileNotFoundError):
                    yield _stat(name, entry.stat(follow_symlinks=False))


def _stat(name: str, status: os.stat_result) -> ObjectStat:
    return ObjectStat(name, status.st_size, fingerprint(status), _modified(status))


def fingerprint(status: os.stat_result) -> str:
    """The ETag of a file in a directory."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _modified(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _bytes(name: str) -> bytes:
    # A Linux file name need not be UTF-8; Python then holds its bytes as surrogates.
    return name.encode("utf-8", "surrogateescape")

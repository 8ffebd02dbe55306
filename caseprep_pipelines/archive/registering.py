"""Takes the entries of an archive into the registry: identified, in batches, in their order.

What is dear (hashing a file, asking S3 for an object's version) is done side by side and remembered in the catalog
with what the upload sensor saw, so that neither a second call nor the sensor does it again. An object is identified
exactly as the upload sensor identifies it, so that both make it the same partition.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from caseprep_pipelines.archive.manifests import Buckets, Entry, Refusal
from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.progress import ARCHIVE
from caseprep_pipelines.catalog.registry import NewRecording, Registered
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.storage.keys import matter_id, origin_digest_of_file, origin_digest_of_object
from caseprep_pipelines.storage.objects import MissingObject, fingerprint
from caseprep_pipelines.storage.recordings import UNFILED

#: Entries that are looked at together, and registered together unless they take long.
BATCH = 5000
#: After so many seconds what is identified is registered, so that an interruption costs no more than that.
COMMIT_SECONDS = 5.0
_THREADS = 8


@dataclass
class Count:
    """How far a registration is."""

    registered: int = 0
    known: int = 0
    refused: int = 0

    @property
    def seen(self) -> int:
        return self.registered + self.known + self.refused


@dataclass(frozen=True)
class _Known:
    """An entry whose bytes were identified before."""

    partition: str


@dataclass
class _Candidate:
    """An entry on its way to be identified."""

    entry: Entry
    matter: str
    new: NewRecording | None = None
    """What to register; None until it was looked up."""
    look_up: Callable[[], NewRecording] | None = None
    """Does the dear part; None where the entry says enough."""
    seen: tuple[str, str] | None = None
    """The name under which the catalog remembers it, and what it looks like now."""


def register(
    catalog: Catalog,
    entries: Iterable[Entry | Refusal],
    buckets: Buckets,
    *,
    incoming: str,
    matter: str | None = None,
    priority: int = 0,
    refused: Callable[[Refusal], None],
    progress: Callable[[Count], None],
) -> Count:
    """Registers all entries; tells every refusal to `refused` and after each batch how far it is to `progress`.

    `incoming` is the folder of uploads, as a path or `s3://` address that ends in `/`: what lies there has the matter
    that the upload sensor would give it. Raises `ConfigurationError` for a bad `matter`, and `Fault` where the world
    fails; what was registered stays, and another call goes on from there.
    """
    if matter is not None:
        matter_id(matter)
    count = Count()

    def refuse(refusal: Refusal) -> None:
        count.refused += 1
        refused(refusal)

    with _threads() as threads:
        iterator = iter(entries)
        while group := list(islice(iterator, BATCH)):
            ready: list[_Candidate] = []
            since = time.monotonic()
            for found in _identified(catalog, group, buckets, threads, incoming, matter, priority):
                if isinstance(found, Refusal):
                    refuse(found)
                elif isinstance(found, _Known):
                    count.known += 1
                else:
                    ready.append(found)
                if time.monotonic() - since > COMMIT_SECONDS:
                    _commit(catalog, ready, count, refuse)
                    progress(count)
                    ready, since = [], time.monotonic()
            _commit(catalog, ready, count, refuse)
            progress(count)
    return count


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that are not waited for longer than what they have in hand."""
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="identify")
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _commit(catalog: Catalog, ready: list[_Candidate], count: Count, refuse: Callable[[Refusal], None]) -> None:
    answers = _registered(catalog, [candidate.new for candidate in ready if candidate.new is not None])
    taken: dict[str, str] = {}
    for candidate, answer in zip(ready, answers, strict=True):
        if isinstance(answer, str):
            refuse(Refusal(candidate.entry.place, answer))
            continue
        count.registered += answer.new
        count.known += not answer.new
        if candidate.seen is not None:
            taken[candidate.seen[0]] = answer.partition
    if taken:
        registry.mark_taken(catalog, taken)


def _registered(catalog: Catalog, new: list[NewRecording]) -> list[Registered | str]:
    """Answers of the registry, or why it takes a recording not: two origins may share their first twelve digits."""
    try:
        return list(registry.register(catalog, new, ARCHIVE))
    except ConfigurationError as error:
        if len(new) == 1:
            return [str(error)]
        half = len(new) // 2
        return [*_registered(catalog, new[:half]), *_registered(catalog, new[half:])]


def _identified(
    catalog: Catalog,
    group: list[Entry | Refusal],
    buckets: Buckets,
    threads: ThreadPoolExecutor,
    incoming: str,
    matter: str | None,
    priority: int,
) -> Iterator[_Candidate | _Known | Refusal]:
    """What every entry of the group is, in order."""
    candidates = [
        entry if isinstance(entry, Refusal) else _candidate(entry, buckets, incoming, matter, priority)
        for entry in group
    ]
    seen = dict(c.seen for c in candidates if isinstance(c, _Candidate) and c.seen is not None)
    known = {look.location: look.partition for look in registry.observe(catalog, seen)} if seen else {}
    work: list[_Candidate | _Known | Refusal | Future[_Candidate | Refusal]] = []
    for candidate in candidates:
        if isinstance(candidate, Refusal) or candidate.new is not None:
            work.append(candidate)
            continue
        before = known.get(candidate.seen[0]) if candidate.seen is not None else None
        # a partition key is its matter, a dash and the digits
        if before is not None and before.rpartition("-")[0] == candidate.matter:
            work.append(_Known(before))
        else:
            work.append(threads.submit(_looked_up, candidate))
    for found in work:
        yield found.result() if isinstance(found, Future) else found


def _candidate(
    entry: Entry, buckets: Buckets, incoming: str, matter: str | None, priority: int
) -> _Candidate | Refusal:
    try:
        named = entry.matter or matter or _folder(entry, incoming) or UNFILED
        candidate = _Candidate(entry, matter_id(named))
    except ConfigurationError as error:
        return Refusal(entry.place, f"{error}; or give another one with --matter or in a column `matter`")
    name = entry.name or PurePosixPath(entry.location).name
    priority = priority if entry.priority is None else entry.priority
    complete = _object if entry.location.startswith("s3://") else _file
    return complete(candidate, name, priority, buckets)


def _folder(entry: Entry, incoming: str) -> str | None:
    if not entry.location.startswith(incoming):
        return entry.folder
    parts = PurePosixPath(entry.location.removeprefix(incoming)).parts
    return parts[0] if len(parts) > 1 else None


def _file(candidate: _Candidate, name: str, priority: int, _buckets: Buckets) -> _Candidate | Refusal:
    entry, path = candidate.entry, Path(candidate.entry.location)
    try:
        status = path.stat()
    except OSError as error:
        return Refusal(entry.place, f"the file cannot be read ({error.strerror}); correct its location or put it back")
    if not stat.S_ISREG(status.st_mode):
        return Refusal(entry.place, "this is no file; name the recordings in it, or register the folder itself")
    if entry.size is not None and entry.size != status.st_size:
        return Refusal(entry.place, _differs(f"{status.st_size} bytes", f"{entry.size}"))

    def recording(sha256: str) -> NewRecording:
        digest = origin_digest_of_file(sha256)
        return NewRecording(candidate.matter, name, entry.location, digest, sha256, status.st_size, priority)

    if entry.sha256 is not None:
        # compared with the bytes when they are received
        candidate.new = recording(entry.sha256)
        return candidate
    location = Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 - as the object store names it: links stay
    candidate.seen = (location, fingerprint(status))
    candidate.look_up = lambda: recording(_sha256(path))
    return candidate


def _object(candidate: _Candidate, name: str, priority: int, buckets: Buckets) -> _Candidate | Refusal:
    entry = candidate.entry
    bucket, _, key = entry.location.removeprefix("s3://").partition("/")
    uri = f"s3://{bucket}/{quote(key)}"

    def recording(version: str | None, etag: str, size: int | None) -> NewRecording:
        location = f"{uri}?versionId={quote(version)}" if version else uri
        digest = origin_digest_of_object(bucket, key, version, etag, size or 0)
        return NewRecording(candidate.matter, name, location, digest, entry.sha256, size, priority)

    version = entry.version_id if entry.version_id != "null" else None
    if version:
        candidate.new = recording(version, "", entry.size)
        return candidate
    unversioned = entry.version_id == "null" or not buckets.versioned(bucket)
    if unversioned and entry.etag is not None and entry.size is not None:
        candidate.new = recording(None, entry.etag, entry.size)
        return candidate

    def look_up() -> NewRecording:
        found = buckets.store(bucket).stat(key)
        for ours, theirs, unit in ((found.etag, entry.etag, "ETag "), (found.size, entry.size, "size ")):
            if theirs is not None and ours != theirs:
                raise _Mismatch(_differs(f"{unit}{ours}", str(theirs)))
        return recording(found.version_id, found.etag, found.size)

    candidate.look_up = look_up
    if entry.etag is not None:
        candidate.seen = (uri, entry.etag)
    return candidate


class _Mismatch(Exception):
    """What lies there is not what the manifest speaks of."""


def _differs(found: str, said: str) -> str:
    return f"has {found} where the manifest says {said}; check which is right, and write the manifest again"


def _looked_up(candidate: _Candidate) -> _Candidate | Refusal:
    assert candidate.look_up is not None  # noqa: S101 - only such candidates are handed to threads
    try:
        candidate.new = candidate.look_up()
        return candidate
    except _Mismatch as error:
        return Refusal(candidate.entry.place, str(error))
    except MissingObject:
        return Refusal(candidate.entry.place, "there is no such object; correct its location or put it back")
    except OSError as error:
        why = f"the file cannot be read ({error.strerror}); make it readable and run the same command again"
        return Refusal(candidate.entry.place, why)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

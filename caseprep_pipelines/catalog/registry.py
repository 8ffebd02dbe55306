"""The registry of recordings: written first, partitions follow from it; and what the upload sensor has seen.

What became of a recording stands in `loading`. Rows come back as detached models: plain values that nothing reloads.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, cast

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import CustodyEntry, ObservedObject, OtherName, Recording, escaped
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.storage.keys import partition_key

# SQLite takes no more than 32,766 parameters in a statement.
_CHUNK = 10_000

# Any number will do, so long as no one else who uses the same PostgreSQL database locks by it.
_REGISTRATION_LOCK = 0x7265676973747279


@dataclass(frozen=True)
class NewRecording:
    """A recording to register."""

    matter: str
    name: str
    """The file's own name, as its owner knows it."""
    location: str
    """Path or `s3://` address of the original."""
    origin_digest: str
    """By `storage.keys.origin_digest_of_file` or `origin_digest_of_object`."""
    sha256: str | None = None
    size_bytes: int | None = None
    priority: int = 0


@dataclass(frozen=True)
class Registered:
    partition: str
    new: bool


def register(catalog: Catalog, recordings: Sequence[NewRecording], registered_by: str) -> list[Registered]:
    """Registers recordings in one transaction, in their order; answers in that order, one for each.

    A recording that is already there stays as it is, except that one of which nothing was received yet takes the new
    name and location: the place it was first seen at may be gone. Its other names are noted, so that it is found by
    each of them. `registered_by` is the way in (`transcribe`, `upload-sensor`, …). Raises `ConfigurationError` for a
    bad matter id.
    """
    by_partition: dict[str, NewRecording] = {}
    answers = []
    names: dict[str, set[str]] = {}
    for recording in recordings:
        partition = partition_key(recording.matter, recording.origin_digest)
        names.setdefault(partition, set()).add(recording.name)
        answers.append(Registered(partition, partition not in by_partition))
        _check_same_origin(partition, by_partition.setdefault(partition, recording).origin_digest, recording)
    if not by_partition:
        return []

    now = datetime.now(UTC)
    with catalog.writing() as session:
        if not catalog.is_sqlite:
            # One at a time, or a later position could be committed before an earlier one and be overlooked.
            session.execute(select(func.pg_advisory_xact_lock(_REGISTRATION_LOCK)))
        known: set[str] = set()
        for row in _origins(session, by_partition):
            recording = by_partition[row.partition]
            _check_same_origin(row.partition, row.origin_digest, recording)
            known.add(row.partition)
            names[row.partition].add(row.name)
            if (row.name, row.location) != (recording.name, recording.location):
                received = select(CustodyEntry.partition).where(CustodyEntry.partition == row.partition).exists()
                session.execute(
                    update(Recording)
                    .where(Recording.partition == row.partition, ~received)
                    .values(name=recording.name, location=recording.location)
                    .execution_options(synchronize_session=False)
                )
        rows = [
            {
                "partition": partition,
                "matter": recording.matter,
                "name": recording.name,
                "location": recording.location,
                "origin_digest": recording.origin_digest,
                "sha256": recording.sha256,
                "size_bytes": recording.size_bytes,
                "priority": recording.priority,
                "registered_at": now,
                "registered_by": registered_by,
            }
            for partition, recording in by_partition.items()
            if partition not in known
        ]
        if rows:
            session.execute(insert(Recording), rows)
        _note_other_names(session, catalog, {key: some for key, some in names.items() if len(some) > 1})
    return [Registered(answer.partition, answer.new and answer.partition not in known) for answer in answers]


def _note_other_names(session: Session, catalog: Catalog, names: Mapping[str, set[str]]) -> None:
    rows = [
        {"partition": row.partition, "name_digest": _digest_of_name(name), "name": name}
        for row in _origins(session, names)
        for name in sorted(names[row.partition] - {row.name})
    ]
    if rows:
        made = (sqlite if catalog.is_sqlite else postgresql).insert(OtherName)
        session.execute(made.on_conflict_do_nothing(), rows)


def _digest_of_name(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _check_same_origin(partition: str, origin_digest: str, recording: NewRecording) -> None:
    if origin_digest != recording.origin_digest:
        raise ConfigurationError(f"{partition} already stands for another recording; give this one another matter")


def _origins(session: Session, partitions: Collection[str]) -> Iterator[Any]:
    """Only what registering compares: whole models of 100,000 known recordings would take longer than all the rest."""
    columns = (Recording.partition, Recording.origin_digest, Recording.name, Recording.location)
    for chunk in chunks(list(partitions)):
        yield from session.execute(select(*columns).where(Recording.partition.in_(chunk)))


def _by_partition(session: Session, partitions: Collection[str]) -> Iterator[Recording]:
    for chunk in chunks(list(partitions)):
        yield from session.scalars(select(Recording).where(Recording.partition.in_(chunk)))


def chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """Pieces that are short enough for one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def recording(catalog: Catalog, partition: str) -> Recording | None:
    with catalog.reading() as session:
        return session.scalar(select(Recording).where(Recording.partition == partition))


def recordings(catalog: Catalog, partitions: Collection[str]) -> dict[str, Recording]:
    """Those of the partitions that are registered, by partition."""
    with catalog.reading() as session:
        return {row.partition: row for row in _by_partition(session, partitions)}


def find(catalog: Catalog, wanted: str) -> list[Recording]:
    """The recordings that a person may mean: by partition key, else by a name that they were given under, else by such
    a name without regard to case, with or without its extension. A path counts as its last part."""
    name = PurePosixPath(wanted).name or wanted
    lower_name = escaped(name).lower()
    pattern = lower_name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + ".%"

    def exactly(column: Any) -> ColumnElement[bool]:
        return cast("ColumnElement[bool]", column.in_([wanted, name]))

    def loosely(column: Any) -> ColumnElement[bool]:
        lower = func.lower(column)
        return (lower == lower_name) | lower.like(pattern, escape="\\")

    def named(meant: Callable[[Any], ColumnElement[bool]]) -> ColumnElement[bool]:
        return meant(Recording.name) | Recording.partition.in_(select(OtherName.partition).where(meant(OtherName.name)))

    with catalog.reading() as session:
        for condition in (Recording.partition == escaped(wanted), named(exactly), named(loosely)):
            if found := session.scalars(select(Recording).where(condition).order_by(Recording.position)).all():
                return list(found)
    return []


def name_meant(catalog: Catalog, found: Recording, wanted: str) -> str:
    """Which of a recording's names somebody meant who found it by `wanted`; the first one if that was its key."""
    with catalog.reading() as session:
        others = session.scalars(select(OtherName.name).where(OtherName.partition == found.partition)).all()
    names = [found.name, *sorted(others)]
    last = PurePosixPath(wanted).name or wanted
    loosely = [name for name in names if name.lower() == last.lower() or name.lower().startswith(f"{last.lower()}.")]
    return next(iter([*(name for name in names if name in (wanted, last)), *loosely]), found.name)


def recordings_in_order(
    catalog: Catalog, *, after: int = 0, limit: int = 1000, matter: str | None = None
) -> list[Recording]:
    """A page of the registry in order of registration: those whose `position` comes after `after`."""
    query = select(Recording).where(Recording.position > after).order_by(Recording.position).limit(limit)
    if matter is not None:
        query = query.where(Recording.matter == matter)
    with catalog.reading() as session:
        return list(session.scalars(query))


def all_partitions(catalog: Catalog) -> list[str]:
    """Every partition key in order of registration: what the partition set is reconciled with."""
    with catalog.reading() as session:
        return list(session.scalars(select(Recording.partition).order_by(Recording.position)))


def pending_partitions(catalog: Catalog) -> list[str]:
    """The partition keys that were not yet added to the partition set, in order of registration."""
    query = select(Recording.partition).where(Recording.partition_added_at.is_(None)).order_by(Recording.position)
    with catalog.reading() as session:
        return list(session.scalars(query))


def mark_partitions_added(catalog: Catalog, partitions: Collection[str]) -> None:
    """Notes that the partition set holds these keys now; to be called after it does."""
    now = datetime.now(UTC)
    with catalog.writing() as session:
        for chunk in chunks(list(partitions)):
            session.execute(
                update(Recording)
                .where(Recording.partition.in_(chunk), Recording.partition_added_at.is_(None))
                .values(partition_added_at=now)
            )


def mark_received(catalog: Catalog, partition: str, sha256: str, size_bytes: int) -> None:
    """Notes what was read of the original."""
    with catalog.writing() as session:
        locked(session, partition)
        session.execute(
            update(Recording).where(Recording.partition == partition).values(sha256=sha256, size_bytes=size_bytes)
        )


def locked(session: Session, partition: str) -> Recording:
    """The recording, held against other writers of the same recording until the transaction ends.

    Raises `ConfigurationError` where it is not registered.
    """
    row = session.scalar(select(Recording).where(Recording.partition == partition).with_for_update(key_share=True))
    if row is None:
        raise ConfigurationError(f"{partition} is not in the catalog's registry; register the recording first")
    return row


@dataclass(frozen=True, slots=True)
class Observation:
    """An object as the upload sensor knows it."""

    location: str
    fingerprint: str
    since: datetime
    """When it was first seen looking like this."""
    partition: str | None
    """What it was registered as; None while it was not."""


def observe(catalog: Catalog, fingerprints: Mapping[str, str], at: datetime | None = None) -> list[Observation]:
    """Notes how objects look now, given as fingerprint by location, and says of each since when it looks like that.

    A changed fingerprint makes an object new again. Only what changed is written.
    """
    at = at or datetime.now(UTC)
    digests = {_location_digest(location): location for location in fingerprints}
    query = select(
        ObservedObject.location_digest, ObservedObject.fingerprint, ObservedObject.since, ObservedObject.partition
    ).execution_options(yield_per=_CHUNK)
    if len(digests) <= _CHUNK:
        query = query.where(ObservedObject.location_digest.in_(digests))
    # else they are nearly all there are: reading the whole table is quicker than asking for each
    same: dict[str, tuple[datetime, str | None]] = {}
    with catalog.reading() as session:
        for digest, fingerprint, since, partition in session.execute(query):
            if digest in digests and fingerprints[digests[digest]] == fingerprint:
                same[digest] = since, partition
    observations = []
    changed: list[dict[str, Any]] = []
    for digest, location in digests.items():
        since, partition = same.get(digest, (at, None))
        observations.append(Observation(location, fingerprints[location], since, partition))
        if digest not in same:
            changed.append(
                {
                    "location_digest": digest,
                    "location": location,
                    "fingerprint": fingerprints[location],
                    "since": at,
                }
            )
    if changed:
        made = (sqlite if catalog.is_sqlite else postgresql).insert(ObservedObject)
        # another sensor may look at the same time: what it noted of the same bytes stands
        noted = made.on_conflict_do_update(
            index_elements=[ObservedObject.location_digest],
            set_={"fingerprint": made.excluded.fingerprint, "since": made.excluded.since, "partition": None},
            where=ObservedObject.fingerprint != made.excluded.fingerprint,
        )
        with catalog.writing() as session:
            session.execute(noted, changed)
    return observations


def mark_taken(catalog: Catalog, partitions: Mapping[str, str]) -> None:
    """Notes what observed objects were registered as, given as partition by location."""
    with catalog.writing() as session:
        for location, partition in partitions.items():
            session.execute(
                update(ObservedObject)
                .where(ObservedObject.location_digest == _location_digest(location))
                .values(partition=partition)
            )


def _location_digest(location: str) -> str:
    return hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()

"""Taking up new uploads: what lies under `incoming/` becomes entries of the registry.

Level-triggered: every look asks the store what lies there and the catalog what it knows already, so that nothing
depends on a cursor, on time stamps being distinct or on the daemon having been up. `take_new` looks at everything;
`notified` looks where it is told to. What runs afterwards is decided in `decisions`.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.storage.recordings import UNFILED, is_recording

if TYPE_CHECKING:
    from caseprep_pipelines.catalog.registry import NewRecording, Observation
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.storage.objects import ObjectStat

#: What one look may take: Dagster gives a sensor's tick a minute.
SECONDS = 30.0


@dataclass(frozen=True)
class Intake:
    """What one look found."""

    new: tuple[str, ...] = ()
    """Partition keys of recordings that were not registered before."""
    settling: int = 0
    """Files that may still be written to."""
    left: int = 0
    """Files that the next look takes up, because this one was at its limits."""
    misplaced: int = 0
    """Files in folders whose names are no matter ids."""
    waiting: frozenset[str] = frozenset()
    """Names of all three kinds: what was looked at and is not registered."""
    foreign: int = 0
    """Messages that are not about this bucket, or not understood."""


def settled(since: datetime, modified: datetime, now: datetime, settle: timedelta) -> bool:
    """Whether a file has looked the same for long enough to be whole.

    Both clocks count: the file's own, and ours since we first saw it like this, because a copying program may set
    the time stamp of the original while it is still writing. What is whole when it is first seen, as everything in S3,
    settles at once, even where the clock there is ahead.
    """
    return not settle or (now - since >= settle and now - modified >= settle)


def incoming(pipeline: "Pipeline") -> str:
    """The prefix that uploads lie under, as the store names it."""
    return pipeline.settings.incoming_prefix.rstrip("/") + "/"


def take_new(pipeline: "Pipeline", now: datetime, seconds: float = SECONDS) -> Intake:
    """Registers what is new under `incoming/`: lists everything, and depends on nothing that anybody said before."""
    return take(pipeline, pipeline.objects.list(incoming(pipeline)), now, seconds)


def misplaced(pipeline: "Pipeline") -> list[str]:
    """Of each folder under `incoming/` that holds recordings and cannot be a matter's: which it is, why, and what to
    do. Nothing in them is taken up.
    """
    from caseprep_pipelines.storage.keys import matter_id

    lines, prefix = [], incoming(pipeline)
    for folder in pipeline.objects.folders(prefix):
        try:
            matter_id(folder)
        except ConfigurationError as error:
            inside = f"{prefix}{folder}/"
            if any(is_recording(stat.name.removeprefix(prefix)) for stat in pipeline.objects.list(inside)):
                lines.append(f"{inside} is not taken up: {error}")
    return lines


def take(
    pipeline: "Pipeline",
    found: "Iterable[ObjectStat]",
    now: datetime,
    seconds: float = SECONDS,
    *,
    looked_up: bool = False,
) -> Intake:
    """Registers what is new among the objects found, within `seconds` and the setting's number of recordings.

    `looked_up` says that `found` was asked for one by one and not listed, so that it knows its version. What this
    registered is durable when it returns.
    """
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.catalog.progress import UPLOAD_SENSOR
    from caseprep_pipelines.storage.keys import matter_id

    settings, prefix = pipeline.settings, incoming(pipeline)
    deadline = time.monotonic() + seconds
    stats = {pipeline.objects.uri(stat.name): stat for stat in found if is_recording(stat.name.removeprefix(prefix))}
    settle = timedelta(seconds=0 if settings.remote else settings.incoming_settle_seconds)
    settling: set[str] = set()
    left: set[str] = set()
    misplaced: set[str] = set()
    taken: dict[str, NewRecording] = {}
    untaken = _untaken(pipeline, stats, now)
    # a listing that took all the time must not keep every tick from taking anything up
    deadline = max(deadline, time.monotonic() + seconds / 3)
    for seen in untaken:
        stat = stats[seen.location]
        parts = PurePosixPath(stat.name.removeprefix(prefix)).parts
        try:
            matter = matter_id(parts[0]) if len(parts) > 1 else UNFILED
        except ConfigurationError:
            misplaced.add(stat.name)
            continue
        if not settled(seen.since, stat.modified, now, settle):
            settling.add(stat.name)
        elif len(taken) >= settings.sensor_max_new or time.monotonic() > deadline:
            left.add(stat.name)
        else:
            try:
                if settings.remote and not looked_up:
                    stat = pipeline.objects.stat(stat.name)
                taken[seen.location] = _identified(pipeline, stat, matter, parts[-1])
            except (Fault, OSError):
                # it vanished or changed between the look and now: the next look sees what it became
                settling.add(stat.name)
    registered = registry.register(pipeline.catalog, list(taken.values()), UPLOAD_SENSOR)
    registry.mark_taken(
        pipeline.catalog, {location: entry.partition for location, entry in zip(taken, registered, strict=True)}
    )
    new = tuple(entry.partition for entry in registered if entry.new)
    return Intake(new, len(settling), len(left), len(misplaced), frozenset(settling | left | misplaced))


def _untaken(pipeline: "Pipeline", stats: "dict[str, ObjectStat]", now: datetime) -> "list[Observation]":
    from caseprep_pipelines.catalog import registry

    looks = registry.observe(pipeline.catalog, {location: stat.etag for location, stat in stats.items()}, now)
    return [look for look in looks if look.partition is None]


def _identified(pipeline: "Pipeline", stat: "ObjectStat", matter: str, name: str) -> "NewRecording":
    from caseprep_pipelines.catalog.registry import NewRecording
    from caseprep_pipelines.storage.keys import origin_digest_of_file, origin_digest_of_object

    path = pipeline.objects.local_path(stat.name)
    if path is not None:
        sha256 = sha256_of(path)
        return NewRecording(matter, name, str(path), origin_digest_of_file(sha256), sha256, stat.size)
    from caseprep_pipelines.storage.s3 import split_uri

    uri = pipeline.objects.uri(stat.name)
    bucket, key, _ = split_uri(uri)
    version = stat.version_id
    digest = origin_digest_of_object(bucket, key, version, stat.etag, stat.size)
    return NewRecording(matter, name, f"{uri}?versionId={quote(version)}" if version else uri, digest, None, stat.size)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, streamed; raises `OSError`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

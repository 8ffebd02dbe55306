"""Taking up new uploads: what lies under `incoming/` becomes entries of the registry.

Level-triggered: every look lists everything and asks the catalog what it knows already, so that nothing depends on a
cursor, on time stamps being distinct or on the daemon having been up. What runs afterwards is decided in `decisions`.
"""

import hashlib
import time
from collections.abc import Iterator
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


def settled(since: datetime, modified: datetime, now: datetime, settle: timedelta) -> bool:
    """Whether a file has looked the same for long enough to be whole.

    Both clocks count: the file's own, and ours since we first saw it like this, because a copying program may set
    the time stamp of the original while it is still writing.
    """
    return now - since >= settle and now - modified >= settle


def take_new(pipeline: "Pipeline", now: datetime, seconds: float = 30.0) -> Intake:
    """Registers what is new under `incoming/`, within `seconds` of reading and the setting's number of recordings."""
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.catalog.progress import UPLOAD_SENSOR
    from caseprep_pipelines.storage.keys import matter_id

    settings, prefix = pipeline.settings, pipeline.settings.incoming_prefix.rstrip("/") + "/"
    deadline = time.monotonic() + seconds
    stats = {
        pipeline.objects.uri(stat.name): stat
        for stat in pipeline.objects.list(prefix)
        if is_recording(stat.name.removeprefix(prefix))
    }
    settle = timedelta(seconds=0 if settings.remote else settings.incoming_settle_seconds)
    settling = left = misplaced = 0
    found: dict[str, NewRecording] = {}
    for seen in _untaken(pipeline, stats, now):
        stat = stats[seen.location]
        parts = PurePosixPath(stat.name.removeprefix(prefix)).parts
        try:
            matter = matter_id(parts[0]) if len(parts) > 1 else UNFILED
        except ConfigurationError:
            misplaced += 1
            continue
        if not settled(seen.since, stat.modified, now, settle):
            settling += 1
        elif len(found) >= settings.sensor_max_new or time.monotonic() > deadline:
            left += 1
        else:
            try:
                found[seen.location] = _identified(pipeline, stat, matter, parts[-1])
            except (Fault, OSError):
                settling += 1  # it vanished or changed between the listing and now: the next look sees what it became
    registered = registry.register(pipeline.catalog, list(found.values()), UPLOAD_SENSOR)
    registry.mark_taken(
        pipeline.catalog, {location: entry.partition for location, entry in zip(found, registered, strict=True)}
    )
    return Intake(tuple(entry.partition for entry in registered if entry.new), settling, left, misplaced)


def _untaken(pipeline: "Pipeline", stats: "dict[str, ObjectStat]", now: datetime) -> "Iterator[Observation]":
    from caseprep_pipelines.catalog import registry

    looks = registry.observe(pipeline.catalog, {location: stat.etag for location, stat in stats.items()}, now)
    return (look for look in looks if look.partition is None)


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
    version = pipeline.objects.stat(stat.name).version_id
    digest = origin_digest_of_object(bucket, key, version, stat.etag, stat.size)
    return NewRecording(matter, name, f"{uri}?versionId={quote(version)}" if version else uri, digest, None, stat.size)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, streamed; raises `OSError`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

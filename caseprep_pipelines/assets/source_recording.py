"""Stage 1, `source_recording`: the original is hashed, kept, scanned and probed; nothing has listened to it yet.

Kept means copied into `originals/`, or left where it is: a version in a bucket that locks it is referenced.
"""

import re
from datetime import UTC
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from caseprep_pipelines import __version__
from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.audio.documents import Origin, SourceRecording
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.register import Digests, register
from caseprep_pipelines.custody.chain import Receipt, append
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.matters import Matter
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.storage.objects import MissingObject, ObjectStore, open_store

if TYPE_CHECKING:
    from caseprep_pipelines.catalog.database import Catalog
    from caseprep_pipelines.catalog.tables import Recording as Registered


def limits(settings: Settings, matter: Matter) -> Limits:
    return Limits(
        accept_truncated=settings.accept_truncated or matter.accept_truncated,
        max_recording_bytes=settings.max_recording_bytes,
        max_recording_hours=settings.max_recording_hours,
        decode_memory_bytes=settings.decode_memory_bytes,
        decode_speed_floor=settings.decode_speed_floor,
    )


def original_name(partition: str, name: str) -> str:
    """Where the original lies: its suffix is kept for people, its name is not (it can name a client)."""
    suffix = PurePosixPath(name).suffix.lower()
    return f"originals/{partition}/original{suffix if re.fullmatch(r'[.][a-z0-9]{1,8}', suffix) else ''}"


def make(recording: Recording) -> Made:
    from caseprep_pipelines.catalog import registry

    pipeline, partition = recording.pipeline, recording.partition
    entry = registry.recording(pipeline.catalog, partition)
    if entry is None:
        raise ConfigurationError(f"{partition} is a partition that the registry does not know; register the recording")
    matter = recording.matter(entry.matter)
    if matter.privileged:
        raise RejectedRecording(Reason.PRIVILEGED)

    name = None if _locked(recording, entry.location) else original_name(partition, entry.name)
    stored = name is not None and _exists(pipeline.objects, name)
    copy = None if stored or name is None else recording.folder / "original"

    def received(digests: Digests) -> None:
        if entry.sha256 is not None and digests.sha256 != entry.sha256:
            raise RejectedRecording(Reason.CHANGED_DURING_READING)
        if copy is not None and name is not None:
            pipeline.objects.write_file(name, copy)
        enter_receipt(pipeline.catalog, partition, digests)

    source = register(
        _received(recording, name if stored else None, entry.location),
        partition=partition,
        matter=entry.matter,
        original=name,
        origin=_origin(entry),
        limits=limits(recording.settings, matter),
        scanner_command=recording.settings.scanner_command,
        copy_to=copy,
        received=received,
    )
    return Made(
        source,
        metadata={
            "sha256": source.sha256,
            "size_bytes": source.size_bytes,
            "container": source.container,
            "codecs": ", ".join(sorted({stream.codec for stream in source.audio_streams})),
            "channels": source.channels,
            **({"container_duration_seconds": source.duration_seconds} if source.duration_seconds else {}),
        },
    )


def local_original(recording: Recording, source: SourceRecording) -> Path:
    """The original as a local file: in place where storage is a directory, fetched where it is S3."""
    from caseprep_pipelines.catalog import registry

    if source.original is not None:
        return _fetched(recording, recording.pipeline.objects, source.original)
    entry = registry.recording(recording.pipeline.catalog, recording.partition)
    if entry is None:
        raise ConfigurationError(f"{recording.partition} is not in the registry, which says where its original lies")
    return _received(recording, None, entry.location)


def _received(recording: Recording, stored: str | None, location: str) -> Path:
    if stored is not None:
        return _fetched(recording, recording.pipeline.objects, stored)
    if not location.startswith("s3://"):
        return Path(location)
    from caseprep_pipelines.storage.s3 import split_uri

    bucket, key, version = split_uri(location)
    return _fetched(recording, _bucket(recording, bucket), key, version)


def _locked(recording: Recording, location: str) -> bool:
    """Whether the very version that was registered is locked where it lies, so that no copy would be safer."""
    if not location.startswith("s3://"):
        return False
    from caseprep_pipelines.storage.s3 import split_uri

    bucket, key, version = split_uri(location)
    if version is None:
        return False
    try:
        return _bucket(recording, bucket).stat(key, version_id=version).locked
    except MissingObject:
        return False  # reading it says what is wrong


def _bucket(recording: Recording, bucket: str) -> ObjectStore:
    from caseprep_pipelines.resources.pipeline import s3_client

    return open_store(f"s3://{bucket}", s3_client=s3_client(recording.settings))


def _fetched(recording: Recording, objects: ObjectStore, name: str, version: str | None = None) -> Path:
    local = objects.local_path(name)
    if local is not None:
        return local
    path = recording.folder / "received"
    try:
        objects.fetch(name, path, version_id=version)
    except MissingObject:
        raise Fault("the recording is no longer where it was registered; put it back or submit it again") from None
    return path


def _exists(objects: ObjectStore, name: str) -> bool:
    try:
        objects.stat(name)
    except MissingObject:
        return False
    return True


def _origin(entry: "Registered") -> Origin:
    received = entry.registered_at.astimezone(UTC).isoformat(timespec="seconds")
    if not entry.location.startswith("s3://"):
        return Origin(kind="file", received_at=received)
    from caseprep_pipelines.storage.s3 import split_uri

    bucket, _key, version = split_uri(entry.location)
    return Origin(kind="object", bucket=bucket, version_id=version, received_at=received)


def enter_receipt(catalog: "Catalog", partition: str, digests: Digests) -> None:
    """Enters into registry and custody that these bytes came into our hands, before anything is made of them."""
    from caseprep_pipelines.catalog import registry

    registry.mark_received(catalog, partition, digests.sha256, digests.size_bytes)
    append(
        catalog,
        partition,
        Receipt(
            sha256=digests.sha256,
            md5=digests.md5,
            size_bytes=digests.size_bytes,
            software=f"caseprep-pipelines {__version__}",
        ),
    )


STAGE = Stage(
    name="source_recording",
    upstream=(),
    make=make,
    description=(
        "The registered original: SHA-256 and MD5 from one streamed pass, size, container, codecs, streams and where "
        "it came from. The bytes themselves lie untouched under `originals/`, or in a bucket that locks them."
    ),
    kinds=frozenset({"json", "python"}),
    batch=200,
    in_children=True,
    matter_fields=("privileged", "accept_truncated"),
    revision=2,
)

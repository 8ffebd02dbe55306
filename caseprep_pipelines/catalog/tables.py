"""The catalog's tables as SQLAlchemy models: what the rows are.

How rows get in stands in `registry` and `loading`, how they are asked for in `search` and `frames`. A change here needs
a migration in `migrations/versions`; a test compares the two.
"""

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    case,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")
_Hex = String(64)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every database; SQLite itself keeps no time zone. Refuses naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the catalog")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PathText(TypeDecorator[str]):
    """A file name or path that may hold any bytes: what no database stores as text (undecodable bytes, which Python
    reads as lone surrogates, and NUL) stands there as `\\uXXXX` and comes back as it was."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else escaped(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), value)


def escaped(name: str) -> str:
    """A name as `PathText` stores it."""
    return re.sub("[\x00\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", name.replace("\\u", "\\u005cu"))


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, float: Double}  # noqa: RUF012 (SQLAlchemy reads it as it stands)


class Recording(Base):
    """The registry: written before anything else knows of a recording; partitions follow from it.

    `name` and `location` can name a client and stand nowhere else.
    """

    __tablename__ = "recordings"
    __table_args__ = (
        Index("ix_recordings_not_yet_partitions", "position", sqlite_where=text("partition_added_at IS NULL"),
              postgresql_where=text("partition_added_at IS NULL")),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    position: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    """Order of registration; never given twice."""
    partition: Mapped[str] = mapped_column(String(128), unique=True)
    matter: Mapped[str] = mapped_column(String(128), index=True)
    name: Mapped[str] = mapped_column(PathText, index=True)
    location: Mapped[str] = mapped_column(PathText)
    origin_digest: Mapped[str] = mapped_column(_Hex)
    """Digest over where-it-came-from and which-version, of which the partition key shows twelve digits."""
    sha256: Mapped[str | None] = mapped_column(_Hex, index=True)
    """Of the bytes; None until they were read."""
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    registered_at: Mapped[datetime]
    registered_by: Mapped[str] = mapped_column(String(64))
    """The way in: `transcribe`, `upload-sensor`, …; not a person."""
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    partition_added_at: Mapped[datetime | None]


class OtherName(Base):
    """A further name under which a recording's bytes were given, so that whoever gave them finds them by it."""

    __tablename__ = "other_names"

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    name_digest: Mapped[str] = mapped_column(_Hex, primary_key=True)
    """SHA-256 of the name: a name can be longer than an index entry may be."""
    name: Mapped[str] = mapped_column(PathText, index=True)


def file_kind() -> ColumnElement[str]:
    """What a recording's name says of its kind of file, `.wav` or `.flac`; nothing where it ends otherwise."""
    ends = [func.substr(Recording.name, func.length(Recording.name) - letters) for letters in (2, 3, 4)]
    return func.lower(case(*((end.like(".%"), end) for end in ends), else_=""))


class ObservedObject(Base):
    """What the upload sensor saw and since when it looks like that, so that it takes nothing twice or half-written."""

    __tablename__ = "observed_objects"

    location_digest: Mapped[str] = mapped_column(_Hex, primary_key=True)
    """SHA-256 of the location: a path can be longer than an index entry may be."""
    location: Mapped[str] = mapped_column(PathText)
    fingerprint: Mapped[str] = mapped_column(Text)
    """Size and time, ETag or version: what changes when the bytes do."""
    since: Mapped[datetime]
    partition: Mapped[str | None] = mapped_column(ForeignKey("recordings.partition"))
    """Set once it was registered."""


class TranscriptVersion(Base):
    """One version of a recording's transcript; the words stay in the document."""

    __tablename__ = "transcripts"
    __table_args__ = (
        Index("uq_transcripts_current", "partition", unique=True, sqlite_where=text("current"),
              postgresql_where=text("current")),
    )  # fmt: skip

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    version: Mapped[str] = mapped_column(String(128), primary_key=True)
    matter: Mapped[str] = mapped_column(String(128), index=True)
    digest: Mapped[str] = mapped_column(_Hex)
    current: Mapped[bool]
    """Whether it is the version that people search; at most one of a recording is."""
    adopted: Mapped[bool]
    """Whether a person made or adopted it; a machine's version never takes its place."""
    demo: Mapped[bool]
    duration_seconds: Mapped[float]
    languages: Mapped[str] = mapped_column(Text)
    """Separated by commas."""
    transcription_model: Mapped[str] = mapped_column(Text)
    transcription_model_digest: Mapped[str] = mapped_column(_Hex)
    diarization_model: Mapped[str | None] = mapped_column(Text)
    diarization_model_digest: Mapped[str | None] = mapped_column(_Hex)
    speakers: Mapped[int]
    utterances: Mapped[int]
    words: Mapped[int]
    flagged_utterances: Mapped[int]
    unspoken_spans: Mapped[int]
    loaded_at: Mapped[datetime]


class UtteranceRow(Base):
    """The utterances of the current transcript of each recording."""

    __tablename__ = "utterances"
    __table_args__ = (
        ForeignKeyConstraint(["partition", "version"], ["transcripts.partition", "transcripts.version"]),
        UniqueConstraint("partition", "index"),
        Index("ix_utterances_full_text", text("to_tsvector('simple'::regconfig, search_words)"),
              postgresql_using="gin").ddl_if(dialect="postgresql"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: Mapped[int] = mapped_column(_RowNumber, primary_key=True, autoincrement=True)
    partition: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(128))
    matter: Mapped[str] = mapped_column(String(128), index=True)
    index: Mapped[int] = mapped_column("index", Integer)
    speaker: Mapped[str | None] = mapped_column(Text)
    channel: Mapped[int]
    start: Mapped[float] = mapped_column("start_seconds")
    end: Mapped[float] = mapped_column("end_seconds")
    text: Mapped[str] = mapped_column(Text)
    flags: Mapped[str] = mapped_column(Text)
    """Separated by commas."""
    page: Mapped[int | None]
    line: Mapped[int | None]
    search_words: Mapped[str] = mapped_column(Text)
    """The text as `search.words_of` folds it: what the full-text index holds, the same on both databases."""


class RejectionRow(Base):
    """Why a recording cannot go on, by its own fault."""

    __tablename__ = "rejections"

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(64), index=True)
    detail: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]


class StageProduct(Base):
    """The head of a stage's product for a recording: an index of the product store, which `progress` keeps."""

    __tablename__ = "stage_products"

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(_Hex)
    code_version: Mapped[str] = mapped_column(String(64))
    inputs: Mapped[str] = mapped_column(Text)
    """Digests by asset, as JSON."""
    rejected: Mapped[bool]
    notes: Mapped[str] = mapped_column(Text, server_default=text("''"))
    """What people must hear of it, a sentence a line."""
    run_id: Mapped[str] = mapped_column(String(64), index=True)
    at: Mapped[datetime]


class StageRun(Base):
    """What making one version of a stage's product took: what the report on cost and speed adds up. Rows are only ever
    added; the record beside the product (`run.json`) says the same and more."""

    __tablename__ = "stage_runs"

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(128), primary_key=True)
    matter: Mapped[str] = mapped_column(String(128), index=True)
    run_id: Mapped[str] = mapped_column(String(64))
    started: Mapped[datetime] = mapped_column(index=True)
    wall_seconds: Mapped[float]
    cpu_seconds: Mapped[float]
    gpu_seconds: Mapped[float]
    """Wall seconds for which a GPU was held."""
    audio_seconds: Mapped[float | None]
    device: Mapped[str] = mapped_column(String(128))
    batch_size: Mapped[int | None]
    snr_db: Mapped[float | None]
    """Signal-to-noise ratio of the worst channel, from the stage that measures it."""
    rejected: Mapped[bool]


class FaultRow(Base):
    """A stage of a recording that failed by the world's fault and has not succeeded since: what re-driving reads."""

    __tablename__ = "faults"

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)


class LaunchClaim(Base):
    """Who asked for a run last: from a daemon's tick until Dagster has made the run nothing else says so. A row has
    force for a few minutes and is then taken over."""

    __tablename__ = "launch_claims"

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]


class CustodyEntry(Base):
    """A link of a recording's custody chain (`custody.chain`). Rows are only ever added."""

    __tablename__ = "custody_entries"
    __table_args__ = (
        UniqueConstraint("partition", "once"),
        CheckConstraint("sequence >= 1", name="sequence"),
    )

    partition: Mapped[str] = mapped_column(ForeignKey("recordings.partition"), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(64))
    at: Mapped[str] = mapped_column(String(32))
    """UTC as text: the hash covers these very characters."""
    payload: Mapped[str] = mapped_column(Text)
    """Canonical JSON."""
    previous_hash: Mapped[str] = mapped_column(_Hex)
    entry_hash: Mapped[str] = mapped_column(_Hex)
    once: Mapped[str | None] = mapped_column(_Hex)
    """Digest of what happens only once (a receipt, a product version), so that driving again adds nothing."""

"""How fast and how dear the graph was, over what was measured lately: what estimates of an archive are made from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Subquery, case, func, or_, select

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Recording, StageRun, file_kind

#: Older runs were perhaps made on other machines.
RECENT = timedelta(days=30)


@dataclass(frozen=True)
class Measured:
    """What the stages took, added up over all of them, for the audio of the recordings that went through them."""

    audio_hours: float = 0.0
    wall_seconds: float = 0.0
    gpu_seconds: float = 0.0
    cpu_only_seconds: float = 0.0
    """Of work that held no GPU."""
    bytes_per_second: Mapping[str, float] = field(default_factory=dict)
    """Bytes of an original in a second of its audio, by the kind of its file: an hour from a body-worn camera has a
    hundred times as many as an hour of a telephone."""


@dataclass(frozen=True)
class StageSums:
    """Of one stage's runs, each over one recording of so many hours of audio: what a line is drawn through."""

    count: int
    hours: float
    seconds: float
    """Of wall time."""
    hours_squared: float
    hours_by_seconds: float


def by_stage(catalog: Catalog, now: datetime, gpu_stages: Collection[str]) -> dict[str, StageSums]:
    """Each stage's runs over the last month; of `gpu_stages` only those that held a GPU."""
    lengths = _lengths(now)
    hours, seconds = lengths.c.audio / 3600, StageRun.wall_seconds
    on_a_gpu = StageRun.gpu_seconds > 0
    query = (
        select(
            StageRun.stage,
            func.count(),
            *(func.sum(part) for part in (hours, seconds, hours * hours, hours * seconds)),
        )
        .join(lengths, lengths.c.partition == StageRun.partition)
        .where(*_recent(now), or_(StageRun.stage.not_in(gpu_stages), on_a_gpu))
        .group_by(StageRun.stage)
    )
    with catalog.reading() as session:
        return {stage: StageSums(*sums) for stage, *sums in session.execute(query)}


def measured(catalog: Catalog, now: datetime) -> Measured:
    """Sums over the last month. A stage that saw less audio than the others counts for as much as they did."""
    lengths = _lengths(now)
    stages = (
        select(
            func.sum(StageRun.wall_seconds),
            func.sum(StageRun.gpu_seconds),
            func.sum(case((StageRun.gpu_seconds > 0, 0.0), else_=StageRun.cpu_seconds)),
            func.sum(lengths.c.audio),
        )
        .join(lengths, lengths.c.partition == StageRun.partition)
        .where(*_recent(now))
        .group_by(StageRun.stage)
    )
    kind = file_kind()
    sizes = (
        select(kind, func.sum(Recording.size_bytes), func.sum(lengths.c.audio))
        .join(lengths, lengths.c.partition == Recording.partition)
        .where(Recording.size_bytes.is_not(None))
        .group_by(kind)
    )
    with catalog.reading() as session:
        rows = session.execute(stages).all()
        by_kind = {kind: float(size) / audio for kind, size, audio in session.execute(sizes) if size}
    if not rows:
        return Measured()
    most = max(row[3] for row in rows)
    wall, gpu, cpu = (sum(row[column] * most / row[3] for row in rows) for column in range(3))
    return Measured(most / 3600, wall, gpu, cpu, by_kind)


def _recent(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return StageRun.started >= now - RECENT, ~StageRun.rejected


def _lengths(now: datetime) -> Subquery:
    """Audio seconds of every recording that was worked on; the first stage does not know them."""
    return (
        select(StageRun.partition, func.max(StageRun.audio_seconds).label("audio"))
        .where(*_recent(now))
        .group_by(StageRun.partition)
        .having(func.max(StageRun.audio_seconds) > 0)
        .subquery()
    )

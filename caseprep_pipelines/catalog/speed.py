"""How fast and how dear the graph was, over what was measured lately: what estimates of an archive are made from."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Recording, StageRun

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
    bytes_per_second: float | None = None
    """Bytes of an original in a second of its audio."""


def measured(catalog: Catalog, now: datetime) -> Measured:
    """Sums over the last month. A stage that saw less audio than the others counts for as much as they did."""
    recent = (StageRun.started >= now - RECENT, ~StageRun.rejected)
    lengths = (
        select(StageRun.partition, func.max(StageRun.audio_seconds).label("audio"))
        .where(*recent)
        .group_by(StageRun.partition)
        .having(func.max(StageRun.audio_seconds) > 0)
        .subquery()
    )
    stages = (
        select(
            func.sum(StageRun.wall_seconds),
            func.sum(StageRun.gpu_seconds),
            func.sum(case((StageRun.gpu_seconds > 0, 0.0), else_=StageRun.cpu_seconds)),
            func.sum(lengths.c.audio),
        )
        .join(lengths, lengths.c.partition == StageRun.partition)
        .where(*recent)
        .group_by(StageRun.stage)
    )
    sizes = select(func.sum(Recording.size_bytes), func.sum(lengths.c.audio)).join(
        lengths, lengths.c.partition == Recording.partition
    )
    with catalog.reading() as session:
        rows = session.execute(stages).all()
        size, audio = session.execute(sizes.where(Recording.size_bytes.is_not(None))).one()
    if not rows:
        return Measured()
    most = max(row[3] for row in rows)
    wall, gpu, cpu = (sum(row[column] * most / row[3] for row in rows) for column in range(3))
    return Measured(most / 3600, wall, gpu, cpu, float(size) / audio if audio else None)

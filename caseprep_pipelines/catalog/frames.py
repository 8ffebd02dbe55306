"""The catalog as pandas frames, for the data team's notebooks and reports. Read-only; one function for each table.

Times are UTC. Columns that may be missing keep their type: an empty catalog gives empty frames with every column.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Label, Select, String, case, cast, func, select

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import (
    FaultRow,
    Recording,
    RejectionRow,
    StageRun,
    TranscriptVersion,
    UtteranceRow,
)

if TYPE_CHECKING:
    import pandas as pd

#: Sums over stage runs.
WORK = ("wall_seconds", "cpu_seconds", "gpu_seconds", "cpu_only_seconds")


def recordings(catalog: Catalog, matter: str | None = None) -> "pd.DataFrame":
    """The registry in order of registration, without where the files lie."""
    columns = [column for column in Recording.__table__.columns if column.name != "location"]
    query = select(*columns).order_by(Recording.position)
    return _frame(catalog, query if matter is None else query.where(Recording.matter == matter))


def transcripts(catalog: Catalog, matter: str | None = None) -> "pd.DataFrame":
    """Every loaded version of every transcript; `current` marks the one that people search."""
    query = select(*TranscriptVersion.__table__.columns).order_by(TranscriptVersion.loaded_at)
    return _frame(catalog, query if matter is None else query.where(TranscriptVersion.matter == matter))


def utterances(catalog: Catalog, matter: str | None = None, partition: str | None = None) -> "pd.DataFrame":
    """The utterances of the current transcripts, in order of time within each recording. Times in seconds."""
    columns = [column for column in UtteranceRow.__table__.columns if column.name not in {"id", "search_words"}]
    query = select(*columns).order_by(UtteranceRow.partition, UtteranceRow.index)
    if matter is not None:
        query = query.where(UtteranceRow.matter == matter)
    if partition is not None:
        query = query.where(UtteranceRow.partition == partition)
    return _frame(catalog, query)


def rejections(catalog: Catalog, matter: str | None = None) -> "pd.DataFrame":
    """Rejected recordings with their matter and reason, oldest first."""
    query = (
        select(Recording.matter, *RejectionRow.__table__.columns)
        .join(Recording, Recording.partition == RejectionRow.partition)
        .order_by(RejectionRow.at)
    )
    return _frame(catalog, query if matter is None else query.where(Recording.matter == matter))


def stage_runs(catalog: Catalog, matter: str | None = None) -> "pd.DataFrame":
    """What making each version of each product took, oldest first: seconds of wall, CPU, GPU and audio, and where."""
    query = select(*StageRun.__table__.columns).order_by(StageRun.started)
    return _frame(catalog, query if matter is None else query.where(StageRun.matter == matter))


def outcomes(catalog: Catalog) -> "pd.DataFrame":
    """One row for each registered recording: where it stands, what making it took, and what came of it.

    `status` is `done` where a transcript is in the catalog, else `rejected`, `failed` or `waiting`. Seconds are sums
    over every version of every product; `cpu_only_seconds` are those of work that held no GPU. Added up by the
    database: 100,000 recordings have 700,000 runs.
    """
    work = (
        select(
            StageRun.partition,
            *_sums(),
            func.max(StageRun.audio_seconds).label("audio_seconds"),
            func.min(StageRun.snr_db).label("snr_db"),
        )
        .group_by(StageRun.partition)
        .subquery()
    )
    first = (
        select(TranscriptVersion.partition, func.min(TranscriptVersion.loaded_at).label("done_at"))
        .group_by(TranscriptVersion.partition)
        .subquery()
    )
    current = select(TranscriptVersion).where(TranscriptVersion.current).subquery()
    failed = select(FaultRow.partition).distinct().subquery()
    status = case(
        (RejectionRow.partition.is_not(None), "rejected"),
        (current.c.partition.is_not(None), "done"),
        (failed.c.partition.is_not(None), "failed"),
        else_="waiting",
    )
    query = (
        select(
            Recording.partition,
            Recording.matter,
            Recording.registered_at,
            status.label("status"),
            first.c.done_at,
            func.coalesce(current.c.duration_seconds, work.c.audio_seconds).label("audio_seconds"),
            *(work.c[name] for name in (*WORK, "snr_db")),
            *(current.c[name] for name in ("utterances", "flagged_utterances", "unspoken_spans", "demo")),
        )
        .outerjoin(work, work.c.partition == Recording.partition)
        .outerjoin(first, first.c.partition == Recording.partition)
        .outerjoin(current, current.c.partition == Recording.partition)
        .outerjoin(failed, failed.c.partition == Recording.partition)
        .outerjoin(RejectionRow, RejectionRow.partition == Recording.partition)
        .order_by(Recording.position)
    )
    return _frame(catalog, query)


def work_by_day(catalog: Catalog) -> "pd.DataFrame":
    """What each stage did on each day (UTC, by when it began), oldest first: runs, and seconds of audio, wall, CPU and
    GPU."""
    started = StageRun.started if catalog.is_sqlite else func.timezone("UTC", StageRun.started)
    day = cast(func.date(started), String).label("day")
    query = (
        select(
            StageRun.stage,
            day,
            func.count().label("runs"),
            func.coalesce(func.sum(StageRun.audio_seconds), 0.0).label("audio_seconds"),
            *_sums(),
        )
        .group_by(StageRun.stage, day)
        .order_by(func.min(StageRun.started))
    )
    return _frame(catalog, query)


def _sums() -> tuple[Label[float], ...]:
    no_gpu = case((StageRun.gpu_seconds > 0, 0.0), else_=StageRun.cpu_seconds)
    columns = (StageRun.wall_seconds, StageRun.cpu_seconds, StageRun.gpu_seconds, no_gpu)
    return tuple(func.sum(column).label(name) for column, name in zip(columns, WORK, strict=True))


def _frame(catalog: Catalog, query: Select[*tuple[object, ...]]) -> "pd.DataFrame":
    import pandas as pd

    with catalog.reading() as session:
        result = session.execute(query)
        frame = pd.DataFrame(result.all(), columns=list(result.keys()))
    for column in query.selected_columns:
        dtype = _DTYPES.get(type(column.type).__name__)
        if dtype:
            frame[column.name] = frame[column.name].astype(dtype)
    return frame


_DTYPES = {
    "String": "string",
    "Text": "string",
    "PathText": "string",
    "UtcDateTime": "datetime64[us, UTC]",
    "Integer": "Int64",
    "BigInteger": "Int64",
    "Double": "Float64",
    "Boolean": "boolean",
}

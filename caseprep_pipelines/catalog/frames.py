"""The catalog as pandas frames, for the data team's notebooks and reports. Read-only; one function for each table.

Times are UTC. Columns that may be missing keep their type: an empty catalog gives empty frames with every column.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Select, select

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Recording, RejectionRow, StageRun, TranscriptVersion, UtteranceRow

if TYPE_CHECKING:
    import pandas as pd


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

"""What of an archive waits for its window, what of it is under way, and who has asked for the next run of anything.

Which of it runs when is decided in `automation.archive`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import case, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.progress import ARCHIVE
from caseprep_pipelines.catalog.tables import FaultRow, LaunchClaim, Recording, StageProduct, file_kind

Order = Literal["priority", "newest"]

#: For so long nobody else asks for a run that somebody asked for: until Dagster has surely made it.
CLAIM = timedelta(minutes=10)

_ROWS = 1000

_PRODUCTS = select(StageProduct.partition).where(StageProduct.partition == Recording.partition)
_FAULTS = select(FaultRow.partition).where(FaultRow.partition == Recording.partition)


@dataclass(frozen=True)
class Waiting:
    """A recording of which nothing was done yet."""

    partition: str
    matter: str
    size_bytes: int | None
    kind: str
    """Of its file, as `tables.file_kind` tells it."""


def waiting(catalog: Catalog, order: Order, first: Collection[str] = (), limit: int | None = None) -> list[Waiting]:
    """What nobody has begun: the matters of `first` first, then as `order` says.

    `priority` is the highest number first and the earliest registered among equals, `newest` the last registered
    first.
    """
    ways = {"priority": (Recording.priority.desc(), Recording.position), "newest": (Recording.position.desc(),)}
    query = (
        select(Recording.partition, Recording.matter, Recording.size_bytes, file_kind())
        .where(Recording.registered_by == ARCHIVE, ~_PRODUCTS.exists(), ~_FAULTS.exists())
        .order_by(case((Recording.matter.in_(list(first)), 0), else_=1), *ways[order])
        .limit(limit)
    )
    with catalog.reading() as session:
        return [Waiting(*row) for row in session.execute(query)]


def matters(catalog: Catalog, last_stage: str) -> set[str]:
    """Those of which something is not finished."""
    unfinished = ~_PRODUCTS.where(StageProduct.stage == last_stage).exists()
    query = select(Recording.matter).distinct().where(Recording.registered_by == ARCHIVE, unfinished)
    with catalog.reading() as session:
        return set(session.scalars(query))


def under_way(catalog: Catalog, last_stage: str, limit: int) -> list[Waiting]:
    """What was begun and is not finished, in registration order."""
    query = (
        select(Recording.partition, Recording.matter, Recording.size_bytes, file_kind())
        .where(
            Recording.registered_by == ARCHIVE,
            _PRODUCTS.exists() | _FAULTS.exists(),
            ~_PRODUCTS.where(StageProduct.stage == last_stage).exists(),
        )
        .order_by(Recording.position)
        .limit(limit)
    )
    with catalog.reading() as session:
        return [Waiting(*row) for row in session.execute(query)]


def claim(catalog: Catalog, work: Iterable[tuple[str, str]], now: datetime) -> set[tuple[str, str]]:
    """Those of the recordings and stages whose run is ours to ask for: of several sensors or daemons, one gets each.

    Between a tick and the runs that Dagster makes of it nothing else says that somebody asked. A stage that failed
    since it was claimed had its run: that claim has done its work, however recent it is.
    """
    wanted = sorted(set(work))
    won: set[tuple[str, str]] = set()
    dialect = sqlite if catalog.is_sqlite else postgresql
    # by name: within an INSERT SQLAlchemy would select from all claims, and one's fault would free every one
    claimed = {
        name: literal_column(f"launch_claims.{name}", column.type) for name, column in LaunchClaim.__table__.c.items()
    }
    failed_since = select(FaultRow.partition).where(
        FaultRow.partition == claimed["partition"],
        FaultRow.stage == claimed["stage"],
        FaultRow.last_at >= claimed["at"],
    )
    with catalog.writing() as session:
        for start in range(0, len(wanted), _ROWS):
            rows = [{"partition": p, "stage": s, "at": now} for p, s in wanted[start : start + _ROWS]]
            insert = dialect.insert(LaunchClaim).values(rows)
            ours = insert.on_conflict_do_update(
                index_elements=["partition", "stage"],
                set_={"at": insert.excluded.at},
                where=(LaunchClaim.at <= now - CLAIM) | failed_since.exists(),
            ).returning(LaunchClaim.partition, LaunchClaim.stage)
            won.update((partition, stage) for partition, stage in session.execute(ours))
    return won

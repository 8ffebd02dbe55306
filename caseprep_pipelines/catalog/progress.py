"""How far each recording is: the last product of every stage, and the faults since. What re-driving reads.

The products themselves lie in storage; this is their index, so that the state of 100,000 recordings is one query and
not a walk over a bucket. What is to be done about it is decided in `automation.decisions`.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Case, case, delete, func, select
from sqlalchemy.orm import Session

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import FaultRow, Recording, RejectionRow, StageProduct, StageRun

#: SQLite's limit on bound parameters is 32,766; smaller pages keep queries short on both databases.
_PAGE = 1000

#: What the registry says of recordings that the upload sensor took up.
UPLOAD_SENSOR = "upload-sensor"
#: And of an archive's, which wait for its window.
ARCHIVE = "archive"


@dataclass(frozen=True)
class Product:
    """The last product of one stage for one recording."""

    version: str
    digest: str
    code_version: str
    inputs: Mapping[str, str]
    rejected: bool
    at: datetime
    notes: tuple[str, ...] = ()
    """What people must hear of it, a sentence each."""


@dataclass(frozen=True)
class Faults:
    attempts: int
    last_at: datetime
    kind: str
    """`Fault`, or `ConfigurationError` where a person has to change something first."""
    message: str


def record_product(
    catalog: Catalog,
    partition: str,
    stage: str,
    *,
    version: str,
    digest: str,
    code_version: str,
    inputs: Mapping[str, str],
    rejected: bool,
    run_id: str,
    notes: Collection[str] = (),
    record: Mapping[str, Any] | None = None,
) -> None:
    """Enters a product that was durably written, and forgets the stage's faults.

    `record` is what the run record says of the making of this very version. It is entered once for each version,
    however often the stage is driven again.
    """
    with catalog.writing() as session:
        session.merge(
            StageProduct(
                partition=partition,
                stage=stage,
                version=version,
                digest=digest,
                code_version=code_version,
                inputs=json.dumps(dict(inputs), sort_keys=True),
                rejected=rejected,
                notes="\n".join(notes),
                run_id=run_id,
                at=datetime.now(UTC),
            )
        )
        session.execute(delete(FaultRow).where(FaultRow.partition == partition, FaultRow.stage == stage))
        if record is not None and session.get(StageRun, (partition, stage, version)) is None:
            session.add(_stage_run(session, partition, stage, version, rejected, record))


def _stage_run(
    session: Session, partition: str, stage: str, version: str, rejected: bool, record: Mapping[str, Any]
) -> StageRun:
    return StageRun(
        partition=partition,
        stage=stage,
        version=version,
        matter=session.scalars(select(Recording.matter).where(Recording.partition == partition)).one(),
        run_id=record["run_id"],
        started=datetime.fromisoformat(record["started"]),
        wall_seconds=record["wall_seconds"],
        cpu_seconds=record["cpu_seconds"],
        gpu_seconds=record["gpu_seconds"],
        audio_seconds=record["audio_seconds"],
        device=record["device"],
        batch_size=record.get("batch_size"),
        snr_db=record.get("snr_db"),
        rejected=rejected,
    )


def made_by_run(catalog: Catalog, stage: str, partitions: Iterable[str], run_id: str) -> set[str]:
    """Those of the recordings whose last product of the stage came from this run."""
    with catalog.reading() as session:
        rows = session.scalars(
            select(StageProduct.partition).where(StageProduct.stage == stage, StageProduct.run_id == run_id)
        )
        return set(rows) & set(partitions)


def products(catalog: Catalog, partitions: Collection[str]) -> dict[str, dict[str, Product]]:
    """Recording, stage and its last product. Recordings that have none are absent."""
    found: dict[str, dict[str, Product]] = {}
    # columns, because 700,000 models take minutes
    columns = (
        StageProduct.partition, StageProduct.stage, StageProduct.version, StageProduct.digest,
        StageProduct.code_version, StageProduct.inputs, StageProduct.rejected, StageProduct.at, StageProduct.notes,
    )  # fmt: skip
    with catalog.reading() as session:
        for page in _pages(partitions):
            for partition, stage, version, digest, code_version, inputs, rejected, at, notes in session.execute(
                select(*columns).where(StageProduct.partition.in_(page))
            ):
                found.setdefault(partition, {})[stage] = Product(
                    version, digest, code_version, json.loads(inputs), rejected, at, tuple(notes.splitlines())
                )
    return found


def faults(catalog: Catalog, partitions: Collection[str]) -> dict[str, dict[str, Faults]]:
    """Recording, stage and what has failed since its last product."""
    found: dict[str, dict[str, Faults]] = {}
    with catalog.reading() as session:
        for page in _pages(partitions):
            for row in session.scalars(select(FaultRow).where(FaultRow.partition.in_(page))):
                found.setdefault(row.partition, {})[row.stage] = Faults(
                    row.attempts, row.last_at, row.kind, row.message
                )
    return found


def unfinished(catalog: Catalog, last_stage: str, limit: int) -> list[str]:
    """Recordings that are nobody else's to drive and have no product of the last stage, in registration order.

    Those are the ones that the upload sensor took up and those that failed; what a command registered, the command
    itself takes through the graph, and an archive's run, and run again, in its window.
    """
    finished = select(StageProduct.partition).where(
        StageProduct.partition == Recording.partition, StageProduct.stage == last_stage
    )
    failed = select(FaultRow.partition).where(FaultRow.partition == Recording.partition)
    with catalog.reading() as session:
        return list(
            session.scalars(
                select(Recording.partition)
                .where(
                    ~finished.exists(),
                    (Recording.registered_by == UPLOAD_SENSOR)
                    | ((Recording.registered_by != ARCHIVE) & failed.exists()),
                )
                .order_by(Recording.position)
                .limit(limit)
            )
        )


Standing = Literal["done", "waiting", "failed", "rejected"]


def standings(catalog: Catalog, last_stage: str, matter: str | None = None) -> dict[Standing, int]:
    """How many recordings are done, waiting, failed since their last product, and rejected."""
    standing = _standing(last_stage)
    query = select(standing, func.count()).select_from(Recording).group_by(standing)
    with catalog.reading() as session:
        found = dict(session.execute(query if matter is None else query.where(Recording.matter == matter)).all())
    return {name: found.get(name, 0) for name in get_args(Standing)}


def noted(catalog: Catalog, matter: str | None = None) -> int:
    """How many recordings have something that people must hear of."""
    query = select(func.count(StageProduct.partition.distinct())).where(StageProduct.notes != "")
    if matter is not None:
        query = query.join(Recording, Recording.partition == StageProduct.partition).where(Recording.matter == matter)
    with catalog.reading() as session:
        return session.scalar(query) or 0


def standing_so(
    catalog: Catalog,
    last_stage: str,
    only: Standing | None = None,
    *,
    matter: str | None = None,
    after: int = 0,
    limit: int = _PAGE,
) -> list[Recording]:
    """Recordings that stand so, in order of registration: a page of those whose `position` comes after `after`."""
    query = select(Recording).where(Recording.position > after).order_by(Recording.position).limit(limit)
    if only is not None:
        query = query.where(_standing(last_stage) == only)
    if matter is not None:
        query = query.where(Recording.matter == matter)
    with catalog.reading() as session:
        return list(session.scalars(query))


def _standing(last_stage: str) -> Case[str]:
    """A recording's standing, in a query over recordings."""
    rejected = select(RejectionRow.partition).where(RejectionRow.partition == Recording.partition)
    failed = select(FaultRow.partition).where(FaultRow.partition == Recording.partition)
    through = select(StageProduct.partition).where(
        StageProduct.partition == Recording.partition, StageProduct.stage == last_stage
    )
    return case(
        (rejected.exists(), "rejected"), (failed.exists(), "failed"), (through.exists(), "done"), else_="waiting"
    )


def _pages(partitions: Collection[str]) -> Iterable[list[str]]:
    ordered = list(partitions)
    return (ordered[i : i + _PAGE] for i in range(0, len(ordered), _PAGE))

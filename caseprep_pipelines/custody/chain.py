"""The hash chain of what happened to a recording: receipt, each product, each export, each access.

An entry holds digests, versions and settings' fingerprints, never a name or a text. Each carries the hash of the one
before it, so that no entry can be changed, removed from the middle or slipped in without the rest showing it. A tail
that was cut off does not show in the chain itself: only in a hash of its head that was kept elsewhere, or in products
that no entry names (`custody.verify`).
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from caseprep_pipelines.storage.document import Part

if TYPE_CHECKING:
    from caseprep_pipelines.catalog.database import Catalog
    from caseprep_pipelines.catalog.tables import CustodyEntry

#: What the first entry of every chain carries as the hash of the one before.
NO_ENTRY = "0" * 64

Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
# Names of assets, versions, renditions and software: short, without what most names of people and files hold.
_Token = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9._/+ -]{1,128}$")]


class Receipt(Part):
    """The original came into our hands."""

    kind: Literal["receipt"] = "receipt"
    sha256: Digest
    md5: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
    size_bytes: int
    software: _Token


class Product(Part):
    """A version of a product was made (rejection documents included)."""

    kind: Literal["product"] = "product"
    asset: _Token
    version: _Token
    digest: Digest
    """Of the product's files, as its manifest has it."""
    inputs: dict[_Token, Digest] = Field(default_factory=dict)
    """Digests of what it was made from, by asset."""
    settings: Digest | None = None
    """Fingerprint of inputs and settings, as the manifest has it."""
    models: dict[_Token, Digest] = Field(default_factory=dict)
    """Digests of the models that made it, by use."""
    software: _Token
    """Name and version of the code."""


class Export(Part):
    """Renditions of a transcript version were handed out."""

    kind: Literal["export"] = "export"
    version: _Token
    """Of the transcript."""
    files: dict[_Token, Digest]
    """By the renditions' own fixed names."""
    software: _Token


class Access(Part):
    """A person or a program did something that is to be on record."""

    kind: Literal["access"] = "access"
    action: _Token
    actor: _Token
    """An account's id, not a person's name."""


Payload = Receipt | Product | Export | Access


@dataclass(frozen=True)
class Entry:
    """A link of the chain as it is stored."""

    partition: str
    sequence: int
    """From 1, without gaps."""
    kind: str
    at: str
    """UTC, ISO 8601."""
    payload: str
    """Canonical JSON of one of the classes above."""
    previous_hash: str
    entry_hash: str

    def computed_hash(self) -> str:
        """Hex SHA-256 over the canonical JSON of everything but the hash itself."""
        content = {
            "at": self.at,
            "kind": self.kind,
            "partition": self.partition,
            "payload": self.payload,
            "previous_hash": self.previous_hash,
            "sequence": self.sequence,
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """The one way to write strings, whole numbers, lists and dicts as JSON: sorted, without spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def append(catalog: "Catalog", partition: str, payload: Payload, at: datetime | None = None) -> Entry:
    """Adds an entry at the end of a recording's chain and returns it, or the one that says the same already.

    A receipt is entered once for each SHA-256, a product once for each version and an export once for the same files
    of a version, however often work is driven again; an access each time. The database arbitrates the sequence
    between writers. Raises `ConfigurationError` where the recording is not registered.
    """
    from sqlalchemy import select

    from caseprep_pipelines.catalog.registry import locked
    from caseprep_pipelines.catalog.tables import CustodyEntry

    once = _once(payload)
    with catalog.writing() as session:
        locked(session, partition)
        chain = select(CustodyEntry).where(CustodyEntry.partition == partition)
        if once is not None and (known := session.scalar(chain.where(CustodyEntry.once == once))) is not None:
            return _entry(known)
        last = session.scalar(chain.order_by(CustodyEntry.sequence.desc()).limit(1))
        entry = Entry(
            partition=partition,
            sequence=last.sequence + 1 if last else 1,
            kind=payload.kind,
            at=(at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds"),
            payload=canonical_json(payload.model_dump(mode="json")),
            previous_hash=last.entry_hash if last else NO_ENTRY,
            entry_hash="",
        )
        entry = replace(entry, entry_hash=entry.computed_hash())
        session.add(CustodyEntry(**asdict(entry), once=once))
    return entry


def _once(payload: Payload) -> str | None:
    match payload:
        case Receipt():
            what: list[object] = [payload.kind, payload.sha256]
        case Product():
            what = [payload.kind, payload.asset, payload.version, payload.digest]
        case Export():
            what = [payload.kind, payload.version, payload.files]
        case Access():
            return None
    return hashlib.sha256(canonical_json(what).encode()).hexdigest()


def entries(catalog: "Catalog", partition: str) -> list[Entry]:
    """The whole chain of a recording, first entry first."""
    from sqlalchemy import select

    from caseprep_pipelines.catalog.tables import CustodyEntry

    query = select(CustodyEntry).where(CustodyEntry.partition == partition).order_by(CustodyEntry.sequence)
    with catalog.reading() as session:
        return [_entry(row) for row in session.scalars(query)]


def head(catalog: "Catalog", partition: str) -> Entry | None:
    """The last entry: its hash, kept elsewhere, is the anchor that shows a cut-off tail."""
    from sqlalchemy import select

    from caseprep_pipelines.catalog.tables import CustodyEntry

    query = select(CustodyEntry).where(CustodyEntry.partition == partition)
    with catalog.reading() as session:
        row = session.scalar(query.order_by(CustodyEntry.sequence.desc()).limit(1))
        return None if row is None else _entry(row)


def _entry(row: "CustodyEntry") -> Entry:
    return Entry(
        partition=row.partition,
        sequence=row.sequence,
        kind=row.kind,
        at=row.at,
        payload=row.payload,
        previous_hash=row.previous_hash,
        entry_hash=row.entry_hash,
    )

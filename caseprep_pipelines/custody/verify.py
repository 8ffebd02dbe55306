"""Walking a custody chain: are its links whole, and do the bytes in storage hash to what it says.

Only reads. What it cannot see: a tail of entries cut off together with the products that they name. That takes a
hash of the head kept elsewhere (`Report.head_hash`), which a later signature over the chain is to do.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from caseprep_pipelines.audio.documents import SourceRecording
from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import StageProduct
from caseprep_pipelines.custody.chain import NO_ENTRY, Entry, Payload, Product, Receipt, entries
from caseprep_pipelines.storage.objects import CHUNK_BYTES, MissingObject, ObjectStore
from caseprep_pipelines.storage.products import CorruptProduct, MissingProduct, ProductStore

_SOURCE = "source_recording"
_PAYLOAD: TypeAdapter[Payload] = TypeAdapter(Payload)


@dataclass(frozen=True)
class Report:
    """What a walk found."""

    partition: str
    entries: int
    product_versions: int
    """How many were hashed again."""
    head_hash: str | None
    """Of the last entry: noted elsewhere, it shows later whether the chain was cut."""
    breaks: tuple[str, ...]
    """One line each, the first first; none where all is well."""

    @property
    def whole(self) -> bool:
        return not self.breaks


def verify(catalog: Catalog, products: ProductStore, partition: str) -> Report:
    """Walks the chain of a recording and hashes its original and every product version that the chain names again.

    A recording of which nothing was received has an empty chain, which is whole. Raises `Fault` where database or
    storage fail while it reads: that is no break.
    """
    chain = entries(catalog, partition)
    breaks = [*_link_breaks(chain)]
    said = [(entry, content) for entry in chain if (content := _content(entry)) is not None]
    made = [(entry, content) for entry, content in said if isinstance(content, Product)]
    receipts = [(entry, content) for entry, content in said if isinstance(content, Receipt)]
    breaks += _original_breaks(catalog, products, partition, receipts, [content for _, content in made])
    for entry, content in made:
        breaks += (f"{_where(entry)}: {line}" for line in _product_breaks(products, partition, content))
    breaks += _unnamed_breaks(catalog, products, partition, [content for _, content in made])
    return Report(partition, len(chain), len(made), chain[-1].entry_hash if chain else None, tuple(breaks))


def _where(entry: Entry) -> str:
    return f"custody entry {entry.sequence} of {entry.partition}"


def _content(entry: Entry) -> Payload | None:
    try:
        return _PAYLOAD.validate_json(entry.payload)
    except ValidationError:
        return None


def _link_breaks(chain: list[Entry]) -> Iterator[str]:
    """The first link that does not hold; what follows a broken link proves nothing."""
    previous, expected = NO_ENTRY, 1
    for entry in chain:
        content = _content(entry)
        if entry.sequence != expected:
            yield f"custody entry {expected} of {entry.partition} is missing"
        elif entry.computed_hash() != entry.entry_hash:
            yield f"{_where(entry)} was changed: it does not hash to its own hash"
        elif entry.previous_hash != previous:
            yield f"{_where(entry)} does not follow the entry before it: one of the two was replaced"
        elif content is None or content.kind != entry.kind:
            yield f"{_where(entry)} cannot be read: a newer version of the software may have written it"
        else:
            previous, expected = entry.entry_hash, expected + 1
            continue
        return


def _original_breaks(
    catalog: Catalog,
    products: ProductStore,
    partition: str,
    receipts: list[tuple[Entry, Receipt]],
    made: list[Product],
) -> Iterator[str]:
    if not receipts:
        if made and any(not _is_rejection(products, partition, product) for product in made):
            yield f"the custody chain of {partition} holds products but no receipt of the original"
        return
    name = _original_name(catalog, products, partition, made)
    if name is None:
        yield f"{_where(receipts[-1][0])}: no readable {_SOURCE} says where the original lies"
        return
    try:
        found = _sha256(products.objects, name)
    except MissingObject:
        yield f"{_where(receipts[-1][0])}: the original is missing"
        return
    for entry, receipt in receipts:
        if receipt.sha256 != found:
            yield f"{_where(entry)}: the original is not the bytes that were received"


def _is_rejection(products: ProductStore, partition: str, product: Product) -> bool:
    try:
        return products.version(product.asset, partition, product.version).rejected
    except (MissingProduct, CorruptProduct):
        return False


def _original_name(catalog: Catalog, products: ProductStore, partition: str, made: list[Product]) -> str | None:
    """Object name of the original, or its address in another bucket; None where nothing says it."""
    row = registry.recording(catalog, partition)
    location = row.location if row is not None else None
    for product in reversed(made):
        if product.asset == _SOURCE:
            try:
                document = products.read(_SOURCE, partition, SourceRecording, product.version)
            except (MissingProduct, CorruptProduct):
                continue
            if isinstance(document, SourceRecording):
                return document.original or location
    # the original of a recording that was rejected at once is kept too, and nothing else lies in its folder
    kept = [stat.name for stat in products.objects.list(f"originals/{partition}/")]
    if len(kept) == 1:
        return kept[0]
    return location if location is not None and "?versionId=" in location else None


def _sha256(objects: ObjectStore, name: str) -> str:
    version_id = None
    if name.startswith("s3://"):
        from caseprep_pipelines.storage.s3 import S3Objects, make_client, split_uri

        bucket, name, version_id = split_uri(name)
        objects = S3Objects(objects.client if isinstance(objects, S3Objects) else make_client(), bucket)
    digest = hashlib.sha256()
    with objects.open(name, version_id=version_id) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _product_breaks(products: ProductStore, partition: str, said: Product) -> Iterator[str]:
    try:
        found = products.version(said.asset, partition, said.version)
    except MissingProduct:
        yield f"version {said.version} of {said.asset} is missing"
        return
    except CorruptProduct as error:
        yield str(error)
        return
    inputs = {asset: found.manifest.inputs.get(asset) for asset in said.inputs}
    if found.digest != said.digest:
        yield f"version {said.version} of {said.asset} is not the product that was entered"
    if inputs != said.inputs or (said.settings is not None and said.settings != found.fingerprint):
        yield f"version {said.version} of {said.asset} names other inputs or settings than were entered"
    yield from products.verify(said.asset, partition, said.version)


def _unnamed_breaks(catalog: Catalog, products: ProductStore, partition: str, made: list[Product]) -> Iterator[str]:
    """Heads that no entry names: the trace that a cut-off tail leaves where its products stayed."""
    named = {(product.asset, product.version) for product in made}
    with catalog.reading() as session:
        stages = session.scalars(select(StageProduct.stage).where(StageProduct.partition == partition)).all()
    for asset in sorted({asset for asset, _ in named} | set(stages)):
        try:
            head = products.head(asset, partition)
        except (MissingProduct, CorruptProduct) as error:
            yield str(error)
            continue
        if head is not None and (asset, head.version) not in named:
            yield (
                f"no custody entry of {partition} names version {head.version} of {asset}: entries were cut off, or "
                "the work was interrupted and has to be run again"
            )

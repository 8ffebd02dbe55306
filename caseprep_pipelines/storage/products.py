"""Products: immutable versions of what a stage made, and the one head that readers follow.

    derived/ASSET/PARTITION/VERSION/   the document, files beside it, run.json, and last manifest.json
    derived/ASSET/PARTITION/HEAD.json  which version counts, and who said so

A version exists once its manifest does, and counts once the head names it; both are single atomic writes, so no
reader ever sees half a product. What a document means is known where it is declared; where bytes lie, in `objects`.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, TypeVar

from pydantic import StringConstraints, ValidationError

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.rejections import Rejection
from caseprep_pipelines.storage.document import Document, Part
from caseprep_pipelines.storage.keys import check_partition_key
from caseprep_pipelines.storage.objects import (
    CHUNK_BYTES,
    MissingObject,
    ObjectChanged,
    ObjectStore,
    disk_faults,
    receive,
)

D = TypeVar("D", bound=Document)

#: What `made_by` says of everything that no person made or adopted.
MACHINE = "machine"

#: A version that was left without a manifest is gone on with for so long.
TAKEN_UP_WITHIN = timedelta(days=7)

_ROOT = "derived"
_HEAD = "HEAD.json"
_MANIFEST = "manifest.json"
_RUN_RECORD = "run.json"
_ASSET = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_VERSION = re.compile(r"[0-9]{6}-[0-9a-f]{12}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
#: Two writers that meet at one head give way to each other this often before it counts as a fault.
_HEAD_ATTEMPTS = 20


class MissingProduct(MissingObject):
    """The asset has no such product for the partition."""


class CorruptProduct(Fault):
    """A stored product is not what its manifest says; nothing of it was handed out as good."""


class ProductFile(Part):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$", max_length=128)]
    size: int
    """Bytes."""
    sha256: str


class Manifest(Part):
    """What a version consists of and was made from; it is written last and holds no wall time."""

    schema_version: Literal[1] = 1
    asset: str
    partition: str
    kind: str
    """Name of the document: `KIND.json` is among the files."""
    rejected: bool
    files: tuple[ProductFile, ...]
    """Sorted by name."""
    digest: str
    """Hex SHA-256 over what `sha256sum` prints for the files, sorted by name."""
    fingerprint: str
    """Digest over inputs and settings, as the stage counts them: an equal one need not be made again."""
    inputs: dict[str, str]
    """Digests of what this was made from, by asset."""
    made_by: str


class Head(Part):
    """Which version of a product counts. Replaced as a whole."""

    schema_version: Literal[1] = 1
    version: str
    set_by: str
    """`machine`, or the person who made or adopted this version; a machine never replaces a person's choice."""


@dataclass(frozen=True)
class ProductVersion:
    """One whole version, as its manifest describes it."""

    version: str
    manifest: Manifest
    is_head: bool
    """Whether readers get this version. After `write`: False where a person's or a later version keeps the head."""
    head_set_by: str | None = None
    """Who chose the head, where this version is it."""
    new: bool = False
    """After `write`: whether this call added the version."""

    @property
    def asset(self) -> str:
        return self.manifest.asset

    @property
    def partition(self) -> str:
        return self.manifest.partition

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def rejected(self) -> bool:
        return self.manifest.rejected

    @property
    def made_by(self) -> str:
        return self.manifest.made_by

    @property
    def document_file(self) -> str:
        return f"{self.manifest.kind}.json"


class ProductStore:
    """Reads and writes products, one partition at a time, in an `ObjectStore`.

    `asset` is the asset's name: parts of letters, digits and `_`, joined by dots. Methods raise `MissingProduct` where
    there is nothing, `CorruptProduct` where bytes and digests differ, and what the object store raises.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def write(
        self,
        asset: str,
        partition: str,
        document: Document,
        folder: Path | None = None,
        *,
        fingerprint: str,
        inputs: Mapping[str, str],
        made_by: str = MACHINE,
        run_record: Mapping[str, Any] | None = None,
    ) -> ProductVersion:
        """Adds a version of the document and the files in `folder`, and makes it the head.

        Nothing is added where the head (or a later version, left by a killed writer or under a person's head) is the
        same product with the same fingerprint by the same maker. A machine's version never takes the head from one
        that a person made or adopted: it is kept beside it, with `is_head` False.
        """
        home = _home(asset, partition)
        files = _files(document, folder)
        manifest = Manifest(
            asset=asset,
            partition=partition,
            kind=_kind(document),
            rejected=isinstance(document, Rejection),
            files=tuple(sorted(files, key=lambda file: file.name)),
            digest=_digest(files),
            fingerprint=fingerprint,
            inputs=dict(sorted(inputs.items())),
            made_by=made_by,
        )
        head = self._read_head(home)
        existing = sorted(name for name in self.objects.folders(home) if _VERSION.fullmatch(name))
        version = self._same_version(home, manifest, head, existing)
        new = version is None
        if version is None:
            version = self._add_version(home, manifest, document, folder, run_record, existing)
        head = self._advance(home, version, made_by)
        is_head = head.version == version
        return ProductVersion(version, manifest, is_head, head.set_by if is_head else None, new)

    def head(self, asset: str, partition: str) -> ProductVersion | None:
        """The version that readers get, or None."""
        home = _home(asset, partition)
        head = self._read_head(home)
        return (
            None
            if head is None
            else ProductVersion(head.version, self._manifest(home, head.version), True, head.set_by)
        )

    def versions(self, asset: str, partition: str) -> list[ProductVersion]:
        """Every whole version, oldest first."""
        home = _home(asset, partition)
        head = self._read_head(home)
        found = []
        for version in self.objects.folders(home):
            if not _VERSION.fullmatch(version):
                continue
            try:
                manifest = self._manifest(home, version)
            except MissingProduct:
                continue  # a writer is at it, or was killed
            is_head = head is not None and head.version == version
            found.append(ProductVersion(version, manifest, is_head, head.set_by if head and is_head else None))
        return found

    def read(self, asset: str, partition: str, model_type: type[D], version: str | None = None) -> D | Rejection:
        """The document of the head or of `version`, or the rejection that stands in its place."""
        found = self.version(asset, partition, version)
        data = self._read_file(found, found.document_file)
        try:
            return Rejection.from_bytes(data) if found.rejected else model_type.from_bytes(data)
        except ValidationError:
            raise CorruptProduct(f"{asset} of {partition}: not a readable {model_type.__name__} document") from None

    def read_bytes(self, asset: str, partition: str, file: str, version: str | None = None) -> bytes:
        """One file of the head or of `version`, checked against its digest."""
        return self._read_file(self.version(asset, partition, version), file)

    def fetch(
        self,
        asset: str,
        partition: str,
        folder: Path,
        names: Sequence[str] | None = None,
        version: str | None = None,
    ) -> list[Path]:
        """Copies files (by default all, the document among them) into `folder`; paths in the order of `names`.

        Streams, and checks digests while it does; a file appears in `folder` only when it is whole and right.
        """
        found = self.version(asset, partition, version)
        wanted = [file.name for file in found.manifest.files] if names is None else list(names)
        with disk_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name in wanted:
            file = self._file(found, name)
            with self._open(found, name) as stream:
                receive(_Checked(stream, found, file), folder / name)  # type: ignore[arg-type]
            paths.append(folder / name)
        return paths

    def adopt(self, asset: str, partition: str, version: str, person: str) -> ProductVersion:
        """Makes `version` the head in the name of `person`; only a person can replace it then."""
        if not person.strip() or person == MACHINE:
            raise ConfigurationError("a version is adopted by a person: give a name")
        found = self.version(asset, partition, version)
        self._advance(_home(asset, partition), version, person)
        return ProductVersion(version, found.manifest, True, person)

    def verify(self, asset: str, partition: str, version: str | None = None) -> Iterator[str]:
        """Re-hashes the head or `version`; yields one line for each thing that is not as the manifest says."""
        try:
            found = self.version(asset, partition, version)
        except (MissingProduct, CorruptProduct) as error:
            yield str(error)
            return
        where = f"{asset} of {partition}, version {found.version}"
        manifest = found.manifest
        for file in manifest.files:
            try:
                with self._open(found, file.name) as stream:
                    checked = _Checked(stream, found, file)
                    while checked.read(CHUNK_BYTES):
                        pass
            except MissingProduct:
                yield f"{where}: {file.name} is missing"
            except CorruptProduct as error:
                yield str(error)
        if _digest(manifest.files) != manifest.digest or manifest.digest[:12] != found.version[-12:]:
            yield f"{where}: the manifest's digest is not that of its files"
        if (manifest.asset, manifest.partition) != (asset, partition):
            yield f"{where}: the manifest belongs to another product"
        if found.document_file not in {file.name for file in manifest.files}:
            yield f"{where}: the document is not among the files"
        prefix = f"{_home(asset, partition)}{found.version}/"
        known = {file.name for file in manifest.files} | {_MANIFEST, _RUN_RECORD}
        for stored in self.objects.list(prefix):
            if stored.name.removeprefix(prefix) not in known:
                yield f"{where}: holds a file that the manifest does not name"

    def rejected(self, asset: str, partition: str) -> Rejection | None:
        """The rejection that stands as the partition's product, or None (also where there is no product)."""
        head = self.head(asset, partition)
        if head is None or not head.rejected:
            return None
        return self.read(asset, partition, Rejection, head.version)

    def partitions(self, asset: str) -> Iterator[str]:
        """Partition keys that have a folder under the asset, sorted; a head need not be there yet."""
        yield from self.objects.folders(f"{_ROOT}/{_asset(asset)}/")

    def run_record(self, asset: str, partition: str, version: str | None = None) -> dict[str, Any] | None:
        """What was noted beside the version and outside its digest (wall times, device), or None."""
        found = self.version(asset, partition, version)
        try:
            data = self.objects.read_bytes(f"{_home(asset, partition)}{found.version}/{_RUN_RECORD}")
        except MissingObject:
            return None
        try:
            record: dict[str, Any] = json.loads(data)
        except ValueError:
            raise CorruptProduct(f"{asset} of {partition}: the run record of {found.version} is not readable") from None
        return record

    def version(self, asset: str, partition: str, version: str | None = None) -> ProductVersion:
        """The head, or the version of that name; raises `MissingProduct`."""
        home = _home(asset, partition)
        head = self._read_head(home)
        name = version or (head.version if head else None)
        if name is None or not _VERSION.fullmatch(name):
            raise MissingProduct(f"{asset} of {partition}: there is no such product")
        is_head = head is not None and head.version == name
        return ProductVersion(name, self._manifest(home, name), is_head, head.set_by if head and is_head else None)

    def uri(self, found: ProductVersion, file: str | None = None) -> str:
        """Where a version's file, by default its document, lies."""
        return self.objects.uri(f"{_home(found.asset, found.partition)}{found.version}/{file or found.document_file}")

    def sweep_unfinished(self, older_than: timedelta) -> int:
        """Removes what killed writers left: versions without a manifest, and the object store's own leftovers.

        `older_than` must exceed `TAKEN_UP_WITHIN` and the time that the slowest upload of a version takes, unless
        nobody writes. Returns how many objects went.
        """
        limit = datetime.now(UTC) - older_than
        swept = 0
        stored = self.objects.list(f"{_ROOT}/")
        for folder, group in groupby(stored, key=lambda stat: stat.name.split("/")[:-1]):
            stats = list(group)
            names = {stat.name.rpartition("/")[2] for stat in stats}
            unfinished = len(folder) == 4 and _VERSION.fullmatch(folder[3]) and _MANIFEST not in names
            if unfinished and max(stat.modified for stat in stats) < limit:
                for stat in stats:
                    self.objects.delete(stat.name)
                    swept += 1
        return swept + self.objects.sweep_unfinished(f"{_ROOT}/", older_than)

    def _same_version(self, home: str, manifest: Manifest, head: Head | None, existing: Sequence[str]) -> str | None:
        for version in reversed(existing):
            if head is not None and version < head.version:
                break
            if version.endswith(manifest.digest[:12]):
                try:
                    found = self._manifest(home, version)
                except MissingProduct:
                    continue
                same_maker = found.made_by == manifest.made_by or manifest.made_by == MACHINE
                if same_maker and (found.digest, found.fingerprint) == (manifest.digest, manifest.fingerprint):
                    return version
        return None

    def _add_version(
        self,
        home: str,
        manifest: Manifest,
        document: Document,
        folder: Path | None,
        run_record: Mapping[str, Any] | None,
        existing: Sequence[str],
    ) -> str:
        ordinal = int(existing[-1][:6]) if existing else 0
        if existing and self._left_off(f"{home}{existing[-1]}/", manifest):
            ordinal -= 1
        while True:
            ordinal += 1
            version = f"{ordinal:06d}-{manifest.digest[:12]}"
            for file in manifest.files:
                if folder is not None and file.name != f"{manifest.kind}.json":
                    self.objects.write_file(f"{home}{version}/{file.name}", folder / file.name)
            self.objects.write_bytes(f"{home}{version}/{manifest.kind}.json", document.to_bytes())
            if run_record is not None:
                record = json.dumps(run_record, sort_keys=True, default=str).encode() + b"\n"
                self.objects.write_bytes(f"{home}{version}/{_RUN_RECORD}", record)
            try:
                self.objects.write_bytes(f"{home}{version}/{_MANIFEST}", _json(manifest), if_absent=True)
            except ObjectChanged:
                continue  # the same files were stored at this moment with another fingerprint
            return version

    def _left_off(self, folder: str, manifest: Manifest) -> bool:
        """Whether a killed writer of the same files left its version without a manifest, so long ago at the most that
        no sweep is about to take it. Its number is used then: a transcript that a text cites as its second version had
        no first one otherwise, and the text differed from an undisturbed run's."""
        if not folder.endswith(f"-{manifest.digest[:12]}/"):
            return False
        found = list(self.objects.list(folder))
        names = {stat.name.rpartition("/")[2] for stat in found}
        return _MANIFEST not in names and all(datetime.now(UTC) - stat.modified < TAKEN_UP_WITHIN for stat in found)

    def _advance(self, home: str, version: str, made_by: str) -> Head:
        """Points the head to `version` where `made_by` may; returns the head as it stands then."""
        wanted = Head(version=version, set_by=made_by)
        for _ in range(_HEAD_ATTEMPTS):
            try:
                etag: str | None = self.objects.stat(home + _HEAD).etag
            except MissingObject:
                etag = None
            head = self._read_head(home)
            if head is not None and made_by == MACHINE and (head.set_by != MACHINE or head.version >= version):
                return head
            if head == wanted:
                return head
            try:
                self.objects.write_bytes(home + _HEAD, _json(wanted), if_absent=etag is None, if_match=etag)
            except ObjectChanged:
                continue
            return wanted
        raise Fault("other writers kept replacing the head of a product")

    def _read_head(self, home: str) -> Head | None:
        try:
            return Head.model_validate_json(self.objects.read_bytes(home + _HEAD))
        except MissingObject:
            return None
        except ValidationError:
            raise CorruptProduct(f"{_where(home)}: its {_HEAD} is not readable") from None

    def _manifest(self, home: str, version: str) -> Manifest:
        try:
            return Manifest.model_validate_json(self.objects.read_bytes(f"{home}{version}/{_MANIFEST}"))
        except MissingObject:
            raise MissingProduct(f"{_where(home)}: version {version} is not there") from None
        except ValidationError:
            raise CorruptProduct(f"{_where(home)}: the manifest of version {version} is not readable") from None

    def _file(self, found: ProductVersion, name: str) -> ProductFile:
        for file in found.manifest.files:
            if file.name == name:
                return file
        raise MissingProduct(f"{found.asset} of {found.partition}: version {found.version} has no such file")

    def _open(self, found: ProductVersion, name: str) -> BinaryIO:
        try:
            return self.objects.open(f"{_home(found.asset, found.partition)}{found.version}/{name}")
        except MissingObject:
            raise MissingProduct(f"{found.asset} of {found.partition}: {name} of {found.version} is missing") from None

    def _read_file(self, found: ProductVersion, name: str) -> bytes:
        file = self._file(found, name)
        with self._open(found, name) as stream:
            return _Checked(stream, found, file).read(-1)


class _Checked:
    """A reader that raises `CorruptProduct` at the end of bytes that are not the file's."""

    def __init__(self, stream: BinaryIO, found: ProductVersion, file: ProductFile) -> None:
        self._stream = stream
        self._found = found
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        if (not data or size < 0) and self._hash.hexdigest() != self._file.sha256:
            raise CorruptProduct(
                f"{self._found.asset} of {self._found.partition}, version {self._found.version}: "
                f"{self._file.name} differs from its digest"
            )
        return data


def _asset(asset: str) -> str:
    if not _ASSET.fullmatch(asset):
        raise ConfigurationError(f"{ascii(asset)[:80]} is no asset name: letters, digits and _, parts joined by dots")
    return asset


def _home(asset: str, partition: str) -> str:
    return f"{_ROOT}/{_asset(asset)}/{check_partition_key(partition)}/"


def _where(home: str) -> str:
    _, asset, partition, _ = home.split("/")
    return f"{asset} of {partition}"


def _json(part: Part) -> bytes:
    return part.model_dump_json().encode() + b"\n"


def _kind(document: Document) -> str:
    return str(document.document)  # type: ignore[attr-defined]


def _files(document: Document, folder: Path | None) -> list[ProductFile]:
    data = document.to_bytes()
    own = f"{_kind(document)}.json"
    files = [ProductFile(name=own, size=len(data), sha256=hashlib.sha256(data).hexdigest())]
    for path in sorted(folder.iterdir()) if folder is not None else ():
        if path.is_symlink() or not path.is_file() or not _FILE_NAME.fullmatch(path.name):
            raise ValueError("a product's folder holds plain files with plain names and nothing else")
        if path.name in (own, _MANIFEST, _RUN_RECORD):
            raise ValueError(f"{path.name} is written by the store, not found in a product's folder")
        with path.open("rb") as stream:
            files.append(
                ProductFile(
                    name=path.name, size=path.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest()
                )
            )
    return files


def _digest(files: Sequence[ProductFile]) -> str:
    lines = sorted((file.name, file.sha256) for file in files)
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in lines).encode()).hexdigest()

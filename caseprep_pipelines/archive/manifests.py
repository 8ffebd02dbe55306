"""What an archive's manifest or listing names, one entry after the other: CSV, Parquet, S3 Inventory, folder, bucket.

Nothing is held in memory but the rows in hand. A row that cannot be meant comes out as a `Refusal` that says where it
stands and what to do; a manifest that cannot be read at all is a `ConfigurationError`. What an entry is identified by
is decided in `registering`.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from caseprep_pipelines.archive.csv_rows import LONGEST, NumberedLines, rows
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.storage.objects import MissingObject, open_store
from caseprep_pipelines.storage.recordings import is_recording

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from caseprep_pipelines.storage.s3 import S3Objects

COLUMNS = ("location", "matter", "name", "sha256", "size", "etag", "version_id", "priority")
_INVENTORY_COLUMNS = ("bucket", "key", "versionid", "islatest", "isdeletemarker", "size", "etag")
_ROWS = 5000
_HEX = re.compile(r"[0-9a-fA-F]{64}")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One recording that an archive names."""

    place: str
    """File and line, or where it was listed: for messages."""
    location: str
    """An absolute path, or `s3://bucket/key` with the key as it is, nothing encoded."""
    folder: str | None = None
    """The first folder on the way to it, which is its matter where nothing else says one."""
    matter: str | None = None
    name: str | None = None
    sha256: str | None = None
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None
    priority: int | None = None


@dataclass(frozen=True)
class Refusal:
    """An entry that cannot be registered."""

    place: str
    why: str
    """What is wrong with it, and what to do."""


class Buckets:
    """The buckets that an archive speaks of, each opened and asked for its versioning once."""

    def __init__(self, client: "Callable[[], S3Client]") -> None:
        self._client = cache(client)
        self.store = cache(self._store)
        self.versioned = cache(self._versioned)

    def _store(self, bucket: str) -> "S3Objects":
        from caseprep_pipelines.storage.s3 import S3Objects

        return S3Objects(self._client(), bucket)

    def _versioned(self, bucket: str) -> bool:
        return self.store(bucket).keeps_versions()


def read(source: str, buckets: Buckets, work: Path) -> Iterator[Entry | Refusal]:
    """Everything that `source` names, in its order; `work` is a folder for what has to be fetched first.

    Raises `ConfigurationError` where `source` is no archive that can be read, before the first entry or at the file
    that is damaged.
    """
    if source.startswith("s3://"):
        bucket, _, key = source.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigurationError("an S3 address must read s3://bucket/prefix/")
        kind = _kind(key)
        if kind is None:
            return _bucket(buckets, bucket, f"{key.rstrip('/')}/" if key else "")
        path = _fetched(buckets, bucket, key, work)
    else:
        bucket, key, path = "", "", Path(source).expanduser()
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            raise ConfigurationError(f"there is no file or folder {source!r}")
        kind = _kind(path.name)
    if kind == "inventory":
        return _inventory(source, path, bucket, buckets, work)
    if kind is None:
        raise ConfigurationError(
            f"{source}: what kind of manifest this is cannot be told; name it .csv, .csv.gz or .parquet, or "
            "manifest.json for S3 Inventory"
        )
    base = None if bucket else path.absolute().parent
    rows = _csv(source, path) if kind == "csv" else _parquet(source, path, COLUMNS, "location")
    return (entry if isinstance(entry, Refusal) else _entry(*entry, base) for entry in rows)


def _kind(name: str) -> str | None:
    if name.endswith((".csv", ".csv.gz")):
        return "csv"
    return {".parquet": "parquet", ".json": "inventory"}.get(PurePosixPath(name).suffix)


# Rows of a person's manifest


def _entry(place: str, row: Row, base: Path | None) -> Entry | Refusal:
    """A row as an entry; paths are relative to `base`, the manifest's folder, unless it lies in S3."""
    try:
        location, folder = _location(_text(row, "location"), base)
        return Entry(
            place,
            location,
            folder,
            matter=_word(row, "matter"),
            name=_text(row, "name"),
            sha256=_sha256(_word(row, "sha256")),
            size=_number(row, "size", least=0),
            etag=(_word(row, "etag") or "").strip('"') or None,
            version_id=_word(row, "version_id"),
            priority=_number(row, "priority", least=-(2**31), most=2**31 - 1),
        )
    except ValueError as error:
        return Refusal(place, str(error))


def _location(text: str | None, base: Path | None) -> tuple[str, str | None]:
    if text is None:
        raise ValueError("location is empty; write a path or s3://bucket/key")
    if text.startswith("s3://"):
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if not bucket or not key or key.endswith("/"):
            raise ValueError("location names no object; write s3://bucket/key")
        return text, _first_folder(key)
    if "://" in text or "\0" in text:
        raise ValueError("location is neither a path nor s3://bucket/key; correct it")
    path = Path(text)
    if path.is_absolute():
        return str(path), None
    if base is None:
        raise ValueError("a manifest in S3 has no folder for relative paths; write s3://bucket/key or an absolute path")
    return str(base / path), _first_folder(path.as_posix())


def _first_folder(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 and parts[0] not in ("/", "..") else None


def _text(row: Row, column: str) -> str | None:
    value = row.get(column)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    # a missing number may stand there as NaN
    missing = value is None or value != value
    return None if missing or not str(value).strip() else str(value)


def _word(row: Row, column: str) -> str | None:
    """A value in which a space beside it means nothing."""
    text = _text(row, column)
    return text.strip() if text else None


def _number(row: Row, column: str, *, least: int, most: int = 2**63 - 1) -> int | None:
    text = _word(row, column)
    if text is None:
        return None
    # a column with an empty cell is one of decimals to many programs, which write 88078.0
    found = re.fullmatch(r"([+-]?[0-9]{1,20})(\.0*)?", text)
    number = int(found[1]) if found else least - 1
    if not least <= number <= most:
        raise ValueError(f"{column} is no whole number that can be meant; correct it or leave it empty")
    return number


def _sha256(text: str | None) -> str | None:
    if text is not None and not _HEX.fullmatch(text):
        raise ValueError("sha256 is not 64 hexadecimal digits; correct it or leave it empty")
    return text.lower() if text else None


def _csv(source: str, path: Path) -> Iterator[tuple[str, Row] | Refusal]:
    with _damage_named(source), _lines(path) as stream:
        lines = NumberedLines(stream)
        columns, separator = _heading(source, lines)
        for number, row in rows(lines, separator, len(columns), columns):
            place = f"{source}, line {number}"
            if isinstance(row, str):
                yield Refusal(place, row)
            elif any(value.strip() for value in row):
                yield place, {column: value for column, value in zip(columns, row, strict=False) if column}


def _heading(source: str, lines: NumberedLines) -> tuple[list[str | None], str]:
    """The manifest's columns under our names, None where a column is none of ours, and what parts its values."""
    separator = None
    while (line := lines.next()) is not None:
        if "\0" in line or line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise ConfigurationError(f"{source} is written in UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)")
        if lines.number == 1 and (
            named := re.fullmatch(r'"?sep=([^"\w])"?[,;\t]*', line.rstrip("\r\n"), re.IGNORECASE)
        ):
            separator = named[1]
        elif line.strip(" ,;\t\r\n"):
            break
    # a spreadsheet writes the separator of its country
    separator = separator or max(",;\t", key=(line or "").count)
    lines.give_back([line] if line else [])
    number, names = next(rows(lines, separator, LONGEST), (1, []))
    if isinstance(names, str):
        raise ConfigurationError(f"{source}, line {number}: {names}")
    write = f"write a UTF-8 file whose first line names its columns, of {', '.join(COLUMNS)}"
    found = _columns(source, names, COLUMNS, "location", f" in its first line; {write}")
    return [found.get(name) for name in names], separator


def _lines(path: Path) -> Any:
    # a path may hold any bytes: what is not UTF-8 stays what the file system means by it
    opener: Any = gzip.open if path.suffix == ".gz" else Path.open
    return opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")


def _parquet(source: str, path: Path, wanted: Iterable[str], required: str) -> Iterator[tuple[str, Row]]:
    """Rows of a Parquet file, under normalized column names."""
    import pyarrow.parquet as pq

    with _damage_named(source), pq.ParquetFile(path) as file:
        columns = _columns(source, file.schema_arrow.names, wanted, required)
        batches = file.iter_batches(batch_size=_ROWS, columns=list(columns))
        yield from _arrow_rows(source, batches, columns)


def _orc(source: str, path: Path, wanted: Iterable[str], required: str) -> Iterator[tuple[str, Row]]:
    from pyarrow import orc

    with _damage_named(source):
        file = orc.ORCFile(path)
        columns = _columns(source, file.schema.names, wanted, required)
        stripes = (file.read_stripe(number, columns=list(columns)) for number in range(file.nstripes))
        yield from _arrow_rows(source, stripes, columns)


def _columns(
    source: str, names: Iterable[str], wanted: Iterable[str], required: str, remedy: str = "; write one"
) -> dict[str, str]:
    """Column name in the file and what we call it; case, spaces and `_` do not count."""
    plain = {name.replace("_", ""): name for name in wanted}
    found: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        ours = plain.get(re.sub(r"[\s_-]", "", name).lower())
        if ours in found.values():
            raise ConfigurationError(f"{source}: column {number} is a second column `{ours}`; keep one of them")
        if ours is not None:
            found[name] = ours
    if required not in found.values():
        raise ConfigurationError(f"{source}: there is no column `{required}`{remedy}")
    return found


def _arrow_rows(source: str, batches: Iterable[Any], columns: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    number = 0
    for batch in batches:
        for piece in (batch.slice(start, _ROWS) for start in range(0, batch.num_rows, _ROWS)):
            for row in piece.to_pylist():
                number += 1
                yield f"{source}, row {number}", {columns[name]: value for name, value in row.items()}


@contextmanager
def _damage_named(source: str) -> Iterator[None]:
    """Turns what readers say of a broken file into one line that names it."""
    from pyarrow import ArrowException

    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, ArrowException):
        raise ConfigurationError(f"{source} is damaged or cut off; write or copy it again") from None
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror or 'it is damaged'}") from None


# S3 Inventory


def _inventory(source: str, path: Path, bucket: str, buckets: Buckets, work: Path) -> Iterator[Entry | Refusal]:
    """`bucket` is where the manifest and its data files lie; empty where they were copied to this machine."""
    try:
        manifest = json.loads(path.read_bytes())
        kind, files = manifest["fileFormat"], [(file["key"], file.get("MD5checksum")) for file in manifest["files"]]
        schema = [name.strip().lower() for name in manifest["fileSchema"].split(",")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{source} is no manifest of S3 Inventory; give its manifest.json") from None
    for key, md5 in files:
        file = _fetched(buckets, bucket, key, work) if bucket else _beside(source, path, key)
        _check_md5(key, file, md5)
        if kind == "CSV":
            rows = _inventory_csv(key, file, schema)
        elif kind in ("Parquet", "ORC"):
            rows = (_parquet if kind == "Parquet" else _orc)(key, file, _INVENTORY_COLUMNS, "key")
        else:
            raise ConfigurationError(f"{source} is an inventory in {kind}; have it written as CSV, Parquet or ORC")
        for place, row in rows:
            entry = _inventory_entry(place, row, str(manifest.get("sourceBucket")))
            if entry is not None:
                yield entry
        if bucket:
            file.unlink()


def _inventory_entry(place: str, row: Row, bucket: str) -> Entry | Refusal | None:
    """None for what is no recording or is not there any more: old versions, deletions, folders."""
    key = _text(row, "key")
    if key is None:
        return Refusal(place, "there is no key in this row; have the inventory written again")
    stands = str(row.get("islatest")).lower() != "false" and str(row.get("isdeletemarker")).lower() != "true"
    if not stands or key.endswith("/") or not is_recording(key):
        return None
    try:
        size = _number(row, "size", least=0)
    except ValueError as error:
        return Refusal(place, str(error))
    etag = (_text(row, "etag") or "").strip('"') or None
    location = f"s3://{_text(row, 'bucket') or bucket}/{key}"
    return Entry(place, location, _first_folder(key), size=size, etag=etag, version_id=_text(row, "versionid"))


def _inventory_csv(source: str, path: Path, columns: list[str]) -> Iterator[tuple[str, Row]]:
    with _damage_named(source), _lines(path) as stream:
        for number, row in rows(NumberedLines(stream), ",", len(columns)):
            place = f"{source}, line {number}"
            if isinstance(row, str):
                yield place, {}
            elif any(row):
                named = dict(zip(columns, row, strict=False))
                # keys are percent-encoded there, with a plus for a space
                yield place, {**named, "key": unquote_plus(named.get("key", ""))}


def _beside(source: str, manifest: Path, key: str) -> Path:
    """The data file of an inventory that was copied from its bucket with or without its folders."""
    name = PurePosixPath(key).name
    above = manifest.absolute().parents
    for path in (*(folder / key for folder in above), *(folder / "data" / name for folder in above[:2])):
        if path.is_file():
            return path
    raise ConfigurationError(
        f"{source}: its data file {name} is not beside it; copy the inventory's folder `data` as well, or give the "
        "manifest's own s3:// address"
    )


def _check_md5(key: str, file: Path, md5: str | None) -> None:
    with file.open("rb") as stream:
        if md5 and hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5.lower():
            raise ConfigurationError(f"the inventory's data file {key} is not as its manifest says; copy it again")


# Listings


def _folder(folder: Path) -> Iterator[Entry]:
    root = folder.absolute()
    for stat in open_store(str(root)).list():
        if is_recording(stat.name):
            path = str(root / stat.name)
            yield Entry(path, path, _first_folder(stat.name), size=stat.size)


def _bucket(buckets: Buckets, bucket: str, prefix: str) -> Iterator[Entry]:
    store = buckets.store(bucket)
    for stat in store.list_versions(prefix) if buckets.versioned(bucket) else store.list(prefix):
        name = stat.name.removeprefix(prefix)
        if is_recording(name):
            location = f"s3://{bucket}/{stat.name}"
            folder = _first_folder(name)
            yield Entry(location, location, folder, size=stat.size, etag=stat.etag, version_id=stat.version_id)


def _fetched(buckets: Buckets, bucket: str, key: str, work: Path) -> Path:
    path = work / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{PurePosixPath(key).name[-100:]}"
    try:
        buckets.store(bucket).fetch(key, path)
    except MissingObject:
        raise ConfigurationError(f"there is no object s3://{bucket}/{key}; correct the address") from None
    return path

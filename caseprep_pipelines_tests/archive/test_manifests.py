"""What an archive's manifest names, as its owner would write it or as S3 writes it."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.archive.csv_rows import NumberedLines
from caseprep_pipelines.archive.csv_rows import rows as read_rows
from caseprep_pipelines.archive.manifests import Buckets, Entry, Refusal, read
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines_tests.s3_server import S3Server


def no_s3() -> Any:
    raise AssertionError("this archive lies on this machine")


def entries(source: object, work: Path, client: Callable[[], Any] = no_s3) -> list[Entry | Refusal]:
    return list(read(str(source), Buckets(client), work))


def refusals(source: object, work: Path) -> list[tuple[str, str]]:
    return [(entry.place, entry.why) for entry in entries(source, work) if isinstance(entry, Refusal)]


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_a_csv_says_where_and_what_and_leaves_out_what_nobody_knows(tmp_path: Path) -> None:
    manifest = written(
        tmp_path / "m.csv",
        "\ufeffLocation,Matter,Priority,Size,Remark\r\n"
        's3://court/2019/a, b%20c.mp3,2019-cv-1,5,10,"one, two"\r\n'.replace("a, b", "a b")
        + "calls/jail.wav,,,,\r\n\r\n/evidence/x.wav,2019-cv-2,,,\r\n",
    )
    first, second, third = entries(manifest, tmp_path)
    assert first == Entry(
        f"{manifest}, line 2", "s3://court/2019/a b%20c.mp3", "2019", matter="2019-cv-1", size=10, priority=5
    )
    assert second == Entry(f"{manifest}, line 3", str(tmp_path / "calls/jail.wav"), "calls")
    assert third == Entry(f"{manifest}, line 5", "/evidence/x.wav", None, matter="2019-cv-2")


def test_a_spreadsheet_may_write_semicolons_and_gzip_may_pack_it(tmp_path: Path) -> None:
    path = tmp_path / "m.csv.gz"
    path.write_bytes(gzip.compress(b"location;matter\n/a/b.wav;2019-cv-1\n"))
    assert entries(path, tmp_path) == [Entry(f"{path}, line 2", "/a/b.wav", None, matter="2019-cv-1")]


def test_bad_rows_are_named_by_line_with_what_to_do_and_the_others_come(tmp_path: Path) -> None:
    rows = [
        "location,size,sha256,priority",
        ",1,,",
        "s3://bucket,,,",
        "s3://bucket/folder/,,,",
        "https://example.org/a.wav,,,",
        "a.wav,many,,",
        "a.wav,-1,,",
        "a.wav,,abc,",
        "a.wav,,,9999999999",
        "a,b,c.wav,,,",
        "good.wav,,,",
    ]
    manifest = written(tmp_path / "m.csv", "\n".join(rows))
    found = entries(manifest, tmp_path)
    assert [entry.place for entry in found] == [f"{manifest}, line {line}" for line in range(2, 12)]
    assert [type(entry) for entry in found] == [Refusal] * 9 + [Entry]
    for place, why in refusals(manifest, tmp_path):
        assert ";" in why or "write" in why, (place, why)


NO_END = (
    'the quote at character {} has no end in its line; close it there, or write "" for a quote inside a quoted value'
)
IN_THE_MIDDLE = NO_END.replace("has no end in its line", "ends in the middle of a value")


@pytest.mark.parametrize("rest", [3, 40_000])
def test_a_quote_that_is_never_closed_hides_no_other_row(tmp_path: Path, rest: int) -> None:
    manifest = written(tmp_path / "m.csv", 'location\na.wav\n"b.wav\n' + "c.wav\n" * rest)
    found = entries(manifest, tmp_path)
    assert [entry.place.rpartition(" ")[2] for entry in found] == [str(line) for line in range(2, rest + 4)]
    assert [entry for entry in found if isinstance(entry, Refusal)] == [
        Refusal(f"{manifest}, line 3", NO_END.format(1))
    ]


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        # up to the next quote, which is another row's
        (['"a.wav,m', "b.wav,m", '"c.wav",m', "d.wav,m"], {2: NO_END.format(1)}),
        (['a.wav,"m', 'b.wav,"m"', "c.wav,m"], {2: NO_END.format(7)}),
        # a value that is never one of several lines
        (['"a.wav', 'b.wav"', "c.wav,m"], {2: NO_END.format(1)}),
        (['a.wav,m,"seen', 'tape 12",m', "c.wav,m"], {2: NO_END.format(9)}),
        (['a.wav,m,"seen', "", 'c.wav,"m"'], {2: NO_END.format(9)}),
        # in its own line
        (['"a" 12.wav,m', "b.wav,m"], {2: IN_THE_MIDDLE.format(1)}),
        (['a.wav,m,"he said "yes""', "b.wav,m"], {2: IN_THE_MIDDLE.format(9)}),
        (['"', "b.wav", '","'], {2: NO_END.format(1)}),
        # more than one
        (['"a.wav', '"b.wav', '"c.wav', "d.wav"], {2: NO_END.format(1), 3: NO_END.format(1), 4: NO_END.format(1)}),
        # none of these
        (['a 12".wav,m', 'b.wav,m,12"', 'c.wav,m,a "good" tape'], {}),
        (['a.wav, "m" ,"he said ""yes"""', '"b, c.wav",m,""'], {}),
    ],
)
def test_a_quote_too_many_or_too_few_is_named_and_every_other_row_comes(
    tmp_path: Path, rows: list[str], refused: dict[int, str]
) -> None:
    manifest = written(tmp_path / "m.csv", "\n".join(["location,matter,remark", *rows]))
    found = entries(manifest, tmp_path)
    wrong = {f"{manifest}, line {line}": why for line, why in refused.items()}
    assert {entry.place: entry.why for entry in found if isinstance(entry, Refusal)} == wrong
    others = {f"{manifest}, line {line}" for line, row in enumerate(rows, start=2) if row} - set(wrong)
    assert {entry.place for entry in found} >= others


def test_a_remark_may_go_over_several_lines(tmp_path: Path) -> None:
    text = 'location,remark,matter\r\na.wav,"first\r\n""second"", third\r\n\r\nlast",m\r\nb.wav,,\r\n'
    manifest = written(tmp_path / "m.csv", text)
    first, second = entries(manifest, tmp_path)
    assert first == Entry(f"{manifest}, line 2", str(tmp_path / "a.wav"), matter="m")
    assert second == Entry(f"{manifest}, line 6", str(tmp_path / "b.wav"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=;", '"sep=;"', "SEP=;;;", ";;;"])
def test_what_a_spreadsheet_leaves_behind_is_understood(tmp_path: Path, end: str, first: str) -> None:
    lines = [
        *([first] if first else []),
        "Location ; MATTER;Size;Version ID;;",
        "a.wav;m;88078.0;;;",
        ";;;;;",
        " ; ;;;;",
        "",
        "b.wav; m ; 5. ;v 1;;;;;",
        "c, d.wav",
    ]
    manifest = written(tmp_path / "m.csv", end.join(lines))
    extra = bool(first)
    assert entries(manifest, tmp_path) == [
        Entry(f"{manifest}, line {2 + extra}", str(tmp_path / "a.wav"), matter="m", size=88078),
        Entry(f"{manifest}, line {6 + extra}", str(tmp_path / "b.wav"), matter="m", size=5, version_id="v 1"),
        Entry(f"{manifest}, line {7 + extra}", str(tmp_path / "c, d.wav")),
    ]


@pytest.mark.parametrize("separator", [",", "|", "\t", ":"])
def test_a_separator_that_is_named_is_taken(tmp_path: Path, separator: str) -> None:
    manifest = written(tmp_path / "m.csv", f"sep={separator}\nlocation{separator}matter\na.wav{separator}m\n")
    assert entries(manifest, tmp_path) == [Entry(f"{manifest}, line 3", str(tmp_path / "a.wav"), matter="m")]


@pytest.mark.parametrize("size", ["88078.5", "8.8E4", "1,5", "0x10", "88 078", "nan", "-1.0", "9" * 30])
def test_a_size_that_is_no_whole_number_is_refused(tmp_path: Path, size: str) -> None:
    manifest = written(tmp_path / "m.csv", f"location;size\na.wav;{size}\nb.wav;0\n")
    refusal, entry = entries(manifest, tmp_path)
    assert isinstance(refusal, Refusal)
    assert "size is no whole number" in refusal.why
    assert isinstance(entry, Entry)


def test_a_line_that_nobody_means_is_refused_without_being_held(tmp_path: Path) -> None:
    manifest = written(tmp_path / "m.csv", "location\na.wav\n" + "x" * 1_000_000 + "\nb.wav\n" + "y\0.wav\n")
    first, long, second, nul = entries(manifest, tmp_path)
    assert isinstance(first, Entry)
    assert long == Refusal(
        f"{manifest}, line 3", "this line has more than 131,072 characters; write one recording a line"
    )
    assert second == Entry(f"{manifest}, line 4", str(tmp_path / "b.wav"))
    assert isinstance(nul, Refusal)


_VALUES = st.text(st.sampled_from(list('ab "\n\r,;é')), max_size=6)


@given(rows=st.lists(st.lists(_VALUES, min_size=1, max_size=4), max_size=6))
def test_what_a_program_wrote_is_read_as_it_was(
    rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    with path.open(newline="", encoding="utf-8") as file:
        assert [row for _, row in read_rows(NumberedLines(file), ",", 4)] == rows


@given(st.text(st.sampled_from(list('ab"\n,')), max_size=40), st.integers(1, 4))
def test_no_row_is_hidden_by_any_quote(text: str, columns: int) -> None:
    lines = text.split("\n")
    found = dict(read_rows(NumberedLines(io.StringIO(text, newline="")), ",", columns, ["ours"] * columns))
    for number, line in enumerate(lines, start=1):
        if '"' not in line and line.count(",") < columns and line:
            assert found[number] == line.split(","), (number, found)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.csv", b"path,matter\na,b\n", "no column `location`"),
        ("m.csv", "location\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("m.csv", "location\n".encode("utf-16-be"), "UTF-16; save it as UTF-8"),
        ("m.csv", b"location,matter, Location \na,b,c\n", "column 3 is a second column `location`"),
        ("m.csv", b"version_id,location,VersionID\n", "column 3 is a second column `version_id`"),
        ("m.csv", b'"location,matter\na,b\n', "line 1: the quote at character 1"),
        ("m.csv", b"\n,,,\n", "no column `location`"),
        ("m.csv", b"x" * 1_000_000, "line 1: this line has more than"),
        ("m.csv", b"", "no column `location`"),
        ("m.csv.gz", gzip.compress(b"location\n" * 1000, mtime=0)[:-20], "damaged or cut off"),
        ("m.csv.gz", b"location\n", "damaged or cut off"),
        ("m.parquet", b"PAR1", "damaged or cut off"),
        ("m.json", b"[1]", "no manifest of S3 Inventory"),
        ("m.json", b"{", "no manifest of S3 Inventory"),
        ("m.xlsx", b"", "what kind of manifest"),
    ],
)
def test_a_manifest_that_is_none_is_told_in_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as told:
        entries(path, tmp_path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_nothing_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no file or folder"):
        entries(tmp_path / "nothing.csv", tmp_path)


def test_parquet_holds_the_same_columns(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    table = pa.table({"Location": ["a/b.wav", None], "size": pa.array([1, None], pa.int64()), "other": ["x", "y"]})
    pyarrow.parquet.write_table(table, path)
    first, second = entries(path, tmp_path)
    assert first == Entry(f"{path}, row 1", str(tmp_path / "a/b.wav"), "a", size=1)
    assert isinstance(second, Refusal)
    pyarrow.parquet.write_table(pa.table({"location": [b"a.wav"], "size": [5.0], "priority": [float("nan")]}), path)
    assert entries(path, tmp_path) == [Entry(f"{path}, row 1", str(tmp_path / "a.wav"), size=5)]
    pyarrow.parquet.write_table(pa.table({"location": ["a.wav"], "Location": ["b.wav"]}), path)
    with pytest.raises(ConfigurationError, match="column 2 is a second column `location`"):
        entries(path, tmp_path)
    pyarrow.parquet.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(ConfigurationError, match="no column `location`"):
        entries(path, tmp_path)


def test_a_folder_is_listed_without_what_is_no_recording(tmp_path: Path) -> None:
    for name in ("2019-cv-1/tape 1.wav", "2019-cv-1/.DS_Store", "2019-cv-1/matter.toml", "loose.mp3", "b/c/d.part"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = entries(tmp_path / "archive", tmp_path)
    assert [(entry.folder, Path(entry.location).name) for entry in found if isinstance(entry, Entry)] == [
        ("2019-cv-1", "tape 1.wav"),
        (None, "loose.mp3"),
    ]


@given(name=st.text(st.characters(exclude_categories=["Cc"]), min_size=1).filter(str.strip))
def test_any_name_in_a_csv_is_read_as_it_stands(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("m") / "m.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        try:
            csv.writer(file).writerows([["location"], [f"s3://bucket/a{name}z"]])
        except UnicodeEncodeError:
            return
    (entry,) = entries(path, path.parent)
    assert isinstance(entry, Entry)
    assert entry.location == f"s3://bucket/a{name}z"


INVENTORY = [
    # key, version, latest, marker, size, ETag
    ("2019-cv-1/a b+c.mp3", "v1", True, False, 10, "e1"),
    ("2019-cv-1/a b+c.mp3", "v0", False, False, 9, "e0"),
    ("2019-cv-1/gone.mp3", "v2", True, True, None, None),
    ("2019-cv-1/", "v3", True, False, 0, "e3"),
    ("2019-cv-1/matter.toml", "v4", True, False, 5, "e4"),
    ("loose.mp3", "null", True, False, 7, "e5"),
]


def write_inventory(folder: Path, kind: str, rows: Sequence[tuple[Any, ...]] = INVENTORY) -> dict[str, bytes]:
    """An inventory as S3 writes it: key in the destination bucket, and bytes."""
    data = folder / "data"
    names = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "e_tag"]
    if kind == "CSV":
        schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"
        lines = []
        for key, version, latest, marker, size, etag in rows:
            encoded = key.replace("+", "%2B").replace(" ", "+")
            shown = ["court", encoded, version, str(latest).lower(), str(marker).lower(), size, etag]
            lines.append(",".join('"' + ("" if value is None else str(value)) + '"' for value in shown))
        data.write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        schema = "message s3.inventory { required binary bucket (UTF8); }"
        table = pa.table(dict(zip(names, zip(*(("court", *row) for row in rows), strict=True), strict=True)))
        (pyarrow.parquet.write_table if kind == "Parquet" else pyarrow.orc.write_table)(table, data)
    key = f"lists/court/daily/data/part.{'csv.gz' if kind == 'CSV' else kind.lower()}"
    content = data.read_bytes()
    data.unlink()
    manifest = {
        "sourceBucket": "court",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1577836800000",
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [{"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()}],  # noqa: S324
    }
    return {key: content, "lists/court/daily/2020-01-01T00-00Z/manifest.json": json.dumps(manifest).encode()}


def expected(places: Sequence[str]) -> list[Entry]:
    return [
        Entry(places[0], "s3://court/2019-cv-1/a b+c.mp3", "2019-cv-1", size=10, etag="e1", version_id="v1"),
        Entry(places[1], "s3://court/loose.mp3", None, size=7, etag="e5", version_id="null"),
    ]


@pytest.mark.parametrize("kind", ["CSV", "Parquet", "ORC"])
def test_an_inventory_is_read_where_s3_wrote_it(s3: S3Server, tmp_path: Path, kind: str) -> None:
    for key, content in write_inventory(tmp_path, kind).items():
        s3.client().put_object(Bucket=s3.bucket, Key=key, Body=content)
    found = entries(f"s3://{s3.bucket}/lists/court/daily/2020-01-01T00-00Z/manifest.json", tmp_path, s3.client)
    assert found == expected([entry.place for entry in found])
    assert [place.rpartition(" ")[2] for place in (found[0].place, found[1].place)] == ["1", "6"]
    assert len(list(tmp_path.iterdir())) == 1  # the manifest: data files go when they are read


@pytest.mark.parametrize("flat", [False, True])
def test_an_inventory_that_was_copied_here_is_read_here(tmp_path: Path, flat: bool) -> None:
    for key, content in write_inventory(tmp_path, "CSV").items():
        path = tmp_path / (f"flat/{'data/' * ('/data/' in key)}{Path(key).name}" if flat else key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (manifest,) = tmp_path.rglob("manifest.json")
    assert len(entries(manifest, tmp_path)) == 2
    (data,) = tmp_path.rglob("part.csv.gz")
    data.write_bytes(gzip.compress(b"nothing"))
    with pytest.raises(ConfigurationError, match="not as its manifest says"):
        entries(manifest, tmp_path)
    data.unlink()
    with pytest.raises(ConfigurationError, match="not beside it"):
        entries(manifest, tmp_path)


@pytest.mark.parametrize("versioned", [False, True])
def test_a_bucket_is_listed_with_what_identifies_its_objects(s3: S3Server, tmp_path: Path, versioned: bool) -> None:
    client = s3.client()
    if versioned:
        client.put_bucket_versioning(Bucket=s3.bucket, VersioningConfiguration={"Status": "Enabled"})
        client.put_object(Bucket=s3.bucket, Key="old/2019-cv-1/a.mp3", Body=b"first")
    versions = [
        client.put_object(Bucket=s3.bucket, Key=key, Body=b"sound").get("VersionId")
        for key in ("old/2019-cv-1/a.mp3", "old/b c.mp3", "old/.hidden", "other/d.mp3")
    ]
    for source in (f"s3://{s3.bucket}/old/", f"s3://{s3.bucket}/old"):
        found = [entry for entry in entries(source, tmp_path, s3.client) if isinstance(entry, Entry)]
        assert [(entry.location, entry.folder) for entry in found] == [
            (f"s3://{s3.bucket}/old/2019-cv-1/a.mp3", "2019-cv-1"),
            (f"s3://{s3.bucket}/old/b c.mp3", None),
        ]
        assert [entry.version_id for entry in found] == versions[:2]
        assert {entry.size for entry in found} == {5}


def test_a_manifest_that_is_not_in_its_bucket_is_told(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no object"):
        entries(f"s3://{s3.bucket}/m.csv", tmp_path, s3.client)

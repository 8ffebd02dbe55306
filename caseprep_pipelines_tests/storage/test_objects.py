"""What both object stores promise, and what a directory does besides."""

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.storage.objects import MissingObject, ObjectChanged, ObjectStore, open_store
from caseprep_pipelines_tests.s3_server import S3Server

HOSTILE_NAMES = [
    'incoming/Jane Doe\'s "call" (1).mp3',
    "incoming/-rf",
    "incoming/--help.wav",
    "incoming/Anhörung 漢字 №3.wav",
    "incoming/e\u0301 is not é.wav",
    "incoming/100% & more?x=1#y;z.wav",
    "incoming/a+b=c.wav",
    "incoming/a\ttab.wav",
    "incoming/\u202egpj.exe",
    "incoming/...wav",
    "incoming/" + "x" * 240 + ".wav",
    "incoming/<script>.wav",
    "incoming/back\\slash.wav",
]


def names(store: ObjectStore, prefix: str = "", start_after: str | None = None) -> list[str]:
    return [stat.name for stat in store.list(prefix, start_after)]


def test_what_is_written_is_read(store: ObjectStore, tmp_path: Path) -> None:
    store.write_bytes("a/b.json", b"first")
    store.write_bytes("a/b.json", b"second")
    assert store.read_bytes("a/b.json") == b"second"
    with store.open("a/b.json") as stream:
        assert stream.read(3) == b"sec"
        assert stream.read() == b"ond"
        assert stream.read() == b""
    stat = store.stat("a/b.json")
    assert (stat.name, stat.size) == ("a/b.json", 6)
    assert abs(datetime.now(UTC) - stat.modified) < timedelta(minutes=5)
    store.fetch("a/b.json", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"second"


def test_an_empty_object_is_an_object(store: ObjectStore, tmp_path: Path) -> None:
    store.write_bytes("empty", b"")
    assert store.read_bytes("empty") == b""
    store.fetch("empty", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b""
    assert store.stat("empty").size == 0


def test_files_stream_in_and_out(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 20
    (tmp_path / "original").write_bytes(data)
    store.write_file("originals/key/original.wav", tmp_path / "original")
    assert store.stat("originals/key/original.wav").size == len(data)
    store.fetch("originals/key/original.wav", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == data
    assert (tmp_path / "original").read_bytes() == data


def test_a_file_that_vanished_says_so(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.write_file("a", tmp_path / "gone")
    assert names(store) == []


def test_what_is_missing_is_missing(store: ObjectStore, tmp_path: Path) -> None:
    for reading in (
        lambda: store.stat("a/b"),
        lambda: store.read_bytes("a/b"),
        lambda: store.open("a/b"),
        lambda: store.fetch("a/b", tmp_path / "fetched"),
    ):
        with pytest.raises(MissingObject) as missing:
            reading()
        assert "a/b" not in str(missing.value)
    assert not (tmp_path / "fetched").exists()
    assert names(store) == []
    assert list(store.folders("a/")) == []
    store.delete("a/b")


def test_a_deleted_object_is_gone(store: ObjectStore) -> None:
    store.write_bytes("a/b/c", b"1")
    store.write_bytes("a/d", b"2")
    store.delete("a/b/c")
    assert names(store) == ["a/d"]
    assert list(store.folders("a/")) == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_only_names(store: ObjectStore, tmp_path: Path, name: str) -> None:
    store.write_bytes(name, b"data")
    assert names(store, "incoming/") == [name]
    assert store.stat(name).size == 4
    assert store.read_bytes(name) == b"data"
    store.fetch(name, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"data"
    store.delete(name)
    assert names(store) == []


def test_a_line_end_in_a_name_is_only_a_name(tmp_path: Path) -> None:
    """In a directory; moto's server answers no such address."""
    store = open_store(str(tmp_path / "root"))
    store.write_bytes("incoming/two\nlines", b"data")
    assert names(store) == ["incoming/two\nlines"]
    assert store.read_bytes("incoming/two\nlines") == b"data"


@pytest.mark.parametrize(
    "name", ["", "/", "..", "../a", "a/../b", "a/..", "/etc/passwd", "a//b", "./a", "a/", "a\0b", ".caseprep-x/a"]
)
def test_no_name_leaves_the_root(store: ObjectStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        store.write_bytes(name, b"data")
    with pytest.raises(ConfigurationError):
        store.delete(name)
    assert names(store) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_listing_follows_the_names_bytes_and_starts_after_a_name(store: ObjectStore) -> None:
    stored = ["a", "a-b/c", "a.b", "a/b", "a/b-c", "a/b/c", "a0", "b/é", "b/漢", "b/𝄞", "B"]
    for name in stored:
        if name not in ("a", "a/b"):  # a directory cannot also be a file
            store.write_bytes(name, b"x")
    expected = sorted((name for name in stored if name not in ("a", "a/b")), key=str.encode)
    assert names(store) == expected
    for position, name in enumerate(expected):
        assert names(store, "", name) == expected[position + 1 :]
    assert names(store, "a/b") == ["a/b-c", "a/b/c"]
    assert names(store, "a/") == ["a/b-c", "a/b/c"]
    assert names(store, "a", "a-b/") == ["a-b/c", "a.b", "a/b-c", "a/b/c", "a0"]
    assert names(store, "b/", "a") == ["b/é", "b/漢", "b/𝄞"]
    assert names(store, "nothing/") == []
    assert list(store.folders("")) == ["a", "a-b", "b"] or list(store.folders("")) == ["a-b", "a", "b"]
    assert list(store.folders("a/")) == ["b"]


def test_listings_have_many_pages(s3: S3Server) -> None:
    """S3 hands out so many names at a time as it likes, at most a thousand; here seven."""
    client = s3.client()
    client.meta.events.register("before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=7))
    store = open_store(s3.root, s3_client=client)
    expected = [f"incoming/{number:05d}/call.wav" for number in range(30)]
    for name in expected:
        store.write_bytes(name, b"")
    client.put_object(Bucket=s3.bucket, Key="some/prefix-of-another/incoming/a", Body=b"")
    client.put_object(Bucket=s3.bucket, Key="some/prefix/incoming/", Body=b"")
    assert names(store, "incoming/") == expected
    assert names(store, "incoming/", expected[12]) == expected[13:]
    assert list(store.folders("incoming/")) == [f"{number:05d}" for number in range(30)]


def test_objects_of_one_second_are_all_listed(store: ObjectStore, tmp_path: Path) -> None:
    for number in range(5):
        store.write_bytes(f"incoming/{number}", b"x")
        path = store.local_path(f"incoming/{number}")
        if path is not None:
            os.utime(path, ns=(1_700_000_000_000_000_000,) * 2)
    assert len({stat.etag for stat in store.list("incoming/")}) == (5 if store.local_path("a") else 1)
    assert len(names(store, "incoming/")) == 5


def test_an_etag_changes_with_every_write_of_other_bytes(store: ObjectStore) -> None:
    store.write_bytes("a", b"1")
    before = store.stat("a").etag
    assert store.stat("a").etag == before == next(iter(store.list("a"))).etag
    store.write_bytes("a", b"2")
    assert store.stat("a").etag != before


def test_only_one_of_two_creates_an_object(store: ObjectStore) -> None:
    store.write_bytes("a", b"first", if_absent=True)
    with pytest.raises(ObjectChanged):
        store.write_bytes("a", b"second", if_absent=True)
    assert store.read_bytes("a") == b"first"


def test_a_write_gives_way_to_one_that_came_between(store: ObjectStore) -> None:
    store.write_bytes("a", b"1")
    seen = store.stat("a").etag
    store.write_bytes("a", b"2", if_match=seen)
    with pytest.raises(ObjectChanged):
        store.write_bytes("a", b"3", if_match=seen)
    assert store.read_bytes("a") == b"2"
    store.delete("a")
    with pytest.raises(ObjectChanged):
        store.write_bytes("a", b"3", if_match=seen)


def test_a_write_repeated_after_a_lost_answer_has_succeeded(store: ObjectStore) -> None:
    store.write_bytes("a", b"1", if_absent=True)
    store.write_bytes("a", b"1", if_absent=True)
    seen = store.stat("a").etag
    store.write_bytes("a", b"2", if_match=seen)
    store.write_bytes("a", b"2", if_match=seen)


def test_an_address_leads_back_to_the_object(store: ObjectStore) -> None:
    from caseprep_pipelines.storage.s3 import split_uri

    name = "incoming/100% é?x=1#y.wav"
    store.write_bytes(name, b"x")
    uri = store.uri(name)
    assert uri.isascii()
    if uri.startswith("s3://"):
        _, key, version = split_uri(uri)
        assert (key, version) == (f"some/prefix/{name}", None)
        assert split_uri(uri + "?versionId=v1") == (*split_uri(uri)[:2], "v1")
    else:
        assert store.local_path(name) == Path(store.local_path(name) or "")
        assert uri.startswith("file:///")


@pytest.mark.parametrize("root", ["", "gs://bucket/prefix", "https://bucket", "s3://", "s3:///prefix"])
def test_a_root_that_is_none_is_a_configuration_error(root: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(root)


def test_opening_a_store_makes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    assert names(store) == []
    assert not (tmp_path / "root").exists()


def test_links_do_not_lead_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(b"secret")
    store = open_store(str(tmp_path / "root"))
    store.write_bytes("incoming/a", b"x")
    (tmp_path / "root/incoming/link").symlink_to(tmp_path / "secret/file")
    (tmp_path / "root/incoming/folder").symlink_to(tmp_path / "secret")
    assert names(store) == ["incoming/a"]
    for name in ("incoming/link", "incoming/folder/file"):
        with pytest.raises(ConfigurationError, match="symbolic link"):
            store.read_bytes(name)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            store.write_bytes(name, b"changed")
    assert (tmp_path / "secret/file").read_bytes() == b"secret"


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    store = open_store(str(tmp_path / "root"))
    store.write_bytes("a/b", b"x")
    assert store.read_bytes("a/b") == b"x"
    assert names(store) == ["a/b"]


def test_a_name_that_is_not_unicode_is_listed_and_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    try:
        (tmp_path / "root" / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system keeps only Unicode names")
    (listed,) = names(store)
    assert store.read_bytes(listed) == b"x"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(min_size=1, max_size=60))
def test_any_name_is_either_refused_or_stays_inside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    store = open_store(str(root))
    try:
        store.write_bytes(name, b"x")
    except (ConfigurationError, Fault, UnicodeEncodeError):
        pass
    else:
        path = store.local_path(name)
        assert path is not None
        assert path.resolve().is_relative_to(root.resolve())
        assert store.read_bytes(name) == b"x"
        store.delete(name)
    assert [path for path in tmp_path.iterdir() if path != root] == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "failed"),
    ],
)
def test_a_disk_that_refuses_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    store = open_store(str(tmp_path / "root"))
    store.write_bytes("derived/a", b"before")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Fault, match=remedy) as fault:
        store.write_bytes("derived/a", b"after")
    monkeypatch.undo()
    assert str(tmp_path / "root") in str(fault.value)
    assert "\n" not in str(fault.value)
    assert store.read_bytes("derived/a") == b"before"
    assert [path.name for path in (tmp_path / "root/derived").iterdir()] == ["a"]


def test_a_file_too_large_for_the_disk_leaves_the_old_one(tmp_path: Path) -> None:
    """For real, in a process that may write no file of more than 64 KiB."""
    script = """
import resource, sys
from pathlib import Path
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.storage.objects import open_store
store = open_store(sys.argv[1])
store.write_bytes("a", b"before")
source = Path(sys.argv[1], "source"); source.write_bytes(bytes(1 << 20))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
for write in (lambda: store.write_bytes("a", bytes(1 << 20)), lambda: store.write_file("a", source),
              lambda: store.fetch("source", source.with_name("fetched"))):
    try:
        write()
    except Fault as fault:
        print(fault)
assert store.read_bytes("a") == b"before"
assert sorted(path.name for path in Path(sys.argv[1]).iterdir()) == ["a", "source"]
"""
    root = tmp_path / "root"
    ended = subprocess.run([sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True)
    assert len(ended.stdout.splitlines()) == 3
    assert all(str(root) in line for line in ended.stdout.splitlines())


def test_a_file_where_the_root_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"")
    store = open_store(str(tmp_path / "root"))
    with pytest.raises(Fault, match="directory"):
        store.write_bytes("a/b", b"x")
    with pytest.raises(MissingObject):
        store.read_bytes("a/b")


def test_a_fetch_that_breaks_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path / "root"))
    store.write_bytes("a", b"x")
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(Fault, match=f"{tmp_path / 'work'}.*free some space"):
        store.fetch("a", tmp_path / "work/a")
    assert list((tmp_path / "work").iterdir()) == []


def test_what_a_killed_writer_left_is_invisible_and_swept(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    store.write_bytes("derived/a/whole", b"x")
    left = tmp_path / "root/derived/a/b"
    left.mkdir()
    (left / ".caseprep-0123.tmp").write_bytes(b"half")
    (tmp_path / "root/derived/c/d").mkdir(parents=True)
    assert names(store) == ["derived/a/whole"]
    assert store.sweep_unfinished("derived/", timedelta(hours=1)) == 0
    assert store.sweep_unfinished("derived/", timedelta(seconds=-1)) == 1
    assert sorted(path.name for path in (tmp_path / "root/derived").rglob("*")) == ["a", "whole"]
    assert store.read_bytes("derived/a/whole") == b"x"
    assert store.sweep_unfinished("nothing/", timedelta(0)) == 0


def test_two_processes_never_both_create(tmp_path: Path) -> None:
    """Three processes race for each of forty names; each name is won once."""
    script = """
import sys
from caseprep_pipelines.storage.objects import ObjectChanged, open_store
store = open_store(sys.argv[1])
sys.stdin.read()
for number in range(40):
    try:
        store.write_bytes(f"claims/{number}", sys.argv[2].encode(), if_absent=True)
        print(number)
    except ObjectChanged:
        pass
"""
    command = [sys.executable, "-c", script, str(tmp_path / "root")]
    racers = [
        subprocess.Popen([*command, str(racer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for racer in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    won = [int(line) for racer in racers for line in racer.communicate()[0].split()]
    assert sorted(won) == list(range(40))


def test_files_are_never_held_in_memory(tmp_path: Path) -> None:
    """Fifty megabytes pass through without being held."""
    import tracemalloc

    (tmp_path / "big").write_bytes(bytes(50 << 20))
    store = open_store(str(tmp_path / "root"))
    tracemalloc.start()
    store.write_file("big", tmp_path / "big")
    store.fetch("big", tmp_path / "fetched")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()

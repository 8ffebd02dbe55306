"""Versions, heads and digests; and that a reader never sees half a product, wherever a writer dies."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.objects import ObjectChanged, ObjectStore, open_store
from caseprep_pipelines.storage.products import (
    TAKEN_UP_WITHIN,
    CorruptProduct,
    MissingProduct,
    ProductStore,
    ProductVersion,
)

KEY = "2024-cv-00123-0123456789ab"
NO_TIME = timedelta(seconds=-1)


class Note(Document):
    """Stands for any stage's document."""

    document: Literal["note"] = "note"
    schema_version: Literal[1] = 1
    text: str


class Other(Document):
    document: Literal["other"] = "other"
    schema_version: Literal[1] = 1
    number: int


REJECTION = Rejection(partition=KEY, stage="source_recording", reason=Reason.EMPTY, remedy=REMEDIES[Reason.EMPTY])


@pytest.fixture
def products(store: ObjectStore) -> ProductStore:
    return ProductStore(store)


@pytest.fixture
def local(tmp_path: Path) -> ProductStore:
    return ProductStore(open_store(str(tmp_path / "root")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a stage made: two channels."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "channel-0.flac").write_bytes(b"first channel" * 1000)
    (folder / "channel-1.flac").write_bytes(b"second channel")
    return folder


def write(
    products: ProductStore,
    text: str,
    folder: Path | None = None,
    *,
    fingerprint: str = "f",
    made_by: str = "machine",
    run_record: dict[str, Any] | None = None,
) -> ProductVersion:
    return products.write(
        "note",
        KEY,
        Note(text=text),
        folder,
        fingerprint=fingerprint,
        inputs={"source_recording": "d1"},
        made_by=made_by,
        run_record=run_record,
    )


def text(products: ProductStore, version: str | None = None) -> str:
    note = products.read("note", KEY, Note, version)
    assert isinstance(note, Note)
    return note.text


def test_a_product_is_read_as_it_was_written(products: ProductStore, folder: Path, tmp_path: Path) -> None:
    written = write(products, "first", folder, run_record={"wall_seconds": 1.5, "device": "cpu"})
    assert written.new
    assert written.is_head
    assert text(products) == "first"
    assert products.read_bytes("note", KEY, "channel-1.flac") == b"second channel"
    paths = products.fetch("note", KEY, tmp_path / "out" / "deep")
    assert sorted(path.name for path in paths) == ["channel-0.flac", "channel-1.flac", "note.json"]
    assert paths[0].read_bytes() == (folder / "channel-0.flac").read_bytes()
    assert products.fetch("note", KEY, tmp_path / "one", ["channel-1.flac"]) == [tmp_path / "one" / "channel-1.flac"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["channel-1.flac"]
    head = products.head("note", KEY)
    assert head is not None
    assert (head.version, head.manifest) == (written.version, written.manifest)
    assert head.manifest.inputs == {"source_recording": "d1"}
    assert products.run_record("note", KEY) == {"wall_seconds": 1.5, "device": "cpu"}
    assert list(products.verify("note", KEY)) == []
    assert list(products.partitions("note")) == [KEY]
    assert sorted(path.name for path in folder.iterdir()) == ["channel-0.flac", "channel-1.flac"]


def test_the_digest_is_what_sha256sum_prints(products: ProductStore, folder: Path) -> None:
    written = write(products, "first", folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()} | {
        "note.json": Note(text="first").to_bytes()
    }
    lines = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    assert written.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert written.version == f"000001-{written.digest[:12]}"


def test_neither_wall_time_nor_run_record_is_in_the_product(tmp_path: Path, folder: Path) -> None:
    one, other = (ProductStore(open_store(str(tmp_path / name))) for name in ("one", "other"))
    first = write(one, "same", folder, run_record={"started": "today"})
    second = write(other, "same", folder, run_record={"started": "tomorrow"})
    assert first == second
    for file in ("HEAD.json", f"{first.version}/manifest.json", f"{first.version}/note.json"):
        assert (tmp_path / "one/derived/note" / KEY / file).read_bytes() == (
            tmp_path / "other/derived/note" / KEY / file
        ).read_bytes()


def test_writing_the_same_again_adds_nothing(products: ProductStore, folder: Path) -> None:
    first = write(products, "same", folder)
    again = write(products, "same", folder)
    assert not again.new
    assert again.is_head
    assert again.version == first.version
    assert len(products.versions("note", KEY)) == 1


def test_other_bytes_or_another_fingerprint_add_a_version(products: ProductStore) -> None:
    versions = [write(products, "a"), write(products, "b"), write(products, "b", fingerprint="g")]
    assert all(version.new and version.is_head for version in versions)
    assert [version.version[:6] for version in versions] == ["000001", "000002", "000003"]
    assert [found.version for found in products.versions("note", KEY)] == [version.version for version in versions]
    assert [found.is_head for found in products.versions("note", KEY)] == [False, False, True]
    assert text(products, versions[0].version) == "a"
    assert products.version("note", KEY).fingerprint == "g"


def test_going_back_to_what_was_is_a_new_version(products: ProductStore) -> None:
    for content in ("a", "b", "a"):
        assert write(products, content).new
    assert [found.version[:6] for found in products.versions("note", KEY)] == ["000001", "000002", "000003"]
    assert text(products) == "a"


def test_a_machine_never_supersedes_what_a_person_made(products: ProductStore) -> None:
    write(products, "draft")
    person = write(products, "corrected", made_by="reviewer-7")
    machine = write(products, "better model")
    assert machine.new
    assert not machine.is_head
    assert text(products) == "corrected"
    assert [found.is_head for found in products.versions("note", KEY)] == [False, True, False]
    head = products.head("note", KEY)
    assert head is not None
    assert (head.version, head.head_set_by, head.made_by) == (person.version, "reviewer-7", "reviewer-7")
    again = write(products, "better model")
    assert (again.new, again.is_head, again.version) == (False, False, machine.version)
    assert write(products, "corrected again", made_by="reviewer-8").is_head
    assert text(products) == "corrected again"


def test_a_machine_that_makes_what_a_person_made_adds_nothing(products: ProductStore) -> None:
    person = write(products, "same", made_by="reviewer-7")
    machine = write(products, "same")
    assert (machine.new, machine.is_head, machine.version) == (False, True, person.version)


def test_an_adopted_version_stays_the_head(products: ProductStore) -> None:
    first = write(products, "first")
    second = write(products, "second")
    adopted = products.adopt("note", KEY, first.version, "reviewer-7")
    assert adopted.is_head
    assert text(products) == "first"
    assert not write(products, "third").is_head
    assert text(products) == "first"
    products.adopt("note", KEY, second.version, "reviewer-8")
    assert text(products) == "second"


@pytest.mark.parametrize("person", ["", " ", "machine"])
def test_only_a_person_adopts(products: ProductStore, person: str) -> None:
    version = write(products, "first").version
    with pytest.raises(ConfigurationError):
        products.adopt("note", KEY, version, person)


def test_what_does_not_exist_is_not_adopted(products: ProductStore) -> None:
    write(products, "first")
    for version in ("000009-0123456789ab", "../../etc", ""):
        with pytest.raises(MissingProduct):
            products.adopt("note", KEY, version or "x", "reviewer-7")


def test_a_rejection_is_a_product_in_the_documents_place(products: ProductStore) -> None:
    assert products.rejected("note", KEY) is None
    written = products.write("note", KEY, REJECTION, None, fingerprint="f", inputs={})
    assert written.rejected
    assert products.read("note", KEY, Note) == REJECTION
    assert products.rejected("note", KEY) == REJECTION
    assert products.read_bytes("note", KEY, "rejection.json") == REJECTION.to_bytes()
    write(products, "could be read after all")
    assert products.rejected("note", KEY) is None
    assert text(products) == "could be read after all"


def test_what_is_missing_says_which_product(products: ProductStore, tmp_path: Path) -> None:
    assert products.head("note", KEY) is None
    assert products.versions("note", KEY) == []
    assert list(products.partitions("note")) == []
    for reading in (
        lambda: products.read("note", KEY, Note),
        lambda: products.read_bytes("note", KEY, "note.json"),
        lambda: products.fetch("note", KEY, tmp_path / "out"),
        lambda: products.run_record("note", KEY),
    ):
        with pytest.raises(MissingProduct, match=f"note of {KEY}"):
            reading()
    assert list(products.verify("note", KEY)) == [f"note of {KEY}: there is no such product"]
    write(products, "first")
    assert products.run_record("note", KEY) is None
    with pytest.raises(MissingProduct):
        products.read_bytes("note", KEY, "../HEAD.json")
    with pytest.raises(MissingProduct):
        products.read("note", KEY, Note, "000002-0123456789ab")


@pytest.mark.parametrize(("asset", "key"), [("../x", KEY), ("a/b", KEY), ("", KEY), ("note", "../x"), ("note", "A")])
def test_names_are_checked(products: ProductStore, asset: str, key: str) -> None:
    with pytest.raises(ConfigurationError):
        products.write(asset, key, Note(text=""), None, fingerprint="", inputs={})
    with pytest.raises(ConfigurationError):
        products.read(asset, key, Note)


@pytest.mark.parametrize("name", ["manifest.json", "run.json", "note.json", ".hidden", "a b", "-x", "a..b", "é"])
def test_a_folder_with_other_than_plain_files_is_refused(local: ProductStore, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match="folder"):
        write(local, "first", folder)
    assert local.head("note", KEY) is None


def test_a_folder_in_a_folder_and_a_link_are_refused(local: ProductStore, folder: Path) -> None:
    (folder / "deeper").mkdir()
    with pytest.raises(ValueError, match="folder"):
        write(local, "first", folder)
    (folder / "deeper").rmdir()
    (folder / "link").symlink_to(folder / "channel-0.flac")
    with pytest.raises(ValueError, match="folder"):
        write(local, "first", folder)


def test_the_wrong_kind_of_document_is_not_handed_out(products: ProductStore) -> None:
    write(products, "privileged words")
    with pytest.raises(CorruptProduct) as error:
        products.read("note", KEY, Other)
    assert "privileged" not in str(error.value)
    assert error.value.__suppress_context__


def home(products: ProductStore) -> Path:
    path = products.objects.local_path(f"derived/note/{KEY}")
    assert path is not None
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_changed_bytes_are_never_handed_out(local: ProductStore, folder: Path, tmp_path: Path) -> None:
    version = write(local, "first", folder).version
    flip(home(local) / version / "channel-0.flac")
    with pytest.raises(CorruptProduct, match=r"channel-0\.flac differs"):
        local.read_bytes("note", KEY, "channel-0.flac")
    with pytest.raises(CorruptProduct):
        local.fetch("note", KEY, tmp_path / "out", ["channel-1.flac", "channel-0.flac"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["channel-1.flac"]
    assert text(local) == "first"
    flip(home(local) / version / "note.json")
    with pytest.raises(CorruptProduct):
        text(local)


def spoil(name: str) -> Callable[[Path], None]:
    return lambda folder: flip(folder / name)


def forge(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    data = b"forged"
    (folder / "channel-1.flac").write_bytes(data)
    for file in manifest["files"]:
        if file["name"] == "channel-1.flac":
            file.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest))


def relabel(folder: Path) -> None:
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"asset":"note"', '"asset":"other"'))


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (spoil("channel-0.flac"), "channel-0.flac differs from its digest"),
        (spoil("note.json"), "note.json differs from its digest"),
        (lambda folder: (folder / "channel-1.flac").unlink(), "channel-1.flac is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "is not there"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "manifest of version"),
        (lambda folder: (folder / "extra.exe").write_bytes(b"x"), "does not name"),
        (lambda folder: (folder.parent / "HEAD.json").write_bytes(b"{}"), "HEAD.json is not readable"),
        (forge, "the manifest's digest is not that of its files"),
        (relabel, "belongs to another product"),
    ],
)
def test_verify_names_what_was_done_to_a_product(
    local: ProductStore, folder: Path, harm: Callable[[Path], None], problem: str
) -> None:
    version = write(local, "first", folder, run_record={}).version
    assert list(local.verify("note", KEY)) == []
    harm(home(local) / version)
    problems = list(local.verify("note", KEY))
    assert any(problem in line for line in problems)
    assert all(KEY in line for line in problems)


def test_a_manifest_cannot_point_out_of_its_version(local: ProductStore, tmp_path: Path) -> None:
    version = write(local, "first").version
    manifest = home(local) / version / "manifest.json"
    manifest.write_text(manifest.read_text().replace("note.json", "../../../../secret"))
    with pytest.raises(CorruptProduct):
        local.fetch("note", KEY, tmp_path / "out")


class Killed(BaseException):
    """The process is gone: nothing may catch this and go on."""


class Dying:
    """An object store whose writer dies at the n-th operation, before or after it took effect."""

    def __init__(self, objects: ObjectStore, at: int, effect: bool) -> None:
        self._objects = objects
        self._at = at
        self._effect = effect
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._objects, name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                with suppress(Fault):
                    if self._effect:
                        method(*args, **options)
                raise Killed
            return method(*args, **options)

        return call


def whole(products: ProductStore, allowed: set[str | None], tmp_path: Path) -> None:
    """What any reader at this moment may rely on."""
    head = products.head("note", KEY)
    seen = None if head is None else text(products)
    assert seen in allowed
    if head is not None:
        assert list(products.verify("note", KEY)) == []
        products.fetch("note", KEY, tmp_path / "read")
    for version in products.versions("note", KEY):
        assert list(products.verify("note", KEY, version.version)) == []


@pytest.mark.parametrize("effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
def test_a_writer_killed_between_any_two_steps_leaves_the_head_whole(
    tmp_path: Path, folder: Path, earlier: bool, effect: bool
) -> None:
    at = 0
    while True:
        at += 1
        products = ProductStore(open_store(str(tmp_path / f"root-{at}")))
        if earlier:
            write(products, "earlier")
        before = "earlier" if earlier else None
        dying = Dying(products.objects, at, effect)
        try:
            write(ProductStore(dying), "new", folder, run_record={"n": 1})  # type: ignore[arg-type]
        except Killed:
            whole(products, {before, "new"}, tmp_path)
        else:
            break
        again = write(products, "new", folder, run_record={"n": 2})
        assert again.is_head
        whole(products, {"new"}, tmp_path)
        assert len([found for found in products.versions("note", KEY) if found.digest == again.digest]) == 1
        # no number is left out, as if nothing had happened
        assert [found.version[:6] for found in products.versions("note", KEY)] == ["000001", "000002"][: 1 + earlier]
        products.sweep_unfinished(NO_TIME)
        whole(products, {"new"}, tmp_path)
        stored = [stat.name.split("/")[3] for stat in products.objects.list("derived/")]
        assert set(stored) == {"HEAD.json", *(found.version for found in products.versions("note", KEY))}
    assert at > 8


def test_a_writer_killed_for_real_leaves_the_head_whole(tmp_path: Path, folder: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines.storage.objects import open_store
from caseprep_pipelines.storage.products import ProductStore
store, key = ProductStore(open_store(sys.argv[1])), sys.argv[2]
replaced = 0
real = os.fsync
def dying(handle):
    global replaced
    replaced += 1
    if replaced == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = dying
rejection = Rejection(partition=key, stage="s", reason=Reason.EMPTY, remedy=REMEDIES[Reason.EMPTY])
store.write("note", key, rejection, Path(sys.argv[3]), fingerprint="f", inputs={})
"""
    for at in (3, 9):
        products = ProductStore(open_store(str(tmp_path / f"root-{at}")))
        write(products, "earlier")
        command = [sys.executable, "-c", script, str(tmp_path / f"root-{at}"), KEY, str(folder), str(at)]
        assert subprocess.run(command, check=False).returncode == -9
        whole(products, {"earlier"}, tmp_path)
        assert write(products, "new", folder).is_head
        products.sweep_unfinished(NO_TIME)
        assert list((tmp_path / f"root-{at}").rglob("*.tmp")) == []
        whole(products, {"new"}, tmp_path)


class Interleaved:
    """An object store in which something else happens just before the n-th write."""

    def __init__(self, objects: ObjectStore, at: int, between: Callable[[], object]) -> None:
        self._objects = objects
        self._left = at
        self._between = between

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def write_bytes(self, name: str, data: bytes, **conditions: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self._between()
        self._objects.write_bytes(name, data, **conditions)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("other", ["other", "same"])
def test_two_writers_at_once_lose_nothing(products: ProductStore, at: int, other: str) -> None:
    write(products, "earlier")
    meanwhile = Interleaved(products.objects, at, lambda: write(products, other, fingerprint="theirs"))
    mine = write(ProductStore(meanwhile), "same", fingerprint="mine")  # type: ignore[arg-type]
    found = {(version.fingerprint, text(products, version.version)) for version in products.versions("note", KEY)}
    assert found == {("f", "earlier"), ("mine", "same"), ("theirs", other)}
    head = products.head("note", KEY)
    assert head is not None
    assert head.version == max(version.version for version in products.versions("note", KEY))
    assert mine.is_head == (head.version == mine.version)
    assert all(not list(products.verify("note", KEY, version.version)) for version in products.versions("note", KEY))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_person_who_adopts_while_a_machine_writes_wins(products: ProductStore, at: int) -> None:
    first = write(products, "first").version
    meanwhile = Interleaved(products.objects, at, lambda: products.adopt("note", KEY, first, "reviewer-7"))
    machine = write(ProductStore(meanwhile), "second")  # type: ignore[arg-type]
    assert not machine.is_head
    assert text(products) == "first"


def test_a_head_that_is_always_replaced_is_a_fault(local: ProductStore) -> None:
    first = write(local, "first").version

    class Restless(Interleaved):
        def write_bytes(self, *_: object, **__: object) -> None:
            raise ObjectChanged

    restless = ProductStore(Restless(local.objects, 0, lambda: None))  # type: ignore[arg-type]
    with pytest.raises(Fault, match="replacing the head"):
        restless.adopt("note", KEY, first, "reviewer-7")
    assert text(local) == "first"


def test_many_processes_at_one_product_lose_nothing(tmp_path: Path) -> None:
    script = """
import sys
from caseprep_pipelines.rejections import Reason, Rejection
from caseprep_pipelines.storage.objects import open_store
from caseprep_pipelines.storage.products import ProductStore
store = ProductStore(open_store(sys.argv[1]))
sys.stdin.read()
for number in range(8):
    rejection = Rejection(partition=sys.argv[2], stage=f"{sys.argv[3]}-{number}", reason=Reason.EMPTY, remedy="")
    store.write("note", sys.argv[2], rejection, None, fingerprint="f", inputs={})
"""
    root = str(tmp_path / "root")
    writers = [
        subprocess.Popen([sys.executable, "-c", script, root, KEY, str(writer)], stdin=subprocess.PIPE)
        for writer in range(3)
    ]
    for writer in writers:
        writer.communicate(b"")
        assert writer.returncode == 0
    products = ProductStore(open_store(root))
    versions = products.versions("note", KEY)
    assert len({version.digest for version in versions}) == 24
    assert [version.is_head for version in versions] == [False] * (len(versions) - 1) + [True]


def test_what_a_sweep_may_be_about_to_take_is_not_gone_on_with(tmp_path: Path, folder: Path) -> None:
    products = ProductStore(open_store(str(tmp_path / "root")))
    dying = Dying(products.objects, 3, effect=True)
    with pytest.raises(Killed):
        write(ProductStore(dying), "new", folder)  # type: ignore[arg-type]
    left = [path for path in (tmp_path / "root/derived").rglob("*") if path.is_file()]
    assert left
    for path in left:
        old = path.stat().st_mtime - TAKEN_UP_WITHIN.total_seconds()
        os.utime(path, (old, old))
    assert write(products, "new", folder).version[:6] == "000002"


def test_two_who_write_the_same_at_once_make_one_version(tmp_path: Path, folder: Path) -> None:
    """One finds the other's files without a manifest, and the other is done first."""
    objects = open_store(str(tmp_path / "root"))
    products = ProductStore(objects)
    with pytest.raises(Killed):
        write(ProductStore(Dying(objects, 3, effect=True)), "new", folder)  # type: ignore[arg-type]
    between = Interleaved(objects, 2, lambda: write(products, "new", folder))
    written = write(ProductStore(between), "new", folder)  # type: ignore[arg-type]
    assert [found.version for found in products.versions("note", KEY)] == [written.version]
    assert list(products.verify("note", KEY)) == []


def test_only_what_is_unfinished_and_old_is_swept(products: ProductStore) -> None:
    write(products, "whole")
    unfinished = f"derived/note/{KEY}/000002-0123456789ab/channel-0.flac"
    products.objects.write_bytes(unfinished, b"half")
    products.objects.write_bytes("originals/key/original.wav", b"evidence")
    assert products.sweep_unfinished(timedelta(hours=1)) == 0
    assert [version.version[:6] for version in products.versions("note", KEY)] == ["000001"]
    assert products.sweep_unfinished(NO_TIME) == 1
    assert products.sweep_unfinished(NO_TIME) == 0
    assert text(products) == "whole"
    assert products.objects.read_bytes("originals/key/original.wav") == b"evidence"


def test_partitions_are_listed_without_reading_their_products(products: ProductStore) -> None:
    keys = [f"matter-{number:012x}" for number in range(5)]
    for key in keys:
        products.write("note", key, Note(text="x"), None, fingerprint="f", inputs={})
    products.write("note.more", keys[0], Note(text="x"), None, fingerprint="f", inputs={})
    assert list(products.partitions("note")) == keys
    assert list(products.partitions("note.more")) == keys[:1]


def test_fetching_streams(local: ProductStore, tmp_path: Path) -> None:
    import tracemalloc

    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "channel-0.flac").write_bytes(bytes(50 << 20))
    tracemalloc.start()
    write(local, "long", folder)
    local.fetch("note", KEY, tmp_path / "out")
    assert list(local.verify("note", KEY)) == []
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_uri_names_the_versions_file(products: ProductStore, folder: Path) -> None:
    written = write(products, "first", folder)
    assert products.uri(written).endswith(f"/derived/note/{KEY}/{written.version}/note.json")
    assert products.uri(written, "channel-0.flac").endswith(f"/{written.version}/channel-0.flac")

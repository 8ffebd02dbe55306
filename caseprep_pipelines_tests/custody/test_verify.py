"""What `caseprep verify` notices, and the line that it says of it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from caseprep_pipelines.audio.documents import Origin, SourceRecording
from caseprep_pipelines.catalog import progress, registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import CustodyEntry
from caseprep_pipelines.custody import chain
from caseprep_pipelines.custody.verify import Report, verify
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.objects import LocalObjects
from caseprep_pipelines.storage.products import ProductStore
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript

BYTES = b"what the witness said"
MATTER = "2024-cv-00123"


class Archive:
    """A recording with its original, two products and a whole chain."""

    def __init__(self, catalog: Catalog, partition: str, root: Path) -> None:
        self.catalog, self.partition, self.root = catalog, partition, root
        self.products = ProductStore(LocalObjects(root))
        self.original = root / "originals" / partition / "original.mp3"
        self.products.objects.write_bytes(f"originals/{partition}/original.mp3", BYTES)
        chain.append(
            catalog,
            partition,
            chain.Receipt(
                sha256=hashlib.sha256(BYTES).hexdigest(),
                md5=hashlib.md5(BYTES, usedforsecurity=False).hexdigest(),
                size_bytes=len(BYTES),
                software="x 1",
            ),
        )
        self.make("source_recording", _source(partition))
        self.make("transcript", transcript(partition, "I was there."), {"source_recording": sha("s")})

    def make(self, asset: str, document: Document, inputs: dict[str, str] | None = None, *, enter: bool = True) -> None:
        made = self.products.write(asset, self.partition, document, fingerprint=sha("f"), inputs=inputs or {})
        if enter:
            said = chain.Product(
                asset=asset,
                version=made.version,
                digest=made.digest,
                inputs=inputs or {},
                settings=made.fingerprint,
                software="x 1",
            )
            chain.append(self.catalog, self.partition, said)
        progress.record_product(
            self.catalog,
            self.partition,
            asset,
            version=made.version,
            digest=made.digest,
            code_version="1",
            inputs=inputs or {},
            rejected=made.rejected,
            run_id="run",
        )

    def file(self, asset: str, name: str) -> Path:
        [path] = self.root.glob(f"derived/{asset}/{self.partition}/*/{name}")
        return path

    def sql(self, statement: str) -> None:
        with self.catalog.writing() as session:
            session.execute(text(statement))

    def verify(self) -> Report:
        return verify(self.catalog, self.products, self.partition)


def _source(partition: str) -> SourceRecording:
    return SourceRecording(
        partition=partition,
        matter=MATTER,
        sha256=hashlib.sha256(BYTES).hexdigest(),
        md5=hashlib.md5(BYTES, usedforsecurity=False).hexdigest(),
        size_bytes=len(BYTES),
        original=f"originals/{partition}/original.mp3",
        origin=Origin(kind="file", received_at="2026-01-01T00:00:00+00:00"),
        container="mp3",
        duration_seconds=1.0,
        audio_streams=(),
        has_video=False,
        channels=1,
    )


@pytest.fixture
def archive(catalog: Catalog, partition: str, tmp_path: Path) -> Archive:
    return Archive(catalog, partition, tmp_path / "storage")


def test_an_untouched_recording_is_whole(archive: Archive) -> None:
    report = archive.verify()
    assert report.breaks == ()
    assert report.whole
    assert (report.entries, report.product_versions) == (3, 2)
    assert report.head_hash == chain.head(archive.catalog, archive.partition).entry_hash


def test_a_recording_of_which_nothing_was_received_is_whole(archive: Archive) -> None:
    other = registry.register(archive.catalog, [recording("other.mp3")], "test")[0].partition
    assert verify(archive.catalog, archive.products, other) == Report(other, 0, 0, None, ())


def _flip_original(archive: Archive) -> None:
    archive.original.write_bytes(BYTES.replace(b"said", b"sang"))


def _lose_original(archive: Archive) -> None:
    archive.original.unlink()


def _edit_words(archive: Archive) -> None:
    file = archive.file("transcript", "transcript.json")
    file.write_bytes(file.read_bytes().replace(b'"text":"was"', b'"text":"wos"'))


def _lose_document(archive: Archive) -> None:
    archive.file("transcript", "transcript.json").unlink()


def _edit_with_manifest(archive: Archive) -> None:
    """Somebody who knows how products are made writes another one in the place of the first."""
    version = archive.products.head("transcript", archive.partition).version
    for file in ("transcript.json", "manifest.json"):
        archive.file("transcript", file).unlink()
    other = transcript(archive.partition, "I was not there.")
    made = ProductStore(LocalObjects(archive.root / "elsewhere")).write(
        "transcript", archive.partition, other, fingerprint=sha("f"), inputs={"source_recording": sha("s")}
    )
    forged = archive.root / "elsewhere" / "derived" / "transcript" / archive.partition / made.version
    for file in forged.iterdir():
        file.rename(archive.root / "derived" / "transcript" / archive.partition / version / file.name)


def _edit_inputs(archive: Archive) -> None:
    file = archive.file("transcript", "manifest.json")
    file.write_text(file.read_text().replace(sha("s"), sha("other")))


def _add_a_file(archive: Archive) -> None:
    archive.file("transcript", "manifest.json").with_name("extra.txt").write_text("")


def _lose_version(archive: Archive) -> None:
    archive.file("transcript", "manifest.json").unlink()


def _new_version_without_entry(archive: Archive) -> None:
    archive.make("transcript", transcript(archive.partition, "I was elsewhere."), enter=False)


def _sql(statement: str) -> Callable[[Archive], None]:
    return lambda archive: archive.sql(statement)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_flip_original, "custody entry 1 of {}: the original is not the bytes that were received"),
        (_lose_original, "custody entry 1 of {}: the original is missing"),
        (_edit_words, "custody entry 3 of {}: transcript of {}, version 000001-"),
        (_lose_document, "transcript.json is missing"),
        (_edit_with_manifest, "of transcript is not the product that was entered"),
        (_edit_inputs, "of transcript names other inputs or settings than were entered"),
        (_add_a_file, "holds a file that the manifest does not name"),
        (_lose_version, "of transcript is missing"),
        (_new_version_without_entry, "no custody entry of {} names version 000002-"),
        (_sql("DELETE FROM custody_entries WHERE sequence = 1"), "custody entry 1 of {} is missing"),
        (_sql("DELETE FROM custody_entries WHERE sequence = 2"), "custody entry 2 of {} is missing"),
        (_sql("DELETE FROM custody_entries WHERE sequence = 3"), "no custody entry of {} names version 000001-"),
        (_sql("DELETE FROM custody_entries"), "no custody entry of {} names version 000001-"),
        (_sql("UPDATE custody_entries SET at = '2020' WHERE sequence = 2"), "custody entry 2 of {} was changed"),
        (_sql("UPDATE custody_entries SET payload = '{{}}' WHERE sequence = 2"), "custody entry 2 of {} was changed"),
        (_sql("UPDATE custody_entries SET kind = 'access' WHERE sequence = 1"), "custody entry 1 of {} was changed"),
    ],
)
def test_every_harm_is_named_in_one_line(archive: Archive, harm: Callable[[Archive], None], says: str) -> None:
    harm(archive)
    report = archive.verify()
    assert not report.whole
    assert says.replace("{}", archive.partition) in report.breaks[0]
    assert "\n" not in report.breaks[0]
    assert "smith" not in " ".join(report.breaks)


def test_an_entry_that_was_forged_with_its_hash_breaks_the_next_link(archive: Archive) -> None:
    first = chain.entries(archive.catalog, archive.partition)[0]
    forged = chain.Entry(**{**vars(first), "at": "2020-01-01T00:00:00.000+00:00"})
    with archive.catalog.writing() as session:
        row = session.get(CustodyEntry, (archive.partition, 1))
        row.at, row.entry_hash = forged.at, forged.computed_hash()
    assert archive.verify().breaks == (
        f"custody entry 2 of {archive.partition} does not follow the entry before it: one of the two was replaced",
    )


def test_a_cut_off_tail_shows_against_a_hash_kept_elsewhere(archive: Archive) -> None:
    chain.append(archive.catalog, archive.partition, chain.Access(action="read", actor="account-17"))
    kept = archive.verify().head_hash
    archive.sql("DELETE FROM custody_entries WHERE sequence = 4")
    report = archive.verify()
    assert report.whole
    assert report.head_hash != kept


def test_earlier_versions_are_checked_too(archive: Archive) -> None:
    archive.make("transcript", transcript(archive.partition, "I was elsewhere."))
    assert archive.verify().product_versions == 3
    first, _ = sorted(archive.root.glob(f"derived/transcript/{archive.partition}/*/transcript.json"))
    first.write_bytes(first.read_bytes() + b" ")
    assert "version 000001-" in archive.verify().breaks[0]


def test_a_rejected_recording_needs_no_receipt(catalog: Catalog, partition: str, tmp_path: Path) -> None:
    archive = object.__new__(Archive)
    archive.catalog, archive.partition, archive.root = catalog, partition, tmp_path
    archive.products = ProductStore(LocalObjects(tmp_path))
    reason = Reason.PRIVILEGED
    rejection = Rejection(partition=partition, stage="source_recording", reason=reason, remedy=REMEDIES[reason])
    archive.make("source_recording", rejection)
    assert archive.verify().breaks == ()


def test_a_recording_that_became_privileged_later_is_still_verified(archive: Archive) -> None:
    reason = Reason.PRIVILEGED
    rejection = Rejection(partition=archive.partition, stage="source_recording", reason=reason, remedy=REMEDIES[reason])
    archive.make("source_recording", rejection)
    assert archive.verify().whole
    _flip_original(archive)
    assert "not the bytes that were received" in archive.verify().breaks[0]


def test_storage_that_cannot_be_read_now_is_no_verdict(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Fault("S3 does not answer")

    monkeypatch.setattr(archive.products.objects, "open", fail)
    with pytest.raises(Fault, match="does not answer"):
        archive.verify()

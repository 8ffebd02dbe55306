"""The first stage with real files: what is kept, what is refused, and what only has to be tried again."""

import hashlib
import sys
from pathlib import Path

import pytest

from caseprep_pipelines.assets import normalized_audio, source_recording
from caseprep_pipelines.assets.stage import run_one
from caseprep_pipelines.audio.documents import SourceRecording
from caseprep_pipelines.catalog import loading, registry
from caseprep_pipelines.custody.chain import entries
from caseprep_pipelines.custody.verify import verify
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import Rejection
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.keys import origin_digest_of_file
from caseprep_pipelines_tests.s3_server import S3Server

PHONE = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav")


def a_pipeline(folder: Path, **settings: object) -> Pipeline:
    return Pipeline(
        read_settings(**{"storage": str(folder / "storage"), "dagster_home": folder / "dagster", **settings})
    )


def submit(pipeline: Pipeline, path: Path, content: bytes | None = None) -> str:
    """Registers a file as `caseprep transcribe` does; returns its key."""
    path.write_bytes(PHONE.read_bytes() if content is None else content)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    new = registry.NewRecording("2024-cv-1", path.name, str(path), origin_digest_of_file(sha256), sha256, 1)
    return registry.register(pipeline.catalog, [new], "test")[0].partition


def outcome(pipeline: Pipeline, key: str) -> SourceRecording | Rejection:
    run_one(pipeline, source_recording.STAGE, key, "run")
    return pipeline.products.read("source_recording", key, SourceRecording)


def kept(pipeline: Pipeline) -> list[Path]:
    return [path for path in (Path(pipeline.settings.storage) / "originals").rglob("*") if path.is_file()]


def test_the_original_is_kept_under_a_name_that_names_nobody(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    key = submit(pipeline, tmp_path / "Jane Roe interview.wav")
    source = outcome(pipeline, key)
    assert isinstance(source, SourceRecording)
    (original,) = kept(pipeline)
    assert original.read_bytes() == PHONE.read_bytes()
    assert (original.parent.name, original.name) == (key, "original.wav")
    assert source.sha256 == hashlib.sha256(PHONE.read_bytes()).hexdigest()
    assert source.md5 == hashlib.md5(PHONE.read_bytes(), usedforsecurity=False).hexdigest()


def test_the_receipt_comes_before_anything_that_is_made(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    key = submit(pipeline, tmp_path / "a.wav")
    outcome(pipeline, key)
    assert [entry.kind for entry in entries(pipeline.catalog, key)] == ["receipt", "product"]


def test_evidence_that_cannot_be_used_is_kept_with_its_receipt(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    key = submit(pipeline, tmp_path / "a.mp3", b"Dear counsel, " * 40)
    rejection = outcome(pipeline, key)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "not-media"
    assert len(kept(pipeline)) == 1
    assert entries(pipeline.catalog, key)[0].kind == "receipt"
    assert loading.rejections(pipeline.catalog)[key].reason == "not-media"


def test_a_file_that_vanished_is_a_fault_until_it_is_back(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    path = tmp_path / "a.wav"
    key = submit(pipeline, path)
    path.unlink()
    with pytest.raises(Fault):
        outcome(pipeline, key)
    assert pipeline.products.head("source_recording", key) is None
    path.write_bytes(PHONE.read_bytes())
    assert isinstance(outcome(pipeline, key), SourceRecording)


def test_a_file_that_is_no_longer_what_was_registered_is_rejected_and_not_kept(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    path = tmp_path / "a.wav"
    key = submit(pipeline, path)
    path.write_bytes(PHONE.read_bytes() + b"\0\0")
    rejection = outcome(pipeline, key)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "changed-during-reading"
    assert kept(pipeline) == []


def test_once_kept_the_file_that_was_handed_in_is_no_longer_needed(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    path = tmp_path / "a.wav"
    key = submit(pipeline, path)
    first = outcome(pipeline, key)
    path.unlink()
    assert outcome(pipeline, key) == first


def test_a_privileged_matter_is_never_listened_to(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path)
    key = submit(pipeline, tmp_path / "a.wav")
    matter = Path(pipeline.settings.storage) / "incoming" / "2024-cv-1" / "matter.toml"
    matter.parent.mkdir(parents=True)
    matter.write_text("privileged = true\n")
    rejection = outcome(pipeline, key)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "privileged"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_recording_bytes": 1000}, "too-large"),
        ({"max_recording_hours": 0.001}, "too-long"),
        ({"scanner_command": f"{sys.executable} -c 'import sys; sys.exit(1)'"}, "scanner-refused"),
    ],
)
def test_limits_and_the_scanner_have_their_own_reasons(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    pipeline = a_pipeline(tmp_path, **settings)
    rejection = outcome(pipeline, submit(pipeline, tmp_path / "a.wav"))
    assert isinstance(rejection, Rejection)
    assert rejection.reason == reason
    assert rejection.remedy


def test_a_scanner_that_fails_is_a_fault_and_not_a_verdict(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path, scanner_command=f"{sys.executable} -c 'import sys; sys.exit(2)'")
    key = submit(pipeline, tmp_path / "a.wav")
    with pytest.raises(Fault, match="scanner"):
        outcome(pipeline, key)


def test_a_locked_version_in_a_bucket_is_referenced_and_verified_where_it_lies(s3: S3Server, tmp_path: Path) -> None:
    _bucket, location = uploaded(s3, lock=True)
    pipeline = s3_pipeline(s3, tmp_path)
    partition = register_object(pipeline, location)
    source = outcome(pipeline, partition)
    assert isinstance(source, SourceRecording)
    assert source.original is None
    assert source.sha256 == hashlib.sha256(PHONE.read_bytes()).hexdigest()
    assert list(pipeline.objects.list("originals/")) == []
    assert verify(pipeline.catalog, pipeline.products, partition).whole
    run_one(pipeline, normalized_audio.STAGE, partition, "run")
    assert pipeline.products.rejected("normalized_audio", partition) is None
    assert "Jane" not in pipeline.products.read_bytes("source_recording", partition, "source_recording.json").decode()


def test_a_version_that_anybody_may_delete_is_copied(s3: S3Server, tmp_path: Path) -> None:
    bucket, location = uploaded(s3, lock=False)
    pipeline = s3_pipeline(s3, tmp_path)
    partition = register_object(pipeline, location)
    source = outcome(pipeline, partition)
    assert isinstance(source, SourceRecording)
    assert source.original == f"originals/{partition}/original.wav"
    s3.client().delete_object(Bucket=bucket, Key="Jane Roe.wav")
    assert verify(pipeline.catalog, pipeline.products, partition).whole


def uploaded(s3: S3Server, *, lock: bool) -> tuple[str, str]:
    """The bucket and address of a recording in a versioned bucket that can lock."""
    bucket = f"{s3.bucket}-evidence"
    s3.client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    hold = {"ObjectLockLegalHoldStatus": "ON"} if lock else {}
    put = s3.client().put_object(Bucket=bucket, Key="Jane Roe.wav", Body=PHONE.read_bytes(), **hold)
    return bucket, f"s3://{bucket}/Jane%20Roe.wav?versionId={put['VersionId']}"


def s3_pipeline(s3: S3Server, folder: Path) -> Pipeline:
    return a_pipeline(
        folder, storage=s3.root, s3_endpoint_url=s3.endpoint_url, database_url=f"sqlite:///{folder / 'catalog.sqlite'}"
    )


def register_object(pipeline: Pipeline, location: str) -> str:
    digest = hashlib.sha256(location.encode()).hexdigest()
    new = registry.NewRecording("2024-cv-1", "Jane Roe.wav", location, digest, None, 1)
    return registry.register(pipeline.catalog, [new], "test")[0].partition

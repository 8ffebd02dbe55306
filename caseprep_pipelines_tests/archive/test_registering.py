"""Taking an archive into the registry: once, whatever interrupts it, and as the upload sensor would."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from caseprep_pipelines.archive import registering
from caseprep_pipelines.archive.manifests import Buckets, Entry, Refusal
from caseprep_pipelines.archive.registering import Count
from caseprep_pipelines.automation.intake import take_new
from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.s3_server import Break, S3Server

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def no_s3() -> Any:
    raise AssertionError("this archive lies on this machine")


def put(
    catalog: Catalog,
    entries: list[Entry | Refusal] | Iterator[Entry | Refusal],
    client: Callable[[], Any] = no_s3,
    *,
    incoming: str = "/nowhere/",
    **options: Any,
) -> tuple[Count, list[Refusal]]:
    told: list[Refusal] = []
    buckets = Buckets(client)
    count = registering.register(
        catalog, entries, buckets, incoming=incoming, refused=told.append, progress=lambda _: None, **options
    )
    return count, told


def figures(count: Count) -> tuple[int, int, int]:
    return count.registered, count.known, count.refused


def version(number: int, **more: Any) -> Entry:
    return Entry(f"line {number}", f"s3://court/2019/{number}.mp3", "2019", version_id=f"v{number}", **more)


def file(folder: Path, name: str, content: bytes = b"sound") -> Entry:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Entry(f"line of {name}", str(path), path.parent.name)


def test_an_archive_is_registered_once_in_its_order(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registering, "BATCH", 7)
    entries: list[Entry | Refusal] = [version(number) for number in range(20)]
    count, _ = put(catalog, [*entries, entries[3]], priority=4)
    assert figures(count) == (20, 1, 0)
    rows = registry.recordings_in_order(catalog)
    assert [row.name for row in rows] == [f"{number}.mp3" for number in range(20)]
    assert {(row.matter, row.priority, row.registered_by) for row in rows} == {("2019", 4, "archive")}
    assert figures(put(catalog, entries)[0]) == (0, 20, 0)


def test_what_the_manifest_says_comes_before_what_the_call_says(catalog: Catalog) -> None:
    entry = version(1, matter="2019-cv-7", name="Tape 1.mp3", priority=9, size=5)
    put(catalog, [entry, version(2)], matter="2019-cv-8", priority=1)
    one, two = registry.recordings_in_order(catalog)
    assert (one.matter, one.name, one.priority, one.size_bytes) == ("2019-cv-7", "Tape 1.mp3", 9, 5)
    assert (two.matter, two.priority) == ("2019-cv-8", 1)


def test_a_wrong_matter_is_refused_and_the_others_are_registered(catalog: Catalog) -> None:
    count, told = put(catalog, [version(1, matter="Doe v. Roe"), version(2), Refusal("line 3", "why")])
    assert figures(count) == (1, 0, 2)
    assert told[0].place == "line 1"
    assert "--matter" in told[0].why
    with pytest.raises(ConfigurationError, match="no matter id"):
        put(catalog, [version(4)], matter="Doe v. Roe")


def test_two_origins_that_would_be_one_partition_are_told_apart(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {f"2019/{n}.mp3": f"{'a' * 12 if n in (1, 3) else n}".ljust(64, str(n)) for n in range(4)}
    monkeypatch.setattr(registering, "origin_digest_of_object", lambda _bucket, key, *_: digests[key])
    count, told = put(catalog, [version(number) for number in range(4)])
    assert figures(count) == (3, 0, 1)
    assert [refusal.place for refusal in told] == ["line 3"]


def test_a_file_is_hashed_once_however_often_registering_is_interrupted(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "COMMIT_SECONDS", 0)
    hashed: list[str] = []
    real = registering._sha256

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr(registering, "_sha256", counted)
    entries: list[Entry | Refusal] = [file(tmp_path, f"m/{n}.wav", str(n).encode()) for n in range(6)]

    def interrupted(_count: Count) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registering.register(
            catalog, entries, Buckets(no_s3), incoming="/nowhere/", refused=lambda _: None, progress=interrupted
        )
    done = len(registry.all_partitions(catalog))
    assert done == 1
    hashed.clear()
    assert figures(put(catalog, entries)[0]) == (5, 1, 0)
    assert "0.wav" not in hashed
    hashed.clear()
    assert figures(put(catalog, entries)[0]) == (0, 6, 0)
    assert hashed == []
    # in another matter it is another recording; new bytes are another one as well
    file(tmp_path, "m/0.wav", b"other sound")
    assert figures(put(catalog, entries)[0]) == (1, 5, 0)
    assert hashed == ["0.wav"]
    assert figures(put(catalog, entries, matter="2019-cv-2")[0]) == (6, 0, 0)


def test_a_digest_in_the_manifest_spares_reading_the_file(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = file(tmp_path, "m/a.wav")
    put(catalog, [here])
    (known,) = registry.recordings_in_order(catalog)
    monkeypatch.setattr(registering, "_sha256", None)
    count, _ = put(catalog, [Entry("line 1", here.location, "m", sha256=known.sha256)])
    assert figures(count) == (0, 1, 0)


def test_files_that_are_not_as_the_manifest_says_are_refused(catalog: Catalog, tmp_path: Path) -> None:
    here = file(tmp_path, "m/a.wav")
    count, told = put(
        catalog,
        [
            Entry("line 1", str(tmp_path / "gone.wav")),
            Entry("line 2", str(tmp_path / "m")),
            Entry("line 3", here.location, size=77),
            Entry("line 4", "/" + "x" * 5000),
        ],
    )
    assert figures(count) == (0, 0, 4)
    assert [refusal.place for refusal in told] == ["line 1", "line 2", "line 3", "line 4"]
    assert "77" in told[2].why


@pytest.fixture(params=["local", "s3", "s3 with versions"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Pipeline:
    if request.param == "local":
        return Pipeline(read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster" / "home"))
    server: S3Server = request.getfixturevalue("s3")
    if request.param == "s3 with versions":
        server.client().put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
    return Pipeline(
        read_settings(
            storage=server.root,
            dagster_home=tmp_path / "dagster" / "home",
            s3_endpoint_url=server.endpoint_url,
            s3_region="us-east-1",
        )
    )


def sensor_takes(pipeline: Pipeline) -> list[str]:
    looks = [take_new(pipeline, datetime.now(UTC) + timedelta(hours=hours)) for hours in (1, 2)]
    return [partition for look in looks for partition in look.new]


@pytest.mark.parametrize("first", ["sensor", "manifest"])
@pytest.mark.parametrize("said", ["everything", "nothing"])
def test_the_same_object_by_sensor_and_by_manifest_is_one_partition(
    pipeline: Pipeline, request: pytest.FixtureRequest, tmp_path: Path, first: str, said: str
) -> None:
    from caseprep_pipelines.archive_commands import register

    name = "incoming/2024-cv-1/a call, number+1.wav"
    if pipeline.settings.remote:
        server: S3Server = request.getfixturevalue("s3")
        key = f"some/prefix/{name}"
        answer = server.client().put_object(Bucket=server.bucket, Key=key, Body=b"sound")
        row = [f"s3://{server.bucket}/{key}", "5", answer["ETag"], answer.get("VersionId", "")]
    else:
        path = Path(pipeline.settings.storage) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"sound")
        row = [str(path), "5", "", ""]
    if said == "nothing":
        row[1:] = ["", "", ""]
    manifest = tmp_path / "archive.csv"
    manifest.write_text("location,size,etag,version_id\n" + ",".join(f'"{v.replace(chr(34), "")}"' for v in row) + "\n")

    def by_manifest() -> int:
        return register(pipeline, str(manifest), None, 0, quiet=True)["registered"]

    if first == "sensor":
        (partition,) = sensor_takes(pipeline)
        assert by_manifest() == 0
    else:
        assert by_manifest() == 1
        (partition,) = registry.all_partitions(pipeline.catalog)
        assert sensor_takes(pipeline) == []
    assert registry.all_partitions(pipeline.catalog) == [partition]
    recording = registry.recording(pipeline.catalog, partition)
    assert recording is not None
    assert (recording.matter, recording.name) == ("2024-cv-1", "a call, number+1.wav")
    assert recording.registered_by == ("upload-sensor" if first == "sensor" else "archive")
    pipeline.catalog.close()


def test_the_upload_sensor_does_not_hash_again_what_the_archive_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster"))
    entry = file(tmp_path / "storage" / "incoming", "2024-cv-1/a.wav")
    put(pipeline.catalog, [entry], incoming=f"{tmp_path}/storage/incoming/")
    monkeypatch.setattr("caseprep_pipelines.automation.intake.sha256_of", None)
    assert sensor_takes(pipeline) == []


def test_objects_that_are_not_as_the_manifest_says_are_refused(catalog: Catalog, s3: S3Server) -> None:
    s3.client().put_bucket_versioning(Bucket=s3.bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.client().put_object(Bucket=s3.bucket, Key="a.wav", Body=b"sound")
    location = f"s3://{s3.bucket}/a.wav"
    count, told = put(
        catalog,
        [
            Entry("line 1", f"s3://{s3.bucket}/gone.wav"),
            Entry("line 2", location, etag="0" * 32),
            Entry("line 3", location, size=6),
            Entry("line 4", location, size=5),
        ],
        s3.client,
    )
    assert figures(count) == (1, 0, 3)
    assert [refusal.place for refusal in told] == ["line 1", "line 2", "line 3"]


def test_a_fault_of_s3_refuses_nothing_and_another_call_goes_on(
    catalog: Catalog, faulty_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "COMMIT_SECONDS", 0)
    assert faulty_s3.proxy is not None
    for number in range(4):
        faulty_s3.client().put_object(Bucket=faulty_s3.bucket, Key=f"{number}.wav", Body=str(number).encode())
    entries: list[Entry | Refusal] = [Entry(f"{n}", f"s3://{faulty_s3.bucket}/{n}.wav") for n in range(4)]
    broken = Break("503 SlowDown", "HEAD", times=100, when=lambda path: path.endswith("/3.wav"))
    faulty_s3.proxy.breaks.append(broken)
    with pytest.raises(Fault):
        put(catalog, entries, faulty_s3.client)
    assert len(registry.all_partitions(catalog)) == 3
    broken.times = 0
    assert figures(put(catalog, entries, faulty_s3.client)[0]) == (1, 3, 0)


def test_a_name_that_is_no_text_is_registered_as_it_is(catalog: Catalog, tmp_path: Path) -> None:
    entry = file(tmp_path, os.fsdecode(b"m/\xff.wav"))
    assert figures(put(catalog, [entry])[0]) == (1, 0, 0)
    (row,) = registry.recordings_in_order(catalog)
    assert Path(row.location).read_bytes() == b"sound"

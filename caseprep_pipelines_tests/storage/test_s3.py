"""What S3 does to its users, done to us over real HTTP: throttling, resets, broken bodies, lost answers, refusals."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.storage import s3 as s3_module
from caseprep_pipelines.storage.objects import MissingObject, ObjectChanged, ObjectStore, open_store
from caseprep_pipelines_tests.s3_server import Break, FaultyProxy, S3Server

DATA = os.urandom(3 << 20)


@pytest.fixture
def proxy(faulty_s3: S3Server) -> FaultyProxy:
    assert faulty_s3.proxy is not None
    return faulty_s3.proxy


@pytest.fixture
def remote(faulty_s3: S3Server) -> ObjectStore:
    store = open_store(faulty_s3.root, s3_client=faulty_s3.client(read_timeout=1))
    store.write_bytes("derived/a", DATA)
    return store


@pytest.mark.parametrize("how", ["503 SlowDown", "500 InternalError", "503 ServiceUnavailable", "reset"])
def test_what_passes_is_tried_again(remote: ObjectStore, proxy: FaultyProxy, tmp_path: Path, how: str) -> None:
    proxy.breaks = [Break(how, method, times=2) for method in ("GET", "PUT", "HEAD", "DELETE")]
    assert remote.read_bytes("derived/a") == DATA
    remote.write_bytes("derived/b", b"x")
    assert remote.stat("derived/b").size == 1
    remote.delete("derived/b")
    proxy.breaks = [Break(how, "GET", times=2)]
    assert [stat.name for stat in remote.list("derived/")] == ["derived/a"]
    assert all(broken.times == 0 for broken in proxy.breaks)


@pytest.mark.parametrize("how", ["503 SlowDown", "500 InternalError", "reset"])
def test_what_does_not_pass_is_one_line_that_names_no_object(
    remote: ObjectStore, proxy: FaultyProxy, tmp_path: Path, how: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for method, doing in (
        ("GET", lambda: remote.read_bytes("incoming/jane doe.wav")),
        ("GET", lambda: list(remote.list("incoming/jane doe"))),
        ("HEAD", lambda: remote.stat("incoming/jane doe.wav")),
        ("PUT", lambda: remote.write_bytes("incoming/jane doe.wav", b"x")),
        ("PUT", lambda: remote.write_bytes("incoming/jane doe.wav", b"x", if_absent=True)),
        ("PUT", lambda: remote.write_file("incoming/jane doe.wav", tmp_path / "file")),
        ("DELETE", lambda: remote.delete("incoming/jane doe.wav")),
    ):
        proxy.breaks = [Break(how, method, times=1000)]
        with pytest.raises(Fault) as fault:
            doing()
        message = str(fault.value)
        assert "bucket-" in message
        assert "jane" not in message
        assert "\n" not in message
        assert fault.value.__suppress_context__


@pytest.mark.parametrize("how", ["cut", "torn"])
@pytest.mark.parametrize("after", [0, 1, 1 << 20, len(DATA) - 1])
def test_a_body_that_breaks_off_is_taken_up_where_it_broke(
    remote: ObjectStore, proxy: FaultyProxy, tmp_path: Path, how: str, after: int
) -> None:
    proxy.breaks = [Break(how, after=after, times=3)]
    remote.fetch("derived/a", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == DATA
    ranges = [sent for method, _, sent in proxy.requests if method == "GET"]
    assert len(ranges) >= 2
    assert ranges[0] is None
    if how == "cut" and after:
        assert ranges[1] == f"bytes={after}-"


def test_a_body_that_never_ends_well_is_a_fault(remote: ObjectStore, proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.breaks = [Break("cut", after=0, times=1000)]
    with pytest.raises(Fault, match="reading in bucket"):
        remote.fetch("derived/a", tmp_path / "fetched")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_hangs_is_left(remote: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.breaks = [Break("hang", times=1)]
    assert remote.read_bytes("derived/a") == DATA


def test_an_object_replaced_while_it_is_read_is_never_half_of_each(remote: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.breaks = [Break("cut", after=1 << 20)]
    stream = remote.open("derived/a")
    assert stream.read(1000) == DATA[:1000]
    remote.write_bytes("derived/a", bytes(len(DATA)))
    with pytest.raises(ObjectChanged):
        stream.read()


def test_a_lost_answer_does_not_turn_a_write_into_a_conflict(remote: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.breaks = [Break("lost", "PUT")]
    remote.write_bytes("derived/HEAD.json", b"1", if_absent=True)
    assert proxy.breaks[0].times == 0
    seen = remote.stat("derived/HEAD.json").etag
    proxy.breaks = [Break("lost", "PUT")]
    remote.write_bytes("derived/HEAD.json", b"2", if_match=seen)
    assert remote.read_bytes("derived/HEAD.json") == b"2"
    with pytest.raises(ObjectChanged):
        remote.write_bytes("derived/HEAD.json", b"3", if_match=seen)


def test_large_files_go_up_in_parts_and_a_part_is_tried_again(
    remote: ObjectStore, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "_PART_BYTES", 5 << 20)
    data = os.urandom(11 << 20)
    (tmp_path / "file").write_bytes(data)
    proxy.requests.clear()
    proxy.breaks = [Break("reset", "PUT"), Break("503 SlowDown", "PUT")]
    remote.write_file("derived/big", tmp_path / "file")
    assert remote.read_bytes("derived/big") == data
    assert len([path for method, path, _ in proxy.requests if method == "PUT" and "partNumber" in path]) >= 3


def test_an_upload_that_fails_leaves_nothing_and_killed_ones_are_swept(
    remote: ObjectStore, faulty_s3: S3Server, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "_PART_BYTES", 5 << 20)
    (tmp_path / "file").write_bytes(bytes(11 << 20))
    proxy.breaks = [Break("503 SlowDown", "PUT", times=1000)]
    with pytest.raises(Fault, match="SlowDown"):
        remote.write_file("derived/big", tmp_path / "file")
    proxy.breaks = []
    with pytest.raises(MissingObject):
        remote.stat("derived/big")
    client = faulty_s3.client()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=faulty_s3.bucket)
    client.create_multipart_upload(Bucket=faulty_s3.bucket, Key="some/prefix/derived/killed")
    # moto's server says of every upload that it began in 2010
    assert remote.sweep_unfinished("derived/", timedelta(days=36500)) == 0
    assert remote.sweep_unfinished("derived/", timedelta(days=1)) == 1
    assert "Uploads" not in client.list_multipart_uploads(Bucket=faulty_s3.bucket)


@pytest.mark.parametrize(
    ("how", "remedy"),
    [
        ("403 AccessDenied", "s3:GetObject"),
        ("403 InvalidAccessKeyId", "credentials"),
        ("403 SignatureDoesNotMatch", "credentials"),
        ("404 NoSuchBucket", "CASEPREP_STORAGE"),
        ("400 AuthorizationHeaderMalformed", "CASEPREP_S3_REGION"),
        ("501 NotImplemented", "conditional writes"),
    ],
)
def test_what_an_operator_must_mend_is_a_configuration_error(
    remote: ObjectStore, proxy: FaultyProxy, how: str, remedy: str
) -> None:
    proxy.breaks = [Break(how, method, times=100) for method in ("GET", "PUT")]
    for doing in (
        lambda: remote.read_bytes("derived/a"),
        lambda: remote.write_bytes("derived/a", b"x", if_absent=True),
        lambda: list(remote.list()),
    ):
        with pytest.raises(ConfigurationError, match=remedy) as error:
            doing()
        assert "\n" not in str(error.value)


def test_a_bucket_that_does_not_exist_is_said(s3: S3Server) -> None:
    store = open_store("s3://no-such-bucket-here", s3_client=s3.client())
    with pytest.raises(ConfigurationError, match="no-such-bucket-here"):
        store.write_bytes("a", b"x")
    with pytest.raises(ConfigurationError, match="no-such-bucket-here"):
        list(store.list())


def test_missing_credentials_are_said(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    store = open_store(s3.root, endpoint_url=s3.endpoint_url, region="us-east-1")
    (tmp_path / "file").write_bytes(b"x")
    for doing in (lambda: store.stat("a"), lambda: store.open("a"), lambda: store.write_file("a", tmp_path / "file")):
        with pytest.raises(ConfigurationError, match="credentials"):
            doing()


@pytest.mark.parametrize("root", ["s3://UPPER_and bad/x", "s3://a"])
def test_a_bucket_name_that_is_none_is_said(s3: S3Server, root: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(root, s3_client=s3.client()).write_bytes("a", b"x")


def test_a_server_that_is_not_there_is_a_fault(s3: S3Server) -> None:
    from botocore.config import Config

    client = s3.client(retries={"total_max_attempts": 1}, connect_timeout=1)
    away = open_store(
        s3.root, s3_client=S3Server("http://127.0.0.1:9", s3.bucket).client(retries={"total_max_attempts": 1})
    )
    assert isinstance(client.meta.config, Config)
    with pytest.raises(Fault, match="EndpointConnectionError"):
        away.read_bytes("a")


def test_an_endpoint_that_is_no_address_is_a_configuration_error(s3: S3Server) -> None:
    with pytest.raises(ConfigurationError, match="CASEPREP_S3_ENDPOINT_URL"):
        open_store("s3://bucket", endpoint_url="no address")


def test_a_version_is_read_after_the_object_was_replaced(s3: S3Server, tmp_path: Path) -> None:
    client = s3.client()
    client.put_bucket_versioning(Bucket=s3.bucket, VersioningConfiguration={"Status": "Enabled"})
    store = open_store(s3.root, s3_client=client)
    store.write_bytes("a", b"first")
    version = store.stat("a").version_id
    assert version
    store.write_bytes("a", b"second")
    assert store.stat("a").version_id != version
    with store.open("a", version_id=version) as stream:
        assert stream.read() == b"first"
    store.fetch("a", tmp_path / "fetched", version_id=version)
    assert (tmp_path / "fetched").read_bytes() == b"first"
    assert store.stat("a", version_id=version).size == 5


def test_one_prefix_does_not_see_another(s3: S3Server) -> None:
    client = s3.client()
    one, other = (open_store(f"s3://{s3.bucket}/{prefix}", s3_client=client) for prefix in ("a/b/", "a/bc"))
    one.write_bytes("x/y", b"1")
    other.write_bytes("z/y", b"2")
    assert [stat.name for stat in one.list()] == ["x/y"]
    assert list(other.folders("")) == ["z"]
    whole = open_store(f"s3://{s3.bucket}", s3_client=client)
    assert [stat.name for stat in whole.list()] == ["a/b/x/y", "a/bc/z/y"]


@pytest.mark.parametrize("name", ["a & b <c>.wav", 'quoted "x".wav', "ä ü+%20.wav", "plus+percent%2F.wav"])
def test_a_listing_tells_what_looking_up_tells(s3: S3Server, name: str) -> None:
    store = open_store(s3.root, s3_client=s3.client())
    store.write_bytes(name, b"12345")
    [listed] = store.list()
    assert (listed.name, listed.size, listed.etag) == (name, 5, store.stat(name).etag)
    assert abs(listed.modified - store.stat(name).modified) < timedelta(seconds=1)


@pytest.mark.parametrize("body", [b"no xml", b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"])
def test_a_listing_that_is_not_as_expected_is_left_to_botocore(body: bytes) -> None:
    answer: dict[str, Any] = {"body": body}
    entries: dict[str, Any] = {}
    s3_module._read_entries(answer, entries)
    assert (answer, entries) == ({"body": body}, {})


@pytest.mark.parametrize(("how", "after"), [("cut", 0), ("cut", 200), ("torn", 200), ("torn", 0)])
def test_an_answer_that_breaks_off_is_asked_for_again(faulty_s3: S3Server, how: str, after: int) -> None:
    """botocore took a listing that broke off before its first byte for one without objects."""
    assert faulty_s3.proxy is not None
    store = open_store(faulty_s3.root, s3_client=faulty_s3.client())
    store.write_bytes("folder/a", b"a")
    faulty_s3.proxy.breaks = [Break(how, "GET", 1, after)]
    assert [stat.name for stat in store.list()] == ["folder/a"]
    faulty_s3.proxy.breaks = [Break(how, "GET", 1, after)]
    assert list(store.folders("")) == ["folder"]
    faulty_s3.proxy.breaks = [Break(how, "GET", 1, min(after, 20))]
    with pytest.raises(MissingObject):
        store.read_bytes("nothing")


def test_answers_that_keep_breaking_off_are_a_fault(faulty_s3: S3Server) -> None:
    assert faulty_s3.proxy is not None
    store = open_store(faulty_s3.root, s3_client=faulty_s3.client())
    for how in ("cut", "torn"):
        faulty_s3.proxy.breaks = [Break(how, "GET", 100)]
        with pytest.raises(Fault):
            list(store.list())
        with pytest.raises(Fault):
            store.read_bytes("nothing")

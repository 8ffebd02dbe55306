"""Objects in S3 or a service that speaks its API: the other half of `objects`.

What botocore retries by itself (throttling, 5xx, connections) is set up here; what it does not (a body that breaks off
while it is read, be it an object's or an answer's) is done here. Messages name the bucket and the operation, never an
object.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.storage.objects import (
    CHUNK_BYTES,
    MissingObject,
    ObjectChanged,
    ObjectStat,
    check_object_name,
    receive,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Requests that fail in passing are sent this often in all, by botocore with exponential backoff up to 20 s.
MAX_ATTEMPTS = 8
#: Seconds for a connection, and for the next bytes of an answer; with botocore's minute for each, one answer that never
#: came took the whole of a sensor's tick.
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 20.0
#: A body that broke off is taken up again after these waits, in seconds.
STREAM_BACKOFF = wait_random_exponential(multiplier=0.5, max=20)
#: How often a body may break off at one and the same byte.
STREAM_ATTEMPTS = 6
#: Parts of an upload that travel at once. botocore's pool holds ten connections.
_UPLOAD_THREADS = 4
_PART_BYTES = 16 << 20

_ABSENT = {"NoSuchKey", "NoSuchVersion", "NotFound", "404", "NoSuchUpload"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_BUCKET = {"NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "AuthorizationHeaderMalformed", "301"}
_DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "Forbidden",
    "403",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "AccountProblem",
    "NotSignedUp",
}
_UNSUPPORTED = {"NotImplemented", "501"}

#: What of a page of a listing is handed in for the next.
_NEXT = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_object_versions": {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
    "list_multipart_uploads": {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"},
}


def split_uri(uri: str) -> tuple[str, str, str | None]:
    """Bucket, key or prefix, and version id of `s3://bucket/key?versionId=…`, whose key is percent-encoded as
    `S3Objects.uri` writes it. Raises `ConfigurationError`.
    """
    parts = urlsplit(uri.replace("#", "%23"))
    if parts.scheme != "s3" or not parts.netloc:
        raise ConfigurationError("an S3 address must read s3://bucket/prefix")
    version = parse_qs(parts.query).get("versionId", [None])[0]
    return parts.netloc, unquote(parts.path).removeprefix("/"), version


def make_client(endpoint_url: str | None = None, region: str | None = None) -> "S3Client":
    """A client that retries what passes; credentials come from where boto3 looks for them."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        tcp_keepalive=True,
    )
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"S3 cannot be set up: {type(error).__name__}; check CASEPREP_S3_ENDPOINT_URL"
        ) from None


class S3Objects:
    """An `ObjectStore` under a prefix of one bucket."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str = "") -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        client.meta.events.register("before-parse.s3", _before_parse, unique_id="caseprep")

    def stat(self, name: str, *, version_id: str | None = None) -> ObjectStat:
        with self._faults("looking up an object"):
            found = _again(self.client.head_object, Bucket=self.bucket, Key=self.prefix + name, **_version(version_id))
        version = found.get("VersionId")
        retained = found.get("ObjectLockRetainUntilDate")
        return ObjectStat(
            name,
            found["ContentLength"],
            found["ETag"].strip('"'),
            found["LastModified"],
            None if version == "null" else version,
            found.get("ObjectLockLegalHoldStatus") == "ON" or (retained is not None and retained > datetime.now(UTC)),
        )

    def read_bytes(self, name: str) -> bytes:
        with self.open(name) as stream:
            return stream.read()

    def open(self, name: str, *, version_id: str | None = None) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Body(self, self.prefix + name, version_id), CHUNK_BYTES))

    def write_bytes(self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> None:
        condition: dict[str, Any] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        elif if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        key = self.prefix + check_object_name(name)
        try:
            with self._faults("writing"):
                _again(self.client.put_object, Bucket=self.bucket, Key=key, Body=data, **condition)
        except (ObjectChanged, MissingObject):
            # A retry of our own request, whose answer was lost, meets what the first one wrote.
            if not condition:
                raise
            if not self._holds(name, data):
                raise ObjectChanged("somebody else wrote the same object meanwhile") from None

    def write_file(self, name: str, path: Path) -> None:
        from boto3.s3.transfer import TransferConfig

        size = path.stat().st_size
        # S3 takes at most 10,000 parts.
        part = max(_PART_BYTES, -(-size // 9_000))
        config = TransferConfig(
            multipart_threshold=part, multipart_chunksize=part, max_concurrency=_UPLOAD_THREADS, use_threads=size > part
        )
        key = self.prefix + check_object_name(name)
        with path.open("rb") as stream, self._faults("uploading"):
            self.client.upload_fileobj(stream, self.bucket, key, Config=config)

    def fetch(self, name: str, path: Path, *, version_id: str | None = None) -> None:
        with self.open(name, version_id=version_id) as stream:
            receive(stream, path)

    def list(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectStat]:
        options: dict[str, Any] = {} if start_after is None else {"StartAfter": self.prefix + start_after}
        for page in self._pages("list_objects_v2", prefix, **options):
            for found in page.get("Contents", ()):
                name = found["Key"].removeprefix(self.prefix)
                # Consoles make empty objects that stand for folders.
                if name and not name.endswith("/"):
                    yield ObjectStat(name, found["Size"], found["ETag"].strip('"'), found["LastModified"])

    def keeps_versions(self) -> bool:
        """Whether objects here may have version ids; so it is taken to be where nobody may ask."""
        try:
            with self._faults("asking for versioning"):
                return "Status" in _again(self.client.get_bucket_versioning, Bucket=self.bucket)
        except ConfigurationError:
            return True

    def list_versions(self, prefix: str = "") -> Iterator[ObjectStat]:
        """As `list`, with the version id of every object, which S3 tells in another listing."""
        for page in self._pages("list_object_versions", prefix):
            for found in page.get("Versions", ()):
                name = found["Key"].removeprefix(self.prefix)
                if found["IsLatest"] and name and not name.endswith("/"):
                    version = None if found["VersionId"] == "null" else found["VersionId"]
                    etag = found["ETag"].strip('"')
                    yield ObjectStat(name, found["Size"], etag, found["LastModified"], version)

    def folders(self, prefix: str) -> Iterator[str]:
        for page in self._pages("list_objects_v2", prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield found["Prefix"].removeprefix(self.prefix + prefix).rstrip("/")

    def delete(self, name: str) -> None:
        with self._faults("deleting"):
            _again(self.client.delete_object, Bucket=self.bucket, Key=self.prefix + check_object_name(name))

    def sweep_unfinished(self, prefix: str, older_than: timedelta) -> int:
        limit = datetime.now(UTC) - older_than
        pages = self._pages("list_multipart_uploads", prefix)
        uploads = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Initiated"] < limit]
        for upload in uploads:
            # Another sweeper may have been faster.
            with suppress(MissingObject), self._faults("aborting an upload"):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return len(uploads)

    def uri(self, name: str) -> str:
        return f"s3://{self.bucket}/{quote(self.prefix + name)}"

    def local_path(self, name: str) -> Path | None:
        return None

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read_bytes(name) == data
        except MissingObject:
            return False

    def _pages(self, operation: str, prefix: str, **options: Any) -> Iterator[Any]:
        """As botocore's paginator, which gives up at an answer that broke off."""
        while True:
            with self._faults("listing"):
                asked = getattr(self.client, operation)
                page = _again(asked, Bucket=self.bucket, Prefix=self.prefix + prefix, **options)
            yield page
            if not page.get("IsTruncated"):
                return
            options |= {ours: page[theirs] for ours, theirs in _NEXT[operation].items() if page.get(theirs)}

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        from botocore import exceptions
        from urllib3.exceptions import HTTPError

        try:
            yield
        except exceptions.ClientError as error:
            raise self._translated(doing, error) from None
        except (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.ParamValidationError,
            exceptions.ProfileNotFound,
            exceptions.NoRegionError,
            exceptions.TokenRetrievalError,
        ) as error:
            raise ConfigurationError(
                f"S3 bucket {self.bucket} cannot be used ({type(error).__name__}): check its name, the region and the "
                "AWS credentials of this process"
            ) from None
        except (exceptions.BotoCoreError, exceptions.HTTPClientError, HTTPError, ConnectionError) as error:
            raise Fault(f"S3: {doing} in bucket {self.bucket} failed ({type(error).__name__})") from None

    def _translated(self, doing: str, error: Any) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _ABSENT:
            return MissingObject(f"an object is missing in bucket {self.bucket}")
        if code in _CHANGED:
            return ObjectChanged(f"an object changed meanwhile in bucket {self.bucket}")
        if code in _BUCKET:
            return ConfigurationError(
                f"S3 bucket {self.bucket} was not found ({code}): check CASEPREP_STORAGE, CASEPREP_S3_REGION and "
                "CASEPREP_S3_ENDPOINT_URL"
            )
        if code in _DENIED:
            return ConfigurationError(
                f"S3 refuses {doing} in bucket {self.bucket} ({code}): check the credentials, and that their policy "
                "allows s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there"
            )
        if code in _UNSUPPORTED:
            return ConfigurationError(
                f"The service of bucket {self.bucket} lacks what {doing} needs: conditional writes (If-Match and "
                "If-None-Match) must be supported"
            )
        return Fault(f"S3: {doing} in bucket {self.bucket} failed ({code or 'unknown error'})")


class _Body(io.RawIOBase):
    """An object's bytes, taken up again at the same byte of the same version when a connection breaks."""

    def __init__(self, store: S3Objects, key: str, version_id: str | None) -> None:
        self._store = store
        self._key = key
        self._request = _version(version_id)
        self._offset = 0
        self._body: Any = None
        self._length = 0
        self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._offset >= self._length or not len(view):
            return 0
        with self._store._faults("reading"):
            chunk = Retrying(
                stop=stop_after_attempt(STREAM_ATTEMPTS),
                wait=STREAM_BACKOFF,
                retry=retry_if_exception_type(_broken_stream()),
                reraise=True,
            )(self._read, len(view))
        self._offset += len(chunk)
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
        super().close()

    def _read(self, size: int) -> bytes:
        if self._body is None:
            self._connect()
        try:
            chunk: bytes = self._body.read(size)
            if not chunk:
                raise ConnectionError("the body ended early")
        except _broken_stream():
            self._body.close()
            self._body = None
            raise
        return chunk

    def _connect(self) -> None:
        with self._store._faults("reading"):
            if self._offset:
                self._request["Range"] = f"bytes={self._offset}-"
            found = _again(self._store.client.get_object, Bucket=self._store.bucket, Key=self._key, **self._request)
        self._body = found["Body"]
        if not self._offset:
            self._length = found["ContentLength"]
        self._request["IfMatch"] = found["ETag"]
        if found.get("VersionId") not in (None, "null"):
            self._request["VersionId"] = found["VersionId"]


def _again(call: Callable[..., Any], **arguments: Any) -> Any:
    """A call, made again where its answer broke off: botocore does not where an error's answer did, and lets urllib3's
    own exceptions out.
    """
    return Retrying(
        stop=stop_after_attempt(STREAM_ATTEMPTS),
        wait=STREAM_BACKOFF,
        retry=retry_if_exception_type(_broken_answer()),
        reraise=True,
    )(call, **arguments)


def _broken_answer() -> tuple[type[Exception], ...]:
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    return (ResponseParserError, HTTPError, ConnectionError)


def _before_parse(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], operation_model: Any, **_: object
) -> None:
    """Raises `ConnectionError` where an answer is shorter than it said. botocore takes it as it is: a listing that
    broke off before its first byte was one without objects.
    """
    body, length = response_dict["body"], response_dict["headers"].get("content-length")
    said = length is not None and isinstance(body, bytes) and operation_model.http["method"] != "HEAD"
    if said and len(body) < int(length):
        raise ConnectionError("the answer ended early")
    if operation_model.name == "ListObjectsV2":
        _read_entries(response_dict, customized_response_dict)


def _broken_stream() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        exceptions.ResponseStreamingError,
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ConnectionClosedError,
        ConnectionError,
        TimeoutError,
    )


def _read_entries(response_dict: dict[str, Any], customized_response_dict: dict[str, Any]) -> None:
    """Reads the entries of a listing in botocore's place, which for 100,000 of them works several seconds, mostly on
    their dates. What is not as expected is left to botocore.
    """
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314 - as botocore does
        space = root.tag.removesuffix("ListBucketResult")
        contents = [
            {
                "Key": node.findtext(f"{space}Key", ""),
                "Size": int(node.findtext(f"{space}Size", "")),
                "ETag": node.findtext(f"{space}ETag", ""),
                "LastModified": datetime.fromisoformat(node.findtext(f"{space}LastModified", "")),
            }
            for node in root.iterfind(f"{space}Contents")
        ]
    except (ElementTree.ParseError, ValueError):
        return
    root[:] = [node for node in root if node.tag != f"{space}Contents"]
    response_dict["body"] = ElementTree.tostring(root)
    customized_response_dict["Contents"] = contents


def _version(version_id: str | None) -> dict[str, Any]:
    return {} if version_id is None else {"VersionId": version_id}

"""A real S3 API server (moto's, over HTTP on this machine) and a proxy before it that breaks what it is told to.

Its fixtures are everybody's. The server starts once a session; buckets are each test's own.
"""

import http.client
import itertools
import random
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tenacity import wait_none

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

_NUMBERS = itertools.count()

#: Credentials that moto's server takes, and the settings without which boto3 would look at the machine it runs on.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@dataclass
class S3Server:
    """An S3 service with a bucket in it."""

    endpoint_url: str
    bucket: str
    proxy: "FaultyProxy | None" = None

    @property
    def root(self) -> str:
        """A storage root, as `CASEPREP_STORAGE` would name it."""
        return f"s3://{self.bucket}/some/prefix"

    def client(self, **config: Any) -> "S3Client":
        """A client that gives up soon; `config` goes to botocore's `Config`."""
        from botocore.config import Config

        config = {"retries": {"mode": "standard", "total_max_attempts": 4}, "read_timeout": 5, **config}
        return _session().client("s3", endpoint_url=self.endpoint_url, config=Config(**config))


@cache
def _session() -> "Session":
    # A session reads descriptions of the API from files; one for all tests saves half a second in each.
    import boto3

    return boto3.session.Session(
        ENVIRONMENT["AWS_ACCESS_KEY_ID"], ENVIRONMENT["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
    )


@pytest.fixture(scope="session")
def s3_address() -> Iterator[tuple[str, int]]:
    """Host and port of the server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def s3(s3_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server with a new bucket; the process's AWS settings are the test's own."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    server = S3Server(f"http://{s3_address[0]}:{s3_address[1]}", f"bucket-{next(_NUMBERS)}")
    server.client().create_bucket(Bucket=server.bucket)
    return server


@pytest.fixture
def faulty_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The same server behind a proxy that breaks requests; clients wait no time before they try again."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    monkeypatch.setattr("caseprep_pipelines.storage.s3.STREAM_BACKOFF", wait_none())
    proxy = FaultyProxy(s3.endpoint_url.removeprefix("http://"))
    Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield S3Server(f"http://127.0.0.1:{proxy.server_port}", s3.bucket, proxy)
    proxy.shutdown()
    proxy.server_close()


@dataclass
class Break:
    """What happens to the next `times` requests with that method (and for which `when` holds)."""

    how: str
    """An HTTP status such as `503 SlowDown`; `reset` before the request arrives; `lost` for an answer that is lost
    after the request was served; `cut` for a body that ends after `after` bytes and `torn` for one that ends there with
    a reset; `hang` until the client gives up."""
    method: str = "GET"
    times: int = 1
    after: int = 0
    when: Callable[[str], bool] = field(default=lambda _path: True)


#: All that can happen.
HOW = ("500 InternalError", "503 SlowDown", "503 ServiceUnavailable", "reset", "lost", "cut", "torn", "hang")


class FaultyProxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.breaks: list[Break] = []
        self.served: Callable[[str, str], None] = lambda _method, _path: None
        """Called after the server has done what was asked, before anybody is told."""
        self.broken: list[str] = []
        """How those were broken that `break_now_and_then` chose."""
        self._chance: tuple[random.Random, float] | None = None
        self._turn = Lock()
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and Range of everything that arrived."""

    def handle_error(self, *_: object) -> None:
        """A client that gave up is what tests ask for."""

    def break_now_and_then(self, seed: int, share: float) -> None:
        """From now on that share of all requests is broken, each in one of all ways."""
        self._chance = random.Random(seed), share

    def next_break(self, method: str, path: str) -> Break | None:
        with self._turn:
            if self._chance is not None and self._chance[0].random() < self._chance[1]:
                self.broken.append(self._chance[0].choice(HOW))
                return Break(self.broken[-1], method, after=self._chance[0].randrange(400))
        for broken in self.breaks:
            if broken.method == method and broken.times and broken.when(path):
                broken.times -= 1
                return broken
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, *_: object) -> None: ...

    def _serve(self) -> None:
        broken = self.server.next_break(self.command, self.path)
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        body = self._body()
        if broken is not None and broken.how[0].isdigit():
            self._refuse(*broken.how.split(" "))
            return
        if broken is not None and broken.how == "reset":
            self._reset()
            return
        if broken is not None and broken.how == "hang":
            self.connection.settimeout(30)
            self.connection.recv(1)
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        headers.pop("Transfer-Encoding", None)
        headers["Content-Length"] = str(len(body))
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        self.server.served(self.command, self.path)
        if broken is not None and broken.how == "lost":
            self._reset()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length")
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
        self.end_headers()
        if broken is not None and broken.how in ("cut", "torn"):
            self.wfile.write(data[: broken.after])
            self.close_connection = True
            if broken.how == "torn":
                self._reset()
            return
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _refuse(self, status: str, code: str) -> None:
        error = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>broken on purpose</Message></Error>'.encode()
        self.send_response_only(int(status))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(error)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(error)

    def _reset(self) -> None:
        # A linger of no time makes closing send a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

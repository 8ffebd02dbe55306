"""A model hub on this machine: a stand-in that speaks as much of the Hugging Face hub's protocol as a download needs.

Answers, headers and error codes are those that `huggingface_hub` documents and reads: the listing of a repository is
public even where it is gated, its files then are not; what does not exist looks to strangers like what is private.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

from caseprep_pipelines_tests.models.made import contents

_LISTING = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    files: dict[str, bytes]
    gated: bool = False
    readers: set[str] = field(default_factory=set)
    """Tokens of those who accepted the conditions."""

    @property
    def commit(self) -> str:
        return _git_id(json.dumps({name: _git_id(data) for name, data in sorted(self.files.items())}).encode())

    @property
    def described(self) -> dict[str, dict[str, object]]:
        """Binary files lie in large file storage, others in git."""
        found: dict[str, dict[str, object]] = {}
        for name, data in self.files.items():
            found[name] = {"size": len(data), "oid": _git_id(data)}
            if name.endswith((".bin", ".npz")):
                found[name]["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.tokens = {"hf_known"}
        self.refused: dict[str, tuple[int, str]] = {}
        """Files, by their names, that are answered with a status and an error code instead."""
        self.corrupted: set[str] = set()
        """Files whose bytes arrive changed."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of everything that arrived."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, folder: Path, *, gated: bool = False) -> Repository:
        self.repositories[name] = Repository({**contents(folder), "README.md": b"about", ".gitattributes": b""}, gated)
        return self.repositories[name]

    def downloads(self) -> list[str]:
        """The files that were asked for, in order of their names."""
        return sorted(path.rpartition("/resolve/")[2].partition("/")[2] for how, path in self.requests if how == "GET")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if "/api/" not in path:
            self.server.requests.append((self.command, path))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.server.tokens:
            self._answer(401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
            return
        if found := _LISTING.fullmatch(path) or _TREE.fullmatch(path) or _FILE.fullmatch(path):
            repository = self.server.repositories.get(found[1])
            if repository is None and token:
                self._answer(404, headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            elif repository is None:
                self._answer(401, headers={"X-Error-Message": "Invalid username or password."})
            elif found[2] not in (None, "main", repository.commit):
                self._answer(404, headers={"X-Error-Code": "RevisionNotFound"})
            elif found.re is _FILE:
                self._file(repository, found[3], token)
            else:
                self._describe(found[1], repository, listing=found.re is _LISTING)
        else:
            self.server.requests.append((self.command, path))
            self._answer(404)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def _describe(self, name: str, repository: Repository, *, listing: bool) -> None:
        if listing:
            siblings = [
                {"rfilename": file, "size": about["size"], "blobId": about["oid"], "lfs": about.get("lfs")}
                for file, about in repository.described.items()
            ]
            answer: object = {"id": name, "sha": repository.commit, "private": False, "siblings": siblings}
        else:
            answer = [
                {"type": "file", "path": file, **about}
                | ({"lfs": {**about["lfs"], "oid": about["lfs"]["sha256"]}} if "lfs" in about else {})  # type: ignore[dict-item,index]
                for file, about in repository.described.items()
            ]
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: Repository, name: str, token: str) -> None:
        if repository.gated and token not in repository.readers:
            message = "Access to this model is restricted."
            self._answer(403 if token else 401, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return
        if name in self.server.refused:
            status, code = self.server.refused[name]
            self._answer(status, headers={"X-Error-Code": code} if code else {})
            return
        if name not in repository.files:
            self._answer(404, headers={"X-Error-Code": "EntryNotFound"})
            return
        data, about = repository.files[name], repository.described[name]
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{about["oid"]}"', "Accept-Ranges": "bytes"}
        if "lfs" in about:
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
        if name in self.server.corrupted:
            data = bytes(len(data))
        self._answer(200, data, headers)

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty hub that the hub library asks in place of the real one; this process is otherwise offline to it."""
    from huggingface_hub import close_session, constants

    server = Hub()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    close_session()
    yield server
    close_session()
    server.shutdown()
    server.server_close()

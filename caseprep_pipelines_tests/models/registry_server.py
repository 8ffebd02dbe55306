"""A package registry on this machine: a simple index of wheels, for the real clients to load from."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


class Registry(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wheels: dict[str, bytes] = {}
        """By file names."""
        self.cut: set[str] = set()
        """File names of wheels of which half arrives."""
        self.loaded: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2:
            project = parts[1].replace("-", "_")
            found = [name for name in self.server.wheels if name.startswith(f"{project}-")]
            links = "".join(f'<a href="/files/{name}">{name}</a><br/>' for name in found)
            self._answer(200 if found else 404, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())
        elif parts[0] == "files" and parts[1] in self.server.wheels:
            self.server.loaded.append(parts[1])
            data = self.server.wheels[parts[1]]
            self._answer(200, data, data[: len(data) // 2] if parts[1] in self.server.cut else data)
        else:
            self._answer(404, b"")

    def _answer(self, status: int, whole: bytes, sent: bytes | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if self.path.startswith("/simple") else "application/octet-stream")
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole if sent is None else sent)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def wheel(name: str, files: Mapping[str, bytes]) -> bytes:
    """A package 1.0 that a client takes for one, holding these files."""
    about = f"{name}-1.0.dist-info"
    inside = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{each},,\n" for each in [*inside, f"{about}/RECORD"])
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for each, content in {**inside, f"{about}/RECORD": record.encode()}.items():
            archive.writestr(zipfile.ZipInfo(each), content)
    return data.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

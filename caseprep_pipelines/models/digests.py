"""Digests of model files and of whole model directories.

Which files count is decided here and nowhere else. What digests are compared with is in `pins`; what the files must
be is in `directories`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from caseprep_pipelines.storage.document import Part

# No engine reads these, so a corrected README is not another model.
_IGNORED = ("readme*", "license*", "licence*", "notice*", "*.md", "*.gif", "*.png", "*.jpg", "*.svg", "__pycache__")


class FileDigest(Part):
    """One file as it was when it was read."""

    size: int
    """Bytes."""
    sha256: str


def model_files(path: Path) -> dict[str, Path]:
    """The files in a model directory that count, by their names relative to it with `/`, in order of name.

    Symbolic links are followed: the hub's cache is made of them. Hidden files (caches among them) and documentation
    do not count. Raises `OSError` where the directory cannot be read.
    """
    return dict(sorted(_walk(path, "", frozenset())))


def digests_of(path: Path, *, fresh: bool = False) -> dict[str, FileDigest]:
    """The digest of every file that counts; files that have not changed since this process read them are not read
    again unless `fresh`. Raises `OSError`."""
    return {name: _digest_of_file(file, fresh=fresh) for name, file in model_files(path).items()}


def combined_digest(files: Mapping[str, FileDigest]) -> str:
    """Hex SHA-256 over names, sizes and digests in order of name."""
    lines = [[name, files[name].size, files[name].sha256] for name in sorted(files)]
    return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).hexdigest()


def directory_digest(path: Path) -> str:
    """Hex SHA-256 that identifies the model in a directory, wherever it lies. Raises `OSError`."""
    return combined_digest(digests_of(path))


def _walk(folder: Path, above: str, seen: frozenset[str]) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or any(fnmatch(entry.name.lower(), pattern) for pattern in _IGNORED):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{above}{entry.name}/", seen | {real})
            else:
                yield above + entry.name, Path(entry.path)


def _digest_of_file(path: Path, *, fresh: bool) -> FileDigest:
    status = path.stat()
    state = (str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return FileDigest(size=status.st_size, sha256=_sha256(*state) if not fresh else _sha256.__wrapped__(*state))


@lru_cache(maxsize=1024)
def _sha256(path: str, _device: int, _inode: int, _size: int, _modified: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Work that need not be done again: what a long stage has done of a recording so far, and where it was done before.

Both belong to everything that shapes the result: they are found under a digest over it, so another model or setting
never goes on with what is no longer true. Parts are written whole or not at all, lie beside the products until the
product is there, and one that cannot be read is left out and its work done again. What a part holds is its stage's.
A finished product is found by other recordings of the same matter only: what one client's recording says is no part
of another's.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from caseprep_pipelines.storage.keys import check_partition_key
from caseprep_pipelines.storage.objects import MissingObject, ObjectStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARTS, _RESULTS = "checkpoints", "results"


class SavedWork:
    """One stage's saved work on one recording. `shaped_by` is anything that has canonical JSON."""

    def __init__(self, objects: ObjectStore, asset: str, partition: str, matter: str, shaped_by: object) -> None:
        key = hashlib.sha256(json.dumps([matter, shaped_by], sort_keys=True, default=str).encode()).hexdigest()
        self._objects = objects
        self._partition = check_partition_key(partition)
        self._home = f"{_PARTS}/{asset}/{self._partition}/"
        self._folder = f"{self._home}{key[:32]}/"
        self._result = f"{_RESULTS}/{asset}/{matter}/{key[:32]}.json"

    def parts(self, kind: str) -> Iterator[bytes]:
        """The parts of that kind, in the order in which they were added."""
        for stat in self._objects.list(self._folder):
            if stat.name.endswith(f".{kind}"):
                try:
                    yield self._objects.read_bytes(stat.name)
                except MissingObject:
                    continue  # another attempt has finished meanwhile

    def add(self, kind: str, data: bytes) -> None:
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self._objects.write_bytes(f"{self._folder}{at}-{secrets.token_hex(4)}.{kind}", data)

    def finished(self) -> tuple[str, str] | None:
        """Partition and version of a product of the same work in the same matter, where there is one."""
        try:
            found = json.loads(self._objects.read_bytes(self._result))
            return str(found["partition"]), str(found["version"])
        except (MissingObject, ValueError, TypeError, KeyError):
            return None

    def settle(self, version: str) -> None:
        """The product is there as `version`: others may find it, and the recording's parts go, also those that belong
        to other settings."""
        if self.finished() is None:
            said = {"partition": self._partition, "version": version}
            self._objects.write_bytes(self._result, json.dumps(said).encode())
        _remove(self._objects, self._home)


def packed(**arrays: "NDArray[Any]") -> bytes:
    """Arrays as a part."""
    import numpy as np

    data = BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    return data.getvalue()


def unpacked(part: bytes) -> "Mapping[str, NDArray[Any]]":
    """The arrays of a part; none of a part that is damaged."""
    import numpy as np

    try:
        with np.load(BytesIO(part), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, BadZipFile):
        return {}


def sweep(objects: ObjectStore, older_than: timedelta) -> int:
    """Removes parts that nobody took up again; returns how many."""
    return _remove(objects, f"{_PARTS}/", older_than)


def _remove(objects: ObjectStore, prefix: str, older_than: timedelta | None = None) -> int:
    limit = None if older_than is None else datetime.now(UTC) - older_than
    old = [stat.name for stat in objects.list(prefix) if limit is None or stat.modified < limit]
    for name in old:
        objects.delete(name)
    return len(old)

"""Both kinds of object store, so that every promise of `ObjectStore` is tested against each."""

from pathlib import Path

import pytest

from caseprep_pipelines.storage.objects import ObjectStore, open_store
from caseprep_pipelines_tests.s3_server import S3Server


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store, once in a directory and once in S3."""
    if request.param == "local":
        return open_store(str(tmp_path / "root"))
    server: S3Server = request.getfixturevalue("s3")
    return open_store(server.root, s3_client=server.client())

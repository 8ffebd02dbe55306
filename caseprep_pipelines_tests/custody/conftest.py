"""A catalog on each of the two databases, with a recording in it."""

import pytest

from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines_tests.catalog.conftest import catalog, catalog_url
from caseprep_pipelines_tests.catalog.examples import recording

__all__ = ["catalog", "catalog_url", "partition"]


@pytest.fixture
def partition(catalog: Catalog) -> str:
    return registry.register(catalog, [recording()], "test")[0].partition

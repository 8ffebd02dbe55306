"""An archive on each of the two databases."""

from caseprep_pipelines_tests.catalog.conftest import catalog, catalog_url

__all__ = ["catalog", "catalog_url"]

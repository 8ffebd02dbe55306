"""The report on both databases."""

from caseprep_pipelines_tests.catalog.conftest import catalog, catalog_url

__all__ = ["catalog", "catalog_url"]

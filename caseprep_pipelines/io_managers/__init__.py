"""The product store's face for Dagster: `load_asset_value` and other people's assets."""

from caseprep_pipelines.io_managers.products import ProductIOManager, io_managers

__all__ = ["ProductIOManager", "io_managers"]

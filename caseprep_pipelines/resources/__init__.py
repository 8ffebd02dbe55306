"""Settings turned into Dagster resources: stores, catalog, engines."""

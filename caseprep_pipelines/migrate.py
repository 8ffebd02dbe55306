"""`python -m caseprep_pipelines.migrate`: brings Dagster's database and the catalog's to the tables of this version.

What a cluster's migration job runs before anything else. Both are safe to run again. Exit code 2 where a setting or a
database is wrong, 1 where it cannot be reached just now; one line says which.
"""

import os
import sys

from caseprep_pipelines.errors import ConfigurationError, Fault


def migrate() -> None:
    """Raises `ConfigurationError` where a database is unknown, refuses us or is newer than this code, else `Fault`."""
    import dagster as dg

    from caseprep_pipelines.assets.stage import GPU_POOL
    from caseprep_pipelines.catalog.database import open_catalog
    from caseprep_pipelines.settings import read_settings

    settings = read_settings()
    open_catalog(settings.catalog_url).close()
    print("The catalog's tables are those of this version.", flush=True)  # noqa: T201
    os.environ.setdefault("DAGSTER_HOME", str(settings.dagster_home))
    try:
        with dg.DagsterInstance.get() as instance:
            instance.upgrade()
            # of two runs that used a pool for the first time at once, Dagster failed one on PostgreSQL: its row is
            # there before any run
            limits = instance.event_log_storage
            if GPU_POOL not in limits.get_concurrency_keys():
                limits.initialize_concurrency_limit_to_default(GPU_POOL)
    except dg.DagsterInvariantViolationError as error:
        raise ConfigurationError(f"Dagster's instance cannot be opened: {str(error).splitlines()[0]}") from None
    except Exception as error:
        # the message may repeat the database's URL, password and all
        raise Fault(
            f"Dagster's database cannot be brought up to date ({type(error).__name__}): check DAGSTER_PG_URL and "
            "whether the server answers"
        ) from None
    print("Dagster's tables are those of this version.", flush=True)  # noqa: T201


def main() -> None:
    try:
        migrate()
    except (ConfigurationError, Fault) as error:
        print(f"migrate: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


if __name__ == "__main__":
    main()

"""Bringing a database to the tables that this version of the code needs, through Alembic.

The revisions lie in `versions`. A new one is made by hand after the others' pattern; `HEAD` follows it.
"""

from sqlalchemy import Connection, Engine, inspect, text

from caseprep_pipelines.errors import ConfigurationError

#: The newest revision; a test compares it with the folder.
HEAD = "0006"

_NEWER = "the catalog was made by a newer version of caseprep-pipelines; install that version"

# Any number will do, so long as no one else who uses the same PostgreSQL database locks by it.
_ADVISORY_LOCK = 0x63617365707265


def writer(engine: Engine) -> Engine:
    """The same engine with transactions that are begun for writing."""
    return engine.execution_options(writing=True)


def upgrade(engine: Engine) -> None:
    """Makes or migrates the tables in one transaction; of several processes one does and the others wait.

    Raises `ConfigurationError` where the database was made by a newer version of the code.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with writer(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        if _revision(connection) != HEAD:
            _run_alembic(connection)


def require(engine: Engine) -> None:
    """Raises `ConfigurationError` where the tables are not those of this version of the code; changes nothing."""
    with engine.connect() as connection:
        found = _revision(connection)
    if found is not None and found > HEAD:
        raise ConfigurationError(_NEWER)
    if found != HEAD:
        there = "has no tables yet" if found is None else f"has the tables of an older version ({found})"
        raise ConfigurationError(
            f"the catalog's database {there}, and this version needs {HEAD}: run python -m caseprep_pipelines.migrate, "
            "on a cluster the job caseprep-migrate; nothing was changed"
        )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "caseprep_pipelines.catalog:migrations")
    config.set_main_option("path_separator", "os")
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise ConfigurationError(_NEWER) from None

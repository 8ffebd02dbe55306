"""Opening the catalog's database: SQLite or PostgreSQL, transactions, and what their errors mean.

Nothing here knows what the tables hold. Errors leave this module as `ConfigurationError` (the URL, the server, the
login, the schema) or as `Fault` (what may pass), each one line without passwords and without rows.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_exponential

from caseprep_pipelines.catalog import migrations
from caseprep_pipelines.errors import ConfigurationError, Fault

SETTING = "CASEPREP_DATABASE_URL"

#: How long a SQLite writer waits for another one, in milliseconds.
BUSY_TIMEOUT = 60_000

#: A PostgreSQL server that was there and is away is asked so often, with growing waits, before that is a fault: for
#: about 40 seconds, because Dagster gives a sensor's tick a minute.
AWAY_ATTEMPTS = 11
AWAY_BACKOFF = wait_exponential(multiplier=0.5, max=5)
AWAY_SECONDS = 45


class Conflict(Fault):
    """Another writer was first with the same key; trying again sees what it wrote."""


class Catalog:
    """An open catalog. Threads may share it; each process opens its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads. Raises `Fault` where the database fails."""
        with _errors_named(), Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one transaction: committed at the end, rolled back on any exception.

        On SQLite the transaction takes the write lock at its start, so that two writers wait for each other instead
        of one of them failing halfway. Raises `Fault` where the database fails, `Conflict` where another writer
        was first, and `ConfigurationError` where a row names a recording that is not in the registry.
        """
        with _errors_named(), Session(migrations.writer(self.engine)) as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()


def open_catalog(url: str | URL, *, migrate: bool = True) -> Catalog:
    """Opens the catalog at an SQLAlchemy URL, making or migrating its tables first; safe in many processes at once.
    Without `migrate`, which is for who may not change tables, it raises `ConfigurationError` where that is needed.

    SQLite's file and folder are made where they are missing. Raises `ConfigurationError` where the URL, the driver,
    the server, the login or the schema is wrong, and `Fault` where a database that answers is only busy.
    """
    parsed = _parse(url)
    engine = _engine(parsed)
    try:
        (migrations.upgrade if migrate else migrations.require)(engine)
    except exc.SQLAlchemyError as error:
        engine.dispose()
        raise _why_not_opened(parsed, error) from None
    except ConfigurationError:
        engine.dispose()
        raise
    return Catalog(engine)


def _parse(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    # The driver's own message would repeat the URL, password and all.
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"{SETTING} is not a database URL; write sqlite:////folder/catalog.sqlite or postgresql://user@host/database"
        ) from None
    backend = parsed.drivername.partition("+")[0]
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigurationError(f"{SETTING} names a database of another kind; the catalog needs sqlite or postgresql")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise ConfigurationError(f"{SETTING} names no file; write sqlite:////folder/catalog.sqlite")
    return parsed


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        folder = Path(str(url.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the catalog's folder {folder} cannot be made: {error.strerror}") from None
        engine = create_engine(url, hide_parameters=True)
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
        return engine
    ours = {
        "application_name": "caseprep",
        "connect_timeout": 10,
        # a server whose machine is gone says nothing: without these a statement would wait for it for two hours
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
    try:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            connect_args={name: value for name, value in ours.items() if name not in url.query},
        )
    except ImportError:
        raise ConfigurationError(
            f"{SETTING} names PostgreSQL, whose driver is missing; install caseprep-pipelines[postgres]"
        ) from None
    event.listen(engine, "do_connect", _patience())
    return engine


def _patience() -> Callable[..., Any]:
    """Connects, and waits for a server that answered before: one that restarts is back within a minute, and a stage
    that failed at once had worked for nothing. A server that never answered is told at once, as is one that was
    waited for in vain until it answers again: else every recording of a run would wait for it anew.
    """
    there = False

    def connect(dialect: Any, _record: object, arguments: Any, parameters: Any) -> Any:
        nonlocal there
        attempts = Retrying(
            stop=stop_after_attempt(AWAY_ATTEMPTS if there else 1) | stop_after_delay(AWAY_SECONDS),
            wait=AWAY_BACKOFF,
            retry=retry_if_exception_type(dialect.dbapi.OperationalError),
            sleep=time.sleep,
            reraise=True,
        )
        try:
            connection = attempts(dialect.connect, *arguments, **parameters)
        except dialect.dbapi.Error:
            there = False
            raise
        there = True
        return connection

    return connect


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    # Without this Python's driver opens transactions by itself, later than we mean and never IMMEDIATE.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _on_sqlite_begin(connection: Connection) -> None:
    # A reader that becomes a writer is refused at once when another wrote meanwhile; so writers begin as such.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN")


@contextmanager
def _errors_named() -> Iterator[None]:
    """Turns the database's errors into ours, without what they say of rows: that may be a transcript's text."""
    try:
        yield
    except exc.IntegrityError as error:
        code = _code(error)
        if code in {"SQLITE_CONSTRAINT_FOREIGNKEY", "23503"}:
            raise ConfigurationError("the recording is not in the catalog's registry; register it first") from None
        if code in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "23505"}:
            raise Conflict("the catalog's database: another writer was first") from None
        raise RuntimeError(f"the catalog's database refused a row: {code}") from None
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError) as error:
        raise Fault(f"the catalog's database failed: {_code(error)}") from None
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise Fault("the connection to the catalog's database was lost") from None
        raise RuntimeError(f"the catalog's database refused a statement: {_code(error)}") from None
    except exc.TimeoutError:
        raise Fault("no connection to the catalog's database became free in time") from None


def _code(error: exc.DBAPIError) -> str:
    """SQLite's name of the error or PostgreSQL's SQLSTATE, else the kind of error: never its text."""
    return str(
        getattr(error.orig, "sqlite_errorname", None)
        or getattr(error.orig, "sqlstate", None)
        or type(error.orig).__name__
    )


def _why_not_opened(url: URL, error: exc.SQLAlchemyError) -> ConfigurationError | Fault:
    said = str(getattr(error, "orig", None) or error)
    code = _code(error) if isinstance(error, exc.DBAPIError) else ""
    if url.get_backend_name() == "sqlite":
        file = url.database
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR")):
            return Fault(f"the catalog {file} cannot be used right now: {code}")
        if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return ConfigurationError(
                f"{file} is not a catalog or is damaged; restore it from a backup or move it away"
            )
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
            return ConfigurationError(f"the catalog {file} cannot be written; check its folder's permissions")
        return ConfigurationError(f"the catalog {file} cannot be opened: {code or type(error).__name__}")
    server = f"{url.host or 'the local socket'}{f':{url.port}' if url.port else ''}"
    # The states that pass by themselves: no more connections, starting up, shutting down, serialization, locks.
    if code[:2] in {"40", "53", "55", "57"}:
        return Fault(f"the catalog's database at {server} cannot be used right now: {code}")
    if "authentication failed" in said or "no password supplied" in said or ("role " in said and "not exist" in said):
        return ConfigurationError(f"{SETTING}: the database at {server} refuses this user or password")
    if "database " in said and "does not exist" in said:
        return ConfigurationError(f"{SETTING}: the server at {server} has no such database; create it first")
    if code == "42501":
        return ConfigurationError(f"{SETTING}: this user may not make the catalog's tables; grant CREATE on its schema")
    if isinstance(error, exc.OperationalError) and not getattr(error.orig, "sqlstate", None):
        return ConfigurationError(f"{SETTING}: the database at {server} cannot be reached; is it running?")
    return ConfigurationError(f"{SETTING}: the database at {server} cannot be used as a catalog: {code}")

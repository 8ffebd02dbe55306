"""A real PostgreSQL server of the test session's own: in a temporary folder, on a local socket, gone afterwards.

Its fixtures are everybody's; mark what uses them with `postgres`. The server starts once a session; databases are each
test's own.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

PASSWORD = "not/a:secret@all"
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class PostgresServer:
    folder: Path
    """Where its socket lies."""
    pg_ctl: Callable[..., None] = field(repr=False)
    """Calls the program with arguments; waits until it has done."""

    def stop(self) -> None:
        """At once, as when its machine is lost: whoever is connected is cut off."""
        self.pg_ctl("-w", "-m", "immediate", "stop")

    def start(self) -> None:
        """Again."""
        # no flush is waited for; what was committed outlives the server all the same, though not the machine
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off -c full_page_writes=off"
        # The log goes to a file: a server that inherits a pipe would keep the caller waiting for its end.
        self.pg_ctl("-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def url(self, database: str, password: str = PASSWORD) -> str:
        """Of a database, as a user would write it in `CASEPREP_DATABASE_URL`."""
        query = {"host": str(self.folder)}
        url = URL.create("postgresql", username="caseprep", password=password, database=database, query=query)
        return url.render_as_string(hide_password=False)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{next(_NUMBERS)}"
        engine = create_engine(
            self.url("postgres").replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    programs = _programs()
    # Not pytest's own folder: the path of a socket may have no more than about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="caseprep-postgres-"))
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORD + "\n")
    # PostgreSQL refuses to run as root, as which containers often run tests.
    as_user: list[str] = []
    if os.geteuid() == 0:
        for path in (folder, password):
            shutil.chown(path, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), "-D", str(data), *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, cwd=folder
        )
        if done.returncode:
            log = folder / "log"
            said = log.read_text() if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}{said}")

    server = PostgresServer(folder, lambda *arguments: run("pg_ctl", *arguments))
    try:
        run(
            "initdb", "-U", "caseprep", f"--pwfile={password}", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "-N"
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _postgres_database(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.fixture
def postgres_url(_postgres_database: str) -> str:
    """An empty database: the same for every test, swept before, since making one takes much longer."""
    engine = create_engine(_postgres_database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return _postgres_database


def _programs() -> Path:
    """Where `initdb` and `pg_ctl` lie. Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if on_path or debian:
        return (Path(on_path) if on_path else debian[-1]).resolve().parent
    why = "PostgreSQL's server programs (initdb, pg_ctl) are not installed"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)

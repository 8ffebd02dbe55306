"""Opening the catalog: what works, and the one line that a person reads where it does not."""

import datetime as dt
import logging
import multiprocessing
import sqlite3
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog, Conflict, open_catalog
from caseprep_pipelines.catalog.tables import Recording, RejectionRow
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines_tests.catalog.examples import recording
from caseprep_pipelines_tests.catalog.writers import register_some
from caseprep_pipelines_tests.postgres_server import PASSWORD, PostgresServer

PROCESSES = 3
EACH = 20


def test_missing_folders_are_made(tmp_path: Path) -> None:
    open_catalog(f"sqlite:///{tmp_path / 'a' / 'b' / 'catalog.sqlite'}").close()
    assert (tmp_path / "a" / "b" / "catalog.sqlite").is_file()


def test_sqlite_lets_readers_and_a_writer_work_at_once(tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with catalog.writing() as writer:
        writer.execute(text("UPDATE recordings SET priority = 1"))
        assert registry.all_partitions(catalog) == []
    with catalog.reading() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_what_was_written_is_there_after_opening_again(catalog_url: str) -> None:
    first = open_catalog(catalog_url)
    registry.register(first, [recording()], "test")
    first.close()
    second = open_catalog(catalog_url)
    assert [row.name for row in registry.recordings_in_order(second)] == ["smith deposition.mp3"]
    second.close()


def test_an_exception_undoes_the_whole_transaction(catalog: Catalog) -> None:
    registry.register(catalog, [recording()], "test")
    with pytest.raises(KeyError), catalog.writing() as session:  # noqa: PT012
        session.execute(text("UPDATE recordings SET priority = 7"))
        raise KeyError
    assert registry.recordings_in_order(catalog)[0].priority == 0


def test_a_row_of_an_unregistered_recording_is_a_configuration_error(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="not in the catalog's registry"), catalog.writing() as session:
        session.add(RejectionRow(partition="nobody", stage="s", reason="r", detail="", at=dt.datetime.now(dt.UTC)))


def test_a_second_row_with_the_same_key_is_a_conflict_that_may_be_tried_again(catalog: Catalog) -> None:
    partition = registry.register(catalog, [recording()], "test")[0].partition
    now = dt.datetime.now(dt.UTC)
    row = {"partition": partition, "stage": "s", "reason": "r", "detail": "", "at": now}
    with catalog.writing() as session:
        session.add(RejectionRow(**row))
    with pytest.raises(Conflict), catalog.writing() as session:
        session.add(RejectionRow(**row))


def test_errors_never_show_what_was_to_be_written(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RuntimeError, match="refused") as caught, catalog.writing() as session:
        session.execute(text("INSERT INTO recordings (name) VALUES ('the secret witness')"))
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises((Fault, RuntimeError)) as caught, catalog.writing() as session:
        session.execute(text("SELECT :name FROM nowhere"), {"name": "the secret witness"})
    assert "secret" not in f"{caught.value!r} {caplog.text}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "not a database URL"),
        ("catalog.sqlite", "not a database URL"),
        ("postgresql://user:hunter2@host:port/db", "not a database URL"),
        ("mysql://user:hunter2@host/db", "needs sqlite or postgresql"),
        ("oracle+hunter2://x", "needs sqlite or postgresql"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://user:hunter2@127.0.0.1:1/db?connect_timeout=2", "cannot be reached"),
        ("postgresql+psycopg2://user:hunter2@127.0.0.1:1/db", "cannot be reached"),
        ("postgres://user:hunter2@no-such-host.invalid/db", "cannot be reached"),
        ("postgresql://user:hunter2@127.0.0.1:1/db?hunter2=1", "CASEPREP_DATABASE_URL"),
    ],
)
def test_a_wrong_url_is_one_line_that_says_what_to_do_and_keeps_the_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        open_catalog(url)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"install caseprep-pipelines\[postgres\]"):
        open_catalog("postgresql://user:hunter2@host/db")


def test_a_file_that_is_no_database_is_left_alone_and_named(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    file.write_bytes(b"not a database, but the only copy of something" * 50)
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match="not a catalog or is damaged"):
        open_catalog(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("")
    with pytest.raises(ConfigurationError, match="storage cannot be made"):
        open_catalog(f"sqlite:///{tmp_path / 'storage' / 'catalog.sqlite'}")


def test_a_catalog_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A directory in the file's place: unlike permissions, root cannot pass it either.
    (tmp_path / "catalog.sqlite").mkdir()
    with pytest.raises(ConfigurationError, match="check its folder's permissions"):
        open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")


def test_a_catalog_of_a_newer_version_is_refused(catalog_url: str) -> None:
    catalog = open_catalog(catalog_url)
    with catalog.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    catalog.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        open_catalog(catalog_url)


def test_a_busy_sqlite_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caseprep_pipelines.catalog.database.BUSY_TIMEOUT", 1)
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    other = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Fault, match="SQLITE_BUSY"):
        registry.register(catalog, [recording()], "test")
    other.execute("ROLLBACK")
    registry.register(catalog, [recording()], "test")
    other.close()


def test_a_full_disk_is_a_fault(tmp_path: Path) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with catalog.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Fault, match="SQLITE_FULL"):
        registry.register(catalog, [recording(f"{n}{'x' * 200}.mp3") for n in range(200)], "test")
    assert registry.all_partitions(catalog) == []


@pytest.mark.postgres
def test_a_wrong_password_is_named_without_it(postgres_server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match="refuses this user or password") as caught:
        open_catalog(postgres_server.url("postgres", password="hunter2"))
    assert "hunter2" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.postgres
def test_a_missing_database_is_named(postgres_server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match="no such database"):
        open_catalog(postgres_server.url("nowhere"))


@pytest.mark.postgres
def test_a_connection_that_the_server_closed_is_replaced(postgres_url: str) -> None:
    catalog = open_catalog(postgres_url)
    registry.register(catalog, [recording()], "test")
    other = open_catalog(postgres_url)
    kill = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND datname = current_database() AND application_name = 'caseprep'")  # fmt: skip
    with other.reading() as session:
        session.execute(kill)
    assert len(registry.all_partitions(catalog)) == 1
    with pytest.raises(Fault), catalog.reading() as session:  # noqa: PT012
        session.execute(text("SELECT 1"))
        with other.reading() as killer:
            killer.execute(kill)
        session.execute(text("SELECT 1"))
    catalog.close()
    other.close()


def test_several_processes_make_the_tables_and_write_at_once(catalog_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        done = pool.starmap(register_some, [(catalog_url, process, EACH) for process in range(PROCESSES)])
    new = [partition for each in done for partition in each]
    assert len(new) == len(set(new)) == (PROCESSES + 1) * EACH
    catalog = open_catalog(catalog_url)
    assert sorted(registry.all_partitions(catalog)) == sorted(new)
    with catalog.reading() as session:
        assert session.scalar(select(func.count(Recording.position.distinct()))) == len(new)
    catalog.close()

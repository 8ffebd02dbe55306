"""The models and the migrations say the same."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from caseprep_pipelines.catalog import frames, loading, migrations, registry
from caseprep_pipelines.catalog.database import Catalog, open_catalog
from caseprep_pipelines.catalog.search import search
from caseprep_pipelines.catalog.tables import Base
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript


# Alembic cannot compare an index over an expression; the tests of search use it.
@pytest.mark.filterwarnings("ignore:autogenerate skipping .*expression-based index")
def test_models_and_migrations_agree(catalog: Catalog) -> None:
    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "include_name": _is_ours}
        )
        differences = compare_metadata(context, Base.metadata)
    assert [d for d in differences if "ix_utterances_full_text" not in str(d)] == []


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and str(name).startswith("utterances_full_text"))


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "caseprep_pipelines.catalog:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_revisions_name_themselves_as_their_files_do() -> None:
    for file in (Path(migrations.__file__).parent / "versions").glob("*.py"):
        assert re.search(r'^revision = "(\w+)"$', file.read_text(), re.MULTILINE)[1] == file.name.split("_")[0]


def test_a_migration_that_fails_leaves_nothing_half_done(catalog_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: object) -> None:
        run(connection)
        raise RuntimeError("the power went")

    run = migrations._run_alembic
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_run_alembic", fail)
        with pytest.raises(RuntimeError, match="the power went"):
            open_catalog(catalog_url)
    catalog = open_catalog(catalog_url)
    with catalog.reading() as session:
        assert session.execute(text("SELECT count(*) FROM recordings")).scalar() == 0
    catalog.close()


def test_a_catalog_of_the_first_version_keeps_its_rows(catalog: Catalog, catalog_url: str) -> None:
    registry.register(catalog, [recording()], "test")
    with catalog.writing() as session:
        session.execute(text("DROP TABLE launch_claims"))
        session.execute(text("DROP TABLE stage_runs"))
        session.execute(text("ALTER TABLE stage_products DROP COLUMN notes"))
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    newer = open_catalog(catalog_url)
    assert len(registry.all_partitions(newer)) == 1
    assert frames.stage_runs(newer).empty
    newer.close()


def test_words_of_an_older_catalog_are_found_letter_by_letter(catalog: Catalog, catalog_url: str) -> None:
    [row] = registry.register(catalog, [recording()], "test")
    document = transcript(row.partition, "Good morning", "สวัส ดี ครับ", languages=("en", "th"))
    loading.load_transcript(catalog, document, "000001-aaaaaaaaaaaa", sha("t"))
    with catalog.writing() as session:
        session.execute(text("UPDATE utterances SET search_words = 'สวสด ครบ' WHERE text <> 'Good morning'"))
        session.execute(text("ALTER TABLE stage_products DROP COLUMN notes"))
        session.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    newer = open_catalog(catalog_url)
    assert [hit.start for hit in search(newer, "สวัสดีครับ")] == [5.0]
    assert [hit.start for hit in search(newer, "morning")] == [0.0]
    newer.close()


def test_who_may_not_change_tables_is_told_what_must_run_first(catalog_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has no tables yet, and this version needs .*caseprep-migrate"):
        open_catalog(catalog_url, migrate=False)
    catalog = open_catalog(catalog_url)
    open_catalog(catalog_url, migrate=False).close()
    with catalog.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(ConfigurationError, match=r"the tables of an older version \(0001\)"):
        open_catalog(catalog_url, migrate=False)
    with catalog.engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer version"):
        open_catalog(catalog_url, migrate=False)
    catalog.close()

"""`python -m caseprep_pipelines.migrate`, as a cluster's migration job runs it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from caseprep_pipelines.catalog import migrations
from caseprep_pipelines_tests.conftest import environment
from caseprep_pipelines_tests.postgres_server import PostgresServer

CLUSTER = Path(__file__).parents[1] / "deploy/kubernetes/base/dagster.yaml"


def migrate(own: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "caseprep_pipelines.migrate"], env=own, capture_output=True, text=True, timeout=300
    )


@pytest.mark.postgres
def test_both_databases_get_their_tables_and_again_changes_nothing(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """With the cluster's own dagster.yaml, and no Kubernetes: migrating needs none."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(CLUSTER, home)
    catalog, dagster = postgres_server.new_database(), postgres_server.new_database()
    own = environment(
        tmp_path,
        CASEPREP_DATABASE_URL=catalog,
        DAGSTER_PG_URL=dagster.replace("postgresql:", "postgresql+psycopg2:"),
        DAGSTER_COMPUTE_LOG_BUCKET="bucket",
        CASEPREP_KUBERNETES_NAMESPACE="caseprep",
        DAGSTER_HOME=str(home),
        AWS_DEFAULT_REGION="us-east-1",
    )
    for _ in range(2):
        done = migrate(own)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 2
    engine = create_engine(dagster.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT concurrency_key FROM concurrency_limits")).all() == ["gpu"]
    engine.dispose()
    for url, table in ((catalog, "recordings"), (dagster, "event_logs")):
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        assert inspect(engine).has_table(table)
        engine.dispose()


def test_a_catalog_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    from caseprep_pipelines.catalog.database import open_catalog

    url = f"sqlite:///{tmp_path}/catalog.sqlite"
    catalog = open_catalog(url)
    with catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    catalog.close()
    done = migrate(environment(tmp_path, CASEPREP_DATABASE_URL=url))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "newer version" in done.stderr
    assert migrations.HEAD != "9999"


def test_a_database_that_does_not_answer_is_one_line_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://caseprep:very-secret@127.0.0.1:9/caseprep"
    done = migrate(environment(tmp_path, CASEPREP_DATABASE_URL=url))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "very-secret" not in done.stderr

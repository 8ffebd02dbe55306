"""Alembic's entry: runs the revisions on the connection that `migrations.upgrade` opened, in its transaction."""

from alembic import context

from caseprep_pipelines.catalog.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite's DDL is transactional too; Alembic assumes otherwise.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

"""Further names under which the same bytes were given."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "other_names",
        sa.Column("partition", sa.String(128), nullable=False),
        sa.Column("name_digest", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("partition", "name_digest", name="pk_other_names"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_other_names_partition"),
        if_not_exists=True,
    )
    op.create_index("ix_other_names_name", "other_names", ["name"], if_not_exists=True)

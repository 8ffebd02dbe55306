"""Who asked for the next run of a recording, so that of two daemons only one does."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "launch_claims",
        sa.Column("partition", sa.String(128), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("partition", "stage", name="pk_launch_claims"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_launch_claims_partition"),
    )

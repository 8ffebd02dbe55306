"""What making each version of each product took: wall, CPU and GPU seconds, audio seconds, device."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "stage_runs",
        sa.Column("partition", sa.String(128), nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("matter", sa.String(128), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("wall_seconds", sa.Double, nullable=False),
        sa.Column("cpu_seconds", sa.Double, nullable=False),
        sa.Column("gpu_seconds", sa.Double, nullable=False),
        sa.Column("audio_seconds", sa.Double),
        sa.Column("device", sa.String(128), nullable=False),
        sa.Column("batch_size", sa.Integer),
        sa.Column("snr_db", sa.Double),
        sa.Column("rejected", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("partition", "stage", "version", name="pk_stage_runs"),
        sa.ForeignKeyConstraint(["partition"], ["recordings.partition"], name="fk_stage_runs_partition"),
    )
    op.create_index("ix_stage_runs_matter", "stage_runs", ["matter"])
    op.create_index("ix_stage_runs_started", "stage_runs", ["started"])

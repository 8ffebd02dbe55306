"""What people must hear of a product, so that `status` says it without a walk over the storage."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("stage_products", sa.Column("notes", sa.Text(), nullable=False, server_default=sa.text("''")))

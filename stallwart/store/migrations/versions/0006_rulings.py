"""Rulings: decisions that a person made."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables one step on."""
    op.create_table(
        "rulings",
        sa.Column("ruling_key", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("listing_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("verdict_id", sa.Text(), nullable=True),
        sa.Column("said_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ruling_key", name=op.f("pk_rulings")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_rulings_decision_id")),
    )
    op.create_index(op.f("ix_rulings_listing_id"), "rulings", ["listing_id"], unique=False)
    op.create_index(op.f("ix_rulings_revision"), "rulings", ["revision"], unique=False)

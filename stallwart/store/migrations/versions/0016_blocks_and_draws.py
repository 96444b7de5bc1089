"""Indices: blocks among decisions, and when the audit drew."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables one step on."""
    op.create_index(
        "ix_decisions_blocks",
        "decisions",
        ["seq", "decided_at_ms"],
        unique=False,
        sqlite_where=sa.text("action = 'block'"),
        postgresql_where=sa.text("action = 'block'"),
    )
    op.create_index(op.f("ix_audit_draws_drawn_at_ms"), "audit_draws", ["drawn_at_ms"], unique=False)

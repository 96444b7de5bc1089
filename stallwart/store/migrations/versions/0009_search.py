"""Search and bulk: the last decision of each listing with its words, and what is done to many at once."""

import sqlalchemy as sa
from alembic import op

from stallwart.store.findable import MAKE_WORDS

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables one step on."""
    op.create_table(
        "findable",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("listing_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("seller_id", sa.Text(), nullable=True),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_findable")),
        sa.UniqueConstraint("listing_id", name=op.f("uq_findable_listing_id")),
    )
    op.create_index(op.f("ix_findable_revision"), "findable", ["revision"], unique=False)
    op.create_index(op.f("ix_findable_decided_at_ms"), "findable", ["decided_at_ms"], unique=False)
    op.create_index("ix_findable_action_seq", "findable", ["action", "seq"], unique=False)
    op.create_index(
        "ix_findable_policy_seq_action_score", "findable", ["policy", "seq", "action", "score"], unique=False
    )
    op.create_index("ix_findable_seller_id_seq", "findable", ["seller_id", "seq"], unique=False)
    op.create_index("ix_findable_score_seq", "findable", ["score", "seq"], unique=False)
    for statement in MAKE_WORDS[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "bulk_acts",
        sa.Column("bulk_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("policies", sa.JSON(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("filters", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("listings", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("said_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", name=op.f("pk_bulk_acts")),
    )
    op.create_index(op.f("ix_bulk_acts_created_at_ms"), "bulk_acts", ["created_at_ms"], unique=False)
    op.create_index(
        "ix_bulk_acts_at_work",
        "bulk_acts",
        ["created_at_ms"],
        unique=False,
        sqlite_where=sa.text("state IN ('running', 'undoing')"),
        postgresql_where=sa.text("state IN ('running', 'undoing')"),
    )
    op.create_table(
        "bulk_items",
        sa.Column("bulk_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("listing_id", sa.Text(), nullable=False),
        sa.Column("seller_id", sa.Text(), nullable=True),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("undone", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", "place", name=op.f("pk_bulk_items")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_bulk_items_listing_id"), "bulk_items", ["listing_id"], unique=False)

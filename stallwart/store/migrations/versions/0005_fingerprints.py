"""Fingerprints: what finds near duplicates of a revision by its words and photos."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables one step on."""
    op.create_table(
        "fingerprints",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("listing_id", sa.Text(), nullable=False),
        sa.Column("words", sa.LargeBinary(), nullable=True),
        sa.Column("photos", sa.LargeBinary(), nullable=False),
        sa.Column("keys", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_fingerprints")),
        sa.UniqueConstraint("revision", name=op.f("uq_fingerprints_revision")),
    )
    op.create_index(op.f("ix_fingerprints_listing_id"), "fingerprints", ["listing_id"], unique=False)
    op.create_table(
        "fingerprint_keys",
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key", "seq", name=op.f("pk_fingerprint_keys")),
        sqlite_with_rowid=False,
    )

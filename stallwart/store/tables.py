"""The tables, the same on SQLite and PostgreSQL; `migrations/` brings a database to them.

Times are milliseconds since 1970 in UTC: one integer that both databases keep as it is. `seq` columns give
the order in which rows were written.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Sequence = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER key

# One state of a listing's content. Retention empties title, description and photos, and sets purged_at_ms.
revisions = Table(
    "revisions",
    metadata,
    Column("revision", Text, primary_key=True),  # sha256 over the listing's id and all content
    Column("listing_id", Text, nullable=False, index=True),
    Column("title", Text),
    Column("description", Text),
    Column("photos", JSON, nullable=False),  # sha256 of each, in the seller's order
    Column("unread", JSON, nullable=False),  # why a photo that was sent is not among them
    Column("seller_id", Text, index=True),
    Column("price", Float),
    Column("language", Text),
    Column("listed_at_ms", BigInteger),
    Column("stored_at_ms", BigInteger, nullable=False),
    Column("purged_at_ms", BigInteger),
    Index(
        "ix_revisions_kept",
        "stored_at_ms",
        sqlite_where=text("purged_at_ms IS NULL"),
        postgresql_where=text("purged_at_ms IS NULL"),
    ),
)

# Which revisions show a photo, by its sha256: one that none shows any more is deleted.
photo_uses = Table(
    "photo_uses",
    metadata,
    Column("photo", Text, primary_key=True),
    Column("revision", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# Append-only, but for evidence, which is emptied with the words that it quotes.
decisions = Table(
    "decisions",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("decision_id", Text, nullable=False, unique=True),
    Column("listing_id", Text, nullable=False),
    Column("revision", Text, ForeignKey("revisions.revision"), nullable=False),
    # The revision again where this is its first decision; unique, so that a revision has one and only one
    Column("first_of", Text, unique=True),
    Column("action", Text, nullable=False),
    Column("policies", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("scores", JSON(none_as_null=True)),
    Column("thresholds", JSON, nullable=False),
    Column("evidence", JSON(none_as_null=True)),
    Column("bundle", Text, nullable=False),
    Column("taxonomy", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("supersedes", Text),
    Column("decided_at_ms", BigInteger, nullable=False, index=True),
    Index("ix_decisions_listing_id_seq", "listing_id", "seq"),
    Index("ix_decisions_revision_seq", "revision", "seq"),
)

# Which decision an Idempotency-Key was answered with.
requests = Table(
    "requests",
    metadata,
    Column("request_key", Text, primary_key=True),  # sha256 over the API key's id and the caller's key
    Column("revision", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False, index=True),
)

# Appeals, reports and outcomes from outside.
feedback = Table(
    "feedback",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("feedback_id", Text, nullable=False, unique=True),
    Column("decision_id", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("policy", Text),
    Column("note", Text),
    Column("key_id", Text, nullable=False),
    Column("request_key", Text, unique=True),
    Column("created_at_ms", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),  # sha256; a secret has 256 random bits, so no salt
    Column("scopes", JSON, nullable=False),
    Column("per_minute", Integer),  # requests; NULL is no quota
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
)

# How much of each key's quota all processes together have taken in one minute.
quota_windows = Table(
    "quota_windows",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("minute", BigInteger, primary_key=True, index=True),  # since 1970
    Column("taken", Integer, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # signing needs it as it is
    Column("actions", JSON, nullable=False),  # which actions it is told
    Column("created_at_ms", BigInteger, nullable=False),
    Column("removed_at_ms", BigInteger),
)

# The outbox: written in the transaction of the decision, delivered after it.
deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("delivery_id", Text, nullable=False, unique=True),
    Column("webhook_id", Text, ForeignKey("webhooks.webhook_id"), nullable=False),
    Column("listing_id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, delivered or dead
    Column("attempts", Integer, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("leased_until_ms", BigInteger, nullable=False),  # 0 where nobody is at it
    Column("leased_by", Text),
    Column("last_error", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    UniqueConstraint("webhook_id", "decision_id"),
    Index("ix_deliveries_webhook_id_state_due_at_ms", "webhook_id", "state", "due_at_ms"),
    Index("ix_deliveries_webhook_id_listing_id_seq", "webhook_id", "listing_id", "seq"),
)

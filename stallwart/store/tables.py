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
    LargeBinary,
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
    Column("seller_id", Text),
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
    Index("ix_revisions_seller_id_stored_at_ms", "seller_id", "stored_at_ms"),
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
    Column("addons", JSON),  # digests; NULL in decisions of before there were any
    Column("taxonomy", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("supersedes", Text),
    Column("decided_at_ms", BigInteger, nullable=False, index=True),
    Index("ix_decisions_listing_id_seq", "listing_id", "seq"),
    Index("ix_decisions_revision_seq", "revision", "seq"),
    Index(
        "ix_decisions_blocks",
        "seq",
        "decided_at_ms",
        sqlite_where=text("action = 'block'"),
        postgresql_where=text("action = 'block'"),
    ),
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

# Bundles that were ever told of, by digest.
bundles = Table(
    "bundles",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("place", Text, nullable=False),  # folder or fsspec URL
    Column("card", JSON, nullable=False),
    Column("report", JSON(none_as_null=True)),  # the offline figures; NULL where none were given
    Column("data_digest", Text),
    Column("parent", Text),  # the champion when it was registered
    Column("registered_at_ms", BigInteger, nullable=False),
)

# `champion` and `challenger`, each at most once.
aliases = Table(
    "aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("digest", Text, ForeignKey("bundles.digest"), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

# Append-only, each entry with the hash of the one before; holds no content of any listing.
audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 ... without a gap
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("previous", Text, nullable=False),  # the hash of the entry before; 64 zeros in the first
    Column("hash", Text, nullable=False, unique=True),
)

# The state of each rollout; `version` counts its moves, and a move names the version that it saw.
rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", Text, primary_key=True),
    Column("champion", Text, ForeignKey("bundles.digest"), nullable=False),
    Column("challenger", Text, ForeignKey("bundles.digest"), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("share", Float, nullable=False),
    Column("shadow_share", Float, nullable=False),
    Column("held", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("started_at_ms", BigInteger, nullable=False),
    Column("step_since_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Column("reason", Text, nullable=False),
    Column("running", Integer, unique=True),  # 1 while it runs, else NULL: there is at most one
    # Who looks at its guards now; another process may once this is over
    Column("looked_by", Text),
    Column("looked_until_ms", BigInteger, nullable=False),
)

# A unit's first decision on a day in a step of a rollout: what guards count. No content.
exposures = Table(
    "exposures",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    # No foreign key: each decision would lock the one row that every process reads and moves
    Column("rollout_id", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("unit", Text, nullable=False),  # its position as 14 hexadecimal characters: a keyed hash
    Column("day", Integer, nullable=False),  # since 1970, UTC
    Column("arm", Text, nullable=False),
    Column("decision_id", Text, nullable=False, index=True),
    Column("action", Text, nullable=False),
    Column("policies", JSON, nullable=False),
    Column("failed", Integer, nullable=False),  # 1 where the model failed
    Column("latency_us", BigInteger, nullable=False),  # from taken to ruled
    Column("cpu_us", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("rollout_id", "step", "unit", "day"),
    Index("ix_exposures_rollout_id_seq", "rollout_id", "seq"),
)

# What a bundle that did not decide would have decided, on the same content.
counterparts = Table(
    "counterparts",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("decision_id", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("rollout_id", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("policies", JSON, nullable=False),
    Column("scores", JSON(none_as_null=True)),
    Column("failed", Integer, nullable=False),
    Column("cpu_us", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("decision_id", "bundle"),
    Index("ix_counterparts_rollout_id_seq", "rollout_id", "seq"),
)

# Decisions drawn for a person's verdict, each with the probability that it was.
audit_draws = Table(
    "audit_draws",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("decision_id", Text, nullable=False, unique=True),
    Column("probability", Float, nullable=False),  # that it was drawn, for whatever reason
    Column("stratum", Text, nullable=False),
    Column("rollout_id", Text),  # where a rollout's own, smaller or larger chance drew it too
    Column("step", Integer),
    Column("drawn_at_ms", BigInteger, nullable=False, index=True),
    Index("ix_audit_draws_rollout_id_seq", "rollout_id", "seq"),
)

# What is drawn, and with which chance; the biggest version holds, and every process follows it.
audit_plans = Table(
    "audit_plans",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("plan", JSON, nullable=False),
    Column("place_key", Text, nullable=False),  # of the hash that places decisions; all versions share it
    Column("bundle", Text, nullable=False),  # whose scores its bands were cut from; empty where none's
    Column("why", Text, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
)

# How many decisions there were, drawn or not, counted in their own transactions. Each process has rows of its
# own (`writer`), so that replicas never wait for each other's; those of past days are joined (writer '').
audit_counts = Table(
    "audit_counts",
    metadata,
    Column("day", Integer, primary_key=True),  # since 1970, UTC
    Column("bundle", Text, primary_key=True),
    Column("stratum", Text, primary_key=True),
    Column("action", Text, primary_key=True),
    Column("policies", Text, primary_key=True),  # that called for it, as JSON
    Column("probability", Float, primary_key=True),  # as a draw's; 0 where nothing is drawn
    Column("writer", Text, primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What a person said of a revision. Append-only: a later one replaces it and never changes it.
verdicts = Table(
    "verdicts",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("verdict_id", Text, nullable=False, unique=True),
    Column("decision_id", Text, nullable=False, index=True),
    Column("revision", Text, nullable=False, index=True),
    Column("answers", JSON, nullable=False),  # policy -> yes, no or unknown
    Column("severity", Integer),
    Column("note", Text),
    Column("who", Text, nullable=False),
    Column("source", Text, nullable=False),  # as `verdicts.Source`
    Column("replaces", Text, unique=True),  # the verdict that it takes the place of; two cannot
    Column("created_at_ms", BigInteger, nullable=False),
    Column("task_id", Text, index=True),  # NULL where it answers no task
    Index("ix_verdicts_who_seq", "who", "seq"),
)

# Decisions that a person made: about which one, whose word it was, and which act or verdict it came from.
rulings = Table(
    "rulings",
    metadata,
    Column("ruling_key", Text, primary_key=True),  # what it came from; the same one rules once
    Column("decision_id", Text, nullable=False, unique=True),  # the one that it made
    Column("about", Text, nullable=False),  # the one that was looked at
    Column("listing_id", Text, nullable=False, index=True),
    Column("revision", Text, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("kind", Text, nullable=False),  # of the task, or bulk, or undo
    Column("verdict_id", Text),
    Column("said_at_ms", BigInteger, nullable=False),
)

# Which policy of which bundle may act alone; `version` counts moves, and a move names the one that it saw.
rights = Table(
    "rights",
    metadata,
    Column("bundle", Text, primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("state", Text, nullable=False),  # as `rights.State`
    Column("target", Float, nullable=False),  # wanted precision
    Column("threshold", Float),  # score from which it blocks; NULL where it may not
    Column(
        "offered", Float
    ),  # the lowest that its certificate or an attempt was about; NULL where there is none
    Column("why", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),  # draws from then on are evidence
    Column("version", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),  # to earn it: 1, 2, 3 ...; 0 before the first
    Column("tried", JSON, nullable=False),  # thresholds of that attempt, fixed before its first draw
    sqlite_with_rowid=False,
)

# Statements of reasons as they were first given; the same one is given again, whatever templates say by then.
given_statements = Table(
    "given_statements",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("listing_id", Text, nullable=False, index=True),
    Column("template", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("sha256", Text, nullable=False),  # of the text
    Column("given_at_ms", BigInteger, nullable=False),
)

# What the watcher last saw of each right: for the page, made anew with each look.
rights_watched = Table(
    "rights_watched",
    metadata,
    Column("bundle", Text, primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("looked_at_ms", BigInteger, nullable=False),
    Column("figures", JSON, nullable=False),
    sqlite_with_rowid=False,
)

# The key of all keyed hashes of erased listings and sellers; one row.
erase_keys = Table(
    "erase_keys",
    metadata,
    Column("key", Text, primary_key=True),  # 32 bytes in hexadecimal
)

# What was erased and must not come back, by keyed hash.
tombstones = Table(
    "tombstones",
    metadata,
    Column("keyed", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # listing or seller
    Column("erasure_id", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# Each erasure, how far it is, and its certificate. `target` is the name of what goes, and NULL once it went.
erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("keyed", Text, nullable=False, index=True),
    Column("target", Text),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("counts", JSON, nullable=False),  # rows by table, and listings, photos, embeddings
    Column("bundles", JSON, nullable=False),  # known violations of it by bundle's digest
    Column("photos", JSON, nullable=False),  # sha256 of those that are still to be deleted
    Column("first_at_ms", BigInteger),  # when the first of its content was stored
    Column("began_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Column("certificate", JSON(none_as_null=True)),
    Column("entry", BigInteger),  # of the audit log, that signs the certificate
)

# What the guards said, now and then, for the page's lines over time.
looks = Table(
    "looks",
    metadata,
    Column("rollout_id", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("figures", JSON, nullable=False),
    sqlite_with_rowid=False,
)

# People who review. Nobody is deleted: verdicts and the audit log name them.
users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),  # NFKC without case: no two look the same
    Column("password_hash", Text, nullable=False),  # argon2id with its parameters and salt
    Column("role", Text, nullable=False),
    Column("skills", JSON(none_as_null=True)),  # policies; NULL is all
    Column("languages", JSON(none_as_null=True)),  # NULL is all
    Column("created_at_ms", BigInteger, nullable=False),
    Column("password_at_ms", BigInteger, nullable=False),
    Column("disabled_at_ms", BigInteger),
)

# Who is signed in. The token is in a cookie and nowhere else.
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),  # sha256; a token has 256 random bits, so no salt
    Column("session_id", Text, nullable=False, unique=True),  # names it to people; no secret
    Column("user_id", Text, ForeignKey("users.user_id"), nullable=False, index=True),
    Column("csrf", Text, nullable=False),
    Column("source", Text, nullable=False),  # the address that signed in
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
    Column("revoked_at_ms", BigInteger),
)

# Failed attempts to sign in: of an account, of an address, and of an account from an address.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("leaked_at_ms", BigInteger, nullable=False, index=True),  # up to when failures were let go
    Column("locked_until_ms", BigInteger, nullable=False),
    Column("succeeded_at_ms", BigInteger, nullable=False),  # 0 where nobody ever did
)

# Questions to people: one decision, of one kind, for one reading.
tasks = Table(
    "tasks",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("task_id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("decision_id", Text, nullable=False, index=True),
    Column("reading", Integer, nullable=False),
    Column("assigned_to", Text, nullable=False),  # user_id; empty where anybody may
    Column("listing_id", Text, nullable=False, index=True),
    Column("revision", Text, nullable=False),
    Column("policy", Text),  # whose skill it needs; NULL where none
    Column("language", Text),
    Column("blind", Integer, nullable=False),  # 1 where nothing of a model is shown before the verdict
    Column("cause", Text, unique=True),  # what made it, where that may make only one
    # The order, and its parts: see `ranking`
    Column("lane", Text, nullable=False),  # who may take it: `tasks.lane_of`
    Column("rank", Float, nullable=False),
    Column("harm", Float, nullable=False),
    Column("probability", Float),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # open, claimed, done or cancelled
    Column("claimed_by", Text),
    Column("leased_until_ms", BigInteger, nullable=False),  # 0 where nobody is at it
    Column("escalated_to", Text),
    Column("reason", Text),  # of its escalation or its cancellation
    Column("verdict_id", Text),  # the last one that was given to it
    Column("asked_at_ms", BigInteger, nullable=False),  # from when its deadline counts
    Column("ended_at_ms", BigInteger),
    Column("ended_by", Text),
    UniqueConstraint("kind", "decision_id", "reading", "assigned_to"),
    Index(
        "ix_tasks_open",
        "lane",
        "rank",
        "seq",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index(
        "ix_tasks_waiting",
        "kind",
        "policy",
        "due_at_ms",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index(
        "ix_tasks_leased",
        "leased_until_ms",
        sqlite_where=text("state = 'claimed'"),
        postgresql_where=text("state = 'claimed'"),
    ),
    Index(
        "ix_tasks_held",
        "claimed_by",
        sqlite_where=text("state = 'claimed'"),
        postgresql_where=text("state = 'claimed'"),
    ),
    Index("ix_tasks_ended_by_ended_at_ms", "ended_by", "ended_at_ms"),
)

# Evidence that was made for reviewers after a decision. It goes with the content that it is of.
explanations = Table(
    "explanations",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("revision", Text, nullable=False, index=True),
    Column("bundle", Text, nullable=False),
    Column("evidence", JSON(none_as_null=True)),  # NULL where it could not be made
    Column("failed", Text),  # why not
    Column("made_at_ms", BigInteger, nullable=False),
)

# Who passed a task on to others, and why.
task_skips = Table(
    "task_skips",
    metadata,
    Column("task_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# Decisions whose answer is known. Apart from tasks: whoever reads a task does not come near it.
gold = Table(
    "gold",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("answers", JSON, nullable=False),  # policy -> yes or no
    Column("who", Text, nullable=False),
    Column("added_at_ms", BigInteger, nullable=False),
    Column("retired_at_ms", BigInteger),
)

# Which person looked at which listing, and on what page.
views = Table(
    "views",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("user_id", Text, nullable=False),
    Column("listing_id", Text, nullable=False),
    Column("decision_id", Text),
    Column("task_id", Text),
    Column("page", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_views_listing_id_seq", "listing_id", "seq"),
    Index("ix_views_user_id_seq", "user_id", "seq"),
)

# How far a program has followed a table: nothing up to this `seq` can come any more.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

# Who may do what only one process does at a time, until when. Expired, it is anybody's.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("beat_at_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

# The last run of each step of `stallwart watch`.
watch_steps = Table(
    "watch_steps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("ran_at_ms", BigInteger, nullable=False),
    Column("took_ms", BigInteger, nullable=False),
    Column("ok_at_ms", BigInteger),  # when it last went well
    Column("failures", Integer, nullable=False),  # in a row
    Column("error", Text),
    Column("told", JSON, nullable=False),  # what it did, in numbers
)

# What somebody should know. One row from its raising to its resolution, however often it is raised.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("alert_key", Text, nullable=False),  # what it is about: of one key at most one is open
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("words", Text, nullable=False),
    Column("runbook", Text, nullable=False),  # page and anchor in docs/
    Column("detail", JSON, nullable=False),  # figures and ids; no content of any listing
    Column("times", Integer, nullable=False),  # how often it was raised
    Column("first_at_ms", BigInteger, nullable=False),
    Column("last_at_ms", BigInteger, nullable=False, index=True),
    Column("is_open", Integer),  # 1, and NULL once it is resolved
    Column("resolved_at_ms", BigInteger),
    Column("resolved_by", Text),
    Column("resolved_why", Text),
    UniqueConstraint("alert_key", "is_open"),
)

# What webhooks are told of alerts: raised, worse, resolved.
alert_events = Table(
    "alert_events",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("alert_id", Text, ForeignKey("alerts.alert_id"), nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("body", JSON, nullable=False),  # the alert as it was then
    Column("at_ms", BigInteger, nullable=False),
)

# Sums by hour of what was decided and said, of the hour in which the decision was made.
hourly = Table(
    "hourly",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # since 1970, UTC
    Column("figure", Text, primary_key=True),  # as `hourly.FIGURES`
    Column("policy", Text, primary_key=True),  # empty for all
    Column("bundle", Text, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("amount", Float, nullable=False),
    sqlite_with_rowid=False,
)

# What a serving process says of itself once a minute.
vitals = Table(
    "vitals",
    metadata,
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("process", Text, primary_key=True),
    Column("answered", Integer, nullable=False),  # requests for decisions since its row before
    Column("p50_ms", Float),  # of them; NULL without any
    Column("p99_ms", Float),
    Column("queue_age_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),  # since its row before
    Column("resident_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Decided listings as short vectors and facts, a sample of all: what drift and novelty look at. No content.
sketches = Table(
    "sketches",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("decision_seq", BigInteger, nullable=False, unique=True),
    Column("decision_id", Text, nullable=False, index=True),
    Column("bundle", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("facts", JSON, nullable=False),  # `sketch.Facts`
    Column("vector", LargeBinary, nullable=False),  # float16: of words, then of photos
    Column("unlike", Float),  # distance to what the bundle was trained on; NULL where it cannot be known
)

# How each drift detector stood at each look.
drift_looks = Table(
    "drift_looks",
    metadata,
    Column("detector", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("evidence", Float, nullable=False),  # -log10 of the smallest p-value of its windows
    Column("limit", Float, nullable=False),  # -log10 of the level that it was held against
    Column("detail", JSON, nullable=False),
    sqlite_with_rowid=False,
)

# Groups of listings that are unlike the training set.
novelties = Table(
    "novelties",
    metadata,
    Column("novelty_id", Text, primary_key=True),
    Column("bundle", Text, nullable=False),
    Column("words", JSON, nullable=False),  # that set it apart
    Column("weeks", JSON, nullable=False),  # sampled members by week since 1970
    Column("size", Integer, nullable=False),  # sampled members
    Column("stands_for", Float, nullable=False),  # listings in all traffic
    Column("centre", LargeBinary, nullable=False),  # float16
    Column("first_at_ms", BigInteger, nullable=False),
    Column("last_at_ms", BigInteger, nullable=False, index=True),
    Column("state", Text, nullable=False),  # open, labelled, policy or passed
    Column("acted_by", Text),
    Column("acted_at_ms", BigInteger),
    Column("detail", JSON, nullable=False),
)

novelty_members = Table(
    "novelty_members",
    metadata,
    Column("novelty_id", Text, primary_key=True),
    Column("decision_id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("distance", Float, nullable=False),  # to the centre
    sqlite_with_rowid=False,
)

# What finds near duplicates of a revision: hashes of its words and photos. It goes with them.
fingerprints = Table(
    "fingerprints",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("revision", Text, nullable=False, unique=True),
    Column("listing_id", Text, nullable=False, index=True),
    Column("words", LargeBinary),  # low bytes of its MinHash signature; NULL without or with few words
    Column("photos", LargeBinary, nullable=False),  # 40 bytes each: coarse and fine hash
    Column("keys", LargeBinary, nullable=False),  # 8 bytes each: its rows of `fingerprint_keys`
)

# Buckets of near duplicates: whoever shares one may be near.
fingerprint_keys = Table(
    "fingerprint_keys",
    metadata,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# The last decision of each listing, as search looks for it; `seq` is the decision's. Its words are in the
# table `findable_words`, which each kind of database has in its own form (see `store/findable.py`).
findable = Table(
    "findable",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("listing_id", Text, nullable=False, unique=True),
    Column("decision_id", Text, nullable=False),
    Column("revision", Text, nullable=False, index=True),
    Column("action", Text, nullable=False),
    Column("policy", Text),  # that called for the action, or the likeliest; NULL where nothing was scored
    Column("score", Float),  # of that policy
    Column("seller_id", Text),
    Column("decided_at_ms", BigInteger, nullable=False, index=True),
    Index("ix_findable_action_seq", "action", "seq"),
    Index("ix_findable_policy_seq_action_score", "policy", "seq", "action", "score"),
    Index("ix_findable_seller_id_seq", "seller_id", "seq"),
    Index("ix_findable_score_seq", "score", "seq"),
)

# What is to be done to many listings at once, what was, and how far it is. No content but words searched for.
bulk_acts = Table(
    "bulk_acts",
    metadata,
    Column("bulk_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("policies", JSON, nullable=False),
    Column("why", Text, nullable=False),
    Column("filters", JSON, nullable=False),  # how the set was found
    Column("state", Text, nullable=False),  # prepared, running, done, undoing, undone or dropped
    Column("listings", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False, index=True),
    Column("said_at_ms", BigInteger),  # when it was begun: what counts against other rulings
    Column("ended_at_ms", BigInteger),
    Index(
        "ix_bulk_acts_at_work",
        "created_at_ms",
        sqlite_where=text("state IN ('running', 'undoing')"),
        postgresql_where=text("state IN ('running', 'undoing')"),
    ),
)

bulk_items = Table(
    "bulk_items",
    metadata,
    Column("bulk_id", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("listing_id", Text, nullable=False, index=True),
    Column("seller_id", Text),
    Column("decision_id", Text, nullable=False),  # that was looked at
    Column("before", Text, nullable=False),  # its action
    Column("outcome", Text),  # of `rulings.Outcome`; NULL where it was not come to
    Column("undone", Text),  # the same of its undoing
    sqlite_with_rowid=False,
)

# Each version of the rulebook, with the move that made it. Append-only.
rulebooks = Table(
    "rulebooks",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 ... without a gap
    Column("digest", Text, nullable=False, unique=True),
    Column("content", Text, nullable=False),  # JSON; text, so that its digest can be checked
    Column("at_ms", BigInteger, nullable=False),
)

# Heads of policies that no bundle knows yet.
addons = Table(
    "addons",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("policy", Text, nullable=False, index=True),
    Column("place", Text, nullable=False),
    Column("version", Integer, nullable=False),  # of the rulebook that brought it
    Column("added_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),  # when another one of its policy, or none, took its place
)

# Decisions on listings that a policy which is tried would ask about.
candidates = Table(
    "candidates",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("decision_id", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("addon", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("decision_id", "policy"),
)

# Things that a person confirmed to break a policy, so that what is nearly the same is caught at once. Hashes
# and a vector, no content; a row stays when it is removed, and loses them.
known_bad = Table(
    "known_bad",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("entry_id", Text, nullable=False, unique=True),
    Column("listing_id", Text, nullable=False, index=True),
    Column("revision", Text, nullable=False, index=True),
    Column("policy", Text, nullable=False),
    Column("verdict_id", Text),  # its reason; NULL where a person added it without one
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("words", LargeBinary),  # as of fingerprints
    Column("photos", LargeBinary, nullable=False),
    Column("keys", LargeBinary, nullable=False),
    Column("vector", LargeBinary),  # float16, of the words; NULL until it is made
    Column("encoder", Text),  # digest of what made it
    Column("added_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False, index=True),
    Column("removed_at_ms", BigInteger),
    Column("removed_by", Text),
    UniqueConstraint("revision", "policy", "verdict_id"),
)

# Decisions that a known entry called for: what verdicts on them say certifies a distance.
known_matches = Table(
    "known_matches",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("entry_id", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("kind", Text, nullable=False),  # photo, text or meaning
    Column("distance", Float, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_known_matches_policy_kind_at_ms", "policy", "kind", "at_ms"),
)

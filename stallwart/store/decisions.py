"""Decisions: written many in one transaction, found again, read by id.

A decision is written once. A repeat of its revision, or of its request key, answers what is stored, whether
it comes in the same group, at the same time in another process, or after a restart: each transaction first
takes the locks of its listings and request keys, then looks, and writes only what is not there. The locks
last until the commit, so that the decisions of one listing, and what is delivered of them, are numbered in
the order in which they are seen. Unique columns hold the same where a lock would not.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.decision import Cause, Decision, Limits
from stallwart.store.outbox import enqueue
from stallwart.store.revisions import Revision, read_revision, revision_of
from stallwart.store.tables import decisions, photo_uses, requests, revisions
from stallwart.store.webhooks import Webhook

__all__ = [
    "Conflict",
    "Draft",
    "Revision",
    "Wanted",
    "find",
    "read_decision",
    "read_revision",
    "revision_of",
    "write",
]


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision that is to be written; its cause and what it supersedes are found when it is.

    Attributes:
        revision: what was decided about.
        decision: its `cause` and `supersedes` are not looked at.
        request_key: sha256 over the API key's id and the caller's Idempotency-Key; None without one.
        rescan: whether it is wanted although the revision has a decision.
    """

    revision: Revision
    decision: Decision
    request_key: str | None = None
    rescan: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """A request key that was used before, for another revision.

    Attributes:
        request_key: the key.
        revision: what it was used for.
        decision_id: what it was answered with.
    """

    request_key: str
    revision: str
    decision_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may have been decided already.

    Attributes:
        request_key: as a draft's.
        revision: digest of the revision.
        rescan: whether the revision's decisions are to be passed over, and only the key looked at.
    """

    request_key: str | None
    revision: str
    rescan: bool = False


@dataclass(slots=True)
class _Known:
    """What is stored of a group's keys, revisions and listings, and what the group adds to it."""

    by_key: dict[str, tuple[str, Decision]]  # to the revision that the key was used for
    by_revision: dict[str, Decision]  # the last one
    by_listing: dict[str, str]  # id of the last one
    new: list[tuple[Draft, Decision, bool]] = field(
        default_factory=list
    )  # whether it is its revision's first
    new_keys: list[tuple[str, Decision]] = field(default_factory=list)

    def repeated(self, key: str | None, revision: str, rescan: bool) -> Decision | Conflict | None:
        """What answers a request without a new decision."""
        if key is not None and key in self.by_key:
            used_for, decision = self.by_key[key]
            return decision if used_for == revision else Conflict(key, used_for, decision.decision_id)
        return None if rescan else self.by_revision.get(revision)

    def take(self, draft: Draft) -> Decision | Conflict:
        """The answer to a draft, which becomes a decision where it repeats none."""
        revision, key = draft.revision.revision, draft.request_key
        answer = self.repeated(key, revision, draft.rescan)
        if answer is None:
            answer = self._new(draft)
        if key is not None and key not in self.by_key and isinstance(answer, Decision):
            self.by_key[key] = (revision, answer)
            self.new_keys.append((key, answer))
        return answer

    def _new(self, draft: Draft) -> Decision:
        listing_id, revision = draft.revision.listing_id, draft.revision.revision
        before = self.by_listing.get(listing_id)
        cause = Cause.RESCAN if draft.rescan else Cause.NEW if before is None else Cause.EDIT
        decision = draft.decision.model_copy(update={"cause": cause, "supersedes": before})
        self.new.append((draft, decision, revision not in self.by_revision))
        self.by_revision[revision] = decision
        self.by_listing[listing_id] = decision.decision_id
        return decision


def write(
    connection: Connection, drafts: Sequence[Draft], webhooks: Sequence[Webhook], now_ms: int
) -> list[Decision | Conflict]:
    """What answers each draft, in their order: its own decision or the stored one that it repeats.

    The caller commits, and answers only then. All statements are the same few for one draft and for hundreds.
    Where two processes meet, PostgreSQL may still end one transaction (SQLSTATE 40001, 40P01 or 23505); it is
    to be run again, and then finds what the other wrote.

    Args:
        connection: in a transaction of `database.writing`.
        drafts: in the order in which they came; several may be of one listing, revision or request key.
        webhooks: who is told of decisions with certain actions.
        now_ms: milliseconds since 1970.
    """
    keys = {draft.request_key for draft in drafts if draft.request_key is not None}
    listings = {draft.revision.listing_id for draft in drafts}
    if connection.dialect.name == "postgresql":
        _lock(connection, listings, keys)
    known = _Known(
        _by_key(connection, keys),
        _by_revision(connection, {draft.revision.revision for draft in drafts}),
        _by_listing(connection, listings),
    )
    answers = [known.take(draft) for draft in drafts]
    _insert_revisions(
        connection, {draft.revision.revision: draft.revision for draft, *_ in known.new}, now_ms
    )
    _insert(connection, decisions, [_decision_row(*new) for new in known.new])
    _insert(connection, requests, [_request_row(key, decision, now_ms) for key, decision in known.new_keys])
    enqueue(connection, [decision for _, decision, _ in known.new], webhooks, now_ms)
    return answers


def find(connection: Connection, wanted: Sequence[Wanted]) -> list[Decision | Conflict | None]:
    """What answers each, in their order, without a new decision; None where one has to be made.

    Of a revision with several decisions it is the last one: the others are superseded.
    """
    known = _Known(
        _by_key(connection, {one.request_key for one in wanted if one.request_key is not None}),
        _by_revision(connection, {one.revision for one in wanted if not one.rescan}),
        {},
    )
    return [known.repeated(one.request_key, one.revision, one.rescan) for one in wanted]


def read_decision(connection: Connection, decision_id: str) -> Decision | None:
    """The decision with this id, as it was answered; None where there is none."""
    row = connection.execute(select(decisions).where(decisions.c.decision_id == decision_id)).first()
    return None if row is None else _decision(row)


def _lock(connection: Connection, listings: Iterable[str], keys: Iterable[str]) -> None:
    """Take locks that last as long as the transaction, in one order everywhere, so that none deadlocks."""
    names = [f"listing {name}" for name in listings] + [f"key {name}" for name in keys]
    numbers = sorted({_lock_number(name) for name in names})
    connection.execute(_LOCK, {"numbers": numbers})


_LOCK = text("SELECT count(pg_advisory_xact_lock(number)) FROM unnest(:numbers) AS number").bindparams(
    bindparam("numbers", type_=postgresql.ARRAY(BigInteger))
)


def _lock_number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _by_key(connection: Connection, keys: Collection[str]) -> dict[str, tuple[str, Decision]]:
    if not keys:
        return {}
    query = select(requests.c.request_key, requests.c.revision.label("used_for"), decisions).join_from(
        requests, decisions, requests.c.decision_id == decisions.c.decision_id
    )
    rows = connection.execute(query.where(requests.c.request_key.in_(keys)))
    return {row.request_key: (row.used_for, _decision(row)) for row in rows}


def _by_revision(connection: Connection, digests: Collection[str]) -> dict[str, Decision]:
    if not digests:
        return {}
    last = select(func.max(decisions.c.seq)).where(decisions.c.revision.in_(digests))
    query = select(decisions).where(decisions.c.seq.in_(last.group_by(decisions.c.revision)))
    return {row.revision: _decision(row) for row in connection.execute(query)}


def _by_listing(connection: Connection, listings: Collection[str]) -> dict[str, str]:
    last = select(func.max(decisions.c.seq)).where(decisions.c.listing_id.in_(listings))
    query = select(decisions.c.listing_id, decisions.c.decision_id)
    rows = connection.execute(query.where(decisions.c.seq.in_(last.group_by(decisions.c.listing_id))))
    return {row.listing_id: row.decision_id for row in rows}


_COLUMNS = tuple(Decision.model_fields)


def _decision(row: Row[Any]) -> Decision:
    fields = row._mapping
    return Decision.model_validate({name: fields[name] for name in _COLUMNS})


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _insert_revisions(connection: Connection, new: dict[str, Revision], now_ms: int) -> None:
    """Store what was decided about; content that retention had emptied is stored again with its rescan."""
    if not new:
        return
    connection.execute(
        _insert_revision(connection.dialect.name), [_revision_row(one, now_ms) for one in new.values()]
    )
    uses = [{"photo": photo, "revision": one.revision} for one in new.values() for photo in set(one.photos)]
    if uses:
        connection.execute(_insert_use(connection.dialect.name), uses)


@cache
def _insert_revision(kind: str) -> Any:
    statement = (postgresql.insert if kind == "postgresql" else sqlite.insert)(revisions)
    kept = ("revision", "listing_id")
    return statement.on_conflict_do_update(
        index_elements=["revision"],
        set_={
            column.name: statement.excluded[column.name] for column in revisions.c if column.name not in kept
        },
        where=revisions.c.purged_at_ms.is_not(None),
    )


@cache
def _insert_use(kind: str) -> Any:
    return (postgresql.insert if kind == "postgresql" else sqlite.insert)(photo_uses).on_conflict_do_nothing()


def _revision_row(one: Revision, now_ms: int) -> dict[str, Any]:
    return {
        "revision": one.revision,
        "listing_id": one.listing_id,
        "title": one.title,
        "description": one.description,
        "photos": one.photos,
        "unread": one.unread,
        "seller_id": one.seller_id,
        "price": one.price,
        "language": one.language,
        "listed_at_ms": one.listed_at_ms,
        "stored_at_ms": now_ms,
        "purged_at_ms": None,
    }


def _decision_row(draft: Draft, decision: Decision, first: bool) -> dict[str, Any]:
    return {
        "decision_id": decision.decision_id,
        "listing_id": draft.revision.listing_id,
        "revision": draft.revision.revision,
        "first_of": draft.revision.revision if first else None,
        "action": decision.action,
        "policies": decision.policies,
        "reason": decision.reason,
        "scores": decision.scores,
        "thresholds": {name: _limits(limits) for name, limits in decision.thresholds.items()},
        "evidence": decision.evidence,
        "bundle": decision.bundle,
        "taxonomy": decision.taxonomy,
        "cause": decision.cause,
        "supersedes": decision.supersedes,
        "decided_at_ms": decision.decided_at_ms,
    }


def _limits(limits: Limits) -> dict[str, float | None]:
    return {"block": limits.block, "review": limits.review}


def _request_row(key: str, decision: Decision, now_ms: int) -> dict[str, Any]:
    return {
        "request_key": key,
        "revision": decision.revision,
        "decision_id": decision.decision_id,
        "created_at_ms": now_ms,
    }

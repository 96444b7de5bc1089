"""Decisions: written many in one transaction, found again, read by id.

A decision is written once. A repeat of its revision, or of its request key, answers what is stored, whether
it comes in the same group, at the same time in another process, or after a restart: each transaction first
takes the locks of its listings and request keys, then looks, and writes only what is not there. The locks
last until the commit, so that the decisions of one listing, and what is delivered of them, are numbered in
the order in which they are seen. Unique columns hold the same where a lock would not.
"""

import hashlib
import json
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, select

from stallwart.core.decision import PEOPLE, RULINGS, Cause, Decision, Limits
from stallwart.core.errors import NotFoundError
from stallwart.store.audit_counts import Kind, add_counts
from stallwart.store.candidates import Candidate, add_candidates
from stallwart.store.draws import Draw, add_draws
from stallwart.store.exposures import Exposure, add_exposures
from stallwart.store.known import Match, add_matches
from stallwart.store.outbox import enqueue
from stallwart.store.revisions import Revision, read_revision, revision_of
from stallwart.store.statements import READ, Statements, statements
from stallwart.store.tables import decisions
from stallwart.store.webhooks import Webhook

__all__ = [
    "Conflict",
    "Draft",
    "Revision",
    "Wanted",
    "add_rulings",
    "find",
    "last_decisions",
    "lock",
    "read_decision",
    "read_decisions",
    "read_revision",
    "revision_of",
    "standing_decision",
    "write",
]

_ROWS = 256  # of one INSERT: SQLite takes 32,766 values
_BY_ID = select(*(decisions.c[name] for name in READ)).where(decisions.c.decision_id == bindparam("wanted"))
_BY_IDS = select(*(decisions.c[name] for name in READ)).where(
    decisions.c.decision_id.in_(bindparam("wanted", expanding=True))
)
_THRESHOLDS = TypeAdapter(dict[str, Limits])
_WRITER = secrets.token_hex(4)  # of this process among those that count decisions


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision that is to be written; its cause and what it supersedes are found when it is.

    Attributes:
        revision: what was decided about.
        decision: its `cause` and `supersedes` are not looked at.
        request_key: sha256 over the API key's id and the caller's Idempotency-Key; None without one.
        rescan: whether it is wanted although the revision has a decision.
        after: id of the decision that it is to supersede; where the listing has another by now, the draft
            becomes none, and is answered with its revision's last. None supersedes whatever is there.
        exposure: what counts it in a rollout; None where none does.
        draw: what gives it to the audit; None where it was not drawn.
        kind: what it is counted as, drawn or not; None where it is not counted.
        candidates: policies that are tried and would ask about it.
        match: the known entry that called for it; None where none did.
    """

    revision: Revision
    decision: Decision
    request_key: str | None = None
    rescan: bool = False
    exposure: Exposure | None = None
    draw: Draw | None = None
    kind: Kind | None = None
    candidates: tuple[Candidate, ...] = ()
    match: Match | None = None
    after: str | None = None


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
        rescan: whether what models decided of the revision is to be passed over.
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
        last = self.by_revision.get(revision)
        # A person's ruling outranks what any model would say of the same content
        return None if last is None or (rescan and last.cause not in RULINGS) else last

    def take(self, draft: Draft) -> Decision | Conflict:
        """The answer to a draft, which becomes a decision where it repeats none."""
        revision, key = draft.revision.revision, draft.request_key
        answer = self.repeated(key, revision, draft.rescan)
        if answer is None and draft.after not in (None, self.by_listing.get(draft.revision.listing_id)):
            answer = self.by_revision.get(revision)
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
        if draft.match is not None:
            cause = Cause.KNOWN_BAD
        decision = draft.decision
        if (cause, before) != (decision.cause, decision.supersedes):
            decision = decision.model_copy(update={"cause": cause, "supersedes": before})
        self.new.append((draft, decision, revision not in self.by_revision))
        self.by_revision[revision] = decision
        self.by_listing[listing_id] = decision.decision_id
        return decision


def write(
    connection: Connection, drafts: Sequence[Draft], webhooks: Sequence[Webhook], now_ms: int
) -> list[Decision | Conflict]:
    """What answers each draft, in their order: its own decision or the stored one that it repeats.

    The caller commits, and answers only then. The statements are the same few for one draft and for hundreds.
    PostgreSQL may still end a transaction that met another one (SQLSTATE 40001, 40P01 or 23505); run again,
    it finds what the other wrote.

    Args:
        connection: in a transaction of `database.writing`.
        drafts: in the order in which they came; several may be of one listing, revision or request key.
        webhooks: who is told of decisions with certain actions.
        now_ms: milliseconds since 1970.
    """
    sql = statements(connection.dialect.name)
    keys = {draft.request_key for draft in drafts if draft.request_key is not None}
    listings = {draft.revision.listing_id for draft in drafts}
    lock(connection, listings, keys)
    known = _Known(
        _by_key(connection, sql, keys),
        _by_revision(connection, sql, {draft.revision.revision for draft in drafts}),
        _by_listing(connection, sql, listings),
    )
    answers = [known.take(draft) for draft in drafts]
    _insert(connection, sql, known, now_ms)
    add_exposures(connection, [draft.exposure for draft, *_ in known.new if draft.exposure])
    add_draws(connection, [draft.draw for draft, *_ in known.new if draft.draw])
    add_counts(connection, [draft.kind for draft, *_ in known.new if draft.kind], _WRITER)
    add_candidates(connection, [one for draft, *_ in known.new for one in draft.candidates])
    add_matches(
        connection, [(one.decision_id, draft.match) for draft, one, _ in known.new if draft.match], now_ms
    )
    enqueue(connection, [decision for _, decision, _ in known.new], webhooks, now_ms)
    return answers


def find(connection: Connection, wanted: Sequence[Wanted]) -> list[Decision | Conflict | None]:
    """What answers each, in their order, without a new decision; None where one has to be made.

    Of a revision with several decisions it is the last one: the others are superseded. A rescan is answered
    with a person's ruling, where that is the last.
    """
    sql = statements(connection.dialect.name)
    known = _Known(
        _by_key(connection, sql, {one.request_key for one in wanted if one.request_key is not None}),
        _by_revision(connection, sql, {one.revision for one in wanted}),
        {},
    )
    return [known.repeated(one.request_key, one.revision, one.rescan) for one in wanted]


def read_decision(connection: Connection, decision_id: str) -> Decision | None:
    """The decision with this id, as it was answered; None where there is none."""
    row = connection.execute(_BY_ID, {"wanted": decision_id}).first()
    return None if row is None else _decision(row)


def read_decisions(connection: Connection, decision_ids: Collection[str]) -> dict[str, Decision]:
    """Those of the decisions that there are, by id."""
    ids = sorted(set(decision_ids))
    found: dict[str, Decision] = {}
    for start in range(0, len(ids), _ROWS):
        rows = connection.execute(_BY_IDS, {"wanted": ids[start : start + _ROWS]})
        found.update((one.decision_id, one) for one in map(_decision, rows))
    return found


def last_decisions(connection: Connection, listings: Collection[str]) -> dict[str, Decision]:
    """The last decision on each of the listings that have one, by listing."""
    sql = statements(connection.dialect.name)
    last = read_decisions(connection, _by_listing(connection, sql, listings).values()) if listings else {}
    return {one.listing_id: one for one in last.values()}


def standing_decision(connection: Connection, decision_id: str) -> tuple[Decision, Revision]:
    """The last decision on the listing that a decision is about, and the revision of the one that is named.

    Raises:
        NotFoundError: there is no such decision, or nothing is kept of what it was made about.
    """
    named = read_decision(connection, decision_id)
    revision = read_revision(connection, named.revision) if named else None
    if named is None or revision is None or revision.purged_at_ms is not None:
        raise NotFoundError("there is no such decision, or its listing's content is not kept any more")
    return last_decisions(connection, [named.listing_id]).get(named.listing_id, named), revision


def add_rulings(
    connection: Connection, made: Sequence[Decision], hooks: Sequence[Webhook], now_ms: int
) -> None:
    """Write decisions on revisions that have one, with their deliveries, in the caller's transaction.

    The caller has the locks of their listings; see `rulings`, which says what a person's decision is.
    """
    sql, thresholds = statements(connection.dialect.name), dict[int, str]()
    for start in range(0, len(made), _ROWS):
        rows = [_decision_row(one, None, thresholds) for one in made[start : start + _ROWS]]
        sql.insert(connection, sql.insert_decision, rows)
    enqueue(connection, made, hooks, now_ms)


def lock(connection: Connection, listings: Iterable[str], keys: Iterable[str] = ()) -> None:
    """Take locks that last as long as the transaction, in one order everywhere, so that none deadlocks.

    To be called once in a transaction, with all listings; SQLite's transactions exclude each other.
    """
    if connection.dialect.name != "postgresql":
        return
    names = [f"listing {name}" for name in listings] + [f"key {name}" for name in keys]
    numbers = sorted({_lock_number(name) for name in names})
    connection.exec_driver_sql(
        "SELECT count(pg_advisory_xact_lock(n)) FROM unnest(%s::bigint[]) AS n", (numbers,)
    )


def _lock_number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _by_key(
    connection: Connection, sql: Statements, keys: Collection[str]
) -> dict[str, tuple[str, Decision]]:
    rows = connection.exec_driver_sql(sql.by_key, sql.among(keys)) if keys else ()
    return {key: (used_for, _decision(fields)) for key, used_for, *fields in rows}


def _by_revision(connection: Connection, sql: Statements, digests: Collection[str]) -> dict[str, Decision]:
    rows = connection.exec_driver_sql(sql.by_revision, sql.among(digests)) if digests else ()
    found = map(_decision, rows)
    return {decision.revision: decision for decision in found}


def _by_listing(connection: Connection, sql: Statements, listings: Collection[str]) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.exec_driver_sql(sql.by_listing, sql.among(listings))}


def _decision(fields: Sequence[Any]) -> Decision:
    """A row of the columns `READ`; SQLite gives JSON as text, PostgreSQL's driver what it says."""
    values = dict(zip(READ, fields, strict=False))  # SQLite adds the number by which it found the last
    for name in ("policies", "scores", "thresholds", "evidence", "addons"):
        if isinstance(values[name], str):
            values[name] = json.loads(values[name])
    values["automatic"] = values["cause"] not in PEOPLE
    values["addons"] = values["addons"] or ()
    return Decision.model_validate(values)


def _insert(connection: Connection, sql: Statements, known: _Known, now_ms: int) -> None:
    content = {draft.revision.revision: draft.revision for draft, *_ in known.new}.values()
    thresholds: dict[int, str] = {}  # most decisions of a group share one bundle's, and it is long
    for statement, rows in (
        (sql.insert_revision, [_revision_row(one, now_ms) for one in content]),
        (sql.insert_use, [(photo, one.revision) for one in content for photo in set(one.photos)]),
        (
            sql.insert_decision,
            [
                _decision_row(decision, decision.revision if first else None, thresholds)
                for _, decision, first in known.new
            ],
        ),
        (
            sql.insert_request,
            [(key, decision.revision, decision.decision_id, now_ms) for key, decision in known.new_keys],
        ),
    ):
        for start in range(0, len(rows), _ROWS):
            sql.insert(connection, statement, rows[start : start + _ROWS])


def _revision_row(one: Revision, now_ms: int) -> tuple[Any, ...]:
    return (
        one.revision,
        one.listing_id,
        one.title,
        one.description,
        to_json(one.photos).decode(),
        to_json(one.unread).decode(),
        one.seller_id,
        one.price,
        one.language,
        one.listed_at_ms,
        now_ms,
        None,
    )


def _decision_row(decision: Decision, first_of: str | None, thresholds: dict[int, str]) -> tuple[Any, ...]:
    limits = thresholds.get(id(decision.thresholds))
    if limits is None:
        limits = thresholds[id(decision.thresholds)] = _THRESHOLDS.dump_json(decision.thresholds).decode()
    return (
        decision.decision_id,
        decision.listing_id,
        decision.revision,
        first_of,
        str(decision.action),
        to_json(decision.policies).decode(),
        decision.reason,
        None if decision.scores is None else to_json(decision.scores).decode(),
        limits,
        None if decision.evidence is None else json.dumps(decision.evidence),
        decision.bundle,
        to_json(decision.addons).decode(),
        decision.taxonomy,
        str(decision.cause),
        decision.supersedes,
        decision.decided_at_ms,
    )

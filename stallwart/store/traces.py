"""Where listings leave traces: each table, and what an erasure does there.

The one registry of what holds data of listings. A table that is in neither of the two maps fails a test, so
that none that is added later is forgotten. What measures models or people stays, without a name: decisions,
verdicts and draws keep their numbers under an id that stands for what was erased.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Text, cast, delete, func, insert, or_, select, update

from stallwart.store.erased import ERASED, Kind, keyed
from stallwart.store.findable import forget_findable
from stallwart.store.fingerprints import forget_fingerprints
from stallwart.store.tables import (
    bulk_acts,
    bulk_items,
    decisions,
    deliveries,
    explanations,
    exposures,
    feedback,
    given_statements,
    gold,
    known_bad,
    novelties,
    novelty_members,
    photo_uses,
    requests,
    revisions,
    rulings,
    sketches,
    task_skips,
    tasks,
    verdicts,
    views,
)
from stallwart.store.tasks import State

_AMONG = 400
_LIVE = (State.OPEN.value, State.CLAIMED.value)


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of one listing before it goes.

    Attributes:
        key: of keyed hashes.
        listing_id: its id.
        revisions: digests of all its revisions.
        decision_ids: of all decisions on it.
        names: its id, and its sellers' where a seller goes: what free texts may name.
        now_ms: milliseconds since 1970.
    """

    key: bytes
    listing_id: str
    revisions: tuple[str, ...]
    decision_ids: tuple[str, ...]
    names: tuple[str, ...]
    now_ms: int

    @property
    def stands_for(self) -> str:
        """The id that stands for it."""
        return ERASED + keyed(self.key, Kind.LISTING, self.listing_id)

    def renamed(self, revision: str) -> str:
        """The digest that stands for a revision's."""
        return ERASED + keyed(self.key, "revision", revision)


Rule = Callable[[Connection, Traces], int]


def traces_of(
    connection: Connection, key: bytes, listing_id: str, names: Sequence[str], now_ms: int
) -> Traces:
    """What is known of a listing, in any transaction."""
    shown = select(revisions.c.revision).where(revisions.c.listing_id == listing_id)
    decided = select(decisions.c.decision_id).where(decisions.c.listing_id == listing_id)
    return Traces(
        key,
        listing_id,
        tuple(connection.execute(shown).scalars()),
        tuple(connection.execute(decided).scalars()),
        tuple(dict.fromkeys((listing_id, *names))),
        now_ms,
    )


def erase_traces(connection: Connection, traces: Traces) -> dict[str, int]:
    """How many rows were removed or made nameless, by table; in the caller's transaction, all or none."""
    _stand_ins(connection, traces)
    found = {name: rule(connection, traces) for name, rule in RULES.items()}
    return {name: count for name, count in found.items() if count}


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AMONG] for start in range(0, len(names), _AMONG))


def _changed(
    connection: Connection, table: Table, column: ColumnElement[Any], names: Sequence[str], **values: Any
) -> int:
    return sum(
        int(connection.execute(update(table).where(column.in_(some)).values(**values)).rowcount)
        for some in _slices(names)
    )


def _deleted(connection: Connection, table: Table, column: ColumnElement[Any], names: Sequence[str]) -> int:
    return sum(
        int(connection.execute(delete(table).where(column.in_(some))).rowcount) for some in _slices(names)
    )


def _stand_ins(connection: Connection, traces: Traces) -> None:
    """Empty revisions under other names, before anything points to them."""
    for some in _slices([traces.renamed(one) for one in traces.revisions]):
        there = set(
            connection.execute(select(revisions.c.revision).where(revisions.c.revision.in_(some))).scalars()
        )
        rows = [
            {
                "revision": name, "listing_id": traces.stands_for, "photos": [], "unread": [],
                "stored_at_ms": traces.now_ms, "purged_at_ms": traces.now_ms,
            }
            for name in some if name not in there
        ]  # fmt: skip
        if rows:
            connection.execute(insert(revisions), rows)


def _revisions(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, revisions, revisions.c.revision, traces.revisions)


def _photo_uses(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, photo_uses, photo_uses.c.revision, traces.revisions)


def _decisions(connection: Connection, traces: Traces) -> int:
    for old in traces.revisions:
        new = traces.renamed(old)
        mine = decisions.c.revision == old
        connection.execute(
            update(decisions).where(mine, decisions.c.first_of.is_not(None)).values(first_of=new)
        )
        connection.execute(update(decisions).where(mine).values(revision=new))
    return _changed(
        connection, decisions, decisions.c.decision_id, traces.decision_ids,
        listing_id=traces.stands_for, evidence=None,
    )  # fmt: skip


def _requests(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, requests, requests.c.revision, traces.revisions)


def _feedback(connection: Connection, traces: Traces) -> int:
    return _changed(connection, feedback, feedback.c.decision_id, traces.decision_ids, note=None)


def _deliveries(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, deliveries, deliveries.c.listing_id, [traces.listing_id])


def _verdicts(connection: Connection, traces: Traces) -> int:
    return sum(
        _changed(connection, verdicts, verdicts.c.revision, [old], revision=traces.renamed(old), note=None)
        for old in traces.revisions
    )


def _task_skips(connection: Connection, traces: Traces) -> int:
    mine = select(tasks.c.task_id).where(tasks.c.listing_id == traces.listing_id)
    said = task_skips.c.task_id.in_(mine)
    return int(connection.execute(update(task_skips).where(said).values(reason="erased")).rowcount)


def _tasks(connection: Connection, traces: Traces) -> int:
    mine = tasks.c.listing_id == traces.listing_id
    ended = {"state": State.CANCELLED.value, "ended_at_ms": traces.now_ms}
    connection.execute(update(tasks).where(mine, tasks.c.state.in_(_LIVE)).values(**ended))
    for old in traces.revisions:
        new = traces.renamed(old)
        connection.execute(update(tasks).where(tasks.c.revision == old, mine).values(revision=new))
    values = {"listing_id": traces.stands_for, "reason": "erased"}
    return int(connection.execute(update(tasks).where(mine).values(**values)).rowcount)


def _gold(connection: Connection, traces: Traces) -> int:
    return sum(
        int(
            connection.execute(
                update(gold)
                .where(gold.c.decision_id.in_(some), gold.c.retired_at_ms.is_(None))
                .values(retired_at_ms=traces.now_ms)
            ).rowcount
        )
        for some in _slices(traces.decision_ids)
    )


def _views(connection: Connection, traces: Traces) -> int:
    return _changed(connection, views, views.c.listing_id, [traces.listing_id], listing_id=traces.stands_for)


def _rulings(connection: Connection, traces: Traces) -> int:
    mine = rulings.c.listing_id == traces.listing_id
    for row in connection.execute(select(rulings.c.ruling_key, rulings.c.revision).where(mine)).all():
        values = {
            "ruling_key": ERASED + keyed(traces.key, "ruling", row.ruling_key),
            "revision": traces.renamed(row.revision),
        }
        connection.execute(update(rulings).where(rulings.c.ruling_key == row.ruling_key).values(**values))
    return _changed(
        connection, rulings, rulings.c.listing_id, [traces.listing_id], listing_id=traces.stands_for
    )


def _given_statements(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, given_statements, given_statements.c.listing_id, [traces.listing_id])


def _fingerprints(connection: Connection, traces: Traces) -> int:
    return forget_fingerprints(connection, traces.revisions)


def _explanations(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, explanations, explanations.c.decision_id, traces.decision_ids)


def _known_bad(connection: Connection, traces: Traces) -> int:
    """Entries stay as removed ones, without content: services that hold them see that they changed."""
    values = {
        "words": None, "photos": b"", "keys": b"", "vector": None, "why": "erased",
        "changed_at_ms": traces.now_ms, "removed_at_ms": traces.now_ms, "removed_by": "erased",
    }  # fmt: skip
    for old in traces.revisions:
        change = update(known_bad).where(known_bad.c.revision == old)
        connection.execute(change.values(revision=traces.renamed(old)))
    return _changed(
        connection, known_bad, known_bad.c.listing_id, [traces.listing_id], listing_id=traces.stands_for,
        **values,
    )  # fmt: skip


def _findable(connection: Connection, traces: Traces) -> int:
    return forget_findable(connection, listings=[traces.listing_id], revisions=traces.revisions)


def _sketches(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, sketches, sketches.c.decision_id, traces.decision_ids)


def _novelty_members(connection: Connection, traces: Traces) -> int:
    return _deleted(connection, novelty_members, novelty_members.c.decision_id, traces.decision_ids)


def _novelties(connection: Connection, _traces: Traces) -> int:
    """Words of a group that nothing else is in: they are the listing's own."""
    left = select(novelty_members.c.decision_id).where(novelty_members.c.novelty_id == novelties.c.novelty_id)
    told = func.length(cast(novelties.c.words, Text)) > len("[]")
    alone = update(novelties).where(~left.exists(), told)
    return int(connection.execute(alone.values(words=[])).rowcount)


def _bulk_items(connection: Connection, traces: Traces) -> int:
    values = {"listing_id": traces.stands_for, "seller_id": None}
    return _changed(connection, bulk_items, bulk_items.c.listing_id, [traces.listing_id], **values)


def _bulk_acts(connection: Connection, traces: Traces) -> int:
    """What an act was looked for with, and why, where that names what goes."""
    named = [
        cast(column, Text).contains(name, autoescape=True)
        for column in (bulk_acts.c.filters, bulk_acts.c.why)
        for name in traces.names
    ]
    change = update(bulk_acts).where(or_(*named)).values(filters={}, why="erased")
    return int(connection.execute(change).rowcount)


def _exposures(connection: Connection, traces: Traces) -> int:
    """A unit is a hash under its rollout's key; another one stands for it, the same on all days."""
    changed = 0
    for some in _slices(traces.decision_ids):
        mine = select(exposures.c.rollout_id, exposures.c.unit).where(exposures.c.decision_id.in_(some))
        for row in connection.execute(mine.distinct()).all():
            same = (exposures.c.rollout_id == row.rollout_id) & (exposures.c.unit == row.unit)
            new = hmac.new(traces.key, f"unit {row.rollout_id} {row.unit}".encode(), hashlib.sha256)
            change = update(exposures).where(same).values(unit=new.hexdigest()[: len(row.unit)])
            changed += int(connection.execute(change).rowcount)
    return changed


RULES: Mapping[str, Rule] = {
    "requests": _requests,
    "deliveries": _deliveries,
    "feedback": _feedback,
    "verdicts": _verdicts,
    "task_skips": _task_skips,
    "tasks": _tasks,
    "gold": _gold,
    "views": _views,
    "rulings": _rulings,
    "given_statements": _given_statements,
    "fingerprints": _fingerprints,
    "findable": _findable,
    "known_bad": _known_bad,
    "explanations": _explanations,
    "sketches": _sketches,
    "novelty_members": _novelty_members,
    "novelties": _novelties,
    "bulk_items": _bulk_items,
    "bulk_acts": _bulk_acts,
    "exposures": _exposures,
    "photo_uses": _photo_uses,
    "decisions": _decisions,
    "revisions": _revisions,
}
"""Tables with traces of listings, in the order in which they are gone through."""

WITHOUT: Mapping[str, str] = {
    "fingerprint_keys": "go with `fingerprints`",
    "counterparts": "actions and scores by a decision's id, which names no listing any more",
    "audit_draws": "chances by a decision's id, which names no listing any more",
    "audit_counts": "counts",
    "audit_plans": "no listing",
    "hourly": "sums",
    "drift_looks": "figures over many listings",
    "vitals": "figures of processes",
    "looks": "figures of rollouts",
    "known_matches": "distances by a decision's id, which names no listing any more",
    "candidates": "scores by a decision's id, which names no listing any more",
    "addons": "bundles' additions",
    "rulebooks": "policies",
    "rights_watched": "policies",
    "rights": "policies",
    "alerts": "figures and policies; no content",
    "alert_events": "as `alerts`",
    "watch_steps": "programs",
    "leases": "programs",
    "cursors": "programs",
    "quota_windows": "API keys",
    "api_keys": "callers",
    "webhooks": "receivers",
    "bundles": "what they know is in the certificate; the next one is trained without it",
    "aliases": "bundles",
    "rollouts": "bundles",
    "audit_log": "holds keyed hashes and no content; it has to verify",
    "users": "people who review",
    "sessions": "people who review",
    "sign_ins": "people who review",
    "erase_keys": "the key of the hashes",
    "tombstones": "keyed hashes",
    "erasures": "keyed hashes; the name goes when the erasure ends",
}
"""Tables without them, and why."""

"""Acts on many listings: prepared with what would change, begun by a word, done in batches, undone.

The set is fixed when it is prepared, each listing with the decision that was looked at: what is edited or
decided by another person meanwhile is passed over and counted. Every step is an entry of the audit log, which
names no listing and none of the words that were searched for.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, text, update

from stallwart.core.decision import Action, Cause
from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.store import audit
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.findable import Hit
from stallwart.store.rulings import Asked, Outcome, rule, undo
from stallwart.store.tables import bulk_acts, bulk_items

_BATCH = 50
_ROWS = 1_000  # of one INSERT
_LOCK = 0x57A16  # any number that all processes of this program agree on
AT_WORK = ("running", "undoing")
"""States of an act that the background goes on with."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act on many listings.

    Attributes:
        bulk_id: `b_` and hexadecimal characters.
        user_id: who prepared it.
        who: their name.
        action: what the listings become.
        policies: that a block is for.
        why: the reason that was given.
        filters: how the set was found, by name.
        state: prepared, running, done, undoing, undone or dropped.
        listings: how many there are.
        created_at_ms: when it was prepared, milliseconds since 1970.
        said_at_ms: when it was begun, or None.
        ended_at_ms: when the last of it was done or undone, or None.
    """

    bulk_id: str
    user_id: str
    who: str
    action: Action
    policies: tuple[str, ...]
    why: str
    filters: dict[str, Any]
    state: str
    listings: int
    created_at_ms: int
    said_at_ms: int | None
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an act is.

    Attributes:
        before: listings by what was decided of them before.
        outcomes: of those that were come to, by `rulings.Outcome`.
        undone: the same of undoing.
        sellers: how many listings of each of the sellers with most, None for unknown ones.
        seller_count: how many sellers there are.
    """

    before: dict[str, int]
    outcomes: dict[str, int]
    undone: dict[str, int]
    sellers: list[tuple[str | None, int]]
    seller_count: int


def prepare(
    connection: Connection,
    hits: Sequence[Hit],
    *,
    user_id: str,
    who: str,
    action: Action,
    policies: tuple[str, ...],
    why: str,
    filters: dict[str, Any],
    now_ms: int,
) -> str:
    """Id of a new act on these listings; nothing is done to them yet.

    Raises:
        DataError: no listings, a block without a policy, or policies for something else.
        ConfigError: the reason is empty or too long.
    """
    if not hits:
        raise DataError("no listing was found or chosen; nothing can be done")
    if (action == Action.BLOCK) != bool(policies):
        raise DataError("a block is for at least one policy, and nothing else is: name which")
    bulk_id = f"b_{now_ms:012x}{secrets.token_hex(6)}"
    connection.execute(
        insert(bulk_acts).values(
            bulk_id=bulk_id,
            user_id=user_id,
            who=who,
            action=str(action),
            policies=list(policies),
            why=audit.checked("why", why),
            filters=filters,
            state="prepared",
            listings=len(hits),
            created_at_ms=now_ms,
        )
    )
    rows = [
        {
            "bulk_id": bulk_id,
            "place": place,
            "listing_id": hit.listing_id,
            "seller_id": hit.seller_id,
            "decision_id": hit.decision_id,
            "before": str(hit.action),
        }
        for place, hit in enumerate(hits)
    ]
    for start in range(0, len(rows), _ROWS):
        connection.execute(insert(bulk_items), rows[start : start + _ROWS])
    return bulk_id


def begin(connection: Connection, bulk_id: str, *, who: str, now_ms: int) -> None:
    """Let the background do it.

    Raises:
        NotFoundError: there is no such act.
        ConflictError: it is not waiting to be begun.
    """
    act = _move(connection, bulk_id, "prepared", "running", said_at_ms=now_ms)
    _note(connection, act, "bulk.begin", who, act.why, now_ms)


def drop(connection: Connection, bulk_id: str) -> None:
    """Let a prepared act go.

    Raises:
        NotFoundError: there is no such act.
        ConflictError: it was begun.
    """
    _move(connection, bulk_id, "prepared", "dropped")


def take_back(connection: Connection, bulk_id: str, *, who: str, now_ms: int) -> None:
    """Let the background undo it, whether all of it is done or not.

    Raises:
        NotFoundError: there is no such act.
        ConflictError: it was not begun, or is being undone.
    """
    act = read_act(connection, bulk_id)
    state = act.state if act.state in ("running", "done") else "done"
    _move(connection, bulk_id, state, "undoing", ended_at_ms=None)
    _note(connection, act, "bulk.undo", who, f"takes back: {act.why}"[:2_000], now_ms)


def read_act(connection: Connection, bulk_id: str) -> Act:
    """The act with this id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(select(bulk_acts).where(bulk_acts.c.bulk_id == bulk_id)).first()
    if row is None:
        raise NotFoundError("there is no such act on listings; the last ones are at /bulk")
    return _act(row)


def act_of(connection: Connection, ruling_key: str) -> Act | None:
    """The act that a ruling is part of; None where it is part of none."""
    parts = ruling_key.split()
    if len(parts) < 3 or parts[0] != "bulk":
        return None
    row = connection.execute(select(bulk_acts).where(bulk_acts.c.bulk_id == parts[1])).first()
    return _act(row) if row else None


def list_acts(connection: Connection, limit: int = 50) -> list[Act]:
    """The last acts, the newest first; those that nobody begun are not among them."""
    query = select(bulk_acts).where(bulk_acts.c.state.not_in(["prepared", "dropped"]))
    rows = connection.execute(query.order_by(bulk_acts.c.created_at_ms.desc()).limit(limit))
    return [_act(row) for row in rows]


def progress(connection: Connection, bulk_id: str) -> Progress:
    """How far an act is, and on whom."""
    mine = bulk_items.c.bulk_id == bulk_id

    def counted(column: Any) -> dict[str, int]:
        query = select(column, func.count()).where(mine, column.is_not(None)).group_by(column)
        return {row[0]: row[1] for row in connection.execute(query)}

    sellers = (
        select(bulk_items.c.seller_id, func.count().label("n"))
        .where(mine)
        .group_by(bulk_items.c.seller_id)
        .order_by(func.count().desc(), bulk_items.c.seller_id)
    )
    found = [(row[0], row[1]) for row in connection.execute(sellers)]
    return Progress(
        before=counted(bulk_items.c.before),
        outcomes=counted(bulk_items.c.outcome),
        undone=counted(bulk_items.c.undone),
        sellers=found[:8],
        seller_count=len(found),
    )


def listings_of(connection: Connection, bulk_id: str, limit: int) -> list[str]:
    """Ids of the first listings of an act."""
    query = select(bulk_items.c.listing_id).where(bulk_items.c.bulk_id == bulk_id)
    return list(connection.execute(query.order_by(bulk_items.c.place).limit(limit)).scalars())


class Bulk:
    """Goes on with acts that were begun, a batch at a time; several may be at work on one database.

    Args:
        engine: the database.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]):
        self._engine, self._now_ms = engine, now_ms

    def step(self) -> bool:
        """Do the next fifty listings of the oldest act at work; whether there may be more.

        Raises:
            StoreError: the database fails; the next step does the same again, and nothing twice.
        """
        with store_errors("an act on many listings could not go on; the next step does"):
            with reading(self._engine) as connection:
                if connection.execute(_NEXT).first() is None:
                    return False
            with writing(self._engine) as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                row = connection.execute(_NEXT).first()
                if row is None:
                    return False
                act = _act(row)
                (_do if act.state == "running" else _undo)(connection, act, self._now_ms())
        return True

    def work(self) -> None:
        """Do all that there is."""
        while self.step():
            pass


_NEXT = select(bulk_acts).where(bulk_acts.c.state.in_(AT_WORK)).order_by(bulk_acts.c.created_at_ms).limit(1)


def _do(connection: Connection, act: Act, now_ms: int) -> None:
    items = _items(connection, act, bulk_items.c.outcome.is_(None))
    asked = [
        Asked(
            key=_key(act, item.place),
            about=item.decision_id,
            cause=Cause.BULK,
            who=act.who,
            said_at_ms=act.said_at_ms or now_ms,
            kind="bulk",
            action=act.action,
            policies=act.policies,
        )
        for item in items
    ]
    ruled = rule(connection, asked, now_ms)
    _write(connection, act, "outcome", {i.place: r.outcome for i, r in zip(items, ruled, strict=True)})
    if len(items) < _BATCH:
        _end(connection, act, "done", "bulk.done", now_ms)


def _undo(connection: Connection, act: Act, now_ms: int) -> None:
    done = bulk_items.c.outcome.in_([Outcome.RULED.value, Outcome.REPEATED.value])
    items = _items(connection, act, done & bulk_items.c.undone.is_(None))
    keys = {_key(act, item.place): f"{_key(act, item.place)} undo" for item in items}
    ruled = undo(connection, keys, who=act.who, now_ms=now_ms, kind="bulk undo")
    _write(connection, act, "undone", {i.place: r.outcome for i, r in zip(items, ruled, strict=True)})
    if len(items) < _BATCH:
        _end(connection, act, "undone", "bulk.undone", now_ms)


def _items(connection: Connection, act: Act, condition: Any) -> Sequence[Any]:
    query = select(bulk_items).where(bulk_items.c.bulk_id == act.bulk_id, condition)
    return connection.execute(query.order_by(bulk_items.c.place).limit(_BATCH)).all()


def _write(connection: Connection, act: Act, column: str, outcomes: dict[int, Outcome]) -> None:
    for outcome in set(outcomes.values()):
        places = [place for place, one in outcomes.items() if one == outcome]
        mine = (bulk_items.c.bulk_id == act.bulk_id) & bulk_items.c.place.in_(places)
        connection.execute(update(bulk_items).where(mine).values({column: outcome.value}))


def _key(act: Act, place: int) -> str:
    return f"bulk {act.bulk_id} {place}"


def _end(connection: Connection, act: Act, state: str, name: str, now_ms: int) -> None:
    _move(connection, act.bulk_id, act.state, state, ended_at_ms=now_ms)
    found = progress(connection, act.bulk_id)
    counts = found.outcomes if state == "done" else found.undone
    _note(connection, act, name, act.who, act.why, now_ms, outcomes=counts)


def _note(
    connection: Connection, act: Act, name: str, who: str, why: str, now_ms: int, **detail: Any
) -> None:
    known = {
        "action": str(act.action),
        "policies": list(act.policies),
        "listings": act.listings,
        "filters": sorted(act.filters),
    }
    audit.append(
        connection, who=who, act=name, subject=act.bulk_id, why=why, detail={**known, **detail}, now_ms=now_ms
    )


def _move(connection: Connection, bulk_id: str, before: str, after: str, **values: Any) -> Act:
    """The act as it was; moved from one state to another, which only one of two can do."""
    act = read_act(connection, bulk_id)
    here = (bulk_acts.c.bulk_id == bulk_id) & (bulk_acts.c.state == before)
    if not connection.execute(update(bulk_acts).where(here).values(state=after, **values)).rowcount:
        raise ConflictError(f"it is {act.state}, and nothing more can be done with it so; look at it again")
    return act


def _act(row: Any) -> Act:
    fields = dict(row._mapping)
    return Act(**{**fields, "action": Action(fields["action"]), "policies": tuple(fields["policies"])})

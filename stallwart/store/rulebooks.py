"""The rulebook in the database: its versions, and the add-ons of policies that no bundle knows yet.

Each move is one transaction: the new version, what it does to add-ons and open tasks, and its audit entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, select, update

from stallwart.core.errors import ConflictError, NotFoundError, StoreError
from stallwart.core.rulebook import Move, Rulebook, Standing
from stallwart.store import audit
from stallwart.store.tables import addons, candidates, rulebooks, tasks
from stallwart.store.tasks import OF_THE_QUEUE, Kind, State

_BEGUN = "as the bundle was trained, before the first change"
_LIVE = (State.OPEN.value, State.CLAIMED.value)


@dataclass(frozen=True, slots=True)
class AddOnRow:
    """A registered add-on.

    Attributes:
        digest: sha256 of its file's content.
        policy: whose head it is.
        place: its folder.
        version: of the rulebook that brought it.
        added_at_ms: milliseconds since 1970.
        ended_at_ms: when it was taken out; None while it scores.
    """

    digest: str
    policy: str
    place: str
    version: int
    added_at_ms: int
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Effects:
    """What a move does to what is stored, now or if it were made now.

    Attributes:
        cancelled: open tasks that ask about a policy which neither acts nor asks any more.
        kept: open tasks about the policies that it takes from, which stay.
        ended: add-ons that are taken out.
        added: add-ons that come in.
    """

    cancelled: int
    kept: int
    ended: tuple[str, ...]
    added: tuple[str, ...] = ()


def current(connection: Connection) -> Rulebook | None:
    """The latest version; None where none was ever written.

    Raises:
        StoreError: what is stored was changed.
    """
    last = select(func.max(rulebooks.c.version)).scalar_subquery()
    row = connection.execute(select(rulebooks).where(rulebooks.c.version == last)).first()
    return None if row is None else _rulebook(row)


def with_digest(connection: Connection, digest: str) -> Rulebook | None:
    """The version with this digest; None where there is none."""
    row = connection.execute(select(rulebooks).where(rulebooks.c.digest == digest)).first()
    return None if row is None else _rulebook(row)


def history(connection: Connection) -> list[tuple[Rulebook, int]]:
    """All versions with when each was made, in milliseconds since 1970, the oldest first."""
    return [
        (_rulebook(row), row.at_ms)
        for row in connection.execute(select(rulebooks).order_by(rulebooks.c.version))
    ]


def scoring(connection: Connection) -> list[AddOnRow]:
    """The add-ons that score, by policy."""
    query = select(addons).where(addons.c.ended_at_ms.is_(None)).order_by(addons.c.policy)
    return [AddOnRow(**row) for row in connection.execute(query).mappings()]


def addon_row(connection: Connection, digest: str) -> AddOnRow:
    """The add-on with this digest, whether it scores or not.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(select(addons).where(addons.c.digest == digest)).mappings().first()
    if row is None:
        raise NotFoundError(f"no add-on {digest[:64]!r} is registered; see: stallwart policy list")
    return AddOnRow(**row)


def candidate_counts(connection: Connection) -> dict[str, int]:
    """How many decisions each policy that is or was tried would have asked about."""
    query = select(candidates.c.policy, func.count()).group_by(candidates.c.policy)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def effects(connection: Connection, book: Rulebook) -> Effects:
    """What the move that made `book` would do to what is stored now; nothing is changed."""
    step = book.step
    touched = _tasks_about(connection, step.old)
    ended = [row.digest for row in scoring(connection) if row.policy in _ending(book)]
    gone = step.move is Move.RETIRE
    return Effects(touched if gone else 0, 0 if gone else touched, tuple(ended))


def move(
    connection: Connection,
    books: Sequence[Rulebook],
    *,
    seen: int,
    who: str,
    why: str,
    now_ms: int,
    places: Mapping[str, tuple[str, str]] | None = None,
) -> Effects:
    """Write one or more new versions, and do what the last of them does to tasks and add-ons.

    Args:
        connection: in a transaction of `database.writing`.
        books: version after version, from the one after `seen`.
        seen: the version that they start from; 0 where none was written.
        who: for the audit log.
        why: for the audit log, of the moves; of the version that there was before them it says what that is.
        now_ms: milliseconds since 1970.
        places: digest and folder of each policy's add-on that comes in.

    Raises:
        ConflictError: somebody else made a move meanwhile.
        ConfigError: who or why cannot be written to the audit log.
    """
    audit.lock(connection)
    there = connection.execute(select(func.max(rulebooks.c.version))).scalar() or 0
    if there != seen:
        raise ConflictError(
            f"the rulebook is at version {there}, and this began at {seen}: somebody changed it; look again"
        )
    total = Effects(0, 0, (), ())
    for book in books:
        connection.execute(
            insert(rulebooks).values(
                version=book.version, digest=book.digest, content=book.model_dump_json(), at_ms=now_ms
            )
        )
        made = _carry_out(connection, book, places or {}, now_ms)
        total = Effects(
            total.cancelled + made.cancelled,
            total.kept + made.kept,
            total.ended + made.ended,
            total.added + made.added,
        )
        _log(connection, book, made, who, _BEGUN if book.step.move is Move.BEGIN else why, now_ms)
    return total


def replace_addon(
    connection: Connection,
    policy: str,
    digest: str,
    place: str,
    *,
    version: int,
    who: str,
    why: str,
    now_ms: int,
) -> None:
    """Have another add-on score a policy that is tried, as one that was fitted on more examples.

    Raises:
        ConfigError: who or why cannot be written to the audit log.
    """
    audit.lock(connection)
    old = [row.digest for row in scoring(connection) if row.policy == policy]
    if old == [digest]:
        return
    _end(connection, [policy], now_ms)
    _register(connection, policy, (digest, place), version, now_ms)
    detail = {"old": old, "new": digest}
    audit.append(
        connection, who=who, act="policy.addon", subject=policy, why=why, detail=detail, now_ms=now_ms
    )


def _carry_out(
    connection: Connection, book: Rulebook, places: Mapping[str, tuple[str, str]], now_ms: int
) -> Effects:
    found = effects(connection, book)
    _end(connection, _ending(book), now_ms)
    if book.step.move is Move.RETIRE:
        live = tasks.c.policy.in_(book.step.old) & tasks.c.state.in_(_LIVE) & tasks.c.kind.in_(_QUEUED)
        reason = f"policy {book.step.old[0]} was retired"
        values = {"state": State.CANCELLED.value, "reason": reason, "ended_at_ms": now_ms}
        connection.execute(update(tasks).where(live).values(**values))
    added = [name for name in book.step.new if name in places]
    for name in added:
        _register(connection, name, places[name], book.version, now_ms)
    return Effects(found.cancelled, found.kept, found.ended, tuple(places[name][0] for name in added))


_QUEUED = [Kind(kind).value for kind in OF_THE_QUEUE]


def _ending(book: Rulebook) -> list[str]:
    """Policies whose add-on ends with this version: what it was fitted for is no more."""
    if book.step.move is Move.NARROW:
        return list(book.step.old)
    gone = (Standing.RETIRED,)
    return [name for name in book.step.old if book[name].standing in gone]


def _register(connection: Connection, policy: str, named: tuple[str, str], version: int, now_ms: int) -> None:
    digest, place = named
    values = {"policy": policy, "place": place, "version": version, "added_at_ms": now_ms}
    again = update(addons).where(addons.c.digest == digest).values(**values, ended_at_ms=None)
    if not connection.execute(again).rowcount:
        connection.execute(insert(addons).values(digest=digest, **values))


def _end(connection: Connection, policies: Sequence[str], now_ms: int) -> None:
    live = addons.c.policy.in_(policies) & addons.c.ended_at_ms.is_(None)
    connection.execute(update(addons).where(live).values(ended_at_ms=now_ms))


def _tasks_about(connection: Connection, policies: Sequence[str]) -> int:
    query = select(func.count()).where(
        tasks.c.policy.in_(policies), tasks.c.state.in_(_LIVE), tasks.c.kind.in_(_QUEUED)
    )
    return int(connection.execute(query).scalar_one())


def _log(connection: Connection, book: Rulebook, made: Effects, who: str, why: str, now_ms: int) -> None:
    detail: dict[str, Any] = {
        "version": book.version,
        "rulebook": book.digest,
        "old": list(book.step.old),
        "new": list(book.step.new),
        "tasks_cancelled": made.cancelled,
        "addons_ended": list(made.ended),
        "addons_added": list(made.added),
    }
    subject = ", ".join(dict.fromkeys((*book.step.old, *book.step.new)))[:500]
    audit.append(
        connection,
        who=who,
        act=f"policy.{book.step.move}",
        subject=subject,
        why=why,
        detail=detail,
        now_ms=now_ms,
    )


def _rulebook(row: Any) -> Rulebook:
    try:
        book = Rulebook.model_validate_json(row.content)
    except ValidationError:
        book = None
    if book is None or book.digest != row.digest:
        raise StoreError(
            f"version {row.version} of the rulebook is not what was written; restore the database"
        )
    return book

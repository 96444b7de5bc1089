"""Novelties: groups of listings that are unlike the training set, and what people made of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.store import audit
from stallwart.store.claims import finish
from stallwart.store.people import User
from stallwart.store.ranking import Ranking
from stallwart.store.tables import decisions, novelties, novelty_members, revisions, tasks
from stallwart.store.tasks import IS_OPEN, Kind, Question, State, add_tasks
from stallwart.store.verdicts import Answer

_AMONG = 500
_LEASE_MS = 60_000


class Made(StrEnum):
    """What became of a novelty."""

    OPEN = "open"
    LABELLED = "labelled"
    QUEUED = "queued"
    POLICY = "policy"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Novelty:
    """One group.

    Attributes:
        novelty_id: `nv_` and hexadecimal characters.
        bundle: whose training set it is unlike.
        words: that set it apart, the most telling first.
        weeks: sampled members by week since 1970.
        size: sampled members.
        stands_for: listings in all traffic that they stand for.
        centre: float16, mean of the members' sketches.
        first_at_ms: of its earliest member.
        last_at_ms: of its latest.
        state: what became of it.
        acted_by: who made it that.
        acted_at_ms: when.
        detail: figures: mean distance to the training set, and of the bundle's scores.
    """

    novelty_id: str
    bundle: str
    words: tuple[str, ...]
    weeks: dict[str, float]
    size: int
    stands_for: float
    centre: bytes
    first_at_ms: int
    last_at_ms: int
    state: Made
    acted_by: str | None
    acted_at_ms: int | None
    detail: dict[str, Any]


_COLUMNS = [novelties.c[name] for name in Novelty.__slots__]


def write_novelty(connection: Connection, one: Novelty, members: Sequence[tuple[str, int, float]]) -> None:
    """Write a group with its members as it is now; what people made of it stays.

    Args:
        connection: in a transaction of `database.writing`.
        one: the group.
        members: decision id, time and distance to the centre of each.
    """
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {name: getattr(one, name) for name in Novelty.__slots__}
    values |= {"words": list(one.words), "state": one.state.value}
    kept = {name: value for name, value in values.items() if name not in ("state", "acted_by", "acted_at_ms")}
    connection.execute(
        make(novelties).values(values).on_conflict_do_update(index_elements=["novelty_id"], set_=kept)
    )
    mine = novelty_members.c.novelty_id == one.novelty_id
    connection.execute(delete(novelty_members).where(mine))
    rows = [
        {"novelty_id": one.novelty_id, "decision_id": decision_id, "at_ms": at_ms, "distance": distance}
        for decision_id, at_ms, distance in members
    ]
    if rows:
        connection.execute(insert(novelty_members), rows)


def read_novelties(connection: Connection, states: Collection[Made] = (Made.OPEN,)) -> list[Novelty]:
    """Groups in these states, the largest first."""
    query = select(*_COLUMNS).where(novelties.c.state.in_([one.value for one in states]))
    rows = connection.execute(query.order_by(novelties.c.stands_for.desc(), novelties.c.novelty_id))
    return [_novelty(row) for row in rows]


def read_novelty(connection: Connection, novelty_id: str) -> Novelty:
    """The group with this id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(select(*_COLUMNS).where(novelties.c.novelty_id == novelty_id)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such group; it may have been dissolved: look at the page again")
    return _novelty(row)


def members(connection: Connection, novelty_id: str, limit: int = 10_000) -> list[str]:
    """Decision ids of a group's members, the most typical first."""
    mine = novelty_members.c.novelty_id == novelty_id
    query = select(novelty_members.c.decision_id).where(mine).order_by(novelty_members.c.distance)
    return list(connection.execute(query.limit(limit)).scalars())


def act(
    connection: Connection, novelty_id: str, made: Made, *, who: str, detail: Mapping[str, Any], now_ms: int
) -> None:
    """Say what became of an open group, with an entry in the audit log.

    Raises:
        ConflictError: somebody did meanwhile.
    """
    audit.lock(connection)
    change = (
        update(novelties)
        .where(novelties.c.novelty_id == novelty_id, novelties.c.state == Made.OPEN.value)
        .values(state=made.value, acted_by=who, acted_at_ms=now_ms)
    )
    if connection.execute(change).rowcount != 1:
        raise ConflictError("somebody has dealt with this group meanwhile; look at the page again")
    audit.append(
        connection, who=who, act=f"novelty.{made.value}", subject=novelty_id, why="on the page of novelty",
        detail=detail, now_ms=now_ms,
    )  # fmt: skip


def drop_novelties(connection: Connection, before_ms: int) -> int:
    """How many groups without a member since a time were deleted, with the words that name them."""
    old = select(novelties.c.novelty_id).where(novelties.c.last_at_ms < before_ms)
    connection.execute(delete(novelty_members).where(novelty_members.c.novelty_id.in_(old)))
    return int(connection.execute(delete(novelties).where(novelties.c.last_at_ms < before_ms)).rowcount)


def drop_open_but(connection: Connection, keep: Collection[str]) -> int:
    """How many open groups that are none any more were deleted."""
    gone = novelties.c.state == Made.OPEN.value, novelties.c.novelty_id.not_in(list(keep))
    ids = select(novelties.c.novelty_id).where(*gone)
    connection.execute(delete(novelty_members).where(novelty_members.c.novelty_id.in_(ids)))
    return int(connection.execute(delete(novelties).where(*gone)).rowcount)


def queue_members(
    connection: Connection, decision_ids: Sequence[str], ranking: Ranking, now_ms: int, assigned_to: str = ""
) -> int:
    """How many tasks of kind `novelty` were made for members that are still the listing's last decision.

    Args:
        connection: in a transaction of `database.writing`.
        decision_ids: of the members.
        ranking: gives tasks their place.
        now_ms: milliseconds since 1970.
        assigned_to: user_id of whom they are for; empty for anybody.
    """
    asked = []
    for start in range(0, len(decision_ids), _AMONG):
        asked += [
            Question(
                Kind.NOVELTY, row.decision_id, row.listing_id, row.revision, None,
                # Whoever labels a whole group has chosen to: its language keeps nobody from it
                None if assigned_to else row.language, None, now_ms, assigned_to=assigned_to,
            )
            for row in connection.execute(_current(decision_ids[start : start + _AMONG]))
        ]  # fmt: skip
    return add_tasks(connection, asked, ranking, now_ms)


def label_members(
    connection: Connection,
    user: User,
    decision_ids: Sequence[str],
    answers: Mapping[str, Answer],
    ranking: Ranking,
    now_ms: int,
) -> int:
    """How many members got this person's verdict, each by a task of its own that they have finished.

    Args:
        connection: in a transaction of `database.writing`.
        user: who says so.
        decision_ids: of the members.
        answers: of at least one policy, the same for all.
        ranking: gives tasks their place.
        now_ms: milliseconds since 1970.
    """
    queue_members(connection, decision_ids, ranking, now_ms, user.user_id)
    said = 0
    for start in range(0, len(decision_ids), _AMONG):
        mine = (
            tasks.c.decision_id.in_(decision_ids[start : start + _AMONG]),
            tasks.c.kind == Kind.NOVELTY.value,
            tasks.c.assigned_to == user.user_id,
            IS_OPEN,
        )
        taken = (
            update(tasks)
            .where(*mine)
            .values(state=State.CLAIMED.value, claimed_by=user.user_id, leased_until_ms=now_ms + _LEASE_MS)
            .returning(tasks.c.task_id)
        )
        for task_id in connection.execute(taken).scalars().all():
            finish(connection, user, task_id, answers, now_ms=now_ms)
            said += 1
    return said


def _current(decision_ids: Sequence[str]) -> Any:
    """Those of the decisions that are their listing's last, with what a task needs."""
    later = decisions.alias("later")
    last = select(func.max(later.c.seq)).where(later.c.listing_id == decisions.c.listing_id).scalar_subquery()
    columns = (decisions.c.decision_id, decisions.c.listing_id, decisions.c.revision, revisions.c.language)
    return (
        select(*columns)
        .join_from(decisions, revisions, revisions.c.revision == decisions.c.revision)
        .where(
            decisions.c.decision_id.in_(decision_ids),
            decisions.c.seq == last,
            revisions.c.purged_at_ms.is_(None),
        )
    )  # fmt: skip


def _novelty(row: Row[Any]) -> Novelty:
    fields = dict(row._mapping)
    return Novelty(**{**fields, "words": tuple(fields["words"]), "state": Made(fields["state"])})

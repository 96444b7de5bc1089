"""Tasks: questions to people. One asks about one decision, for one reason, one person at a time.

What makes tasks calls `add_tasks` as often as it likes: a unique key on kind, decision, reading and person
keeps one of each. `claims` hands them out. A task ends with a verdict, or because its decision no longer
counts; a skip never ends one.

`lane` says who may take a task: whom it is for, the role it was escalated to, its policy and its language. An
index of lanes by rank makes the next task of a lane one look, however many are open.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, func, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import NotFoundError
from stallwart.store.people import Role, User, language_of
from stallwart.store.ranking import Rank, Ranking, reasons
from stallwart.store.tables import tasks

_AMONG = 500
_SEPARATOR = "/"


class Kind(StrEnum):
    """Why somebody is asked."""

    REVIEW = "review"
    APPEAL = "appeal"
    REPORT = "report"
    NOVELTY = "novelty"
    SECOND = "second"
    GOLD = "gold"
    AUDIT = "audit"
    TIEBREAK = "tiebreak"


BLIND = frozenset({Kind.SECOND, Kind.GOLD, Kind.AUDIT})
"""Nothing of a model is shown before the verdict, and they look like each other."""
OF_THE_QUEUE = (Kind.REVIEW, Kind.REPORT, Kind.NOVELTY)
"""They ask what is to be done now: a later decision on the listing makes them pointless. The others ask
whether this decision was right, which stays a question."""


FOUND_BY_SAMPLE = 1
"""The reading of a review that a violation in a sample calls for: for somebody else than who found it."""


class State(StrEnum):
    """How far a task is."""

    OPEN = "open"
    CLAIMED = "claimed"
    DONE = "done"
    CANCELLED = "cancelled"


# The indices hold tasks of one state only, and a database uses one where it reads that state in the SQL
IS_OPEN: ColumnElement[bool] = tasks.c.state == literal_column("'open'")
IS_CLAIMED: ColumnElement[bool] = tasks.c.state == literal_column("'claimed'")


@dataclass(frozen=True, slots=True)
class Question:
    """A task that is to be there.

    Attributes:
        kind: why somebody is asked.
        decision_id: about what.
        listing_id: whose decision it is.
        revision: what was decided about.
        policy: whose skill it needs and whose harm counts; None for any.
        language: of the listing, as it states it.
        probability: of the policy, for the order; None where it is not to count.
        asked_at_ms: from when the deadline counts.
        reading: 0 for the first.
        assigned_to: user_id of whom it is for; empty for anybody.
        cause: what made it, where that makes only one.
    """

    kind: Kind
    decision_id: str
    listing_id: str
    revision: str
    policy: str | None
    language: str | None
    probability: float | None
    asked_at_ms: int
    reading: int = 0
    assigned_to: str = ""
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is; it knows no gold answer.

    Attributes:
        seq: counts tasks up as they are written.
        task_id: `t_` and hexadecimal characters that sort by time.
        kind: why somebody is asked; not shown where it is blind, see `asked`.
        decision_id: about what.
        reading: 0 for the first.
        assigned_to: user_id of whom it is for; empty for anybody.
        listing_id: whose decision it is.
        revision: what was decided about.
        policy: whose skill it needs; not shown where it is blind.
        language: as `de`, or None.
        blind: nothing of a model and of others may be shown before the verdict.
        rank: the highest comes first.
        harm: a part of it.
        probability: a part of it.
        due_at_ms: a part of it, milliseconds since 1970.
        state: how far it is.
        claimed_by: user_id of who has it, or had it when it was cancelled.
        leased_until_ms: until when they have it; 0 where nobody has.
        escalated_to: the role that it was escalated to, or None.
        reason: of its escalation or its cancellation, or None.
        verdict_id: the last verdict that was given to it, or None.
        asked_at_ms: from when its deadline counts.
        ended_at_ms: when it was done or cancelled, or None.
        ended_by: user_id of who gave the verdict, or None.
    """

    seq: int
    task_id: str
    kind: Kind
    decision_id: str
    reading: int
    assigned_to: str
    listing_id: str
    revision: str
    policy: str | None
    language: str | None
    blind: bool
    rank: float
    harm: float
    probability: float | None
    due_at_ms: int
    state: State
    claimed_by: str | None
    leased_until_ms: int
    escalated_to: Role | None
    reason: str | None
    verdict_id: str | None
    asked_at_ms: int
    ended_at_ms: int | None
    ended_by: str | None

    @property
    def asked(self) -> str:
        """Its kind as it may be shown: all blind ones are a `sample`."""
        return "sample" if self.blind else self.kind.value


@dataclass(frozen=True, slots=True)
class Count:
    """Open tasks of one kind and policy.

    Attributes:
        kind: why somebody is asked.
        policy: None for those of no policy.
        waiting: how many are open.
        overdue: how many of them are past their deadline.
        oldest_due_ms: the earliest deadline.
    """

    kind: Kind
    policy: str | None
    waiting: int
    overdue: int
    oldest_due_ms: int


TASK_COLUMNS = [tasks.c[name] for name in Task.__slots__]
_PLACE = [tasks.c[name] for name in ("seq", "policy", "probability", "asked_at_ms", "rank", "harm")]
_BY_ID = select(*TASK_COLUMNS).where(tasks.c.task_id == bindparam("which"))
_OF_DECISION = select(*TASK_COLUMNS).where(tasks.c.decision_id == bindparam("decision")).order_by(tasks.c.seq)


def lane_of(assigned_to: str, escalated_to: str | None, policy: str | None, language: str | None) -> str:
    """Who may take a task, as one text; see `may_take`."""
    return _SEPARATOR.join((assigned_to, escalated_to or "", policy or "", language or ""))


def may_take(user: User, lane: str) -> bool:
    """Whether a lane is for this person: theirs, their role's, of a policy and language that they read."""
    assigned_to, role, policy, language = lane.split(_SEPARATOR)
    return (
        assigned_to in ("", user.user_id)
        and (not role or user.role in (Role(role), Role.ADMIN))
        and (not policy or user.skills is None or policy in user.skills)
        and (not language or user.languages is None or language in user.languages)
    )


def add_tasks(connection: Connection, asked: Iterable[Question], ranking: Ranking, now_ms: int) -> int:
    """How many tasks were added, in the caller's transaction; those that are or were there stay as they are.

    Args:
        connection: in a transaction of `database.writing`.
        asked: what is to be there.
        ranking: gives each its place.
        now_ms: milliseconds since 1970.
    """
    rows = [_row(one, ranking, now_ms) for one in asked]
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(tasks).on_conflict_do_nothing().returning(tasks.c.seq)
    return len(connection.execute(statement, rows).all())


def _row(one: Question, ranking: Ranking, now_ms: int) -> dict[str, Any]:
    place = ranking.of(one.policy, one.probability, one.asked_at_ms)
    language = language_of(one.language)
    return {
        "task_id": f"t_{now_ms:012x}{secrets.token_hex(10)}",
        "kind": one.kind.value,
        "decision_id": one.decision_id,
        "reading": one.reading,
        "assigned_to": one.assigned_to,
        "listing_id": one.listing_id,
        "revision": one.revision,
        "policy": one.policy,
        "language": language,
        "blind": int(one.kind in BLIND),
        "cause": one.cause,
        "lane": lane_of(one.assigned_to, None, one.policy, language),
        "rank": place.rank,
        "harm": place.harm,
        "probability": place.probability,
        "due_at_ms": place.due_at_ms,
        "state": State.OPEN.value,
        "leased_until_ms": 0,
        "asked_at_ms": one.asked_at_ms,
    }


def read_task(connection: Connection, task_id: str) -> Task:
    """The task as it is now.

    Raises:
        NotFoundError: there is none with this id.
    """
    row = connection.execute(_BY_ID, {"which": task_id}).mappings().first() if "\0" not in task_id else None
    if row is None:
        raise NotFoundError(f"there is no task {task_id[:64]!r}")
    return task_of(row)


def was_reported(connection: Connection, listing_id: str, revision: str, until_ms: int) -> bool:
    """Whether somebody had reported a listing with this content by that moment."""
    mine = (tasks.c.listing_id == listing_id) & (tasks.c.revision == revision)
    query = select(tasks.c.seq).where(mine, tasks.c.kind == Kind.REPORT, tasks.c.asked_at_ms <= until_ms)
    return connection.execute(query.limit(1)).first() is not None


def tasks_of(connection: Connection, decision_id: str) -> list[Task]:
    """All tasks about a decision, in the order in which they were made."""
    rows = connection.execute(_OF_DECISION, {"decision": decision_id}).mappings()
    return [task_of(row) for row in rows]


def counts(connection: Connection, now_ms: int) -> list[Count]:
    """Open tasks by kind and policy; reads one index, of open tasks only."""
    late = func.sum(case((tasks.c.due_at_ms <= now_ms, 1), else_=0))
    parts = (tasks.c.kind, tasks.c.policy)
    query = select(*parts, func.count(), late, func.min(tasks.c.due_at_ms)).where(IS_OPEN).group_by(*parts)
    found = [Count(Kind(row[0]), row[1], row[2], int(row[3]), row[4]) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (one.kind, one.policy or ""))


def explain(task: Task, now_ms: int) -> list[str]:
    """Why somebody sees this task now, in sentences; of a blind one nothing that could lead them."""
    if task.blind:
        return ["It is one of a sample that is read without the model's opinion."]
    asked = {
        Kind.REVIEW: "Somebody who read a sample says that it breaks a policy."
        if task.reading == FOUND_BY_SAMPLE
        else "The model left it to a person.",
        Kind.APPEAL: "The seller appealed.",
        Kind.REPORT: "Somebody reported it.",
        Kind.NOVELTY: "It is unlike what the model has seen.",
        Kind.TIEBREAK: "Two people disagreed on it.",
    }[task.kind]
    place = Rank(task.rank, task.harm, task.probability, task.due_at_ms)
    escalated = [f"It was escalated: {task.reason}"] if task.escalated_to else []
    return [asked, *escalated, *reasons(place, task.policy, now_ms)]


def cancel(
    connection: Connection,
    decision_ids: Collection[str],
    reason: str,
    now_ms: int,
    kinds: Collection[Kind] = OF_THE_QUEUE,
) -> int:
    """How many tasks about decisions were cancelled, in the caller's transaction.

    Whoever has one of them may still finish it: their verdict counts, and nobody is given it again.
    """
    total, ids = 0, list(decision_ids)
    for start in range(0, len(ids), _AMONG):
        live = (
            tasks.c.decision_id.in_(ids[start : start + _AMONG])
            & tasks.c.kind.in_([one.value for one in kinds])
            & tasks.c.state.in_((State.OPEN.value, State.CLAIMED.value))
        )
        values = {"state": State.CANCELLED.value, "reason": reason, "ended_at_ms": now_ms}
        total += int(connection.execute(update(tasks).where(live).values(**values)).rowcount)
    return total


def rerank(connection: Connection, ranking: Ranking) -> int:
    """How many open tasks have another place by this ranking, which they get, in the caller's transaction.

    To be called where settings may have changed: ranks by another `halving_ms` cannot be compared.
    """
    moved = misplaced(connection, ranking, lock=True)
    if moved:
        connection.execute(update(tasks).where(tasks.c.seq == bindparam("at")), moved)
    return len(moved)


def misplaced(connection: Connection, ranking: Ranking, *, lock: bool = False) -> list[dict[str, Any]]:
    """The places of open tasks that have another one by this ranking; `rerank` gives them.

    It reads all of them, so ask in a transaction that only reads whether there is any.
    """
    query = select(*_PLACE).where(tasks.c.state.in_((State.OPEN.value, State.CLAIMED.value)))
    moved = []
    for row in connection.execute(query.with_for_update() if lock else query):
        place = ranking.of(row.policy, row.probability, row.asked_at_ms)
        if (place.rank, place.harm) != (row.rank, row.harm):
            moved.append(
                {"at": row.seq, "rank": place.rank, "harm": place.harm, "due_at_ms": place.due_at_ms}
            )
    return moved


def task_of(row: Mapping[Any, Any]) -> Task:
    """The task in a row of `TASK_COLUMNS`, by name."""
    role = row["escalated_to"]
    changed = {
        "kind": Kind(row["kind"]),
        "state": State(row["state"]),
        "blind": bool(row["blind"]),
        "escalated_to": None if role is None else Role(role),
    }
    return Task(**{**row, **changed})

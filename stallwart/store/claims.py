"""Who has which task: claimed with a lease, given back, passed on, finished, undone.

A claim is one UPDATE from open to claimed, which one of two wins. PostgreSQL skips rows that others are
taking, so that of many at once nobody waits and each has one of the first; SQLite lets one transaction write
at a time. A lease that has run out is over as soon as anybody asks for a task; until then whoever had it can
still finish it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from stallwart.core.decision import PEOPLE, Action
from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.store.people import Role, User
from stallwart.store.revisions import storable
from stallwart.store.tables import decisions, rulings, task_skips, tasks, verdicts
from stallwart.store.tasks import (
    FOUND_BY_SAMPLE,
    IS_CLAIMED,
    IS_OPEN,
    OF_THE_QUEUE,
    TASK_COLUMNS,
    Kind,
    State,
    Task,
    cancel,
    lane_of,
    may_take,
    read_task,
    task_of,
)
from stallwart.store.verdicts import Answer, Source, Verdict, add_verdict, read_verdicts

_DAY_MS = 86_400_000
_SKIPS = 3
_LONGEST_REASON = 500
SUPERSEDED = "a later decision took its place"


_OPENED: dict[str, Any] = {"state": State.OPEN.value, "claimed_by": None, "leased_until_ms": 0}


def _lanes_query() -> Select[Any]:
    """Each lane and its highest rank: one look into the index for each, however many tasks are open.

    A loose index scan, which neither database does by itself.
    """
    is_open: ColumnElement[str] = literal_column("'open'")
    first = select(func.min(tasks.c.lane).label("lane")).where(IS_OPEN).cte("lanes", recursive=True)
    after, top = tasks.alias("after"), tasks.alias("top")
    later = select(func.min(after.c.lane)).where(after.c.state == is_open, after.c.lane > first.c.lane)
    lanes = first.union_all(select(later.scalar_subquery()).where(first.c.lane.is_not(None)))
    highest = select(func.max(top.c.rank)).where(top.c.state == is_open, top.c.lane == lanes.c.lane)
    return select(lanes.c.lane, highest.scalar_subquery()).where(lanes.c.lane.is_not(None))


def _first_of_lane() -> Select[Any]:
    """The open task of a lane with the highest rank that a person may have."""
    mine = tasks.alias("mine")
    at_it = select(mine.c.decision_id).where(
        mine.c.state == literal_column("'claimed'"), mine.c.claimed_by == bindparam("whose")
    )
    # What they said in this very task and took back is no reason
    elsewhere = or_(verdicts.c.task_id.is_(None), verdicts.c.task_id != tasks.c.task_id)
    said = select(verdicts.c.seq).where(
        verdicts.c.decision_id == tasks.c.decision_id, verdicts.c.who == bindparam("name"), elsewhere
    )
    # Nor is who decided about the same content: as by a verdict on the decision before this one
    ruled = select(rulings.c.about).where(
        rulings.c.revision == tasks.c.revision, rulings.c.who == bindparam("name")
    )
    skipped = select(task_skips.c.at_ms).where(
        task_skips.c.task_id == tasks.c.task_id,
        task_skips.c.user_id == bindparam("whose"),
        task_skips.c.at_ms > bindparam("since_ms"),
    )
    names = ("seq", "rank", "kind", "decision_id", "listing_id", "revision")
    columns = [tasks.c[name] for name in names]
    query = select(*columns).where(
        IS_OPEN,
        tasks.c.lane == bindparam("lane"),
        tasks.c.decision_id.not_in(at_it),
        or_(
            and_(tasks.c.kind.in_([one.value for one in OF_THE_QUEUE]), tasks.c.reading != FOUND_BY_SAMPLE),
            and_(not_(said.exists()), not_(ruled.exists())),
        ),
        not_(skipped.exists()),
    )
    return query.order_by(tasks.c.rank.desc(), tasks.c.seq.desc()).limit(1).with_for_update(skip_locked=True)


# Made once: to make such a statement costs more than to run it
_LANES = _lanes_query()
_FIRST_OF_LANE = _first_of_lane()
_OVER = select(tasks.c.seq).where(IS_CLAIMED, tasks.c.leased_until_ms <= bindparam("now_ms"))
_ANY_OVER = _OVER.limit(1)
_REOPEN = (
    update(tasks)
    .where(tasks.c.seq.in_(_OVER.with_for_update(skip_locked=True)), IS_CLAIMED)
    .values(**_OPENED)
)
_LAST_DECISION = (
    select(decisions.c.decision_id, decisions.c.revision, decisions.c.cause, decisions.c.action)
    .where(decisions.c.listing_id == bindparam("listing"))
    .order_by(decisions.c.seq.desc())
    .limit(1)
)
_CLAIM = (
    update(tasks)
    .where(tasks.c.seq == bindparam("at"), IS_OPEN)
    .values(state=State.CLAIMED.value, claimed_by=bindparam("whose"), leased_until_ms=bindparam("until"))
    .returning(*TASK_COLUMNS)
)
_FINISH = (
    update(tasks)
    .where(
        tasks.c.task_id == bindparam("which"),
        tasks.c.claimed_by == bindparam("whose"),
        tasks.c.state.in_((State.CLAIMED.value, State.CANCELLED.value)),
    )
    .values(
        state=State.DONE.value,
        leased_until_ms=0,
        ended_at_ms=bindparam("now_ms"),
        ended_by=bindparam("whose"),
    )
    .returning(*TASK_COLUMNS)
)
_HELD = (
    select(*TASK_COLUMNS)
    .where(
        IS_CLAIMED,
        tasks.c.claimed_by == bindparam("whose"),
        tasks.c.leased_until_ms > bindparam("now_ms"),
    )
    .order_by(tasks.c.leased_until_ms, tasks.c.seq)
)
_NAME_VERDICT = update(tasks).where(tasks.c.seq == bindparam("at")).values(verdict_id=bindparam("said"))


def claim_next(
    connection: Connection, user: User, *, now_ms: int, lease_ms: int, policy: str | None = None
) -> Task | None:
    """The task that comes first of those that this person may have, now theirs; None where there is none.

    They may have what is for them or for anybody, escalated to their role, of a policy and language that they
    read, that they have not skipped within a day, and of whose decision they hold no other task. Whether a
    decision was right is asked of nobody who has said something of it, nor a violation in a sample of who
    found it.

    Args:
        connection: in a transaction of `database.writing`.
        user: who asks.
        now_ms: milliseconds since 1970.
        lease_ms: how long it is theirs; see `renew`.
        policy: only of this one.
    """
    _end_leases(connection, now_ms)
    lanes = [(lane, rank) for lane, rank in _lanes(connection) if may_take(user, lane)]
    if policy is not None:
        lanes = [(lane, rank) for lane, rank in lanes if lane.split("/")[2] == policy]
    while True:
        best = _best(connection, user, lanes, now_ms)
        if best is None:
            return None
        if best["kind"] in OF_THE_QUEUE and _superseded(connection, best):
            cancel(connection, [best["decision_id"]], SUPERSEDED, now_ms, [Kind(best["kind"])])
            continue
        values = {"at": best["seq"], "whose": user.user_id, "until": now_ms + lease_ms}
        row = connection.execute(_CLAIM, values).mappings().first()
        if row is not None:
            return task_of(row)


def held(connection: Connection, user: User, now_ms: int) -> list[Task]:
    """Tasks that a person has now, the one that they claimed first at the top."""
    asked = {"whose": user.user_id, "now_ms": now_ms}
    return [task_of(row) for row in connection.execute(_HELD, asked).mappings()]


def renew(connection: Connection, user: User, task_id: str, *, now_ms: int, lease_ms: int) -> Task:
    """The task, whose lease begins anew; also where it had run out and nobody took it.

    Raises:
        NotFoundError: there is no such task.
        ConflictError: this person does not have it any more.
    """
    return _held_to(connection, user, task_id, {"leased_until_ms": now_ms + lease_ms})


def release(connection: Connection, user: User, task_id: str) -> Task:
    """The task, open again.

    Raises:
        NotFoundError: there is no such task.
        ConflictError: this person does not have it any more.
    """
    return _held_to(connection, user, task_id, _OPENED)


def skip(connection: Connection, user: User, task_id: str, reason: str, now_ms: int) -> Task:
    """The task, open again, but for a day not to this person; skipped by three it goes to a lead.

    One that was for this person only is cancelled. No skip ends what somebody has to decide.

    Raises:
        NotFoundError: there is no such task.
        ConflictError: this person does not have it any more.
        DataError: the reason is empty or too long.
    """
    said = _reason(reason)
    task = _held_to(connection, user, task_id, _OPENED)
    if task.assigned_to:
        return _cancel_own(connection, task, "skipped", now_ms)
    _note_skip(connection, task_id, user.user_id, said, now_ms)
    count = select(func.count()).where(task_skips.c.task_id == task_id)
    if task.escalated_to is None and connection.execute(count).scalar_one() >= _SKIPS:
        return _escalate(connection, task, Role.LEAD, f"skipped by {_SKIPS}; the last one said: {said}")
    return task


def escalate(
    connection: Connection, user: User, task_id: str, reason: str, now_ms: int, role: Role = Role.LEAD
) -> Task:
    """The task, open to people of another role.

    One that was for this person only is cancelled.

    Raises:
        NotFoundError: there is no such task.
        ConflictError: this person does not have it any more.
        DataError: the reason is empty or too long.
    """
    said = f"{user.name} said: {_reason(reason)}"
    task = _held_to(connection, user, task_id, _OPENED)
    if task.assigned_to:
        return _cancel_own(connection, task, "escalated", now_ms)
    return _escalate(connection, task, role, said)


def escalate_undecided(
    connection: Connection, task_id: str, verdict_id: str, user_id: str, name: str, now_ms: int
) -> bool:
    """Whether a task that was done is open to leads now, since its verdict does not say what is to be done.

    For a day it is not given to whoever said so. The next verdict takes this one's place.

    Args:
        connection: in a transaction of `database.writing`.
        task_id: which one.
        verdict_id: the verdict; where another one was given meanwhile, nothing is done.
        user_id: who gave it.
        name: of them.
        now_ms: milliseconds since 1970.
    """
    task = read_task(connection, task_id)
    values = {
        **_OPENED,
        "escalated_to": Role.LEAD.value,
        "reason": f"{name} could not say",
        "lane": lane_of(task.assigned_to, Role.LEAD.value, task.policy, task.language),
        "ended_at_ms": None,
        "ended_by": None,
    }
    mine = (tasks.c.seq == task.seq) & (tasks.c.verdict_id == verdict_id)
    change = update(tasks).where(mine, tasks.c.state == State.DONE.value).values(**values)
    if connection.execute(change).rowcount == 0:
        return False
    _note_skip(connection, task_id, user_id, "could not say", now_ms)
    return True


def finish(
    connection: Connection,
    user: User,
    task_id: str,
    answers: Mapping[str, Answer],
    *,
    now_ms: int,
    severity: int | None = None,
    note: str | None = None,
) -> Verdict:
    """The verdict, stored with the end of its task in the caller's transaction.

    Args:
        connection: in a transaction of `database.writing`.
        user: who has the task, also where its lease has run out and nobody took it, or where it was cancelled
            while they had it.
        task_id: which one.
        answers: of at least one policy.
        now_ms: milliseconds since 1970.
        severity: how bad it is.
        note: in words.

    Raises:
        NotFoundError: there is no such task.
        ConflictError: this person does not have it any more, or has finished it.
        DataError: no answers, or a note that is too long.
    """
    values = {"which": task_id, "whose": user.user_id, "now_ms": now_ms}
    row = connection.execute(_FINISH, values).mappings().first()
    if row is None:
        raise _not_theirs(read_task(connection, task_id), user)
    verdict = add_verdict(
        connection,
        decision_id=row["decision_id"],
        answers=answers,
        who=user.name,
        source=Source(row["kind"]),
        now_ms=now_ms,
        severity=severity,
        note=note,
        replaces=row["verdict_id"],
        task_id=task_id,
        revision=row["revision"],
    )
    _name_verdict(connection, row["seq"], verdict)
    return verdict


def undo(connection: Connection, user: User, *, now_ms: int, window_ms: int, lease_ms: int) -> Task:
    """The task of this person's last verdict, theirs again; a verdict that knows nothing replaces it.

    Called again it goes back further. Readings that depend on a verdict are drawn after the window.

    Raises:
        NotFoundError: they gave none within the window.
        ConflictError: somebody replaced it meanwhile.
    """
    said = (tasks.c.task_id == verdicts.c.task_id) & (tasks.c.verdict_id == verdicts.c.verdict_id)
    query = (
        select(*TASK_COLUMNS)
        .join_from(verdicts, tasks, said)
        .where(
            verdicts.c.who == user.name,
            verdicts.c.created_at_ms > now_ms - window_ms,
            tasks.c.state == State.DONE.value,
            tasks.c.ended_by == user.user_id,
        )
    )
    last = query.order_by(verdicts.c.seq.desc()).limit(1).with_for_update(of=tasks)
    row = connection.execute(last).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no verdict of yours of the last {window_ms // 60_000} minutes to undo")
    before = {one.verdict_id: one for one in read_verdicts(connection, row["decision_id"])}[row["verdict_id"]]
    verdict = add_verdict(
        connection,
        decision_id=row["decision_id"],
        answers=dict.fromkeys(before.answers, Answer.UNKNOWN),
        who=user.name,
        source=before.source,
        now_ms=now_ms,
        note="undone",
        replaces=before.verdict_id,
        task_id=row["task_id"],
    )
    values = {
        "state": State.CLAIMED.value,
        "claimed_by": user.user_id,
        "leased_until_ms": now_ms + lease_ms,
        "ended_at_ms": None,
        "ended_by": None,
    }
    connection.execute(update(tasks).where(tasks.c.seq == row["seq"]).values(**values))
    _name_verdict(connection, row["seq"], verdict)
    return read_task(connection, row["task_id"])


def _end_leases(connection: Connection, now_ms: int) -> None:
    """Open again what nobody has any more; rows that another transaction is at are left to it."""
    if connection.execute(_ANY_OVER, {"now_ms": now_ms}).first() is not None:
        connection.execute(_REOPEN, {"now_ms": now_ms})


def _lanes(connection: Connection) -> list[tuple[str, float]]:
    """Each lane that has open tasks with its highest rank, the highest first."""
    found = [(str(lane), float(rank)) for lane, rank in connection.execute(_LANES) if rank is not None]
    return sorted(found, key=lambda one: -one[1])


def _best(
    connection: Connection, user: User, lanes: list[tuple[str, float]], now_ms: int
) -> RowMapping | None:
    """The task of the highest rank in these lanes, which are sorted, that the person may have."""
    best: RowMapping | None = None
    asked = {"whose": user.user_id, "name": user.name, "since_ms": now_ms - _DAY_MS}
    for lane, highest in lanes:
        if best is not None and best["rank"] >= highest:
            break
        row = connection.execute(_FIRST_OF_LANE, {**asked, "lane": lane}).mappings().first()
        if row is not None and (best is None or row["rank"] > best["rank"]):
            best = row
    return best


def _superseded(connection: Connection, row: RowMapping) -> bool:
    """Whether the listing has a later decision that answers the question; one look into an index.

    That a person allowed the same content does not answer what was reported of it.
    """
    last = connection.execute(_LAST_DECISION, {"listing": row["listing_id"]}).first()
    if last is None or last.decision_id == row["decision_id"]:
        return False
    allowed = last.cause in PEOPLE and last.action == Action.ALLOW and last.revision == row["revision"]
    return row["kind"] == Kind.REVIEW or not allowed


def _held_to(connection: Connection, user: User, task_id: str, values: Mapping[str, Any]) -> Task:
    """The task after a change by who has it; one that was cancelled meanwhile stays as it is."""
    mine = (tasks.c.task_id == task_id) & (tasks.c.claimed_by == user.user_id)
    change = update(tasks).where(mine, tasks.c.state == State.CLAIMED.value).values(**values)
    row = connection.execute(change.returning(*TASK_COLUMNS)).mappings().first()
    if row is not None:
        return task_of(row)
    task = read_task(connection, task_id)
    if task.state != State.CANCELLED or task.claimed_by != user.user_id:
        raise _not_theirs(task, user)
    return task


def _not_theirs(task: Task, user: User) -> ConflictError:
    if task.state == State.DONE and task.ended_by == user.user_id:
        return ConflictError("you have finished this task; undo it to answer again")
    said = {
        State.OPEN: "its time ran out, and it is open again; take the next one",
        State.CLAIMED: "its time ran out, and somebody else has it now; take the next one",
        State.DONE: "its time ran out, and somebody else has finished it; take the next one",
        State.CANCELLED: f"it was cancelled: {task.reason}; take the next one",
    }
    return ConflictError(f"you do not have this task: {said[task.state]}")


def _escalate(connection: Connection, task: Task, role: Role, reason: str) -> Task:
    lane = lane_of(task.assigned_to, role.value, task.policy, task.language)
    values = {"escalated_to": role.value, "reason": reason, "lane": lane}
    connection.execute(update(tasks).where(tasks.c.seq == task.seq, IS_OPEN).values(**values))
    return read_task(connection, task.task_id)


def _note_skip(connection: Connection, task_id: str, user_id: str, reason: str, now_ms: int) -> None:
    mine = (task_skips.c.task_id == task_id) & (task_skips.c.user_id == user_id)
    values = {"reason": reason, "at_ms": now_ms}
    if connection.execute(update(task_skips).where(mine).values(**values)).rowcount == 0:
        connection.execute(insert(task_skips).values(task_id=task_id, user_id=user_id, **values))


def _cancel_own(connection: Connection, task: Task, reason: str, now_ms: int) -> Task:
    values = {"state": State.CANCELLED.value, "reason": reason, "ended_at_ms": now_ms}
    connection.execute(update(tasks).where(tasks.c.seq == task.seq).values(**values))
    return read_task(connection, task.task_id)


def _name_verdict(connection: Connection, seq: int, verdict: Verdict) -> None:
    connection.execute(_NAME_VERDICT, {"at": seq, "said": verdict.verdict_id})


def _reason(given: str) -> str:
    kept = (storable(given) or "").strip()
    if not kept or len(kept) > _LONGEST_REASON:
        raise DataError(f"say why in 1 to {_LONGEST_REASON} characters")
    return kept


def open_lanes(connection: Connection) -> list[str]:
    """The lanes that have open tasks, the one with the highest rank first; see `tasks.lane_of`."""
    return [lane for lane, _ in _lanes(connection)]

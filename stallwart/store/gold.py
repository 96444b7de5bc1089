"""Gold: decisions whose answer is known, which people are asked about without knowing that they are."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.store import audit
from stallwart.store.tables import decisions, gold, revisions, tasks, verdicts
from stallwart.store.tasks import Kind, Question
from stallwart.store.verdicts import Answer, Source


@dataclass(frozen=True, slots=True)
class GoldReading:
    """What somebody said of a decision whose answer is known.

    Attributes:
        seq: of the verdict.
        who: name of the person.
        decision_id: about what.
        given: what they said.
        known: the answer.
        at_ms: milliseconds since 1970.
    """

    seq: int
    who: str
    decision_id: str
    given: dict[str, Answer]
    known: dict[str, Answer]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Gold:
    """A decision whose answer is known.

    Attributes:
        decision_id: which one.
        answers: policy -> yes or no.
        who: made it gold.
        added_at_ms: milliseconds since 1970.
        retired_at_ms: when nobody was asked about it any more, or None.
    """

    decision_id: str
    answers: dict[str, Answer]
    who: str
    added_at_ms: int
    retired_at_ms: int | None

    @property
    def broken(self) -> list[str]:
        """Policies that it breaks."""
        return sorted(policy for policy, answer in self.answers.items() if answer == Answer.YES)


def list_gold(connection: Connection, limit: int = 1_000) -> list[Gold]:
    """Gold, retired too, the newest first."""
    query = select(gold).order_by(gold.c.added_at_ms.desc(), gold.c.decision_id).limit(limit)
    return [
        Gold(
            row.decision_id,
            {policy: Answer(answer) for policy, answer in row.answers.items()},
            row.who,
            row.added_at_ms,
            row.retired_at_ms,
        )
        for row in connection.execute(query)
    ]


def add_gold(
    connection: Connection,
    decision_id: str,
    answers: Mapping[str, Answer],
    *,
    who: str,
    why: str,
    now_ms: int,
) -> None:
    """Make a decision gold, with its answer, in the caller's transaction; one that was retired is back.

    Raises:
        NotFoundError: there is no such decision.
        ConflictError: it is gold already.
        DataError: no policy has a yes or no.
    """
    known = {policy: Answer(answer).value for policy, answer in answers.items() if answer != Answer.UNKNOWN}
    if not known:
        raise DataError("gold needs a yes or no to at least one policy")
    audit.lock(connection)
    if (
        connection.execute(select(decisions.c.seq).where(decisions.c.decision_id == decision_id)).first()
        is None
    ):
        raise NotFoundError(f"there is no decision {decision_id[:64]!r}")
    before = connection.execute(select(gold).where(gold.c.decision_id == decision_id)).first()
    if before is not None and before.retired_at_ms is None:
        raise ConflictError(f"{decision_id} is gold already; retire it first")
    values = {"answers": known, "who": who, "added_at_ms": now_ms, "retired_at_ms": None}
    if before is None:
        connection.execute(insert(gold).values(decision_id=decision_id, **values))
    else:
        connection.execute(update(gold).where(gold.c.decision_id == decision_id).values(**values))
    audit.append(
        connection, who=who, act="gold.add", subject=decision_id, why=why, detail={"answers": known},
        now_ms=now_ms,
    )  # fmt: skip


def retire_gold(connection: Connection, decision_id: str, *, who: str, why: str, now_ms: int) -> None:
    """Ask nobody about it any more, in the caller's transaction; what was said of it stays.

    Raises:
        NotFoundError: it is not gold.
    """
    audit.lock(connection)
    live = (gold.c.decision_id == decision_id) & gold.c.retired_at_ms.is_(None)
    if connection.execute(update(gold).where(live).values(retired_at_ms=now_ms)).rowcount == 0:
        raise NotFoundError(f"{decision_id[:64]!r} is not gold")
    audit.append(
        connection, who=who, act="gold.retire", subject=decision_id, why=why, detail={}, now_ms=now_ms
    )


def withdraw_gold(connection: Connection, decision_id: str, who: str, since_ms: int, now_ms: int) -> None:
    """Retire what somebody made gold lately by a verdict that they take back, in the caller's transaction."""
    mine = select(gold.c.decision_id).where(
        gold.c.decision_id == decision_id,
        gold.c.retired_at_ms.is_(None),
        gold.c.who == who,
        gold.c.added_at_ms > since_ms,
    )
    if connection.execute(mine).first() is not None:
        retire_gold(connection, decision_id, who=who, why="the verdict was taken back", now_ms=now_ms)


def gold_for(connection: Connection, user_id: str, name: str, cause: str) -> Question | None:
    """A gold decision that a person has neither read nor judged, as a question for them; None without one.

    Args:
        connection: in any transaction.
        user_id: of the person.
        name: of the person.
        cause: what it follows; the same one gives the same decision, as long as the gold is the same.
    """
    read = select(tasks.c.seq).where(
        tasks.c.decision_id == gold.c.decision_id,
        tasks.c.kind == Kind.GOLD.value,
        tasks.c.assigned_to == user_id,
    )
    judged = select(verdicts.c.seq).where(
        verdicts.c.decision_id == gold.c.decision_id, verdicts.c.who == name
    )
    query = (
        select(gold.c.decision_id, decisions.c.listing_id, decisions.c.revision, revisions.c.language)
        .join_from(gold, decisions, decisions.c.decision_id == gold.c.decision_id)
        .join(revisions, revisions.c.revision == decisions.c.revision)
        .where(
            gold.c.retired_at_ms.is_(None),
            revisions.c.purged_at_ms.is_(None),
            ~read.exists(),
            ~judged.exists(),
        )
    )
    rows = connection.execute(query).all()
    if not rows:
        return None
    chosen = min(rows, key=lambda row: hashlib.blake2b(f"{cause} {row.decision_id}".encode()).digest())
    return Question(
        kind=Kind.GOLD,
        decision_id=chosen.decision_id,
        listing_id=chosen.listing_id,
        revision=chosen.revision,
        policy=None,
        language=None,
        probability=None,
        asked_at_ms=0,
        assigned_to=user_id,
        cause=cause,
    )


def gold_readings(connection: Connection, after: int = 0, limit: int = 1_000) -> list[GoldReading]:
    """What people said of gold, in the order in which they did, verdicts that were undone left out.

    Args:
        connection: in any transaction.
        after: `seq` of the verdict after which it begins.
        limit: the most that are read.
    """
    query = (
        select(
            verdicts.c.seq,
            verdicts.c.who,
            verdicts.c.decision_id,
            verdicts.c.answers.label("given"),
            gold.c.answers.label("known"),
            verdicts.c.created_at_ms.label("at_ms"),
        )
        .join_from(tasks, verdicts, verdicts.c.verdict_id == tasks.c.verdict_id)
        .join(gold, gold.c.decision_id == verdicts.c.decision_id)
        .where(
            tasks.c.kind == Kind.GOLD.value,
            tasks.c.state == "done",
            verdicts.c.source == Source.GOLD.value,
            verdicts.c.seq > after,
        )
    )
    return [
        _reading(row) for row in connection.execute(query.order_by(verdicts.c.seq).limit(limit)).mappings()
    ]


def _reading(row: Mapping[Any, Any]) -> GoldReading:
    fields = dict(row)
    answers = {
        part: {policy: Answer(answer) for policy, answer in fields[part].items()}
        for part in ("given", "known")
    }
    return GoldReading(**{**fields, **answers})

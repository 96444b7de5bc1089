"""What the intake makes of what it reads: a review task of a decision, a second reading of a verdict ...

Chance is a hash of the verdict's id, which holds 80 random bits: every process draws the same, and nobody
knows it before the verdict is in.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.decision import PEOPLE, Action, Cause
from stallwart.store import feedback as said
from stallwart.store.claims import SUPERSEDED, escalate_undecided
from stallwart.store.decisions import read_decision
from stallwart.store.gold import gold_for
from stallwart.store.ranking import Ranking
from stallwart.store.rulings import Asked, Outcome, rule
from stallwart.store.statements import statements
from stallwart.store.tables import (
    audit_draws,
    candidates,
    decisions,
    feedback,
    revisions,
    tasks,
    users,
    verdicts,
)
from stallwart.store.tasks import FOUND_BY_SAMPLE, OF_THE_QUEUE, Kind, Question, State, add_tasks, cancel
from stallwart.store.verdicts import Answer, valid_verdict

_READ_TWICE = (*OF_THE_QUEUE, Kind.AUDIT)
_SECOND, _THIRD = 1, 2
_RULES = {
    Kind.REVIEW: Cause.VERDICT,
    Kind.REPORT: Cause.VERDICT,
    Kind.NOVELTY: Cause.VERDICT,
    Kind.APPEAL: Cause.APPEAL,
}
"""Kinds of tasks whose verdict decides about the listing, and what the decision's cause is."""


@dataclass(frozen=True)
class Rules:
    """What an operator said.

    Attributes:
        ranking: gives tasks their place.
        second_share: of verdicts that are read again.
        gold_share: of verdicts that are followed by gold.
        settled_ms: age from which a verdict cannot be undone.
        now_ms: milliseconds since 1970.
    """

    ranking: Ranking
    second_share: float
    gold_share: float
    settled_ms: int
    now_ms: Callable[[], int]


@dataclass(frozen=True)
class Source:
    """A table that is followed.

    Attributes:
        name: of its cursor.
        query: its rows, each with a `seq`.
        seq: what counts them up.
        make: a row -> the row, or None where it is not settled yet.
        write: rows -> how many tasks of each kind they made, in the caller's transaction.
    """

    name: str
    query: Select[Any]
    seq: ColumnElement[int]
    make: Callable[[Row[Any], Rules], Row[Any] | None]
    write: Callable[[Connection, Sequence[Row[Any]], Rules], Counter[str]]


def disagree(one: Mapping[str, Answer], other: Mapping[str, Answer]) -> bool:
    """Whether two people said that different policies are broken; what either left unknown is no matter."""
    unsure = {policy for said in (one, other) for policy, answer in said.items() if answer == Answer.UNKNOWN}
    broken = [{policy for policy, answer in said.items() if answer == Answer.YES} for said in (one, other)]
    return broken[0] - unsure != broken[1] - unsure


def drawn(verdict_id: str, purpose: str, share: float) -> bool:
    """Whether a verdict is drawn, with this probability and independently for each purpose."""
    digest = hashlib.blake2b(f"{purpose} {verdict_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _at_once(row: Row[Any], _rules: Rules) -> Row[Any] | None:
    return row


def _once_settled(row: Row[Any], rules: Rules) -> Row[Any] | None:
    return row if row.created_at_ms + rules.settled_ms <= rules.now_ms() else None


def _current(connection: Connection, rows: Iterable[Row[Any]]) -> dict[str, str]:
    """The last decision of each listing."""
    sql = statements(connection.dialect.name)
    listings = {row.listing_id for row in rows}
    if not listings:
        return {}
    return {row[0]: row[1] for row in connection.exec_driver_sql(sql.by_listing, sql.among(listings))}


def _question(row: Row[Any], kind: Kind, **facts: Any) -> Question:
    given = {"policy": None, "probability": None, "asked_at_ms": row.decided_at_ms, **facts}
    return Question(kind, row.decision_id, row.listing_id, row.revision, language=row.language, **given)


_DECIDED = (
    decisions.c.decision_id,
    decisions.c.listing_id,
    decisions.c.revision,
    decisions.c.action,
    decisions.c.policies,
    decisions.c.scores,
    decisions.c.decided_at_ms,
    revisions.c.language,
    revisions.c.purged_at_ms,
)


def _decided(*columns: ColumnElement[Any]) -> Select[Any]:
    return select(*columns, *_DECIDED)


def _probability(row: Row[Any]) -> tuple[str | None, float | None]:
    """The policy that calls loudest for a person, and its probability; None where nothing was scored."""
    if row.policies:
        return row.policies[0], (row.scores or {}).get(row.policies[0])
    return None, None


def _from_decisions(connection: Connection, rows: Sequence[Row[Any]], rules: Rules) -> Counter[str]:
    now = rules.now_ms()
    before = [row.supersedes for row in rows if row.supersedes is not None and not _allowed(row)]
    settled = [row.supersedes for row in rows if row.supersedes is not None and _allowed(row)]
    current = _current(connection, rows)
    asked = []
    for row in rows:
        if (
            row.action == Action.REVIEW
            and row.decision_id == current[row.listing_id]
            and row.purged_at_ms is None
        ):
            policy, probability = _probability(row)
            asked.append(_question(row, Kind.REVIEW, policy=policy, probability=probability))
    return Counter(
        cancelled=cancel(connection, before, SUPERSEDED, now)
        + cancel(connection, settled, SUPERSEDED, now, [Kind.REVIEW]),
        review=add_tasks(connection, asked, rules.ranking, now),
    )


def _allowed(row: Row[Any]) -> bool:
    """Whether a person allowed it: what was reported of the same content is still to be looked at."""
    return row.cause in PEOPLE and row.action == Action.ALLOW


def _from_feedback(connection: Connection, rows: Sequence[Row[Any]], rules: Rules) -> Counter[str]:
    current = _current(connection, rows)
    asked: dict[str, list[Question]] = {"appeal": [], "report": []}
    for row in rows:
        if row.purged_at_ms is not None:
            continue
        about = row.decision_id
        if row.kind == Kind.REPORT and (last := current[row.listing_id]) != about:
            later = read_decision(connection, last)
            if later is None or later.revision != row.revision or later.cause not in PEOPLE:
                continue
            about = last  # the same content: a person decided meanwhile, perhaps of something else
        policy = row.policy or _probability(row)[0]
        question = _question(row, Kind(row.kind), policy=policy, asked_at_ms=row.created_at_ms)
        asked[row.kind].append(replace(question, decision_id=about))
    now = rules.now_ms()
    return Counter({kind: add_tasks(connection, some, rules.ranking, now) for kind, some in asked.items()})


def _from_candidates(connection: Connection, rows: Sequence[Row[Any]], rules: Rules) -> Counter[str]:
    current = _current(connection, rows)
    asked = [
        _question(row, Kind.REVIEW, policy=row.policy, probability=row.score, asked_at_ms=row.at_ms)
        for row in rows
        if row.purged_at_ms is None and row.decision_id == current[row.listing_id]
    ]
    return Counter(review=add_tasks(connection, asked, rules.ranking, rules.now_ms()))


def _from_draws(connection: Connection, rows: Sequence[Row[Any]], rules: Rules) -> Counter[str]:
    asked = [
        _question(row, Kind.AUDIT, asked_at_ms=row.drawn_at_ms) for row in rows if row.purged_at_ms is None
    ]
    return Counter(audit=add_tasks(connection, asked, rules.ranking, rules.now_ms()))


def _from_verdicts(connection: Connection, rows: Sequence[Row[Any]], rules: Rules) -> Counter[str]:
    now, made = rules.now_ms(), Counter[str]()
    current = _current(connection, rows)
    for row in rows:
        for question in [*_after(connection, row, rules), *_found(row, current)]:
            made[question.kind] += add_tasks(connection, [question], rules.ranking, now)
        if row.kind == Kind.APPEAL:
            _tell_appeal(connection, row, now)
    made.update(_rule(connection, rows, now))
    return made


def _rule(connection: Connection, rows: Sequence[Row[Any]], now_ms: int) -> Counter[str]:
    """Let settled verdicts decide about their listings, or go on to a lead where they leave it in doubt."""
    deciding = [row for row in rows if row.kind in _RULES]
    results = rule(connection, [_asked(row) for row in deciding], now_ms)
    made = Counter[str]()
    for row, result in zip(deciding, results, strict=True):
        if result.outcome == Outcome.RULED:
            made["ruled"] += 1
        elif result.outcome == Outcome.UNDECIDED:
            made["escalated"] += escalate_undecided(
                connection, row.task_id, row.verdict_id, row.user_id, row.name, now_ms
            )
    return made


def _asked(row: Row[Any]) -> Asked:
    return Asked(
        key=f"verdict {row.verdict_id}",
        about=row.decision_id,
        cause=_RULES[row.kind],
        who=row.name,
        said_at_ms=row.created_at_ms,
        kind=row.kind,
        answers={policy: Answer(answer) for policy, answer in row.answers.items()},
        policy=row.policy if row.kind in (Kind.REPORT, Kind.APPEAL) or row.reading else None,
        verdict_id=row.verdict_id,
    )


def _after(connection: Connection, row: Row[Any], rules: Rules) -> list[Question]:
    """What a settled verdict calls for: a second reading, a third, gold."""
    same = {"policy": row.policy, "probability": row.probability, "asked_at_ms": row.asked_at_ms}
    asked = []
    if row.kind in _READ_TWICE and drawn(row.verdict_id, "second", rules.second_share):
        asked.append(_question(row, Kind.SECOND, reading=_SECOND, **same))
    if row.kind == Kind.SECOND:
        first = valid_verdict(connection, row.decision_id)
        if first is not None and disagree(first.answers, row.answers):
            asked.append(_question(row, Kind.TIEBREAK, reading=_THIRD, **same))
    if row.kind != Kind.GOLD and drawn(row.verdict_id, "gold", rules.gold_share):
        gold = gold_for(connection, row.user_id, row.name, f"gold {row.verdict_id}")
        if gold is not None:  # beside the task that it follows, so that the order does not give it away
            asked.append(replace(gold, **same))
    return asked


def _found(row: Row[Any], current: Mapping[str, str]) -> list[Question]:
    """A review by somebody else, where a reading that measures found a violation on what is live, once.

    No report: nobody gave notice, and a statement of reasons would say that somebody did.
    """
    broken = [policy for policy, answer in row.answers.items() if answer == Answer.YES]
    live = row.action == Action.ALLOW and row.decision_id == current[row.listing_id]
    if row.kind not in (Kind.AUDIT, Kind.TIEBREAK) or not (broken and live) or row.purged_at_ms is not None:
        return []
    asked_at_ms = row.created_at_ms
    return [_question(row, Kind.REVIEW, policy=broken[0], asked_at_ms=asked_at_ms, reading=FOUND_BY_SAMPLE)]


def _tell_appeal(connection: Connection, row: Row[Any], now_ms: int) -> None:
    """Write down what became of an appeal, once: overturned counts against the model that decided."""
    answers = [row.answers.get(policy, Answer.UNKNOWN) for policy in row.policies]
    if Answer.YES in row.answers.values():
        outcome = said.Kind.UPHELD
    elif answers and all(answer == Answer.NO for answer in answers):
        outcome = said.Kind.OVERTURNED
    else:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {
        "feedback_id": f"f_{now_ms:012x}{secrets.token_hex(10)}",
        "decision_id": row.decision_id,
        "kind": outcome.value,
        "policy": row.policies[0] if row.policies else None,
        "note": None,
        "key_id": "review",
        "request_key": hashlib.sha256(f"appeal {row.verdict_id}".encode()).hexdigest(),
        "created_at_ms": now_ms,
    }
    connection.execute(insert(feedback).values(values).on_conflict_do_nothing())


_REVISION = revisions.c.revision == decisions.c.revision
_REPLACING = verdicts.alias("replacing")

SOURCES = (
    Source(
        "intake decisions",
        _decided(decisions.c.seq, decisions.c.supersedes, decisions.c.cause)
        .join_from(decisions, revisions, _REVISION)
        .where(or_(decisions.c.action == Action.REVIEW.value, decisions.c.supersedes.is_not(None))),
        decisions.c.seq,
        _at_once,
        _from_decisions,
    ),
    Source(
        "intake candidates",
        _decided(candidates.c.seq, candidates.c.policy, candidates.c.score, candidates.c.at_ms)
        .join_from(candidates, decisions, decisions.c.decision_id == candidates.c.decision_id)
        .join(revisions, _REVISION),
        candidates.c.seq,
        _at_once,
        _from_candidates,
    ),
    Source(
        "intake feedback",
        _decided(feedback.c.seq, feedback.c.kind, feedback.c.policy, feedback.c.created_at_ms)
        .join_from(feedback, decisions, decisions.c.decision_id == feedback.c.decision_id)
        .join(revisions, _REVISION)
        .where(feedback.c.kind.in_([said.Kind.APPEAL.value, said.Kind.REPORT.value])),
        feedback.c.seq,
        _at_once,
        _from_feedback,
    ),
    Source(
        "intake draws",
        _decided(audit_draws.c.seq, audit_draws.c.drawn_at_ms)
        .join_from(audit_draws, decisions, decisions.c.decision_id == audit_draws.c.decision_id)
        .join(revisions, _REVISION),
        audit_draws.c.seq,
        _at_once,
        _from_draws,
    ),
    Source(
        "intake verdicts",
        _decided(
            verdicts.c.seq,
            verdicts.c.verdict_id,
            verdicts.c.answers,
            verdicts.c.created_at_ms,
            tasks.c.task_id,
            tasks.c.kind,
            tasks.c.reading,
            tasks.c.policy,
            tasks.c.probability,
            tasks.c.asked_at_ms,
            users.c.user_id,
            users.c.name,
        )
        .join_from(verdicts, tasks, tasks.c.task_id == verdicts.c.task_id)
        .join(users, users.c.user_id == tasks.c.ended_by)
        .join(decisions, decisions.c.decision_id == verdicts.c.decision_id)
        .join(revisions, _REVISION)
        # One that was undone is none any more, and never becomes one again
        .where(
            tasks.c.state == State.DONE.value,
            tasks.c.verdict_id == verdicts.c.verdict_id,
            ~select(_REPLACING.c.seq).where(_REPLACING.c.replaces == verdicts.c.verdict_id).exists(),
        ),
        verdicts.c.seq,
        _once_settled,
        _from_verdicts,
    ),
)

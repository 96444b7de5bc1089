"""Audited listings of a rollout: both models' actions, the chance of the draw, and what a person said."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.store.follow import Follower
from stallwart.store.tables import audit_draws, counterparts, decisions, exposures, verdicts
from stallwart.store.verdicts import MEASURING, Answer


@dataclass(frozen=True, slots=True)
class Audited:
    """One audited listing that a person has judged and both models have scored.

    Attributes:
        seq: of its verdict.
        verdict_id: of its verdict; one that replaces another comes as a row of its own, with the same
            `decision_id`, and the later one holds.
        decision_id: the decision that was drawn.
        step: of the rollout, in which its unit was exposed.
        arm: who decided.
        unit: its keyed hash.
        probability: in (0, 1], that it was drawn at all; the rollout's own chance, by action, is its plan's.
        decided_action: what was decided.
        decided_policies: that called for it.
        action: what the other model would have decided.
        policies: that would have called for it.
        failed: whether the other model failed.
        answers: of the person; policies that are not named are unknown.
        decided_at_ms: milliseconds since 1970.
        judged_at_ms: milliseconds since 1970.
    """

    seq: int
    verdict_id: str
    decision_id: str
    step: int
    arm: Arm
    unit: str
    probability: float
    decided_action: Action
    decided_policies: tuple[str, ...]
    action: Action
    policies: tuple[str, ...]
    failed: bool
    answers: dict[str, Answer]
    decided_at_ms: int
    judged_at_ms: int


def audited(connection: Connection, rollout_id: str, after: int = 0, limit: int = 1_000) -> list[Audited]:
    """The next audited listings of a rollout that are judged and scored by both, in the order of verdicts.

    One whose counterpart comes later than its verdict is passed over here; `follow_audited` comes back to it.

    Args:
        connection: in any transaction.
        rollout_id: the rollout.
        after: `seq` of the verdict after which it begins.
        limit: the most that are read.
    """
    query = _judged(rollout_id).where(verdicts.c.seq > after, counterparts.c.seq.is_not(None))
    rows = connection.execute(query.order_by(verdicts.c.seq).limit(limit))
    return [one for one in map(_audited, rows) if one is not None]


def follow_audited(rollout_id: str, now_ms: Callable[[], int]) -> Follower[Audited]:
    """Reads audited listings, each verdict once, as soon as the listing is judged and scored by both."""
    return Follower(_judged(rollout_id), verdicts.c.seq, _audited, now_ms)


def _judged(rollout_id: str) -> Select[Any]:
    drawn = audit_draws.c.decision_id == verdicts.c.decision_id
    exposed = exposures.c.decision_id == verdicts.c.decision_id
    other = and_(
        counterparts.c.decision_id == verdicts.c.decision_id, counterparts.c.rollout_id == rollout_id
    )
    return (
        select(
            verdicts.c.seq,
            verdicts.c.verdict_id,
            verdicts.c.decision_id,
            verdicts.c.answers,
            verdicts.c.created_at_ms.label("judged_at_ms"),
            audit_draws.c.probability,
            exposures.c.step,
            exposures.c.arm,
            exposures.c.unit,
            decisions.c.action.label("decided_action"),
            decisions.c.policies.label("decided_policies"),
            decisions.c.decided_at_ms,
            counterparts.c.action,
            counterparts.c.policies,
            counterparts.c.failed,
        )
        .join_from(verdicts, audit_draws, and_(drawn, audit_draws.c.rollout_id == rollout_id))
        .join(exposures, and_(exposed, exposures.c.rollout_id == rollout_id))
        .join(decisions, decisions.c.decision_id == verdicts.c.decision_id)
        .outerjoin(counterparts, other)
        .where(verdicts.c.source.not_in([one.value for one in MEASURING]))
    )


def _audited(row: Row[Any]) -> Audited | None:
    if row.action is None:
        return None
    return Audited(
        seq=row.seq,
        verdict_id=row.verdict_id,
        decision_id=row.decision_id,
        step=row.step,
        arm=Arm(row.arm),
        unit=row.unit,
        probability=row.probability,
        decided_action=Action(row.decided_action),
        decided_policies=tuple(row.decided_policies),
        action=Action(row.action),
        policies=tuple(row.policies),
        failed=bool(row.failed),
        answers={policy: Answer(answer) for policy, answer in row.answers.items()},
        decided_at_ms=row.decided_at_ms,
        judged_at_ms=row.judged_at_ms,
    )

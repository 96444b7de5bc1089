"""Counterparts: what a model that did not decide says of the same listing, and which of them are missing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.store.follow import Follower
from stallwart.store.statements import add_missing
from stallwart.store.tables import audit_draws, counterparts, decisions, exposures, revisions


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What a bundle that did not decide would have decided.

    Attributes:
        decision_id: the decision about the same content.
        bundle: digest of the bundle that would have decided.
        rollout_id: the rollout that compares the two.
        step: of the rollout, when the listing was decided.
        action: what it would have been.
        policies: that would have called for it.
        scores: of each policy, or None where there are none.
        failed: whether the model failed.
        cpu_us: of the threads that worked on it, in microseconds.
        at_ms: milliseconds since 1970.
    """

    decision_id: str
    bundle: str
    rollout_id: str
    step: int
    action: Action
    policies: tuple[str, ...]
    scores: dict[str, float] | None
    failed: bool
    cpu_us: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Pair:
    """What two bundles say of one listing.

    Attributes:
        seq: counts counterparts up as they are written.
        decision_id: the decision.
        step: of the rollout.
        decided_bundle: digest of the bundle that decided.
        decided_action: what it decided.
        decided_policies: that called for it.
        decided_failed: whether it failed; False where nothing counts it.
        decided_cpu_us: in microseconds; 0 where nothing counts it.
        arm: who decided; None where the decision is no exposure: its unit was counted that day.
        unit: of the exposure, None where there is none.
        bundle: digest of the other bundle.
        action: what it would have decided.
        policies: that would have called for it.
        failed: whether it failed.
        cpu_us: in microseconds.
        at_ms: when the counterpart was scored, milliseconds since 1970.
    """

    seq: int
    decision_id: str
    step: int
    decided_bundle: str
    decided_action: Action
    decided_policies: tuple[str, ...]
    decided_failed: bool
    decided_cpu_us: int
    arm: Arm | None
    unit: str | None
    bundle: str
    action: Action
    policies: tuple[str, ...]
    failed: bool
    cpu_us: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Missing:
    """An audited decision that no other bundle has looked at.

    Attributes:
        seq: counts audit draws up as they are written.
        decision_id: the decision.
        revision: digest of its content, which is still kept.
        bundle: digest of the bundle that decided.
        rollout_id: the rollout.
        step: of the rollout.
        arm: who decided; the other one's word is missing.
    """

    seq: int
    decision_id: str
    revision: str
    bundle: str
    rollout_id: str
    step: int
    arm: Arm


_COLUMNS = tuple(column.name for column in counterparts.c if column.name != "seq")


def add_counterparts(connection: Connection, rows: Sequence[Counterpart]) -> None:
    """Write counterparts in the caller's transaction; of each decision and bundle the first one stays.

    Their decisions are committed: a pair is read with its decision.
    """
    ordered = sorted(rows, key=lambda one: (one.decision_id, one.bundle))
    add_missing(connection, counterparts, _COLUMNS, [_row(one) for one in ordered])


def read_pairs(connection: Connection, rollout_id: str, seq: int, limit: int) -> list[Pair]:
    """The next pairs of a rollout, at most `limit`, in the order in which they were written.

    On PostgreSQL one with a smaller `seq` may become visible later; `follow_pairs` finds it.
    """
    query = _pairs(rollout_id).where(counterparts.c.seq > seq).order_by(counterparts.c.seq).limit(limit)
    return [_pair(row) for row in connection.execute(query)]


def follow_pairs(rollout_id: str, now_ms: Callable[[], int]) -> Follower[Pair]:
    """Reads all pairs of a rollout, each once."""
    return Follower(_pairs(rollout_id), counterparts.c.seq, _pair, now_ms)


def missing(connection: Connection, rollout_id: str, limit: int, after: int = 0) -> list[Missing]:
    """Audited decisions of a rollout that are exposures and have no counterpart, in the order of their draws.

    Those whose content retention emptied are passed over.

    Args:
        connection: in any transaction.
        rollout_id: the rollout.
        limit: the most that are read.
        after: `seq` of the draw after which it looks: what was looked through need not be again.
    """
    counterpart = and_(
        counterparts.c.decision_id == audit_draws.c.decision_id, counterparts.c.rollout_id == rollout_id
    )
    query = (
        select(
            audit_draws.c.seq,
            audit_draws.c.decision_id,
            decisions.c.revision,
            decisions.c.bundle,
            exposures.c.rollout_id,
            exposures.c.step,
            exposures.c.arm,
        )
        .join_from(audit_draws, decisions, decisions.c.decision_id == audit_draws.c.decision_id)
        .join(revisions, revisions.c.revision == decisions.c.revision)
        .join(exposures, _exposed(audit_draws.c.decision_id, rollout_id))
        .outerjoin(counterparts, counterpart)
        .where(
            audit_draws.c.rollout_id == rollout_id,
            audit_draws.c.seq > after,
            counterparts.c.seq.is_(None),
            revisions.c.purged_at_ms.is_(None),
        )
        .order_by(audit_draws.c.seq)
        .limit(limit)
    )
    return [Missing(**{**row, "arm": Arm(row["arm"])}) for row in connection.execute(query).mappings()]


def _exposed(decision_id: Any, rollout_id: str) -> Any:
    return and_(exposures.c.decision_id == decision_id, exposures.c.rollout_id == rollout_id)


def _pairs(rollout_id: str) -> Select[Any]:
    return (
        select(
            counterparts,
            decisions.c.bundle.label("decided_bundle"),
            decisions.c.action.label("decided_action"),
            decisions.c.policies.label("decided_policies"),
            exposures.c.arm,
            exposures.c.unit,
            exposures.c.failed.label("decided_failed"),
            exposures.c.cpu_us.label("decided_cpu_us"),
        )
        .join_from(counterparts, decisions, decisions.c.decision_id == counterparts.c.decision_id)
        .outerjoin(exposures, _exposed(counterparts.c.decision_id, rollout_id))
        .where(counterparts.c.rollout_id == rollout_id)
    )


def _row(one: Counterpart) -> tuple[Any, ...]:
    return (
        one.decision_id,
        one.bundle,
        one.rollout_id,
        one.step,
        str(one.action),
        json.dumps(one.policies),
        None if one.scores is None else json.dumps(one.scores),
        int(one.failed),
        one.cpu_us,
        one.at_ms,
    )


def _pair(row: Row[Any]) -> Pair:
    return Pair(
        seq=row.seq,
        decision_id=row.decision_id,
        step=row.step,
        decided_bundle=row.decided_bundle,
        decided_action=Action(row.decided_action),
        decided_policies=tuple(row.decided_policies),
        decided_failed=bool(row.decided_failed),
        decided_cpu_us=row.decided_cpu_us or 0,
        arm=None if row.arm is None else Arm(row.arm),
        unit=row.unit,
        bundle=row.bundle,
        action=Action(row.action),
        policies=tuple(row.policies),
        failed=bool(row.failed),
        cpu_us=row.cpu_us,
        at_ms=row.at_ms,
    )

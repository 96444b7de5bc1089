"""Exposures: a unit's first decision on a day in a step of a rollout, and which of them were overturned."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.store.feedback import Kind
from stallwart.store.follow import Follower, once
from stallwart.store.statements import add_missing
from stallwart.store.tables import exposures, feedback


@dataclass(frozen=True, slots=True)
class Exposure:
    """One unit on one day in one step; holds no content.

    Attributes:
        rollout_id: in which it counts.
        step: of the rollout, when the listing was taken.
        unit: what its keyed hash gave: its position in hexadecimal.
        day: days since 1970, UTC.
        arm: who decided.
        decision_id: the decision; "" where the listing was refused because the model failed.
        action: what was decided.
        policies: that called for the action.
        failed: whether the model failed.
        latency_us: from taken to ruled, in microseconds.
        cpu_us: of the threads that worked on it, in microseconds.
        at_ms: milliseconds since 1970.
        seq: counts exposures up as they are written; 0 before.
    """

    rollout_id: str
    step: int
    unit: str
    day: int
    arm: Arm
    decision_id: str
    action: Action
    policies: tuple[str, ...]
    failed: bool
    latency_us: int
    cpu_us: int
    at_ms: int
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Overturn:
    """A decision that an appeal overturned, for the first time.

    Attributes:
        exposure: of the decision.
        at_ms: when it was overturned, milliseconds since 1970.
    """

    exposure: Exposure
    at_ms: int


_COLUMNS = tuple(column.name for column in exposures.c if column.name != "seq")


def add_exposures(connection: Connection, rows: Sequence[Exposure]) -> None:
    """Write exposures in the transaction of their decisions; a unit counts once a day in each step.

    In one order everywhere, so that two transactions with the same units do not deadlock.
    """
    ordered = sorted(rows, key=lambda one: (one.rollout_id, one.step, one.unit, one.day))
    add_missing(connection, exposures, _COLUMNS, [_row(one) for one in ordered])


def read_after(connection: Connection, rollout_id: str, seq: int, limit: int) -> list[Exposure]:
    """The next exposures of a rollout, at most `limit`, in the order in which they were written.

    On PostgreSQL one with a smaller `seq` may become visible later; `follow_exposures` finds it.
    """
    query = _of(rollout_id).where(exposures.c.seq > seq).order_by(exposures.c.seq).limit(limit)
    return [_exposure(row) for row in connection.execute(query)]


def follow_exposures(rollout_id: str, now_ms: Callable[[], int]) -> Follower[Exposure]:
    """Reads all exposures of a rollout, each once."""
    return Follower(_of(rollout_id), exposures.c.seq, _exposure, now_ms)


class Overturns:
    """Reads which exposures of a rollout were overturned, each decision once.

    Args:
        rollout_id: the rollout.
        now_ms: milliseconds by any one clock.
    """

    def __init__(self, rollout_id: str, now_ms: Callable[[], int]):
        query = (
            select(
                *(exposures.c[name] for name in _COLUMNS),
                exposures.c.seq.label("exposure_seq"),
                feedback.c.seq,
                feedback.c.created_at_ms,
            )
            .join_from(feedback, exposures, feedback.c.decision_id == exposures.c.decision_id)
            .where(feedback.c.kind == Kind.OVERTURNED.value, exposures.c.rollout_id == rollout_id)
        )
        self._follower: Follower[Overturn] = Follower(query, feedback.c.seq, _overturn, now_ms)
        self._decisions: set[str] = set()

    def poll(self, connection: Connection) -> Iterator[Overturn]:
        """All that are new, as `Follower.poll`."""
        return once(self._follower.poll(connection), lambda one: one.exposure.decision_id, self._decisions)


def _of(rollout_id: str) -> Select[Any]:
    return select(exposures).where(exposures.c.rollout_id == rollout_id)


def _row(one: Exposure) -> tuple[Any, ...]:
    return (
        one.rollout_id,
        one.step,
        one.unit,
        one.day,
        str(one.arm),
        one.decision_id,
        str(one.action),
        json.dumps(one.policies),
        int(one.failed),
        one.latency_us,
        one.cpu_us,
        one.at_ms,
    )


def _exposure(row: Row[Any]) -> Exposure:
    return Exposure(
        row.rollout_id,
        row.step,
        row.unit,
        row.day,
        Arm(row.arm),
        row.decision_id,
        Action(row.action),
        tuple(row.policies),
        bool(row.failed),
        row.latency_us,
        row.cpu_us,
        row.at_ms,
        row.seq,
    )


def _overturn(row: Row[Any]) -> Overturn:
    return Overturn(replace(_exposure(row), seq=row.exposure_seq), row.created_at_ms)

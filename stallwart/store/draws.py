"""Audit draws: decisions that a person is asked about, each with the probability that it was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from stallwart.store.statements import add_missing
from stallwart.store.tables import audit_draws


@dataclass(frozen=True, slots=True)
class Draw:
    """One decision that was drawn.

    Attributes:
        decision_id: what was drawn.
        probability: in (0, 1], that it was, given its action.
        stratum: what the probability depended on: its action.
        rollout_id: of the rollout that its exposure counts in; None outside of one.
        step: of that rollout.
        drawn_at_ms: milliseconds since 1970.
    """

    decision_id: str
    probability: float
    stratum: str
    rollout_id: str | None
    step: int | None
    drawn_at_ms: int


_COLUMNS = ("decision_id", "probability", "stratum", "rollout_id", "step", "drawn_at_ms")


def add_draws(connection: Connection, draws: Sequence[Draw]) -> None:
    """Write draws in the transaction of their decisions; a decision is drawn once."""
    add_missing(
        connection,
        audit_draws,
        _COLUMNS,
        [
            (one.decision_id, one.probability, str(one.stratum), one.rollout_id, one.step, one.drawn_at_ms)
            for one in draws
        ],
    )

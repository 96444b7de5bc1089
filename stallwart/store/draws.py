"""Audit draws: decisions that a person is asked about, each with the probability that it was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from stallwart.store.statements import add_missing
from stallwart.store.tables import audit_draws, decisions, verdicts
from stallwart.store.verdicts import MEASURING


@dataclass(frozen=True, slots=True)
class Draw:
    """One decision that was drawn.

    Attributes:
        decision_id: what was drawn.
        probability: in (0, 1], that it was, for whatever reason.
        stratum: what the standing sample's chance depended on: its action and the band of its score.
        rollout_id: of the rollout whose own chance, by action, drew it too; None where none did.
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A draw that nobody has judged yet; it tells neither scores nor action.

    Attributes:
        seq: counts draws up as they are written.
        decision_id: what was drawn.
        revision: digest of its content.
        probability: in (0, 1], that it was drawn.
        drawn_at_ms: milliseconds since 1970.
    """

    seq: int
    decision_id: str
    revision: str
    probability: float
    drawn_at_ms: int


def waiting(connection: Connection, after: int, limit: int) -> list[Waiting]:
    """Draws without a verdict, in the order in which they were written.

    Args:
        connection: in any transaction.
        after: `seq` after which it begins.
        limit: the most that are read.
    """
    judged = select(verdicts.c.seq).where(
        verdicts.c.decision_id == audit_draws.c.decision_id,
        verdicts.c.source.not_in([one.value for one in MEASURING]),
    )
    columns = (
        audit_draws.c.seq,
        audit_draws.c.decision_id,
        decisions.c.revision,
        audit_draws.c.probability,
        audit_draws.c.drawn_at_ms,
    )
    query = (
        select(*columns)
        .join_from(audit_draws, decisions, decisions.c.decision_id == audit_draws.c.decision_id)
        .where(audit_draws.c.seq > after, ~judged.exists())
    )
    rows = connection.execute(query.order_by(audit_draws.c.seq).limit(limit))
    return [Waiting(**row) for row in rows.mappings()]

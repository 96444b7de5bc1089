"""Candidates: decisions that a policy which is tried would ask a person about; each becomes a task."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from stallwart.store.statements import add_missing
from stallwart.store.tables import candidates


@dataclass(frozen=True, slots=True)
class Candidate:
    """One decision and one policy.

    Attributes:
        decision_id: of the decision, whatever it was.
        policy: that would ask.
        addon: digest of the add-on that scored.
        score: calibrated probability in [0, 1].
        at_ms: milliseconds since 1970.
    """

    decision_id: str
    policy: str
    addon: str
    score: float
    at_ms: int


_COLUMNS = ("decision_id", "policy", "addon", "score", "at_ms")


def add_candidates(connection: Connection, found: Sequence[Candidate]) -> None:
    """Write candidates in the transaction of their decisions."""
    rows = [tuple(getattr(one, name) for name in _COLUMNS) for one in found]
    add_missing(connection, candidates, _COLUMNS, rows)

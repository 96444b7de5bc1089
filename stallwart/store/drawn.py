"""Drawn decisions of one bundle and what people said of them: the evidence that rights rest on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, select

from stallwart.core.decision import Action
from stallwart.store.database import reading, store_errors
from stallwart.store.follow import Follower
from stallwart.store.tables import audit_draws, decisions, revisions, verdicts
from stallwart.store.verdicts import MEASURING


@dataclass(frozen=True, slots=True)
class Drawn:
    """One drawn decision.

    Attributes:
        seq: orders draws.
        decision_id: what was drawn.
        probability: in (0, 1], that it was.
        drawn_at_ms: milliseconds since 1970.
        action: what was decided.
        policies: that called for it.
        scores: by policy; empty where nothing was scored.
        seller: id, or the listing's where none is known: what it has on one day stands together.
    """

    seq: int
    decision_id: str
    probability: float
    drawn_at_ms: int
    action: Action
    policies: tuple[str, ...]
    scores: dict[str, float]
    seller: str


@dataclass(frozen=True, slots=True)
class _Said:
    seq: int
    decision_id: str
    answers: dict[str, str]


class DrawnDecisions:
    """The drawn decisions of one bundle, kept up to date by reading what is new.

    Args:
        bundle: digest.
        now_ms: milliseconds since 1970.

    Attributes:
        draws: in the order in which they were drawn.
    """

    def __init__(self, bundle: str, now_ms: Callable[[], int]):
        self.draws: list[Drawn] = []
        self._answers: dict[str, tuple[int, dict[str, str]]] = {}
        self._followed_draws = Follower(
            select(
                audit_draws.c.seq,
                audit_draws.c.decision_id,
                audit_draws.c.probability,
                audit_draws.c.drawn_at_ms,
                decisions.c.action,
                decisions.c.policies,
                decisions.c.scores,
                decisions.c.listing_id,
                revisions.c.seller_id,
            )
            .join_from(audit_draws, decisions, decisions.c.decision_id == audit_draws.c.decision_id)
            .join(revisions, revisions.c.revision == decisions.c.revision)
            .where(decisions.c.bundle == bundle),
            audit_draws.c.seq,
            _drawn,
            now_ms,
        )
        self._followed_verdicts = Follower(
            select(verdicts.c.seq, verdicts.c.decision_id, verdicts.c.answers)
            .join_from(verdicts, audit_draws, audit_draws.c.decision_id == verdicts.c.decision_id)
            .join(decisions, decisions.c.decision_id == verdicts.c.decision_id)
            .where(
                decisions.c.bundle == bundle,
                verdicts.c.source.not_in([one.value for one in MEASURING]),
            ),
            verdicts.c.seq,
            lambda row: _Said(row.seq, row.decision_id, row.answers),
            now_ms,
        )

    def read(self, database: Engine) -> bool:
        """Read what is new; whether anything was.

        Raises:
            StoreError: the database cannot be read; the next call goes on.
        """
        with store_errors("drawn decisions cannot be read"):
            drawn = _all(database, self._followed_draws)
            said = _all(database, self._followed_verdicts)
        self.draws = sorted((*self.draws, *drawn), key=lambda one: one.seq) if drawn else self.draws
        for one in said:
            before = self._answers.get(one.decision_id)
            if before is None or before[0] < one.seq:  # a later verdict takes the place of an earlier one
                self._answers[one.decision_id] = (one.seq, one.answers)
        return bool(drawn or said)

    def answer(self, decision_id: str, policy: str) -> str | None:
        """What the last verdict says of a policy: yes, no or unknown; None where there is no verdict."""
        said = self._answers.get(decision_id)
        return None if said is None else said[1].get(policy, "unknown")


def _all(database: Engine, follower: Follower[Any]) -> list[Any]:
    with reading(database) as connection:
        return list(follower.poll(connection))


def _drawn(row: Row[Any]) -> Drawn:
    return Drawn(
        seq=row.seq,
        decision_id=row.decision_id,
        probability=row.probability,
        drawn_at_ms=row.drawn_at_ms,
        action=Action(row.action),
        policies=tuple(row.policies),
        scores={name: score for name, score in (row.scores or {}).items() if score is not None},
        seller=f"s:{row.seller_id}" if row.seller_id else f"l:{row.listing_id}",
    )

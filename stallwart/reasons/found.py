"""How a blocked listing came before whoever blocked it, and whether they looked at it: from the rows.

What brought a listing forward is told apart from who decided: a person who blocks what a search found may
never have seen one of the listings, and a model may have sent all of them to review before.
"""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from stallwart.core.decision import Action, Decision
from stallwart.store.bulk import act_of
from stallwart.store.decisions import read_decision
from stallwart.store.rulings import Ruling, read_rulings
from stallwart.store.tasks import Kind, was_reported
from stallwart.store.views import was_shown

Detection = Literal["model", "notice", "sweep", "sample"]
"""What found the listing: a model, somebody's report, a person's search, or a sample drawn by chance."""

_LONGEST_CHAIN = 20  # of decisions that people made one after the other about one revision
_BY_SCORES = frozenset({"policy", "score_from", "score_to", "near"})  # filters that ask what a model says


@dataclass(frozen=True, slots=True)
class Found:
    """How it came about.

    Attributes:
        detection: how the listing was found.
        flagged: whether automated means had a part in finding it.
        together: whether it was decided at once with other listings.
        looked: whether it was before the person who decided; of several at once, in a list.
    """

    detection: Detection
    flagged: bool
    together: bool
    looked: bool


def read_found(connection: Connection, decision: Decision) -> Found:
    """How the listing of a block was found, and how it was looked at.

    Args:
        connection: in any transaction.
        decision: the block.
    """
    if decision.automatic:
        return Found("model", flagged=True, together=False, looked=False)
    chain, first = _chain(connection, decision)
    together = bool(chain) and _is_bulk(chain[0])
    by_model = first is None or first.action != Action.ALLOW or any(one.kind == Kind.NOVELTY for one in chain)
    sweeps = [one for one in chain if _is_bulk(one)]
    detection: Detection = "sample"
    if any(_by_notice(connection, one) for one in chain) or (not by_model and chain[-1].kind == Kind.APPEAL):
        detection = "notice"
    elif by_model:
        detection = "model"
    elif sweeps:
        detection = "sweep"
    return Found(
        detection,
        flagged=by_model or any(_by_scores(connection, one) for one in sweeps),
        together=together,
        looked=not together or _looked(connection, chain[0]),
    )


def _chain(connection: Connection, decision: Decision) -> tuple[list[Ruling], Decision | None]:
    """What people ruled, the last first, and the model's decision that they began with, unless it is gone."""
    chain: list[Ruling] = []
    while len(chain) < _LONGEST_CHAIN:
        ruling = read_rulings(connection, [decision.decision_id]).get(decision.decision_id)
        before = read_decision(connection, ruling.about) if ruling else None
        chain += [ruling] if ruling else []
        if before is None or before.automatic:
            return chain, before
        decision = before
    return chain, None


def _is_bulk(ruling: Ruling) -> bool:
    return ruling.kind.startswith("bulk")


def _by_notice(connection: Connection, ruling: Ruling) -> bool:
    """Whether a report led to it: that was answered, or that an act on many listings answered with."""
    if not _is_bulk(ruling):
        return ruling.kind == Kind.REPORT
    return was_reported(connection, ruling.listing_id, ruling.revision, ruling.said_at_ms)


def _by_scores(connection: Connection, ruling: Ruling) -> bool:
    act = act_of(connection, ruling.ruling_key)
    return act is not None and not _BY_SCORES.isdisjoint(act.filters)


def _looked(connection: Connection, ruling: Ruling) -> bool:
    act = act_of(connection, ruling.ruling_key)
    return act is not None and was_shown(
        connection, act.user_id, ruling.listing_id, ruling.about, ruling.said_at_ms
    )

"""What a statement of reasons says, as plain facts: of a block, how it came about, and the policies' words.

Nothing here quotes the listing or names a person.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Connection, select

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.errors import NotFoundError
from stallwart.core.taxonomy import Taxonomy
from stallwart.reasons.found import Detection, Found, read_found
from stallwart.store.decisions import read_decision
from stallwart.store.erased import ERASED
from stallwart.store.revisions import Revision, read_revision
from stallwart.store.tables import bundles

_TAXONOMY = "taxonomy.json"


@dataclass(frozen=True, slots=True)
class Ground:
    """A policy that a listing was blocked for.

    Attributes:
        id: of the policy.
        title: a few words.
        covers: what falls under it; "" where that is not known.
        score: calibrated probability that a model gave, as text; None where a person decided.
        threshold: from which it acts alone, as text; None where a person decided.
    """

    id: str
    title: str
    covers: str
    score: str | None
    threshold: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a template may use.

    Attributes:
        decision_id: names the decision in an appeal.
        listing_id: as the market names the listing.
        decided_at: in UTC, as 2026-01-31 12:00.
        policies: that the block is for, at least one.
        automatic: whether no person had a part in the decision.
        detection: how the listing was found: "model", "notice", "sweep" or "sample".
        flagged: whether automated means had a part in finding it.
        together: whether a person decided about it at once with other listings.
        looked: whether it was before that person; where `together`, in a list.
        upheld: whether the decision is what became of an appeal.
        has_title: whether a title was looked at.
        has_description: whether a description was.
        photos: how many photos were.
        published_at: when the content was, in UTC; None where the market did not say.
        language: of the listing, as the market states it; None where it does not.
        market: name of the market; "" where none was set.
        territory: where the decision holds, in words; "" where none was set.
        appeal: where an appeal goes; "" where none was set.
    """

    decision_id: str
    listing_id: str
    decided_at: str
    policies: tuple[Ground, ...]
    automatic: bool
    detection: Detection
    flagged: bool
    together: bool
    looked: bool
    upheld: bool
    has_title: bool
    has_description: bool
    photos: int
    published_at: str | None
    language: str | None
    market: str = ""
    territory: str = ""
    appeal: str = ""


def read_facts(
    connection: Connection, decision_id: str, words: Mapping[str, str], taxonomies: dict[str, Taxonomy | None]
) -> Facts:
    """The facts of a block.

    Args:
        connection: in any transaction.
        decision_id: of the block.
        words: market, territory and appeal.
        taxonomies: by digest; what is read is added, so that many statements read each once.

    Raises:
        NotFoundError: there is no such decision, or it is no block.
    """
    decision = read_decision(connection, decision_id) if "\0" not in decision_id else None
    if decision is None:
        raise NotFoundError("there is no such decision; ids begin with d_ and come with each answer")
    if decision.listing_id.startswith(ERASED):
        raise NotFoundError("the listing was erased, and its statements with it")
    if decision.action != Action.BLOCK:
        raise NotFoundError(f"the decision is {decision.action}; only a block has a statement of reasons")
    if decision.taxonomy not in taxonomies:
        taxonomies[decision.taxonomy] = _taxonomy(connection, decision)
    revision = read_revision(connection, decision.revision)
    return _facts(decision, revision, read_found(connection, decision), taxonomies[decision.taxonomy], words)


def _facts(
    decision: Decision,
    revision: Revision | None,
    found: Found,
    taxonomy: Taxonomy | None,
    words: Mapping[str, str],
) -> Facts:
    return Facts(
        decision_id=decision.decision_id,
        listing_id=decision.listing_id,
        decided_at=_moment(decision.decided_at_ms),
        policies=tuple(_ground(name, decision, taxonomy) for name in decision.policies),
        automatic=decision.automatic,
        detection=found.detection,
        flagged=found.flagged,
        together=found.together,
        looked=found.looked,
        upheld=decision.cause == Cause.APPEAL,
        has_title=bool(revision and revision.title),
        has_description=bool(revision and revision.description),
        photos=len(revision.photos) if revision else 0,
        published_at=_moment(revision.listed_at_ms) if revision and revision.listed_at_ms else None,
        language=revision.language if revision else None,
        **words,
    )


def _ground(name: str, decision: Decision, taxonomy: Taxonomy | None) -> Ground:
    known = taxonomy is not None and name in taxonomy.ids
    policy = taxonomy[name] if taxonomy is not None and known else None
    score = (decision.scores or {}).get(name) if decision.automatic else None
    limits = decision.thresholds.get(name) if decision.automatic else None
    threshold = limits.block if limits else None
    return Ground(
        id=name,
        title=policy.title if policy else name.replace("_", " "),
        covers=policy.covers.strip() if policy else "",
        score=None if score is None else f"{score:.2f}",
        threshold=None if threshold is None else f"{threshold:.2f}",
    )


def _taxonomy(connection: Connection, decision: Decision) -> Taxonomy | None:
    """The taxonomy by which it was decided, from the bundle's folder; None where that is gone or another."""
    place = connection.execute(select(bundles.c.place).where(bundles.c.digest == decision.bundle)).scalar()
    if place is None:
        return None
    try:
        found = Taxonomy.model_validate(json.loads((Path(place) / _TAXONOMY).read_bytes()))
    except (OSError, ValueError, ValidationError, RecursionError):
        return None  # a statement with the policy's name is due all the same
    return found if found.digest == decision.taxonomy else None


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")

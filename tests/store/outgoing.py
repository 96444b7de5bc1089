"""Decisions in the outbox, written as the service writes them."""

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.listing import Listing
from stallwart.store.decisions import Draft, write
from stallwart.store.revisions import revision_of

NOW = 1_800_000_000_000


def decide(database, hooks, *told, action=Action.BLOCK, now_ms=NOW):
    """Decisions `(listing_id, number)`, in one transaction; the number is in the reason."""
    drafts = [_draft(listing_id, number, action, now_ms) for listing_id, number in told]
    with database.begin() as connection:
        return write(connection, drafts, hooks, now_ms)


def _draft(listing_id, number, action, now_ms):
    listing = Listing(listing_id, title=f"état {number}")
    revision = revision_of(listing, (), str(number))
    decision = Decision(
        decision_id=f"d-{listing_id}-{number:04d}",
        listing_id=listing_id,
        revision=revision.revision,
        action=action,
        policies=("tobacco",),
        reason=f"number {number}",
        scores={"tobacco": 0.97},
        thresholds={"tobacco": {"block": 0.95, "review": 0.3}},
        bundle="b" * 64,
        taxonomy="t" * 64,
        cause=Cause.NEW,
        decided_at_ms=now_ms,
    )
    return Draft(revision, decision)

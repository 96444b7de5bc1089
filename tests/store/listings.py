"""Drafts that the suites of the store write."""

import hashlib
import itertools

from stallwart.core.decision import Action, Cause, Decision, Limits
from stallwart.core.listing import Listing
from stallwart.store.decisions import Draft, revision_of

THRESHOLDS = {"tobacco": Limits(block=0.9, review=0.25), "weapons": Limits(block=None, review=None)}
PHOTO = hashlib.sha256(b"a photo").hexdigest()
_numbers = itertools.count()


def draft(
    listing_id="lamp",
    title="A brass lamp",
    *,
    photos=(PHOTO,),
    key=None,
    rescan=False,
    action=Action.ALLOW,
    version=None,
    decision_id=None,
    evidence=None,
):
    """A draft; its decision has an id that no other one of this process has."""
    revision = revision_of(Listing(listing_id, title, "Words of it.", price=12.5), photos, version)
    decision = Decision(
        decision_id=decision_id or f"d_{next(_numbers):08x}",
        listing_id=listing_id,
        revision=revision.revision,
        action=action,
        policies=() if action == Action.ALLOW else ("tobacco",),
        reason="no policy reaches its threshold",
        scores={"tobacco": 0.1 + 0.2, "weapons": 1e-17},
        thresholds=THRESHOLDS,
        evidence=evidence,
        bundle="b" * 64,
        taxonomy="t" * 64,
        cause=Cause.NEW,
        decided_at_ms=1_750_000_000_123,
    )
    return Draft(revision, decision, key, rescan)

"""Decided listings with words and drawn photos, as the suites of the index begin with."""

import io
from functools import cache

import numpy as np
from PIL import Image

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.listing import Listing
from stallwart.store.database import writing
from stallwart.store.decisions import Draft, write
from stallwart.store.revisions import revision_of
from stallwart.store.verdicts import Answer, Source, add_verdict

NOW = 1_800_000_000_000
LAMP = "A brass desk lamp from the fifties, rewired last year, with the old shade and a new switch."
KNIFE = "Switchblade with a carbon handle, opens at the push of a button, ships discreetly anywhere."


@cache
def photo(seed, side=220, quality=90):
    """A drawn photo of random soft patches, the same scene for the same seed."""
    scene = np.random.default_rng(seed).integers(0, 200, (24, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(scene).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


def decide(
    database, photos, listing_id, title=None, description=None, pictures=(), *, action=Action.ALLOW,
    scores=None, policies=(), seller_id=None, now_ms=NOW, version=None, language=None,
):  # fmt: skip
    """The decision on one listing, stored as a service stores it."""
    listing = Listing(listing_id, title, description, tuple(pictures), seller_id=seller_id, language=language)
    revision = revision_of(listing, tuple(photos.put(one) for one in pictures), version)
    draft = Decision(
        decision_id=f"d_{listing_id}_{version or 0}_{now_ms}",
        listing_id=listing_id,
        revision=revision.revision,
        action=action,
        policies=policies,
        reason="a score",
        scores={"tobacco": 0.1, "weapons": 0.2} if scores is None else scores,
        thresholds={},
        bundle="b" * 64,
        taxonomy="t" * 64,
        cause=Cause.NEW,
        decided_at_ms=now_ms,
    )
    with writing(database) as connection:
        (decision,) = write(connection, [Draft(revision, draft)], [], now_ms)
    return decision


def judge(database, decision, policy="weapons", answer=Answer.YES, now_ms=NOW, who="rita"):
    with writing(database) as connection:
        return add_verdict(
            connection,
            decision_id=decision.decision_id,
            answers={policy: answer},
            who=who,
            source=Source.REVIEW,
            now_ms=now_ms,
        )

"""A runtime that decides by the title's first word: block, review, or anything else; it costs nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.serve.nothing import Nothing
from stallwart.core.decision import Action
from stallwart.decide.decide import Ruling
from stallwart.encoders.embed import Embedded, Parts
from stallwart.model.runtime import ScoredListing

_SCORES = {Action.BLOCK: 0.95, Action.REVIEW: 0.5, Action.ALLOW: 0.01}


class Words(Nothing):
    """What the first word of the title says."""

    def rule(self, parts: Parts, _: Mapping[bytes, Any]) -> ScoredListing:
        word = (parts.listing.title or "").partition(" ")[0]
        action = Action(word) if word in ("block", "review") else Action.ALLOW
        scores = np.full(len(self.policies), 0.01)
        scores[0] = _SCORES[action]
        policies = () if action is Action.ALLOW else self.policies[:1]
        ruling = Ruling(action, policies, f"the title says {action.value}")
        return ScoredListing(Embedded(parts.listing, None, np.empty((0, 1), np.float32)), scores, ruling)

"""The service with a runtime that does nothing; keys, batching, metrics and the commit are all on."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from stallwart.core.decision import Action, Limits
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.decide.decide import Ruling
from stallwart.encoders.embed import Embedded, Parts
from stallwart.model.additions import NONE, Additions
from stallwart.model.runtime import ScoredListing
from stallwart.serving.gate import Gate
from stallwart.serving.server import create_service_of

_NAMES = tuple(f"policy_{number}" for number in range(11))
_SCORES = np.full(11, 0.01)
_RULING = Ruling(Action.ALLOW, (), "no policy is likely to be broken")


class Nothing:
    """Every listing is fine."""

    digest, taxonomy, policies = "b" * 64, "c" * 64, _NAMES
    thresholds: ClassVar = {name: Limits(block=0.9, review=0.2) for name in _NAMES}

    additions: ClassVar[Additions] = NONE

    def with_additions(self, _: Additions) -> "Nothing":
        return self

    def under(self, *_: Any) -> "Nothing":
        """Itself: what it rules does not come from thresholds."""
        return self

    def parts(self, listing: Listing) -> Parts:
        return Parts(listing, None, [], {})

    def rule(self, parts: Parts, _: Mapping[bytes, Any]) -> ScoredListing:
        return ScoredListing(Embedded(parts.listing, None, np.empty((0, 1), np.float32)), _SCORES, _RULING)

    def evidence(self, *_: Any) -> None:
        return None


def app() -> Gate:
    """For uvicorn's --factory."""
    return create_service_of(Nothing(), Settings(), insecure_local=bool(os.environ.get("BENCH_INSECURE")))

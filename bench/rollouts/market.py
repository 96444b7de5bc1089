"""A made-up market for rollouts: requests, what two models say of them, and what is true."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

POLICIES = ("weapons", "counterfeits", "drugs", "animals", "adult")
_SHARES = (0.35, 0.30, 0.20, 0.10, 0.05)
ALLOW, REVIEW, BLOCK = 0, 1, 2


@dataclass(frozen=True)
class Model:
    """What one model does.

    Attributes:
        precision: share of its blocks that are right.
        coverage: share of violations that it blocks.
        reviewed: share of the others that it sends to review.
        errors: share of listings that it fails on; they go to review.
        slower: factor of its latency.
        tail: factor of its p99 latency while the median stays.
        always: an action that it takes on every listing.
    """

    precision: float = 0.90
    coverage: float = 0.60
    reviewed: float = 0.04
    errors: float = 0.0075
    slower: float = 1.0
    tail: float = 1.0
    always: int | None = None


@dataclass(frozen=True)
class Market:
    """What traffic is like.

    Attributes:
        per_hour: requests.
        prevalence: share of violations.
        alike: share of listings on which both models see the same; on the others they judge independently.
        median_ms: of latency, lognormal.
        sigma: of its logarithm.
        returning: share of requests about a listing that was there before, which both models judge as before.
        sellers: units that differ in violations, failures and latency; 0 where units are listings.
        unknown: share of verdicts that say nothing.
        appealed: share of wrong blocks that an appeal overturns, at once.
    """

    per_hour: float = 2_000
    prevalence: float = 0.03
    alike: float = 0.8
    median_ms: float = 60.0
    sigma: float = 0.5
    returning: float = 0.0
    sellers: int = 0
    unknown: float = 0.03
    appealed: float = 0.3

    @property
    def repeats(self) -> bool:
        """Whether a unit can be met twice."""
        return self.returning > 0 or self.sellers > 0


@dataclass
class Batch:
    """Requests in order; each attribute (n,), those of models (2, n): champion first."""

    unit: NDArray[np.int64]
    position: NDArray[np.float64]
    violation: NDArray[np.int64]  # 0 is none, else a policy counted from 1
    action: NDArray[np.int64]
    policy: NDArray[np.int64]  # of the action, counted from 0
    failed: NDArray[np.bool_]
    latency_us: NDArray[np.float64]
    cpu_us: NDArray[np.float64]
    audit: NDArray[np.float64]  # uniform
    known: NDArray[np.bool_]
    appealed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.unit)

    def part(self, start: int, stop: int) -> "Batch":
        """Requests from start to stop."""
        return Batch(**{name: column[..., start:stop] for name, column in vars(self).items()})


@dataclass
class Traffic:
    """Draws requests, one batch after the other."""

    market: Market
    models: tuple[Model, Model]
    rng: np.random.Generator
    _units: int = 0
    _content: list[NDArray[np.float64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.market.sellers:
            n = self.market.sellers
            self._position = self.rng.random(n)
            self._busy = np.cumsum(1 / np.arange(10, n + 10) ** 0.7)
            self._busy /= self._busy[-1]
            self._often = self.rng.gamma(0.3, 1 / 0.3, n)  # times as many violations as the market
            self._failing = self.rng.gamma(0.2, 1 / 0.2, n)
            self._slow = np.exp(self.rng.normal(0, 0.5, n))

    def draw(self, n: int) -> Batch:
        """The next n requests."""
        market, rng = self.market, self.rng
        # columns: position, violation, policy, two looks, whether alike, two failures, latency, cpu
        content = rng.random((10, n))
        if market.sellers:
            unit = np.searchsorted(self._busy, rng.random(n))
            content[0] = self._position[unit]
        elif market.returning:
            unit, content = self._return(content, n)
        else:
            unit = np.arange(self._units, self._units + n)
            self._units += n
        return self._judged(unit, content)

    def _return(self, content: NDArray[np.float64], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        new = self.rng.random(n) >= self.market.returning
        new[0] |= self._units == 0
        unit = self._units + np.cumsum(new) - 1
        unit[~new] = (self.rng.random((~new).sum()) * (unit[~new] + 1)).astype(np.int64)
        self._content.append(content[:, new])
        self._units += int(new.sum())
        self._content = [np.concatenate(self._content, axis=1)]
        return unit, self._content[0][:, unit]

    def _judged(self, unit: NDArray[np.int64], content: NDArray[np.float64]) -> Batch:
        market, rng, n = self.market, self.rng, len(unit)
        often, failing, slow = (
            (self._often[unit], self._failing[unit], self._slow[unit]) if market.sellers else (1.0, 1.0, 1.0)
        )
        broken = content[1] < np.minimum(market.prevalence * often, 0.9)
        topic = np.searchsorted(np.cumsum(_SHARES[:-1]), content[2])
        looks = np.stack([content[3], np.where(content[5] < market.alike, content[3], content[4])])
        verdicts = [_act(model, market, broken, look) for model, look in zip(self.models, looks, strict=True)]
        failed = np.stack(
            [u < np.minimum(m.errors * failing, 1) for m, u in zip(self.models, content[6:8], strict=True)]
        )
        normal = rng.standard_normal((2, n))
        return Batch(
            unit,
            content[0],
            np.where(broken, topic + 1, 0),
            np.where(failed, REVIEW, np.stack(verdicts)),
            np.broadcast_to(topic, (2, n)),
            failed,
            np.stack([self._latency(model, normal[0], slow) for model in self.models]),
            np.stack([40e3 * model.slower * np.exp(0.4 * normal[1]) * slow for model in self.models]),
            rng.random(n),
            rng.random(n) >= market.unknown,
            rng.random(n) < market.appealed,
        )

    def _latency(
        self, model: Model, normal: NDArray[np.float64], slow: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        wider = self.market.sigma + np.log(model.tail) / 2.3263
        return np.asarray(1e3 * self.market.median_ms * model.slower * slow * np.exp(wider * normal))


def _act(
    model: Model, market: Market, broken: NDArray[np.bool_], look: NDArray[np.float64]
) -> NDArray[np.int64]:
    if model.always is not None:
        return np.full(len(broken), model.always)
    false = market.prevalence * model.coverage * (1 / model.precision - 1) / (1 - market.prevalence)
    block = np.where(broken, model.coverage, false)
    review = block + np.where(broken, 0.25, model.reviewed)
    return np.where(look < block, BLOCK, np.where(look < review, REVIEW, ALLOW))

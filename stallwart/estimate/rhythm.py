"""What is usual at this hour of this day: a reference, tested against a window of later rows.

Both tests take daily and weekly rhythm out by regression on the reference: each feature may have its own
level for each weekday and each six hours of the day. What the regression does not know of is in the variance.
How much rows come in clumps (one seller's batch, one day's mood) is measured on the reference itself, by
blocks of neighbouring rows, and widens the test: a design effect, at least 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, fdtrc, gammaln

Floats = NDArray[np.float64]

DAY_MS = 86_400_000
_BLOCKS = 4  # of a day
_RIDGE = 2.0  # rows of doubt about each weekday and block: a reference without Sundays knows nothing of them
_WINSOR = 4.0  # robust deviations; further out lies what would make a mean of means no normal number
_FEWEST_BLOCKS = 4


def regressors(at_ms: NDArray[np.int64]) -> Floats:
    """(n, 11) an intercept, 7 weekdays and 3 of the 4 blocks of a day, from milliseconds since 1970."""
    days = at_ms // DAY_MS
    weekday = (days + 3) % 7  # 1970 began on a Thursday
    block = (at_ms % DAY_MS) * _BLOCKS // DAY_MS
    columns = [np.ones(len(at_ms))]
    columns += [(weekday == day) - 1 / 7 for day in range(7)]
    columns += [(block == part) - 1 / _BLOCKS for part in range(1, _BLOCKS)]
    return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Moved:
    """What one test of a window said.

    Attributes:
        p: that chance alone moves this far, in (0, 1].
        expected: (d,) means that the reference leads to expect at these hours.
        seen: (d,) means in the window.
        z: (d,) by how many of its standard errors each moved.
        pull: (w,) how much each row of the window pulls in the direction in which the mean moved.
        rows: w.
    """

    p: float
    expected: Floats
    seen: Floats
    z: Floats
    pull: Floats
    rows: int


class Usual:
    """A reference of n rows with d features.

    Args:
        features: (n, d) float; rows in the order of time.
        at_ms: (n,) milliseconds since 1970.
        indicators: features are 0 or 1, and none is pulled in where it is rare.

    Raises:
        ValueError: fewer rows than twice the features, or fewer than 50.
    """

    def __init__(self, features: Floats, at_ms: NDArray[np.int64], *, indicators: bool = False) -> None:
        n, d = features.shape
        if n < max(50, 2 * d + 22):
            raise ValueError(f"{n} rows are too few for a reference of {d} features")
        self._low, self._high = (np.zeros(d), np.ones(d)) if indicators else _fences(features)
        x, z = self._clipped(features), regressors(at_ms)
        gram = z.T @ z
        gram[np.arange(1, z.shape[1]), np.arange(1, z.shape[1])] += _RIDGE * _BLOCKS
        self._inverse = np.linalg.inv(gram)
        self._fit = self._inverse @ z.T @ x  # (11, d)
        self._residuals = x - z @ self._fit
        self._z = z
        self.rows, self.features = n, d
        scatter = self._residuals.T @ self._residuals / (n - 11)
        # A feature that never varied in the reference must not be infinitely sure of itself
        self._cov = scatter + np.diag(np.maximum(1e-9, 0.5 / n * np.maximum(np.diag(scatter), 1e-6)))
        self._solve = np.linalg.inv(self._cov)

    def test(self, features: Floats, at_ms: NDArray[np.int64]) -> Moved:
        """Hotelling's T2 of the window's mean against what is usual at its hours.

        Args:
            features: (w, d).
            at_ms: (w,).
        """
        w, d = features.shape
        x, z = self._clipped(features), regressors(at_ms)
        expected = self.expected(z)
        gap = x.mean(axis=0) - expected
        spread = 1 / w + self.doubt(z)
        statistic = float(gap @ self._solve @ gap) / spread / self.clumping(w)
        freedom = self.rows - 11 - d + 1
        p = float(fdtrc(d, freedom, statistic * freedom / ((self.rows - 11) * d)))
        errors = np.sqrt(np.diag(self._cov) * spread * self.clumping(w))
        pull = (x - z @ self._fit) @ (self._solve @ gap)
        return Moved(max(p, 1e-300), expected, x.mean(axis=0), gap / errors, pull, w)

    def expected(self, z: Floats) -> Floats:
        """(d,) means that are usual for a window with these regressors."""
        return np.asarray(z.mean(axis=0) @ self._fit)

    def doubt(self, z: Floats) -> float:
        """Variance of what is expected of a window with these regressors, in variances of one row."""
        mean = z.mean(axis=0)
        return float(mean @ self._inverse @ mean)

    def clumping(self, rows: int) -> float:
        """Design effect of a mean over so many neighbouring rows, >= 1, as the reference shows it."""
        size = min(rows, self.rows // _FEWEST_BLOCKS)
        fitting = [one for one in self._effects if one[0] <= size] or self._effects[:1]
        return max(effect for _, effect in fitting)

    @cached_property
    def _effects(self) -> list[tuple[int, float]]:
        """(rows of a block, design effect), for ever longer blocks."""
        effects, size = [], 25
        while size <= self.rows // _FEWEST_BLOCKS:
            effects.append((size, self._effect(size)))
            size *= 2
        return effects or [(25, 1.0)]

    def _effect(self, size: int) -> float:
        count = self.rows // size
        ratios = []
        for number in range(count):
            block = slice(number * size, (number + 1) * size)
            gap = self._residuals[block].mean(axis=0)
            spread = 1 / size - self.doubt(self._z[block])
            ratios.append(float(gap @ self._solve @ gap) / max(spread, 0.2 / size) / self.features)
        # Some blocks of an even reference look clumped too; what they say beyond chance counts
        noise = np.sqrt(2 / (self.features * count))
        mean = float(np.mean(ratios))
        return mean if mean > 1 + noise else 1.0

    def _clipped(self, features: Floats) -> Floats:
        return np.clip(features, self._low, self._high)


def _fences(features: Floats) -> tuple[Floats, Floats]:
    middle = np.median(features, axis=0)
    spread = np.maximum(
        1.4826 * np.median(np.abs(features - middle), axis=0), features.std(axis=0) / 2 + 1e-12
    )
    return middle - _WINSOR * spread, middle + _WINSOR * spread


@dataclass(frozen=True, slots=True)
class Turned:
    """What one test of a window's categories said.

    Attributes:
        p: of the category that moved most, times the number of categories, in (0, 1].
        name: that category.
        expected: its share by the reference at these hours.
        seen: its share in the window.
        rows: of the window.
    """

    p: float
    name: str
    expected: float
    seen: float
    rows: int


class UsualShares:
    """A reference of n rows, each in one category.

    Args:
        names: (n,) str; rows in the order of time.
        at_ms: (n,) milliseconds since 1970.
        fewest: rows that a category needs; smaller ones are one, `other`, with all that were never seen.

    Raises:
        ValueError: fewer than 50 rows.
    """

    def __init__(self, names: NDArray[np.str_], at_ms: NDArray[np.int64], fewest: int = 5) -> None:
        found, counts = np.unique(names, return_counts=True)
        self.names: tuple[str, ...] = (*(str(one) for one in found[counts >= fewest]), "other")
        flags = self._flags(names)
        self._usual = [Usual(flags[:, [place]], at_ms, indicators=True) for place in range(len(self.names))]

    def _flags(self, names: NDArray[np.str_]) -> Floats:
        known = [names == name for name in self.names[:-1]]
        other = ~np.any(known, axis=0) if known else np.ones(len(names), dtype=bool)
        return np.stack([*known, other], axis=1).astype(np.float64)

    def belongs(self, names: NDArray[np.str_], name: str) -> NDArray[np.bool_]:
        """(w,) whether a row is in a category, `other` being one."""
        return np.asarray(self._flags(names)[:, self.names.index(name)] > 0)

    def test(self, names: NDArray[np.str_], at_ms: NDArray[np.int64]) -> Turned:
        """Each category's count against what is usual at these hours: beta-binomial tails, two-sided.

        The beta holds what the reference leaves open about the share, with half a row of doubt on each side.
        """
        flags, z, w = self._flags(names), regressors(at_ms), len(names)
        told = [self._tail(place, flags[:, place], z, w) for place in range(len(self.names))]
        seen = flags.mean(axis=0)
        # Where one category takes the place of another, both say the same: what came is named, not what went
        best = min(
            range(len(told)), key=lambda one: (round(np.log(told[one][0]), 6), seen[one] <= told[one][1])
        )
        p, expected = told[best]
        return Turned(min(1.0, p * len(told)), self.names[best], expected, float(seen[best]), w)

    def _tail(self, place: int, flags: Floats, z: Floats, w: int) -> tuple[float, float]:
        usual = self._usual[place]
        expected = float(np.clip(usual.expected(z)[0], 0.5 / usual.rows, 1 - 0.5 / usual.rows))
        weight = 1 / max(usual.doubt(z), 1e-9)
        effect = usual.clumping(w)
        count, rows = float(flags.sum()) / effect, max(1, round(w / effect))
        law = _beta_binomial(rows, expected * weight + 0.5, (1 - expected) * weight + 0.5)
        # Rounded so that neither tail is called smaller than it is
        up, down = (
            float(law[int(np.floor(count + 1e-9)) :].sum()),
            float(law[: int(np.ceil(count - 1e-9)) + 1].sum()),
        )
        return max(1e-300, min(1.0, 2 * min(up, down))), expected


def _beta_binomial(rows: int, a: float, b: float) -> Floats:
    """(rows + 1,) probability of each count."""
    k = np.arange(rows + 1)
    chosen = gammaln(rows + 1) - gammaln(k + 1) - gammaln(rows - k + 1)
    return np.asarray(np.exp(chosen + betaln(k + a, rows - k + b) - betaln(a, b)))

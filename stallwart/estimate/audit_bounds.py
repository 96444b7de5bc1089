"""Bounds of what strata add up to, by inverting an exact test: prevalence, precision and recall alike.

A hypothesis about each of the three is linear in the violations of each stratum, sum of a[h] * K[h] = b,
where a[h] is 1 for a prevalence, whether it was called for a precision, and that minus the recall for a
recall. Its test statistic is sum of a[h] * (N[h] / n[h]) * x[h], whose mean is b whatever the strata hold.
Its distribution is that of a sum of independent hypergeometric counts, computed by FFT on a fine lattice,
with what the hypothesis leaves open at its likeliest values under it (test inversion with estimated
nuisance parameters, as in Chuang and Lai 2000, Statistica Sinica 10, without their simulation). A stratum
where nothing was found is there given the violations that could best hide in it: finding none is never
proof of none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, gammaln, logit, ndtri

Floats = NDArray[np.float64]

_LATTICE = 4_096  # points: the heaviest verdict is worth about a hundred of them
_END = 1e-9  # how near to 0 and 1 a share is looked for
_NEAR = 4e-3  # of a bound's log odds


@dataclass(frozen=True)
class Counts:
    """What was found in the c strata in which anything was judged.

    Attributes:
        population: (c,) float64 listings N, whole numbers.
        judged: (c,) float64 verdicts n that say yes or no, in [1, N].
        violating: (c,) float64 of them x that say yes.
    """

    population: Floats
    judged: Floats
    violating: Floats

    @property
    def weights(self) -> Floats:
        """(c,) listings that one verdict stands for, >= 1."""
        return self.population / self.judged


Hypothesis = Callable[[float], tuple[Floats, float]]
"""From a value of the figure to (c,) a and b with sum of a * K = b; the statistic grows with the figure."""


def bound(
    counts: Counts, hypothesis: Hypothesis, start: float, end: float, tail: float, *, upper: bool
) -> float:
    """The value of a figure, in [0, 1], from which on the test says with error `tail` that it lies beyond.

    Args:
        counts: of c >= 1 strata.
        hypothesis: what a value of the figure means.
        start: a value that the test does not refuse, in [0, 1].
        end: the farthest value that what was seen leaves possible.
        tail: error of this side, in (0, 0.5).
        upper: the upper bound instead of the lower one.
    """

    @cache
    def evidence(at: float) -> float:
        """How many standard deviations there are to go: nearly linear in log odds."""
        a, b = hypothesis(float(expit(at)))
        return float(ndtri(min(max(_tail(counts, a, b, upper=upper), 1e-12), 1 - 1e-12))) - limit

    limit = float(ndtri(tail))
    inner, outer = (float(logit(min(max(value, _END), 1 - _END))) for value in (start, end))
    outwards = 1 if upper else -1
    if (outer - inner) * outwards <= 0 or evidence(outer) >= 0:
        return end
    if evidence(inner) <= 0:
        found = inner
    else:
        step = 0.5
        while (outer - inner) * outwards > step and evidence(inner + outwards * step) > 0:
            inner, step = inner + outwards * step, 2 * step
        far = inner + outwards * step if (outer - inner) * outwards > step else outer
        found = brentq(evidence, inner, far, xtol=_NEAR, rtol=1e-6)
    # Outwards: of few listings the truth can lie on the very bound
    found = float(expit(found + outwards * _NEAR))
    return min(found, end) if upper else max(found, end)


def _tail(counts: Counts, a: Floats, b: float, *, upper: bool) -> float:
    """Probability, in the likeliest strata with sum of a * K = b, of what was seen or lies further."""
    held = _likeliest(counts, a, b)
    if held is None:
        return 0.0
    return _distribution(counts, a, held, upper=upper)


def _likeliest(counts: Counts, a: Floats, b: float) -> Floats | None:
    """(c,) violations of each stratum, in listings, likeliest with sum of a * K = b; None where none can be.

    Binomial likelihood with the finite population's variance; one Lagrange multiplier, found by bisection,
    leaves a quadratic equation in each stratum.
    """
    N, n, x = counts.population, counts.judged, counts.violating
    least, most = x, N - (n - x)
    slack = 1e-9 * N.sum()
    if (
        not (a * np.where(a > 0, least, most)).sum() - slack
        <= b
        <= (a * np.where(a > 0, most, least)).sum() + slack
    ):
        return None
    scale = a * N * (N - n) / np.maximum(N - 1, 1)  # 0 in a census, where nothing is left open
    rows = list(zip(*(one.tolist() for one in (a, N, n, x, scale, least, most)), strict=True))

    # Plain numbers: strata are few, and arrays take ten times as long
    def excess(multiplier: float) -> float:
        return float(sum(row[0] * _held(multiplier, *row[1:]) for row in rows)) - b

    def held(multiplier: float) -> Floats:
        return np.array([_held(multiplier, *row[1:]) for row in rows])

    at_zero = excess(0.0)
    if abs(at_zero) < 1e-12:
        return held(0.0)
    step = float(np.copysign(1 / max(float(counts.weights.max()), 1.0), at_zero))
    far, tries = step, 0
    while excess(far) * at_zero > 0 and tries < 60:
        far, tries = far * 4, tries + 1
    if tries == 60:  # b lies at the end of what can be
        return held(far)
    near = 0.0 if far == step else far / 4
    return held(float(brentq(excess, near, far, xtol=1e-14, rtol=1e-7)))


def _held(
    multiplier: float, population: float, n: float, x: float, scale: float, least: float, most: float
) -> float:
    """Violations at rate r with x / r - (n - x) / (1 - r) = g, a root of g r^2 - (n + g) r + x."""
    g = multiplier * scale
    along = n + g
    root = sqrt(max(along * along - 4 * g * x, 0.0))
    rate = 2 * x / (along + root) if along > 0 else (along - root) / (2 * g)
    return min(max(population * rate, least), most)


def _distribution(counts: Counts, a: Floats, held: Floats, *, upper: bool) -> float:
    """Tail of the statistic where stratum h holds held[h] violations; downwards for an upper bound."""
    N, n, x = counts.population, counts.judged, counts.violating
    rate = held / N
    variance = n * rate * (1 - rate) * (N - n) / np.maximum(N - 1, 1)
    weight = a * counts.weights
    moving = (variance > 0) & (weight != 0)
    shift = float((weight * (x - n * rate))[~moving].sum())  # 0 but for rounding: nothing can vary there
    weight, rate, variance = weight[moving], rate[moving], variance[moving]
    if not len(weight):
        return 1.0 if (shift <= 1e-9 if upper else shift >= -1e-9) else 0.0
    N, n, x, held = N[moving], n[moving], x[moving], held[moving]
    reach = 12 * np.sqrt((weight**2 * variance).sum()) + 6 * np.abs(weight).max()
    units = np.rint(weight * (_LATTICE / reach)).astype(np.int64)
    mean = int(np.rint((units * n * rate).sum()))
    seen = int((units * x).sum()) - mean + _LATTICE // 2
    if not 0 <= seen < _LATTICE:
        return 1.0 if (seen >= _LATTICE) == upper else 0.0
    mass = np.roll(_sum_of(N, n, held, units), _LATTICE // 2 - mean)
    return float(np.clip(mass[: seen + 1].sum() if upper else mass[seen:].sum(), 0, 1))


def _sum_of(N: Floats, n: Floats, held: Floats, units: NDArray[np.int64]) -> Floats:  # noqa: N803
    """(_LATTICE,) probabilities of the sum of units * hypergeometric counts, modulo the lattice."""
    mean = n * held / N
    around = 9 * np.sqrt(mean * (1 - held / N)) + 12  # beyond it lies less than one in a thousand million
    first = np.maximum(np.floor(mean - around), 0).astype(np.int64)
    sizes = np.minimum(np.ceil(mean + around), n).astype(np.int64) - first + 1
    stratum = np.repeat(np.arange(len(n)), sizes)
    k = np.arange(len(stratum)) - np.repeat(np.cumsum(sizes) - sizes - first, sizes)
    below = np.floor(held)
    part = (held - below)[stratum]
    chance = (1 - part) * _chance(N, n, below, stratum, k)
    between = part > 0
    chance[between] += part[between] * _chance(N, n, below + 1, stratum[between], k[between])
    lattice = np.zeros((len(n), _LATTICE))
    np.add.at(lattice, (stratum, (units[stratum] * k) % _LATTICE), chance)
    return np.asarray(np.fft.irfft(np.fft.rfft(lattice, axis=1).prod(axis=0), _LATTICE))


def _chance(
    N: Floats,  # noqa: N803
    n: Floats,
    held: Floats,
    stratum: NDArray[np.int64],
    k: NDArray[np.int64],
) -> Floats:
    """Hypergeometric probability of k among n[stratum] drawn of N where held violate."""
    fixed = _log_choose(N, n)[stratum]
    N, n, held = N[stratum], n[stratum], held[stratum]
    possible = (k <= held) & (n - k <= N - held)
    log = np.full(len(k), -np.inf)
    w = possible
    log[w] = _log_choose(held[w], k[w]) + _log_choose(N[w] - held[w], n[w] - k[w]) - fixed[w]
    return np.asarray(np.exp(log))


def _log_choose(total: Floats, part: Floats | NDArray[np.int64]) -> Floats:
    return np.asarray(gammaln(total + 1) - gammaln(part + 1) - gammaln(total - part + 1))

"""Confidence sequences: statements that hold at all times at once, so that anyone may look at any time.

Shares against a plan, quantiles from a histogram, and means by their running sums. Numbers in, numbers out.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

Floats = NDArray[np.float64]

_WEIGHT = (
    1_000.0  # prior units on the planned split: finds a tenth fewer soon and a hundredth fewer in the end
)
_QUANTILE_WEIGHT = 200.0


def split_evidence(challenger: ArrayLike, champion: ArrayLike, share: ArrayLike) -> Floats:
    """Log evidence that units are not split as planned (sample-ratio mismatch), in either direction.

    Beta-binomial mixture around the planned share against it, multiplied over steps: Lindon and Malek (2022),
    "Anytime-valid inference for multinomial count data", NeurIPS.

    Args:
        challenger: (..., c) units by step, each counted once.
        champion: (..., c) units by step.
        share: (c,) planned, in [0, 1]; a step at 0 or 1 is left out.

    Returns:
        (...) float64, 0 without units.

    Raises:
        ValueError: the shapes do not fit.
    """
    s = np.asarray(share, dtype=np.float64)
    x, y = np.asarray(challenger, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    if x.shape != y.shape or s.ndim != 1 or x.shape[-1:] != s.shape:
        raise ValueError(f"needs counts (..., c) and shares (c,); got {x.shape}, {y.shape} and {s.shape}")
    live = (s > 0) & (s < 1)
    return np.asarray(_bernoulli(x[..., live], y[..., live], s[live], _WEIGHT).sum(axis=-1))


def quantile_interval(
    counts: ArrayLike, edges: ArrayLike, quantile: float, alpha: float = 0.05
) -> tuple[float, float]:
    """Where a quantile lies at all times at once with probability 1 - alpha, from a histogram.

    At each edge the share of values up to it is tested against the quantile (Howard and Ramdas 2022,
    Bernoulli 28, with a beta-binomial mixture). Those shares grow with the edge, so the tests beside the true
    quantile are the only ones that can err, and no correction over edges is needed.

    Args:
        counts: (b,) values in each bucket (edges[i - 1], edges[i]]; the first reaches down to 0.
        edges: (b,) increasing upper edges; the last may be inf.
        quantile: in (0, 1).
        alpha: in (0, 1).

    Returns:
        lower and upper, each an edge, in the edges' unit; (0, inf) without values.

    Raises:
        ValueError: the shapes do not fit, or the quantile is not in (0, 1).
    """
    n, upper_edges = np.asarray(counts, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if n.shape != upper_edges.shape or n.ndim != 1 or not 0 < quantile < 1:
        raise ValueError(
            f"needs counts (b,), edges (b,) and a quantile in (0, 1);"
            f" got {n.shape}, {upper_edges.shape} and {quantile}"
        )
    below = np.cumsum(n)
    total = float(n.sum())
    evidence = _bernoulli(below, total - below, np.array(quantile), _QUANTILE_WEIGHT)
    shown = evidence >= np.log(2 / alpha)
    too_low = shown & (below < quantile * total)
    too_high = shown & (below > quantile * total)
    lower = float(upper_edges[too_low].max()) if too_low.any() else 0.0
    return lower, float(upper_edges[too_high].min()) if too_high.any() else float("inf")


def sharpest_at(rows: float, alpha: float) -> float:
    """The tuning `rho2` under which `mean_radius` is narrowest after so many rows (same paper, B.2)."""
    return float((-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / rows)


def mean_radius(rows: ArrayLike, alpha: float, rho2: float) -> Floats:
    """How many standard errors a mean's one-sided bound lies away from its estimate, at all times at once.

    Asymptotic confidence sequence: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Annals of
    Statistics 52, "Time-uniform central limit theory and asymptotic confidence sequences", one-sided
    (proposition B.1). It holds in the limit of many rows, so a caller asks for a smallest number first. Two
    sides take alpha / 2 each.

    Args:
        rows: (...) how many independent rows the mean is over.
        alpha: in (0, 1), of one side.
        rho2: > 0, from `sharpest_at`, the same at all times.

    Returns:
        (...) float64, inf without rows.
    """
    t = np.asarray(rows, dtype=np.float64) * rho2
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = np.sqrt(2 * (t + 1) / t * np.log1p(np.sqrt(t + 1) / (2 * alpha)))
    return np.asarray(np.where(t > 0, radius, np.inf))


def mean_evidence(z: ArrayLike, rows: ArrayLike, rho2: float) -> Floats:
    """Log evidence that a mean is above 0: log of 1 / alpha at which `mean_radius` is just reached.

    Args:
        z: (...) the mean's estimate over its standard error.
        rows: (...) as in `mean_radius`.
        rho2: as in `mean_radius`.

    Returns:
        (...) float64, at least 0: where the estimate is not above 0, there is none.
    """
    t, positive = np.asarray(rows, dtype=np.float64) * rho2, np.maximum(np.asarray(z, dtype=np.float64), 0)
    grown = positive**2 * t / (2 * (t + 1))
    with np.errstate(divide="ignore"):
        log = grown + np.log(-np.expm1(-grown)) + np.log(2) - np.log(t + 1) / 2
    return np.asarray(np.maximum(log, 0))


def _bernoulli(x: Floats, y: Floats, share: Floats, weight: float) -> Floats:
    """(...) log Bayes factor of a beta prior around the share against the share itself."""
    a, b = weight * share, weight * (1 - share)
    return np.asarray(betaln(a + x, b + y) - betaln(a, b) - x * np.log(share) - y * np.log1p(-share))

"""Percentile intervals by resampling whole clusters (near-duplicate groups), strata kept.

A replicate is one (n,) vector of int64 row weights: how often each row's cluster was drawn. A figure is a
function from (b, n) weights to (b,) or (b, f) figures (see `weighted`), so rows are never copied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import DataError

Figure = Callable[[NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Resampled:
    """A figure (or f figures) with its interval.

    Attributes:
        value: () or (f,) on the rows as they are; nan where undefined.
        lower: () or (f,) lower percentile over the replicates that define the figure; nan if none does.
        upper: () or (f,) upper percentile.
        undefined: () or (f,) int64, replicates that left the figure undefined.
        replicates: how many were drawn.
    """

    value: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    undefined: NDArray[np.int64]
    replicates: int


def cluster_weights(
    groups: NDArray[np.int64],
    strata: NDArray[np.int64],
    replicates: int,
    seed: int,
    batch: int = 64,
) -> Iterator[NDArray[np.int64]]:
    """Batches of (b, n) int64 row weights: as many clusters of each stratum as it has, with replacement.

    A cluster belongs to the stratum of its first row, and all its rows get its weight. Within a stratum the
    draws are multinomial, so a policy with three groups has three in every replicate. The same seed gives the
    same weights whatever the batch.

    Args:
        groups: (n,) int64.
        strata: (n,) int64, the label columns as a rule.
        replicates: how many weight vectors in all, >= 1.
        seed: of numpy's default generator.
        batch: weight vectors at a time; memory is batch * n * 8 bytes.

    Raises:
        ValueError: groups and strata differ in length, or replicates or batch is not above 0.
    """
    if groups.shape != strata.shape or min(replicates, batch) < 1:
        raise ValueError(
            f"needs groups and strata of one length, replicates and batch >= 1; "
            f"got {groups.shape}, {strata.shape}, {replicates}, {batch}"
        )
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    of_cluster = strata[first]
    members = [np.flatnonzero(of_cluster == stratum) for stratum in np.unique(of_cluster)]
    generator = np.random.default_rng(seed)
    for start in range(0, replicates, batch):
        size = min(batch, replicates - start)
        counts = np.zeros((size, len(first)), dtype=np.int64)
        for row in range(size):
            for clusters in members:
                drawn = generator.integers(0, len(clusters), len(clusters))
                counts[row, clusters] = np.bincount(drawn, minlength=len(clusters))
        yield counts[:, inverse]


def bootstrap(
    figure: Figure,
    groups: NDArray[np.int64],
    strata: NDArray[np.int64],
    *,
    seed: int,
    replicates: int = 1000,
    confidence: float = 0.95,
    batch: int = 64,
) -> Resampled:
    """A figure with its percentile interval.

    Efron and Tibshirani (1993), chapter 13; whole clusters as in Field and Welsh (2007), JRSS B 69.

    Args:
        figure: from (b, n) int64 weights to (b,) or (b, f) float64; nan where a replicate leaves it
            undefined. Multiply the weights by `live_weights` inside it for figures at the live shares.
        groups: (n,) int64, rows that are drawn together.
        strata: (n,) int64, kept at their number of clusters.
        seed: explicit; the same seed gives the same interval.
        replicates: how many.
        confidence: in (0, 1); two-sided.
        batch: replicates at a time.

    Raises:
        DataError: there are no rows.
        ValueError: a size is wrong (see `cluster_weights`), or confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    if not len(groups):
        raise DataError("no rows to resample; check the slice or the filter that chose them")
    value = figure(np.ones((1, len(groups)), dtype=np.int64))[0]
    drawn = [figure(weights) for weights in cluster_weights(groups, strata, replicates, seed, batch)]
    return _percentiles(np.asarray(value, np.float64), np.concatenate(drawn), confidence)


def paired_bootstrap(
    first: Figure,
    second: Figure,
    groups: NDArray[np.int64],
    strata: NDArray[np.int64],
    *,
    seed: int,
    replicates: int = 1000,
    confidence: float = 0.95,
    batch: int = 64,
) -> Resampled:
    """The difference second - first of two models' figures on the same rows, drawn together.

    Arguments and errors as in `bootstrap`; a replicate is undefined where either figure is.
    """
    return bootstrap(
        lambda weights: second(weights) - first(weights),
        groups,
        strata,
        seed=seed,
        replicates=replicates,
        confidence=confidence,
        batch=batch,
    )


def _percentiles(value: NDArray[np.float64], drawn: NDArray[np.float64], confidence: float) -> Resampled:
    undefined = np.isnan(drawn).sum(axis=0)
    # sorting puts nan last; each column's percentile is taken among those that are defined
    ordered = np.sort(drawn, axis=0)
    bounds = []
    for level in ((1 - confidence) / 2, (1 + confidence) / 2):
        place = np.maximum(len(drawn) - undefined - 1, 0) * level
        low = np.floor(place).astype(np.int64)
        high = np.ceil(place).astype(np.int64)
        at = [np.take_along_axis(ordered, index[None], axis=0)[0] for index in (low, high)]
        bounds.append(at[0] + (at[1] - at[0]) * (place - low))
    return Resampled(value, bounds[0], bounds[1], np.asarray(undefined, np.int64), len(drawn))

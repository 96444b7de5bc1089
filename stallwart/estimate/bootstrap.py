"""Bootstrap replicates that redraw whole clusters (near-duplicate groups), strata kept.

A replicate is one (n,) vector of int64 row weights: how often each row's cluster was drawn, so rows are never
copied. Efron and Tibshirani (1993); whole clusters as in Field and Welsh (2007), JRSS B 69.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


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

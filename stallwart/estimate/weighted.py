"""Weights under which labelled rows stand for live traffic."""

import numpy as np
from numpy.typing import NDArray


def live_weights(labels: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) float64 weights, mean 1, that give each label its live share.

    A label with a share but without rows cannot be represented; the others then keep their ratio to each
    other.

    Args:
        labels: (n,) int64 column in `Taxonomy.labels`.
        shares: (k + 1,) live share of each label, summing to 1.

    Raises:
        ValueError: a label has no share.
    """
    if len(labels) and labels.max() >= len(shares):
        raise ValueError(f"labels go up to {labels.max()}, but there are {len(shares)} shares")
    if not len(labels):
        return np.zeros(0)
    counts = np.bincount(labels, minlength=len(shares))
    weights = np.asarray((shares / np.maximum(counts, 1))[labels], dtype=np.float64)
    total = weights.sum()
    return weights * (len(labels) / total) if total > 0 else weights

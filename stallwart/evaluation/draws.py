"""The rows as they are and as the bootstrap redraws them, as weights: one column for each replicate.

Drawn once for a report, so that all figures, slices and differences in it rest on the same replicates.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stallwart.core.scored import Scored
from stallwart.estimate.bootstrap import cluster_weights
from stallwart.evaluation.ranking import Weights


@dataclass(frozen=True)
class Draws:
    """How often each row occurs in each replicate; groups of near duplicates come and go together.

    Attributes:
        counts: (n, 1 + replicates) float64; the first column is 1 throughout, the rows as they are.
        labels: (n,) int64 label columns.
        groups: (n,) int64, near duplicates share a number.
        shares: (k + 1,) float64 live share of each label.
    """

    counts: Weights
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    shares: NDArray[np.float64]

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Draws":
        """The same replicates of some of the rows."""
        return Draws(self.counts[which], self.labels[which], self.groups[which], self.shares)

    @cached_property
    def weights(self) -> tuple[Weights, Weights]:
        """Weights of the rows as measured, and under which each label has its live share in every replicate.

        (n, 1 + replicates) each. The live ones sum to the rows that there are; labels without a row leave
        their share to the others.
        """
        totals = np.zeros((len(self.shares), self.counts.shape[1]))
        for label in np.unique(self.labels):
            totals[label] = self.counts[self.labels == label].sum(axis=0)
        present = np.where(totals > 0, self.shares[:, None], 0.0)
        share = present / np.maximum(present.sum(axis=0), 1e-300) * len(self.labels)
        factor = np.divide(share, totals, out=np.zeros_like(totals), where=totals > 0)
        return self.counts, self.counts * factor[self.labels]


def draw(scored: Scored, replicates: int = 1_000, seed: int = 0) -> Draws:
    """Replicates of the rows by whole groups, each label keeping its number of groups."""
    _, group = np.unique(scored.rows.groups, return_inverse=True)
    counts = np.ones((len(group), 1 + replicates))
    column = 1
    for batch in cluster_weights(group, scored.rows.labels, replicates, seed):
        counts[:, column : column + len(batch)] = batch.T
        column += len(batch)
    shares = np.array(list(scored.taxonomy.shares.values()))
    return Draws(counts, scored.rows.labels, group, shares)

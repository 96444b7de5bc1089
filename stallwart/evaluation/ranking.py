"""What an order of rows is worth under many sets of weights at once.

Scores and weights in, arrays of one value for each set of weights out. Rows with the same score are one
step of the curve, whatever their order.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Weights = NDArray[np.float64]
"""(n, r) weight of every row in r sets; the first set is the rows as they are, the others are replicates."""


class Ranking:
    """n rows by falling score; built once, then asked for any number of weights.

    Only the ends of runs of equal scores that hold a positive can matter to average precision and to the best
    recall at a precision, so the rows between two of them are summed by one sparse product.
    """

    def __init__(self, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.positive = positive[self.order]
        ordered = scores[self.order]
        run = np.concatenate(([0], np.cumsum(np.diff(ordered) != 0)))[
            : len(scores)
        ]  # (n,) run of equal scores
        runs_with_positive = np.unique(run[self.positive])
        step = np.searchsorted(runs_with_positive, run)  # (n,) the first such run that is not above the row
        steps, n = len(runs_with_positive), len(scores)
        kept = step < steps
        self._all = _sums(step[kept], self.order[kept], steps, n)
        self._hits = _sums(step[self.positive], self.order[self.positive], steps, n)

    def curve(self, weights: Weights) -> tuple[Weights, Weights]:
        """Precision and recall at each step, each (steps, r); NaN where no weight lies above."""
        with np.errstate(invalid="ignore", divide="ignore"):
            hits = np.cumsum(self._hits @ weights, axis=0)
            precision = hits / np.cumsum(self._all @ weights, axis=0)
            return precision, hits / hits[-1:]

    def average_precision(self, weights: Weights) -> NDArray[np.float64]:
        """(r,) area under precision over recall, by steps; NaN without positives."""
        return area(*self.curve(weights))

    def precision_in_first(self, weights: Weights, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """(r,) share of positives in the first `k` (r,) of weight; of all rows where there are fewer.

        A run of equal scores counts in the order of its rows: whoever reads the first k reads some order too.
        """
        # Twice the rows that hold k in the first set: no replicate of hundreds of rows needs more.
        cumulative = np.cumsum(weights[self.order, 0])
        top = self.order[: 2 * int(np.searchsorted(cumulative, k.max() * 1.5)) + 50]
        taken = weights[top]
        below = np.cumsum(taken, axis=0)
        taken = np.clip(k - (below - taken), 0.0, taken)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(taken[self.positive[: len(top)]].sum(axis=0) / taken.sum(axis=0))


def area(precision: Weights, recall: Weights) -> NDArray[np.float64]:
    """(r,) average precision of curves as `Ranking.curve` gives them."""
    if not len(precision):
        return np.full(precision.shape[1], np.nan)
    gains = np.diff(recall, axis=0, prepend=0.0)
    return np.asarray(
        np.where(gains > 0, precision * gains, 0.0).sum(axis=0) + np.where(np.isnan(recall[-1]), np.nan, 0)
    )


def recall_at(precision: Weights, recall: Weights, wanted: float) -> NDArray[np.float64]:
    """(r,) the highest recall at which precision still meets `wanted`; 0 where it never does."""
    if not len(precision):
        return np.full(precision.shape[1], np.nan)
    return np.asarray(np.where(precision >= wanted, recall, 0.0).max(axis=0))


def _sums(step: NDArray[np.int64], rows: NDArray[np.int64], steps: int, n: int) -> "csr_matrix":
    """(steps, n) sparse matrix whose product with weights sums the rows of each step."""
    return csr_matrix((np.ones(len(rows)), (step, rows)), shape=(steps, n))

"""The fast learner of a backtest: kernel ridge regression on what the recipe's members read, growing.

Squared loss instead of cross-entropy, so that old knowledge is factored once (Cholesky) and each batch of new
labels is added to the factor in a fraction of a second, with the very result of fitting all rows anew. The
kernel is linear in text embedding, photo embedding and rare n-grams: what comes out is a linear score that
any listing gets in microseconds. docs/relearn.md says how it compares with the full recipe.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg as dense
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from stallwart.model.features import Features

Places = NDArray[np.int64]
Floats = NDArray[np.float64]

_SCALE = 5.0  # from scores in about [-1, 1] to something like log-odds, for the calibration to begin with
_ROWS = 2048


@dataclass(frozen=True)
class Taught:
    """How the learner weighs.

    Attributes:
        ridge: penalty; a row of weight w may be missed by about ridge / w.
        text, photo, words: what each part adds to the likeness of two listings that agree in it.
        replay: old rows at most that it keeps: all violations of rare policies, a sample of the rest.
        reviewed: weight of a reviewed listing, where an old one weighs 1.
    """

    ridge: float = 0.3
    text: float = 1.0
    photo: float = 0.5
    words: float = 1.0
    replay: int = 3_500
    reviewed: float = 1.0


@dataclass(frozen=True)
class Inputs:
    """n listings as the kernel reads them: parts of length 1, or 0 where missing, scaled by what they weigh.

    Attributes:
        parts: (n, d) float32, text and photo side by side.
        words: (n, width) sparse float32.
    """

    parts: NDArray[np.float32]
    words: csr_matrix

    def __len__(self) -> int:
        return len(self.parts)

    def like(self, these: Places, those: Places) -> Floats:
        """(len(these), len(those)) likeness of listings."""
        near = self.parts[these] @ self.parts[those].T
        near += (self.words[these] @ self.words[those].T).toarray()
        return near.astype(np.float64)


def inputs_of(features: Features, known: NDArray[np.bool_], taught: Taught) -> Inputs:
    """Kernel inputs of all listings; means and rarities are those of the listings in `known` alone.

    Args:
        features: n listings.
        known: (n,) listings that may be looked at from the beginning.
        taught: what each part weighs.
    """
    text = _unit(features.text - features.text[known & features.has_text].mean(axis=0))
    pooled = features.mean_photo()
    there = known & features.has_photo
    photo = _unit(pooled - (pooled[there].mean(axis=0) if there.any() else 0.0))
    text[~features.has_text], photo[~features.has_photo] = 0.0, 0.0
    documents = np.bincount(features.words[known].indices, minlength=features.words.shape[1])
    rarity = np.log((known.sum() + 1) / (documents + 1)) + 1
    words = features.words.multiply(rarity[None]).tocsr()
    lengths = np.sqrt(np.asarray(words.multiply(words).sum(axis=1)).ravel())
    words = diags(np.sqrt(taught.words) / np.maximum(lengths, 1e-9)) @ words
    parts = np.hstack([np.sqrt(taught.text) * text, np.sqrt(taught.photo) * photo])
    return Inputs(parts.astype(np.float32), csr_matrix(words, dtype=np.float32))


def replayed(labels: NDArray[np.int64], usable: Places, most: int, seed: int) -> tuple[Places, Floats]:
    """Old rows that stay in memory, ascending, and how many old rows each stands for.

    Rare labels are kept whole: each label gets an equal part of the room, and what one does not fill goes to
    the others.

    Args:
        labels: (n,) label columns.
        usable: places of the old rows.
        most: room.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    kinds, counts = np.unique(labels[usable], return_counts=True)
    room, taken = most, dict.fromkeys(kinds.tolist(), 0)
    for turn, which in enumerate(np.argsort(counts, kind="stable").tolist()):
        taken[int(kinds[which])] = min(int(counts[which]), room // (len(kinds) - turn))
        room -= taken[int(kinds[which])]
    places, weights = [], []
    for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        if size := taken[kind]:
            mine = usable[labels[usable] == kind]
            places.append(generator.choice(mine, size=size, replace=False))
            weights.append(np.full(size, count / size))
    joined = np.concatenate(places)
    order = np.argsort(joined)
    return joined[order], np.concatenate(weights)[order]


@dataclass(frozen=True)
class Model:
    """Linear scores of all label columns.

    Attributes:
        parts: (d, k + 1) for `Inputs.parts`.
        words: (width, k + 1) for `Inputs.words`.
        bias: (k + 1,).
    """

    parts: Floats
    words: Floats
    bias: Floats

    def scores(self, inputs: Inputs, places: Places) -> Floats:
        """(len(places), k + 1) of every label, column 0 neutral; higher says more of it."""
        if not len(places):
            return np.zeros((0, len(self.bias)))
        pieces = [
            inputs.parts[some] @ self.parts + inputs.words[some] @ self.words
            for some in np.array_split(places, -(-len(places) // _ROWS))
        ]
        return np.asarray(_SCALE * (np.concatenate(pieces) + self.bias), dtype=np.float64)


class Learner:
    """Old rows factored once; `with_labels` gives a learner that also knows new ones.

    Args:
        inputs: of all listings.
        places: (m,) rows to learn from.
        labels: (m,) their label columns.
        weights: (m,) what each counts.
        k: number of policies.
        ridge: see `Taught`.
        bias: (k + 1,) where scores begin; the weighted mean over the rows if None. It stays as it is.
        ahead: rows that it may be given later, whose likeness to the old ones is worked out at once for all
            learners that grow from this one; others cost more when they come.
    """

    def __init__(
        self,
        inputs: Inputs,
        places: Places,
        labels: NDArray[np.int64],
        weights: Floats,
        k: int,
        ridge: float,
        bias: Floats | None = None,
        ahead: Places | None = None,
    ) -> None:
        self._inputs, self._k, self._ridge = inputs, k, ridge
        self._old = places
        near = inputs.like(places, places)
        near[np.diag_indices(len(places))] += ridge / weights
        self._factor = dense.cholesky(near, lower=True, overwrite_a=True, check_finite=False)
        signs = _signs(labels, k)
        self.bias = (weights[:, None] * signs).sum(axis=0) / weights.sum() if bias is None else bias
        self._half = self._solved(signs - self.bias)  # (m, k + 1) first half of the solution
        self._old_parts = inputs.parts[places].T.astype(np.float64)
        self._old_words = csr_matrix(inputs.words[places].T, dtype=np.float64)
        ahead = np.zeros(0, dtype=np.int64) if ahead is None else ahead
        self._column = np.full(len(inputs), -1, dtype=np.int64)
        self._column[ahead] = np.arange(len(ahead))
        self._ahead = self._to_old(ahead)
        self._new = np.zeros(0, dtype=np.int64)
        self._across, self._corner = np.zeros((0, len(places))), np.zeros((0, 0))
        self._new_half = np.zeros((0, k + 1))

    @property
    def places(self) -> Places:
        """Rows that it has learned from, the old ones first."""
        return np.concatenate([self._old, self._new])

    def with_labels(self, places: Places, labels: NDArray[np.int64], weights: Floats) -> "Learner":
        """The learner that has also learned from these rows: exactly as if it had been given all at once."""
        if not len(places):
            return self
        inputs = self._inputs
        columns = self._column[places]
        across = self._ahead[:, columns].T if (columns >= 0).all() else self._to_old(places).T  # (b, m)
        beside = dense.solve_triangular(
            self._corner, (inputs.like(places, self._new) - across @ self._across.T).T,
            lower=True, check_finite=False,
        ).T if len(self._new) else np.zeros((len(places), 0))  # fmt: skip
        own = inputs.like(places, places) - across @ across.T - beside @ beside.T
        own[np.diag_indices(len(places))] += self._ridge / weights
        corner = dense.cholesky(own, lower=True, check_finite=False)
        rest = _signs(labels, self._k) - self.bias - across @ self._half - beside @ self._new_half
        half = dense.solve_triangular(corner, rest, lower=True, check_finite=False)
        other = object.__new__(Learner)
        other.__dict__.update(self.__dict__)
        other._new = np.concatenate([self._new, places])
        other._across = np.vstack([self._across, across])
        other._corner = np.block([[self._corner, np.zeros((len(self._new), len(places)))], [beside, corner]])
        other._new_half = np.vstack([self._new_half, half])
        return other

    def model(self) -> Model:
        """Scores by all that was learned so far."""
        new = np.zeros((0, self._k + 1))
        if len(self._new):
            new = dense.solve_triangular(
                self._corner, self._new_half, lower=True, trans="T", check_finite=False
            )
        old = self._solved(self._half - self._across.T @ new, trans="T")
        return Model(
            parts=self._old_parts @ old + self._inputs.parts[self._new].T.astype(np.float64) @ new,
            words=np.asarray(self._old_words @ old + self._inputs.words[self._new].T @ new),
            bias=self.bias,
        )

    def _to_old(self, places: Places) -> Floats:
        """(m, len(places)) likeness to the old rows, through the first half of their solution."""
        if not len(places):
            return np.zeros((len(self._old), 0))
        return self._solved(self._inputs.like(self._old, places))

    def _solved(self, right: Floats, trans: str = "N") -> Floats:
        return np.asarray(
            dense.solve_triangular(self._factor, right, lower=True, trans=trans, check_finite=False)
        )


def _signs(labels: NDArray[np.int64], k: int) -> Floats:
    signs = np.full((len(labels), k + 1), -1.0)
    signs[np.arange(len(labels)), labels] = 1.0
    return signs


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)

"""The fast learner of a backtest: two logistic regressions on what the recipe's members read, refitted as labels come.

One reads text and photo embeddings side by side, the other words and pairs of words; what counts is the mean of their log-odds. Each
is multinomial, with an L2 penalty, and learns from all rows by L-BFGS. A week's labels move the optimum little: a
refit that begins where the last one ended takes a few steps. docs/relearn.md says how it compares with the full recipe.
"""  # noqa: E501

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags
from scipy.special import log_softmax

from stallwart.encoders.lexical import BUCKETS
from stallwart.model.features import Features

Places = NDArray[np.int64]
Floats = NDArray[np.float64]
Part: TypeAlias = NDArray[np.float32] | csr_matrix

_BUCKETS = 2**14  # of words and pairs of words: an eighth of a bundle's, and no n-grams of characters
_DIRECTIONS = 256  # of photos
_SURE = 1e-12  # a probability this near to 1 counts as no surer


@dataclass(frozen=True)
class Taught:
    """How the learner weighs.

    Attributes:
        text, photo, words: length of each part of a listing that is there, before the penalty on weights: the
            longer, the closer the fit.
        balance: a label of share s counts s ** -balance: 0 leaves labels as they are, 1 makes all equal.
        reviewed: weight of a reviewed listing, where an old one weighs 1.
        steps: of L-BFGS at most, in one refit of one member.
    """

    text: float = 1.0
    photo: float = 1.0
    words: float = 2.0
    balance: float = 1.0
    reviewed: float = 1.0
    steps: int = 100


@dataclass(frozen=True)
class Inputs:
    """n listings as the members read them; a part that is missing is 0.

    Attributes:
        parts: (n, d) float32, text and the photo's main directions side by side.
        words: (n, _BUCKETS) sparse float32.
    """

    parts: NDArray[np.float32]
    words: csr_matrix

    def __len__(self) -> int:
        return len(self.parts)

    def at(self, places: Places) -> tuple[Part, Part]:
        """What each member reads of these listings."""
        return self.parts[places], self.words[places]


def inputs_of(features: Features, known: NDArray[np.bool_], taught: Taught) -> Inputs:
    """Inputs of all listings; means, directions and rarities are those of the listings in `known` alone.

    Args:
        features: n listings.
        known: (n,) listings that may be looked at from the beginning.
        taught: the length of each part.
    """
    text = _unit(features.text - features.text[known & features.has_text].mean(axis=0))
    pooled = features.mean_photo()
    there = known & features.has_photo
    photo = _unit(pooled - (pooled[there].mean(axis=0) if there.any() else 0.0))
    text[~features.has_text], photo[~features.has_photo] = 0.0, 0.0
    photo = photo @ _directions(photo[there])
    words = _folded(features.words)
    documents = np.bincount(words[known].indices, minlength=_BUCKETS)
    words = words.multiply((np.log((known.sum() + 1) / (documents + 1)) + 1)[None]).tocsr()
    lengths = np.sqrt(np.asarray(words.multiply(words).sum(axis=1)).ravel())
    words = diags(taught.words / np.maximum(lengths, 1e-9)) @ words
    parts = np.hstack([taught.text * text, taught.photo * photo])
    return Inputs(parts.astype(np.float32), csr_matrix(words, dtype=np.float32))


@dataclass(frozen=True)
class Model:
    """Scores of all label columns.

    Attributes:
        members: of each member, (d + 1, k + 1) weights, the last row the bias.
    """

    members: tuple[Floats, ...]

    def scores(self, inputs: Inputs, places: Places) -> Floats:
        """(len(places), k + 1) log-odds of every label, column 0 neutral: the mean over members."""
        pairs = zip(inputs.at(places), self.members, strict=True)
        return np.asarray(np.mean([_log_odds(part, weights) for part, weights in pairs], axis=0))


class Learner:
    """Rows with their labels, and the model that learned from them; `with_labels` gives one that knows more.

    Args:
        inputs: of all listings.
        places: (m,) rows to learn from.
        labels: (m,) their label columns.
        weights: (m,) what each counts.
        k: number of policies.
        taught: how it weighs.
        begin: where the fit begins; it ends at the same model, sooner or later.
    """

    def __init__(
        self,
        inputs: Inputs,
        places: Places,
        labels: NDArray[np.int64],
        weights: Floats,
        k: int,
        taught: Taught,
        begin: Model | None = None,
    ) -> None:
        self.places, self._labels, self._weights = places, labels, weights
        self._inputs, self._k, self._taught = inputs, k, taught
        counts = np.bincount(labels, weights, minlength=k + 1)
        balanced = weights * (counts.sum() / counts[labels]) ** taught.balance
        balanced *= weights.sum() / balanced.sum()
        parts = inputs.at(places)
        starts = begin.members if begin else [np.zeros((part.shape[1] + 1, k + 1)) for part in parts]
        self.model = Model(
            tuple(
                fitted(part, labels, balanced, start, taught.steps)
                for part, start in zip(parts, starts, strict=True)
            )
        )

    def with_labels(self, places: Places, labels: NDArray[np.int64], weights: Floats) -> "Learner":
        """The learner that has also learned from these rows; this one stays as it is."""
        return Learner(
            self._inputs,
            np.concatenate([self.places, places]),
            np.concatenate([self._labels, labels]),
            np.concatenate([self._weights, weights]),
            self._k,
            self._taught,
            begin=self.model,
        )


def fitted(part: Part, labels: NDArray[np.int64], weights: Floats, start: Floats, steps: int) -> Floats:
    """Weights of a multinomial logistic regression with an L2 penalty of 1/2 on all but the bias.

    Args:
        part: (m, d) rows.
        labels: (m,) label columns.
        weights: (m,) what each row counts.
        start: (d + 1, k + 1) weights where L-BFGS begins.
        steps: of L-BFGS at most.
    """
    across = part.T.tocsr() if isinstance(part, csr_matrix) else part.T
    rows, counted = np.arange(len(labels)), weights.astype(np.float32)

    def loss(flat: Floats) -> tuple[float, Floats]:
        beta = flat.reshape(start.shape)
        said = log_softmax(part @ beta[:-1].astype(np.float32) + beta[-1].astype(np.float32), axis=1)
        error = np.exp(said)
        error[rows, labels] -= 1
        error *= counted[:, None]
        gradient = np.vstack([across @ error, error.sum(axis=0)]).astype(np.float64)
        gradient[:-1] += beta[:-1]
        value = 0.5 * float((beta[:-1] ** 2).sum()) - float(said[rows, labels] @ weights)
        return value / len(rows), gradient.ravel() / len(rows)

    options = {"maxiter": steps, "ftol": 1e-6, "gtol": 1e-6}
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x.reshape(start.shape), dtype=np.float64)


def _log_odds(part: Part, weights: Floats) -> Floats:
    """(n, k + 1) log(p / (1 - p)) of each label."""
    said = log_softmax(np.asarray(part @ weights[:-1]) + weights[-1], axis=1)
    return np.asarray(said - np.log(np.maximum(-np.expm1(said), _SURE)), dtype=np.float64)


def _folded(words: csr_matrix) -> csr_matrix:
    """(n, _BUCKETS) ones where any word or pair that falls into this bucket occurs."""
    words = words[:, :BUCKETS]
    indices = words.indices % _BUCKETS
    folded = csr_matrix((words.data, indices, words.indptr), (words.shape[0], _BUCKETS), copy=True)
    folded.sum_duplicates()
    folded.data[:] = 1.0
    return folded


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(d, _DIRECTIONS at most) orthogonal directions in which the rows vary most."""
    _, found = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    return np.asarray(found[:, ::-1][:, :_DIRECTIONS], dtype=np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)

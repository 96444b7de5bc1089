"""Likely wrong labels, by confident learning (Northcutt, Jiang and Chuang 2021) out of fold.

The predictions come from a quick model of words; listings without words cannot be judged. A suspect is a
place to look at, not an error: where a source writes in its own way, a true label can look odd.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack, vstack
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GroupKFold

from stallwart.core.progress import Track, silent

_FOLDS = 5
_CHARS = 600  # of a text that the quick model reads
_WORDS = HashingVectorizer(ngram_range=(1, 2), n_features=2**18, alternate_sign=False)
_LETTERS = HashingVectorizer(analyzer="char_wb", ngram_range=(4, 4), n_features=2**18, alternate_sign=False)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that the words of the listing speak against.

    Attributes:
        row: place of the listing.
        given: its label, as a column.
        suggested: the label that a model without this listing is confident of.
        margin: probability of the suggested label minus that of the given one, in [-1, 1].
    """

    row: int
    given: int
    suggested: int
    margin: float


class WordFeatures:
    """Hashed n-grams of texts that are added one by one; keeps counts, not texts."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._parts: list[csr_matrix] = []

    def add(self, text: str) -> None:
        """Take in the next text."""
        self._texts.append(text[:_CHARS])
        if len(self._texts) >= 1000:
            self._flush()

    def matrix(self) -> csr_matrix:
        """(n, 2**19) float32 counts, each row of unit length."""
        self._flush()
        return vstack(self._parts, format="csr") if self._parts else csr_matrix((0, 2**19), dtype=np.float32)

    def _flush(self) -> None:
        if self._texts:
            part = hstack([_WORDS.transform(self._texts), _LETTERS.transform(self._texts)], format="csr")
            self._parts.append(part.astype(np.float32))
            self._texts = []


def find_suspects(
    features: csr_matrix,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int = 0,
    track: Track = silent,
) -> list[Suspect]:
    """Labels that out-of-fold predictions confidently contradict, the surest first.

    A listing counts as a confident member of the class that it is likeliest to belong to, among those whose
    probability is at least its average over the listings labelled so. It is a suspect if that class is not
    its label.

    Args:
        features: (n, d) counts of words.
        labels: (n,) columns.
        groups: (n,) near-duplicate groups; a group is never split between folds.
        seed: of the model.
        track: shows how far it is.

    Returns:
        none where there are fewer than two labels or too few groups to fold.
    """
    worded = np.flatnonzero(np.diff(features.indptr))
    if len(np.unique(labels[worded])) < 2 or len(np.unique(groups[worded])) < _FOLDS:
        return []
    scores = out_of_fold(features[worded], labels[worded], groups[worded], seed, track)
    given = labels[worded]
    own = np.array([scores[given == label, label].mean() if (given == label).any() else 2.0 for label in
                    range(scores.shape[1])])  # fmt: skip
    confident = np.where(scores >= own, scores, -1.0)
    suggested = confident.argmax(axis=1)
    wrong = np.flatnonzero((confident.max(axis=1) >= 0) & (suggested != given))
    margins = scores[wrong, suggested[wrong]] - scores[wrong, given[wrong]]
    return [
        Suspect(int(worded[row]), int(given[row]), int(suggested[row]), float(margin))
        for margin, row in sorted(zip(margins, wrong, strict=True), key=lambda pair: (-pair[0], pair[1]))
        if margin > 0
    ]


def out_of_fold(
    features: csr_matrix,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    seed: int,
    track: Track = silent,
) -> NDArray[np.float64]:
    """(n, k + 1) probabilities of each label by logistic models that saw neither the row nor its group."""
    scores = np.zeros((len(labels), int(labels.max()) + 1))
    folds = GroupKFold(_FOLDS).split(features, labels, groups)
    for train, held_out in track(folds, "looking for wrong labels", _FOLDS):
        classes = np.unique(labels[train])
        if len(classes) < 2:
            scores[held_out, classes[0]] = 1.0
            continue
        model = SGDClassifier(
            loss="log_loss", alpha=2e-5, max_iter=8, tol=None, random_state=seed, average=True
        )
        model.fit(features[train], labels[train])
        likely = model.predict_proba(features[held_out])
        if likely.shape[1] == len(model.classes_):
            scores[np.ix_(held_out, model.classes_)] = likely
    return scores

"""The text-only baseline that every report puts beside the model: hashed n-grams and logistic regression.

Listings' texts and labels in, probabilities out. It knows no photos, embeddings or thresholds, and is kept
plain on purpose: whoever reads the report can redo it in ten lines.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

# A few listings hold whole brochures; n-grams past this many characters add time and no vote.
_MAX_CHARS = 4_000
_BUCKETS = 2**18


def score_baseline(
    train_texts: Sequence[str], train_labels: NDArray[np.int64], texts: Sequence[str], k: int
) -> NDArray[np.float64]:
    """(n, k) float64 probabilities in [0, 1] of the k policies for `texts`, learnt from words alone.

    One logistic regression for each policy against all other rows, over word 1- and 2-grams and character
    3- to 5-grams within words, hashed and weighted by TF-IDF. The same input gives the same output.

    Args:
        train_texts: m texts; "" where a listing has none.
        train_labels: (m,) int64 columns of `Taxonomy.labels`; 0 is neutral.
        texts: n texts to score.
        k: number of policies. One without a training row, or with nothing else, scores its share everywhere.
    """
    words = HashingVectorizer(
        ngram_range=(1, 2), n_features=_BUCKETS, alternate_sign=False, norm=None, dtype=np.float32
    )
    characters = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 5),
        n_features=_BUCKETS,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    weights = [TfidfTransformer(sublinear_tf=True) for _ in range(2)]
    cut = [text[:_MAX_CHARS] for text in train_texts]
    known = _joined(
        [w.fit_transform(h.transform(cut)) for w, h in zip(weights, (words, characters), strict=True)]
    )
    cut = [text[:_MAX_CHARS] for text in texts]
    asked = _joined(
        [w.transform(h.transform(cut)) for w, h in zip(weights, (words, characters), strict=True)]
    )
    scores = np.empty((len(texts), k))
    for column in range(k):
        positive = train_labels == column + 1
        if positive.all() or not positive.any():
            scores[:, column] = float(positive.mean()) if len(positive) else 0.0
            continue
        model = LogisticRegression(C=10.0, solver="liblinear", class_weight="balanced", random_state=0)
        scores[:, column] = model.fit(known, positive).predict_proba(asked)[:, 1]
    return scores


def _joined(parts: list[csr_matrix]) -> csr_matrix:
    return hstack(parts, format="csr")

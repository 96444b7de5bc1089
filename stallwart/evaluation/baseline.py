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

from stallwart.core.errors import DataError

# Some listings hold whole brochures: four times as many characters took more than twice the time and gained
# nothing (0.897 macro average precision either way on July to September of the market, trained to June).
_MAX_CHARS = 1_000
_BUCKETS = 2**18


def score_baseline(
    train_texts: Sequence[str], train_labels: NDArray[np.int64], texts: Sequence[str], k: int
) -> NDArray[np.float64]:
    """(n, k) float64 probabilities in [0, 1] of the k policies for `texts`, learnt from words alone.

    One logistic regression for each label against all others, their probabilities divided by their sum, over
    word 1- and 2-grams and character 3- to 5-grams within words, hashed and weighted by TF-IDF.

    Args:
        train_texts: m texts; "" where a listing has none.
        train_labels: (m,) int64 columns of `Taxonomy.labels`; 0 is neutral.
        texts: n texts to score.
        k: number of policies. One without a training row scores 0 everywhere.

    Raises:
        DataError: there are no training texts.
    """
    if not len(train_texts):
        raise DataError(
            "the text-only baseline has no training listing to learn from; check the split's dates"
        )
    known, asked = _features(
        [text[:_MAX_CHARS] for text in train_texts], [text[:_MAX_CHARS] for text in texts]
    )
    odds = np.zeros((len(texts), k + 1))
    for label in range(k + 1):
        positive = train_labels == label
        if positive.any() and not positive.all():
            model = LogisticRegression(C=10.0, solver="liblinear", random_state=0)
            odds[:, label] = model.fit(known, positive).predict_proba(asked)[:, 1]
        else:
            odds[:, label] = float(positive.any())
    return np.asarray(odds[:, 1:] / np.maximum(odds.sum(axis=1, keepdims=True), 1e-12))


def _features(train_texts: Sequence[str], texts: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """Hashed n-grams by TF-IDF, the weights learnt from the first texts alone."""
    known, asked = [], []
    for options in ({"ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (3, 5)}):
        count = HashingVectorizer(
            n_features=_BUCKETS, alternate_sign=False, norm=None, dtype=np.float32, **options
        )
        weigh = TfidfTransformer(sublinear_tf=True)
        known.append(weigh.fit_transform(count.transform(train_texts)))
        asked.append(weigh.transform(count.transform(texts)))
    return hstack(known, format="csr"), hstack(asked, format="csr")

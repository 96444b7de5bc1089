import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from stallwart.encoders.lexical import Lexicon
from stallwart.model.features import Features
from stallwart.training.fit import Examples

D_TEXT, D_PHOTO, K = 8, 6, 2


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)  # several threads on a busy machine wait for each other


@pytest.fixture(scope="session")
def make_features():
    """A maker of n listings whose class shows in their text, photos and words; parts missing in every mix."""

    def make(targets, seed=0, most_photos=3, noise=0.3, parts=None) -> Features:
        targets = np.asarray(targets)
        random = np.random.default_rng(seed)
        n = len(targets)
        parts = random.integers(1, 4, n) if parts is None else np.full(n, parts)  # 1 text, 2 photo, 3 both
        has_text = (parts & 1) > 0
        counts = np.where((parts & 2) > 0, random.integers(1, most_photos + 1, n), 0)
        # Only the signs of the class centres differ between seeds, so that train and test agree
        centres = np.random.default_rng(99).normal(size=(K + 1, D_TEXT + D_PHOTO))
        text = centres[targets, :D_TEXT] + noise * random.normal(size=(n, D_TEXT))
        owner = np.repeat(targets, counts)
        photos = centres[owner, D_TEXT:] + noise * random.normal(size=(len(owner), D_PHOTO))
        names = ["brass lamp", "red wine", "sharp dagger"]
        words = Lexicon().rows(names[t] if has else "" for t, has in zip(targets, has_text, strict=True))
        return Features(
            (text * has_text[:, None]).astype(np.float32),
            has_text,
            photos.astype(np.float32),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            words if n else csr_matrix((0, Lexicon.width), dtype=np.float32),
        )

    return make


@pytest.fixture(scope="session")
def make_examples(make_features):
    """A maker of examples with the last fifth as the latest month."""

    def make(n=300, seed=0, **options) -> Examples:
        targets = np.random.default_rng(seed).integers(0, K + 1, n)
        features = make_features(targets, seed + 1000, **options)  # else parts follow targets
        nothing = features.without_text()
        latest = np.arange(n) >= 0.8 * n
        return Examples(
            features=features,
            titles=nothing,
            targets=targets,
            weights=np.ones(n, dtype=np.float32),
            latest=latest,
        )

    return make

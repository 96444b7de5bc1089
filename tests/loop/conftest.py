import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from stallwart.core.scored import Rows
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.encoders.lexical import Lexicon
from stallwart.loop.world import World
from stallwart.model.features import Features

START, UNTIL = np.datetime64("2025-05-01", "ms"), np.datetime64("2025-07-01", "ms")
IDS = ("alcohol", "tobacco", "weapons")


def make_world(seed=0, n=420, days=210, start=START, until=UNTIL) -> World:
    """Listings from January on; from May on, tobacco comes in another look that only new labels can tell."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(n) < 0.5, 0, random.integers(1, 4, n))
    day = np.sort(random.integers(0, days, n))
    listed = np.datetime64("2025-01-01", "ms") + day * np.timedelta64(1, "D") + np.timedelta64(3, "h")
    centres = np.random.default_rng(5).normal(size=(5, 14))
    centres[4] = 0.8 * centres[0] + 0.6 * centres[4]  # like what is allowed, until somebody says otherwise
    look = np.where((labels == 2) & (listed >= start), 4, labels)
    noisy = centres[look] + 0.9 * random.normal(size=(n, 14))
    names = ["brass lamp", "red wine", "strong cigarettes", "sharp dagger", "fruity cloud"]
    has_text = random.random(n) < 0.9
    features = Features(
        (noisy[:, :8] * has_text[:, None]).astype(np.float32),
        has_text,
        noisy[:, 8:].astype(np.float32),
        np.arange(n + 1),
        Lexicon().rows(names[i] if has else "" for i, has in zip(look, has_text, strict=True)),
    )
    rows = Rows(
        listing_ids=np.array([f"l{i}" for i in range(n)]),
        labels=labels.astype(np.int64),
        listed_at=listed,
        labelled_at=listed + random.integers(0, 10, n) * np.timedelta64(1, "D"),
        groups=np.arange(n, dtype=np.int64),
        sellers=np.full(n, ""),
        languages=np.full(n, "en"),
        has_text=has_text,
        has_photo=np.ones(n, dtype=np.bool_),
    )
    policies = tuple(Policy(id=name, title=name, prevalence=0.1) for name in IDS)
    return World(rows, features, Taxonomy(policies=policies), start, until, f"world {seed}")


@pytest.fixture(scope="session")
def world():
    return make_world()

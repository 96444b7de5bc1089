import numpy as np
import pytest

from stallwart.core.scored import Rows, Scored
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.estimate.bounds import Interval
from stallwart.estimate.certify import Certificate, Needs


@pytest.fixture(scope="session")
def taxonomy():
    return Taxonomy(
        policies=(
            Policy(id="alcohol", title="Alcohol", covers="Drinks.", precision=0.9, prevalence=0.02),
            Policy(id="weapons", title="Weapons", precision=0.95, prevalence=0.01),
            Policy(id="fraud", title="Fraud", precision=0.9, prevalence=0.03),
        )
    )


@pytest.fixture(scope="session")
def make_scored(taxonomy):
    """A maker of rows with scores that separate labels by `skill` standard deviations."""

    def make(n=600, skill=2.5, seed=0):
        random = np.random.default_rng(seed)
        labels = random.choice(4, n, p=(0.7, 0.1, 0.1, 0.1)).astype(np.int64)
        noise = random.normal(size=(n, 3))
        noise[np.arange(n)[labels > 0], labels[labels > 0] - 1] += skill
        months = np.sort(random.choice(np.array(["2025-10", "2025-11", "2025-12"]), n))
        days = np.array([f"{month}-15" for month in months], dtype="datetime64[ms]")
        rows = Rows(
            listing_ids=np.array([f"L{i}" for i in range(n)]),
            labels=labels,
            listed_at=days,
            labelled_at=days,
            groups=(np.arange(n) // 2).astype(np.int64),
            sellers=np.where(np.arange(n) % 3 == 0, "", np.char.add("S", (np.arange(n) % 20).astype(str))),
            languages=random.choice(np.array(["en", "pt", ""]), n),
            has_text=np.arange(n) % 5 != 0,
            has_photo=np.arange(n) % 4 != 0,
        )
        return Scored(rows, 1 / (1 + np.exp(2 - 2 * noise)), taxonomy)

    return make


@pytest.fixture(scope="session")
def make_certificate():
    def make(policy, threshold=None, target=0.9):
        return Certificate(
            policy=policy,
            target=target,
            share=0.02,
            confidence=0.95,
            certified=threshold is not None,
            threshold=threshold,
            at_score=threshold or 0.9,
            precision=0.95,
            precision_lower=0.91 if threshold else 0.7,
            precision_lower_strict=0.9,
            recall=0.6,
            recall_interval=Interval(0.5, 0.7),
            positives=100,
            positives_above=60,
            neutral=1000,
            neutral_above=0,
            others=100,
            others_above={},
            effective_positives=90.0,
            effective_neutral=900.0,
            effective_sellers=5.0,
            holds_down_to_recall=0.4,
            leans_on={},
            shift={},
            reason="Says why.",
            needs=None if threshold else Needs(2000, 34, 52, 0.9),
        )

    return make


@pytest.fixture(scope="session")
def certificates(make_certificate):
    return [make_certificate("alcohol", 0.5), make_certificate("weapons", 0.99), make_certificate("fraud")]

"""Distances to known violations, certified on labelled listings that are played in the order of time."""

from dataclasses import replace

import numpy as np
import pytest

from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing
from stallwart.core.scored import Rows
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.decide.known import LADDER, blocking_distance
from stallwart.evaluation.known import Prints, certified, play
from stallwart.index.fingerprint import prints_of
from stallwart.index.proven import ProvenFile, read_proven
from tests.index.stored import KNIFE, LAMP

TAXONOMY = Taxonomy(
    policies=(
        Policy(id="weapons", title="Weapons", covers="Knives.", precision=0.9, prevalence=0.02),
        Policy(id="tobacco", title="Tobacco", covers="Snus.", precision=0.9, prevalence=0.02),
    )
)


def rows_of(labels, days, labelled=None, sellers=None):
    n = len(labels)
    listed = np.datetime64("2025-01-01", "ms") + np.asarray(days) * np.timedelta64(86_400_000, "ms")
    return Rows(
        listing_ids=np.array([f"L{i}" for i in range(n)]),
        labels=np.asarray(labels, np.int64),
        listed_at=listed,
        labelled_at=listed if labelled is None else listed + np.timedelta64(86_400_000, "ms") * labelled,
        groups=np.arange(n),
        sellers=np.array([f"s{i}" for i in range(n)]) if sellers is None else np.asarray(sellers),
        languages=np.full(n, "en"),
        has_text=np.ones(n, bool),
        has_photo=np.zeros(n, bool),
    )


def prints(text):
    words, photos = prints_of(Listing("x", "For sale", text), Settings())
    return Prints(words, photos, None)


def test_a_listing_meets_only_what_was_labelled_before_it_was_listed():
    rows = rows_of([1, 1, 0, 1], [0, 1, 5, 9], labelled=3)
    near = play([prints(KNIFE), prints(KNIFE), prints(KNIFE), prints(LAMP)], rows, TAXONOMY, 0)
    assert list(near) == [("weapons", "text")]
    # the second was listed before the first was labelled; the lamp is like nothing; none meets itself
    assert near["weapons", "text"].tolist() == [np.inf, np.inf, 0, np.inf]


def market(own_near, neutral_near, n=16_000):
    """Half neutral, a quarter of each policy; distances of `weapons` by text."""
    labels = np.repeat([0, 0, 1, 2], n // 4)
    distance = np.full(n, np.inf)
    distance[labels == 1] = np.where(np.arange(n // 4) < own_near * n // 4, 0.04, np.inf)
    distance[np.flatnonzero(labels == 0)[:neutral_near]] = 0.2
    return {("weapons", "text"): distance}, rows_of(labels, np.arange(n))


def test_a_distance_is_proven_up_to_where_neutral_listings_are_near_too():
    (clean,) = certified(*market(0.8, 0), TAXONOMY)
    assert (clean.policy, clean.kind, clean.distance) == ("weapons", "text", LADDER["text"][-1])
    assert clean.lower >= clean.target
    assert (clean.own, clean.own_near, clean.neutral_near) == (4_000, 3_200, 0)
    (some,) = certified(*market(0.8, 40), TAXONOMY)
    assert some.distance == 0.15, "40 of 8,000 neutral listings are within 0.2, and weigh far more live"
    (none,) = certified(*market(0.02, 0), TAXONOMY)
    assert none.distance is None, "so few are near that unseen false alarms may outweigh them"
    assert none.lower < none.target


def test_copies_of_one_listing_prove_less_than_as_many_listings():
    near, rows = market(0.3, 0)
    (singly,) = certified(near, rows, TAXONOMY)
    (copies,) = certified(near, replace(rows, groups=np.arange(len(rows)) // 20), TAXONOMY)
    assert copies.lower < singly.lower


def test_what_labelled_listings_proved_holds_until_verdicts_refute_it():
    wrong, right = [(0.1, False)] * 12, [(0.1, True)] * 200
    assert blocking_distance("text", [], 0.9) is None
    assert blocking_distance("text", [], 0.9, 0.15) == 0.15
    assert blocking_distance("text", [(0.0, True)] * 200, 0.9, 0.15) == 0.25, "verdicts prove more"
    assert blocking_distance("text", [*wrong, *right], 0.9, 0.15) is None, "the latest come first"
    assert blocking_distance("text", [(0.2, False)] * 40, 0.9, 0.15) == 0.15, "these lie farther away"
    assert blocking_distance("text", wrong, 0.9, None) is None


def test_the_file_is_read_as_it_was_written_and_no_other(tmp_path):
    made = ProvenFile(
        confidence=0.95, encoder="e", data="d", listings=4_000, first="2025-01-01", last="2025-09-30",
        distances=tuple(certified(*market(0.8, 0), TAXONOMY)),
    )  # fmt: skip
    made.write(tmp_path / "near.json")
    assert read_proven(tmp_path / "near.json") == made
    (tmp_path / "other.json").write_text("{}")
    for name in ("other.json", "missing.json"):
        with pytest.raises(ConfigError, match="is no file of"):
            read_proven(tmp_path / name)

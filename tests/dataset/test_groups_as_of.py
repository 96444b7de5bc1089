"""Groups of near duplicates as they were known at a time."""

from datetime import UTC, datetime

import numpy as np

from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.duplicates import DuplicateFinder

LONG = "old brass lamp with a green glass shade and a twisted cable"


def finder(*texts):
    found = DuplicateFinder(Settings())
    for i, text in enumerate(texts):
        found.add(Listing(f"L{i}", title=text, listed_at=datetime(2025, 1, 1, tzinfo=UTC)))
    return found


def test_a_later_listing_that_is_like_two_early_ones_does_not_join_them():
    found = finder(
        "a kettle made of steel",
        "a kettle made of steel",
        "a bicycle with two wheels",
        "a bicycle with two wheels",
    )
    found._photo_owner = [0, 2, 1, 1]  # the later listing 1 shows the photos of both 0 and 2
    found._photo_digest = [b"one", b"two", b"one", b"two"]
    found._photo_hash = [b""] * 4
    assert len(set(found.groups().tolist())) == 1
    groups = found.groups_as_of(np.array([True, False, True]))
    assert groups[0] != groups[2]
    assert groups[1] in (groups[0], groups[2])


def test_without_later_listings_the_groups_are_the_same():
    found = finder(LONG, "a bicycle", LONG, "a kettle")
    assert found.groups_as_of(np.ones(4, dtype=bool)).tolist() == found.groups().tolist() == [0, 1, 0, 3]


def test_a_later_repeat_belongs_to_the_early_group():
    found = finder("a bicycle", LONG, LONG)
    assert found.groups_as_of(np.array([True, False, True])).tolist() == [0, 2, 2]

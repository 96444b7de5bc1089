import numpy as np
import pytest

from stallwart.index.nearest import KnownViolations, unit_rows

D = 4


def known_of(text, photo, ids=None) -> KnownViolations:
    n = len(text)
    return KnownViolations(
        np.array(ids or [f"L{i}" for i in range(n)], dtype=np.str_),
        np.array(["alcohol"] * n, dtype=np.str_),
        unit_rows(np.array(text, dtype=np.float32).reshape(n, D)).astype(np.float16),
        unit_rows(np.array(photo, dtype=np.float32).reshape(n, D)).astype(np.float16),
    )


NOTHING, NO_PHOTOS = np.zeros(D), np.empty((0, D), dtype=np.float32)
E1, E2, E3, _ = np.eye(D, dtype=np.float32)


def ids(neighbours):
    return [one.listing_id for one in neighbours]


def test_the_most_similar_stand_first_by_the_part_that_is_alike():
    known = known_of([E1, E2, NOTHING], [NOTHING, E1, E3])
    found = known.nearest(E1 + 0.3 * E2, np.stack([E2, E3]))
    assert ids(found) == ["L2", "L0", "L1"]
    assert [one.by for one in found] == ["photo", "text", "text"]
    assert found[0].similarity == 1.0
    assert found[1].similarity == pytest.approx(1 / np.hypot(1, 0.3), abs=1e-3)


def test_a_listing_is_not_its_own_neighbour():
    known = known_of([E1, E1 + 0.1 * E2], [NOTHING, NOTHING])
    assert ids(known.nearest(E1, NO_PHOTOS)) == ["L0", "L1"]
    assert ids(known.nearest(E1, NO_PHOTOS, but="L0")) == ["L1"]


def test_ties_stand_in_order_of_their_ids_whatever_their_place():
    given = ["c", "a", "b"]
    assert ids(known_of([E1] * 3, [NOTHING] * 3, given).nearest(E1, NO_PHOTOS)) == ["a", "b", "c"]
    assert ids(known_of([E1] * 3, [NOTHING] * 3, given[::-1]).nearest(E1, NO_PHOTOS, count=2)) == ["a", "b"]


def test_any_of_several_photos_speaks():
    known = known_of([NOTHING], [E3])
    (found,) = known.nearest(None, np.stack([E1, E2, E3]))
    assert found.by == "photo"
    assert found.similarity == 1.0


def test_nothing_known_and_nothing_given_have_no_neighbours():
    assert known_of(np.empty((0, D)), np.empty((0, D))).nearest(E1, NO_PHOTOS) == []
    assert known_of([E1], [E1]).nearest(None, NO_PHOTOS) == []


def test_what_has_nothing_in_common_is_no_neighbour():
    assert known_of([E1, -E2], [NOTHING, NOTHING]).nearest(E2, NO_PHOTOS) == []


def test_rows_are_scaled_to_length_one_and_zeros_stay():
    scaled = unit_rows(np.array([[3, 4, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), [1, 0], rtol=1e-6)

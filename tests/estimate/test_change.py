"""The change detector forgets good conduct, rarely errs at target, and finds falls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.estimate.change import fall_limit, fall_path

RNG_SEED = 11


def _right(precision: float, shape: tuple[int, ...], seed: int = RNG_SEED) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < precision


def test_a_policy_at_target_rarely_loses_its_right_in_a_stretch() -> None:
    limit = fall_limit(0.9)
    paths = [fall_path(one, np.ones(5_000), 0.9) for one in _right(0.9, (400, 5_000))]
    lost = sum(bool((path >= limit).any()) for path in paths)
    # 4.5 % are meant: more than 33 of 400 would be seen once in 3,000 times
    assert lost <= 33


@pytest.mark.parametrize("target", [0.9, 0.95])
def test_a_fall_of_ten_points_is_found_within_150_verdicts_most_of_the_time(target: float) -> None:
    limit = fall_limit(target)
    paths = [fall_path(one, np.ones(1_500), target) for one in _right(target - 0.1, (400, 1_500))]
    found = [int((path >= limit).argmax()) + 1 for path in paths]
    # the true medians are 148 and 96; the standard error of a median of 400 is about 6
    assert np.median(found) <= 168


def test_months_of_good_conduct_are_no_credit() -> None:
    fallen = _right(0.7, (300,))
    alone = fall_path(fallen, np.ones(300), 0.9)
    late = fall_path(np.concatenate([np.ones(5_000), fallen]), np.ones(5_300), 0.9)
    assert np.allclose(late[5_000:], alone)


def test_verdicts_of_small_weight_move_it_less() -> None:
    wrong = np.zeros(20)
    assert fall_path(wrong, np.full(20, 0.2), 0.9)[-1] < fall_path(wrong, np.ones(20), 0.9)[-1]


@given(
    right=st.lists(st.floats(0, 1), max_size=60),
    weight=st.floats(0.01, 1),
    target=st.floats(0.05, 0.99),
)
def test_the_statistic_is_never_negative_and_a_right_call_never_raises_it(
    right: list[float], weight: float, target: float
) -> None:
    path = fall_path([*right, 1.0], np.full(len(right) + 1, weight), target)
    assert (path >= 0).all()
    assert path[-1] <= (path[-2] if len(right) else 0.0) + 1e-12


def test_a_stricter_error_needs_a_higher_limit() -> None:
    assert fall_limit(0.9, error=0.01, stretch=64) > fall_limit(0.9, error=0.2, stretch=64) > 0


@pytest.mark.parametrize(
    ("right", "weights", "target"), [([1], [0.0], 0.9), ([1, 0], [1.0], 0.9), ([1], [1.0], 1.0)]
)
def test_numbers_out_of_range_are_refused(right: list[int], weights: list[float], target: float) -> None:
    with pytest.raises(ValueError, match="got"):
        fall_path(right, weights, target)


@pytest.mark.parametrize(("error", "stretch"), [(0.0, 100), (0.05, 0)])
def test_a_limit_needs_an_error_and_a_stretch(error: float, stretch: int) -> None:
    with pytest.raises(ValueError, match="got"):
        fall_limit(0.9, error=error, stretch=stretch)

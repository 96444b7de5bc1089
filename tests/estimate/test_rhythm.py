"""A window is held against what is usual at its hours: rhythm is no news, a change is."""

import numpy as np
import pytest

from stallwart.estimate.rhythm import DAY_MS, Usual, UsualShares, regressors

MONDAY = 1_736_121_600_000  # 2025-01-06


def week_times(n, rng, weeks=3, start=MONDAY):
    return np.sort(start + (rng.random(n) * weeks * 7 * DAY_MS).astype(np.int64))


def rhythmic(at_ms, rng, d=4):
    x = rng.standard_normal((len(at_ms), d))
    x[:, 0] += 2.0 * ((at_ms % DAY_MS) < DAY_MS // 4)  # at night
    x[:, 1] += 1.5 * ((at_ms // DAY_MS + 3) % 7 >= 5)  # at weekends
    return x


def test_what_a_night_or_a_weekend_brings_each_week_is_no_news():
    rng = np.random.default_rng(1)
    at = week_times(1_000, rng)
    usual = Usual(rhythmic(at, rng), at)
    below = []
    for _ in range(60):
        later = np.sort(
            MONDAY + 5 * 7 * DAY_MS + 5 * DAY_MS + rng.integers(0, DAY_MS // 4, 100)
        )  # Saturday night
        below.append(usual.test(rhythmic(later, rng), later).p < 0.01)
    assert np.mean(below) <= 0.1
    later = np.sort(MONDAY + 36 * DAY_MS + rng.integers(0, DAY_MS // 4, 100)) + DAY_MS // 2  # at noon
    moved = usual.test(np.add(rhythmic(later, rng), [2.0, 0, 0, 0]), later)
    assert moved.p < 1e-6, "the level of a night is news at noon"


def test_a_mean_that_moved_is_found_and_the_rows_that_moved_it():
    rng = np.random.default_rng(2)
    at = week_times(800, rng)
    usual = Usual(rhythmic(at, rng), at)
    later = week_times(200, rng, weeks=1, start=MONDAY + 28 * DAY_MS)
    x = rhythmic(later, rng)
    x[:60, 2] += 3.0
    moved = usual.test(x, later)
    assert moved.p < 1e-6
    assert int(np.argmax(np.abs(moved.z))) == 2
    assert np.mean(np.argsort(-moved.pull)[:30] < 60) > 0.9


def test_rows_that_come_in_clumps_widen_the_test():
    rng = np.random.default_rng(3)
    at = week_times(1_000, rng)
    clumped = rng.standard_normal((1_000, 3)) * 0.5 + np.repeat(rng.standard_normal((20, 3)), 50, axis=0)
    assert Usual(clumped, at).clumping(100) > 5
    assert Usual(rng.standard_normal((1_000, 3)), at).clumping(100) < 1.5


def test_a_kind_that_vanishes_or_appears_is_named():
    rng = np.random.default_rng(4)
    at = week_times(1_000, rng)
    names = rng.choice(["en", "ru", "lv"], size=1_000, p=[0.92, 0.06, 0.02])
    usual = UsualShares(names, at)
    later = week_times(400, rng, weeks=1, start=MONDAY + 28 * DAY_MS)
    gone = usual.test(rng.choice(["en", "lv"], size=400, p=[0.98, 0.02]), later)
    assert (gone.name, gone.seen) == ("ru", 0.0)
    assert gone.p < 1e-4
    assert gone.expected == pytest.approx(0.06, abs=0.03)
    came = usual.test(np.where(rng.random(400) < 0.05, "pt", "en"), later)
    assert came.p < 1e-6
    assert came.name in ("other", "ru")
    same = usual.test(rng.choice(["en", "ru", "lv"], size=400, p=[0.92, 0.06, 0.02]), later)
    assert same.p > 0.01


def test_p_values_of_steady_windows_are_not_too_small():
    rng = np.random.default_rng(5)
    ps, shares = [], []
    for _ in range(25):
        at = week_times(600, rng)
        usual, kinds = (
            Usual(rhythmic(at, rng), at),
            UsualShares(rng.choice(["a", "b"], 600, p=[0.95, 0.05]), at),
        )
        for week in range(4, 12):
            later = week_times(100, rng, weeks=1, start=MONDAY + week * 7 * DAY_MS)
            ps.append(usual.test(rhythmic(later, rng), later).p)
            shares.append(kinds.test(rng.choice(["a", "b"], 100, p=[0.95, 0.05]), later).p)
    assert np.mean(np.array(ps) < 0.05) < 0.08
    assert np.mean(np.array(shares) < 0.05) < 0.08


def test_too_small_a_reference_is_refused():
    with pytest.raises(ValueError, match="49 rows are too few for a reference of 2 features"):
        Usual(np.zeros((49, 2)), np.arange(49) * DAY_MS)


def test_a_reference_without_sundays_still_expects_something_of_them():
    rng = np.random.default_rng(6)
    at = MONDAY + np.sort(rng.integers(0, 6 * DAY_MS, 300))
    usual = Usual(rng.standard_normal((300, 2)), at)
    sunday = MONDAY + 6 * DAY_MS + np.sort(rng.integers(0, DAY_MS, 100))
    assert np.all(np.isfinite(usual.expected(regressors(sunday))))
    assert usual.test(rng.standard_normal((100, 2)), sunday).p > 0.001

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from stallwart.estimate.audit import Stratum, audit, merged
from stallwart.estimate.bounds import rate_interval

FIGURES = ("prevalence", "recall", "precision")


@st.composite
def stratum(draw, name="s"):
    violating, clear, unknown = draw(st.integers(0, 8)), draw(st.integers(0, 60)), draw(st.integers(0, 3))
    drawn = violating + clear + unknown
    population = drawn + draw(st.sampled_from([0, 1, 3, 50, 1_000, 80_000]))
    return Stratum(name, draw(st.booleans()), population, violating, clear, unknown)


def week(low=0):
    return [
        Stratum("low", False, 90_000, low, 350 - low),
        Stratum("middle", False, 7_000, 1, 120),
        Stratum("high", False, 1_500, 8, 60),
        Stratum("block", True, 1_500, 115, 45),
    ]


@settings(max_examples=25)
@given(st.lists(stratum(), max_size=5))
def test_values_lie_between_ordered_bounds_in_0_to_1(strata):
    found = audit(strata)
    for name in FIGURES:
        one = getattr(found, name)
        assert 0 <= one.lower <= one.upper <= 1
        assert one.value is None or one.lower <= one.value <= one.upper


@settings(max_examples=10)
@given(st.lists(stratum(), min_size=1, max_size=4), st.randoms())
def test_the_order_of_strata_does_not_matter(strata, random):
    mixed = list(strata)
    random.shuffle(mixed)
    for name in FIGURES:
        one, other = getattr(audit(strata), name), getattr(audit(mixed), name)
        assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=6e-3)


@settings(max_examples=10)
@given(st.lists(stratum(), min_size=1, max_size=4))
def test_more_confidence_is_never_narrower(strata):
    for name in FIGURES:
        narrow, wide = getattr(audit(strata, 0.8), name), getattr(audit(strata, 0.99), name)
        assert wide.lower <= narrow.lower + 6e-3
        assert narrow.upper <= wide.upper + 6e-3


@settings(max_examples=10)
@given(st.lists(stratum(), min_size=1, max_size=4), st.integers(1, 5_000), st.booleans())
def test_listings_that_nobody_looked_at_only_widen(strata, population, called):
    before, after = audit(strata), audit([*strata, Stratum("unseen", called, population)])
    assert after.recall.lower <= before.recall.lower + 6e-3
    assert before.recall.upper <= after.recall.upper + 6e-3
    assert after.prevalence.unseen == before.prevalence.unseen + population


@settings(max_examples=10)
@given(stratum(), st.integers(1, 4))
def test_ten_times_the_verdicts_with_the_same_rates_are_narrower(one, times):
    big = replace(one, population=1_000_000, called=True)
    more = replace(big, violating=10 * times * one.violating, clear=10 * times * one.clear)
    few, many = audit([big]).precision, audit([more]).precision
    assert many.upper - many.lower <= few.upper - few.lower + 1e-9


@given(st.integers(0, 100))
@settings(max_examples=12)
def test_one_large_stratum_has_the_interval_of_clopper_and_pearson(hits):
    found, known = audit([Stratum("all", True, 10**8, hits, 100 - hits)]).precision, rate_interval(hits, 100)
    assert (found.lower, found.upper) == pytest.approx((known.lower, known.upper), abs=2e-3)


@given(st.integers(5, 60), st.data())
@settings(max_examples=12)
def test_one_small_stratum_has_the_exact_interval_of_a_finite_population(population, data):
    drawn = data.draw(st.integers(1, population - 1))
    hits = data.draw(st.integers(0, drawn))
    held = np.arange(hits, population - drawn + hits + 1)
    possible = held[
        (hypergeom.cdf(hits, population, held, drawn) > 0.025)
        & (hypergeom.sf(hits - 1, population, held, drawn) > 0.025)
    ]
    found = audit([Stratum("all", True, population, hits, drawn - hits)]).precision
    assert found.lower <= possible[0] / population + 1e-9
    assert found.upper >= possible[-1] / population - 1e-9
    assert found.lower > (possible[0] - 1) / population - 6e-3
    assert found.upper < (possible[-1] + 1) / population + 6e-3


def test_strata_with_one_rate_and_one_weight_are_as_good_as_one():
    parts = [Stratum(str(i), True, 20_000, 2, 98) for i in range(5)]
    one = audit([Stratum("all", True, 100_000, 10, 490)]).prevalence
    many = audit(parts).prevalence
    assert (many.lower, many.upper) == pytest.approx((one.lower, one.upper), rel=0.02)


def test_no_miss_found_is_no_recall_of_1():
    found = audit([Stratum("low", False, 90_000, 0, 350), Stratum("block", True, 500, 75, 5)]).recall
    assert found.value is None
    # 1,000 missed among 90,000 would not be found by 350 verdicts in 2 % of weeks, and 900 in 3 %
    assert found.lower == pytest.approx(469 / (469 + 900), abs=0.05)
    assert found.upper == 1


def test_no_miss_in_the_lowest_band_leaves_what_may_hide_there():
    found = audit(week()).recall
    assert 0.8 < found.value < 0.9
    assert found.lower < 0.65


def test_a_miss_in_a_thinly_drawn_band_counts_for_all_that_it_stands_for():
    none, one = audit(week()).recall, audit(week(low=1)).recall
    assert one.value < none.value - 0.1
    assert one.lower < none.lower


def test_nothing_missed_among_all_is_known():
    found = audit([Stratum("low", False, 300, 0, 300), Stratum("block", True, 20, 20, 0)])
    assert (found.recall.value, found.recall.lower, found.recall.upper) == (1, 1, 1)
    assert found.prevalence.upper == found.prevalence.lower == pytest.approx(20 / 320)


def test_a_stratum_without_verdicts_may_hold_nothing_or_all():
    found = audit([*week(), Stratum("dark", False, 30_000)])
    assert found.prevalence.unseen == 30_000
    assert found.prevalence.upper > 30_000 / 130_000
    assert found.recall.lower < 0.04
    assert found.recall.upper == pytest.approx(audit(week()).recall.upper, abs=2e-3)


@pytest.mark.parametrize("strata", [[], [Stratum("empty", True, 0)], [Stratum("dark", True, 9)]])
def test_without_verdicts_nothing_is_known(strata):
    found = audit(strata)
    for name in FIGURES:
        one = getattr(found, name)
        assert (one.value, one.lower, one.upper, one.verdicts) == (None, 0, 1, 0)


def test_unknown_verdicts_are_counted_and_left_out():
    without, given_up = audit(week()), audit([replace(one, unknown=9) for one in week()])
    assert given_up.recall.unknown == 36
    assert given_up.recall.verdicts == without.recall.verdicts
    assert given_up.recall.value == without.recall.value


def test_precision_rests_on_the_verdicts_on_calls_alone():
    assert audit(week()).precision == replace(audit([week()[-1]]).prevalence, unseen=0)


def test_days_with_one_probability_are_joined_and_others_stay_apart():
    day = Stratum("low", False, 10_000, 1, 49, 1, probability=0.005)
    more = Stratum("low", False, 10_000, 3, 97, 0, probability=0.01)
    joined = merged([day, day, more, replace(day, called=True), replace(day, probability=None)])
    assert [one.population for one in joined] == [20_000, 10_000, 10_000, 10_000]
    assert (joined[0].violating, joined[0].clear, joined[0].unknown) == (2, 98, 2)


def test_a_band_drawn_more_on_one_day_is_weighted_by_day():
    quiet = Stratum("low", False, 10_000, 0, 50, probability=0.005)
    busy = Stratum("low", False, 10_000, 50, 50, probability=0.01)
    assert audit([quiet, busy]).prevalence.value == pytest.approx(0.25)


@pytest.mark.parametrize(
    "wrong", [{"violating": 11}, {"clear": -1}, {"probability": 0.0}, {"probability": 1.5}]
)
def test_impossible_strata_are_refused(wrong):
    with pytest.raises(ValueError, match="stratum 'low'"):
        Stratum("low", False, 10, **wrong)


def test_an_impossible_confidence_is_refused():
    with pytest.raises(ValueError, match="confidence"):
        audit(week(), 1.0)

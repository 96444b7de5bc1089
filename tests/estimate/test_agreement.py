import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.estimate.agreement import accuracy, agreement, cross, drifts


def test_kappa_is_what_the_textbook_says():
    told = agreement(20, 5, 10, 15)  # the example of many textbooks: 50 grants, 35 agreed, 0.4
    assert told.kappa == pytest.approx(0.4)
    assert (told.pairs, told.same) == (50, 35)
    assert told.lower < 0.15 < 0.6 < told.upper


def test_agreement_of_all_on_few_pairs_is_no_certainty():
    few, many = agreement(3, 0, 0, 3), agreement(300, 0, 0, 300)
    assert few.kappa == many.kappa == 1
    assert few.lower < 0.5 < many.lower
    assert many.lower > 0.98


def test_where_both_always_say_the_same_there_is_nothing_beyond_chance():
    assert agreement(0, 0, 0, 40).kappa is None
    assert agreement(0, 0, 0, 0).pairs == 0
    with pytest.raises(ValueError, match="counts >= 0"):
        agreement(-1, 0, 0, 2)


@given(st.tuples(*[st.integers(0, 60)] * 4))
def test_intervals_hold_their_value_and_stay_within_bounds(counts):
    told = agreement(*counts)
    assert -1 <= told.lower <= told.upper <= 1
    assert told.kappa is None or told.lower <= told.kappa <= told.upper


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng, held, share, kappa, n = np.random.default_rng(4), 0, 0.3, 0.7, 60
    spread = share * (1 - share)
    chances = [share**2 + spread * kappa, spread * (1 - kappa), spread * (1 - kappa), 0.0]
    chances[3] = 1 - sum(chances)
    for counts in rng.multinomial(n, chances, 600):
        told = agreement(*map(int, counts))
        held += told.lower <= kappa <= told.upper
    assert 0.92 <= held / 600 <= 0.99


def test_pairs_are_counted_by_who_said_yes():
    assert cross([(True, True), (True, False), (False, True), (False, False), (False, False)]) == (1, 1, 1, 2)


def test_accuracy_of_few_readings_is_wide():
    told = accuracy(9, 10)
    assert (told.interval.lower, told.interval.upper) == (
        pytest.approx(0.5550, abs=1e-3),
        pytest.approx(0.9975, abs=1e-3),
    )


def test_who_becomes_worse_is_found_and_chance_among_many_is_not():
    steady = {f"r{number}": ((90, 100), (18, 20)) for number in range(20)}
    told = drifts({**steady, "rita": ((95, 100), (9, 20))})
    assert [one.who for one in told if one.worse] == ["rita"]
    assert told[0].who == "rita"
    # Alone this would be called worse; among forty people one such comes by chance
    unlucky = ((95, 100), (16, 20))
    assert drifts({"sam": unlucky})[0].worse
    assert not any(
        one.worse for one in drifts({"sam": unlucky, **{f"r{n}": ((95, 100), (19, 20)) for n in range(39)}})
    )
    assert drifts({}) == []


def test_false_alarms_over_many_people_are_rare():
    rng, alarms = np.random.default_rng(8), 0
    for _ in range(200):
        counts = {
            str(who): ((int(rng.binomial(80, 0.9)), 80), (int(rng.binomial(20, 0.9)), 20))
            for who in range(12)
        }
        alarms += any(one.worse for one in drifts(counts))
    assert alarms <= 20  # 0.05 of 200, and room for chance

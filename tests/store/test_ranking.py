import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.store.ranking import Ranking, ranking_of, reasons, uncertainty
from tests.store.rolling import NOW

HOUR = 3_600_000
PLAIN = Ranking({}, {}, 24 * HOUR, 6 * HOUR)
POLICIES = Ranking({"weapons": 8.0}, {"weapons": 4 * HOUR}, 24 * HOUR, 6 * HOUR)
PARTS = st.tuples(
    st.sampled_from(["weapons", "tobacco", None]),
    st.none() | st.floats(0, 1),
    st.integers(NOW, NOW + 100 * HOUR),
)


@given(PARTS, PARTS, st.integers(NOW, NOW + 1_000 * HOUR))
def test_the_order_of_two_tasks_is_that_of_harm_uncertainty_and_age_at_any_time(one, other, now):
    def urgency(policy, probability, made_at_ms):
        """As the docstring of the module says it, at this moment."""
        p = 0.5 if probability is None else probability
        due = made_at_ms + (4 if policy == "weapons" else 24) * HOUR
        age = (now - due) / (6 * HOUR)
        return math.log2((8 if policy == "weapons" else 1) * max(p, 1e-3) * uncertainty(p)) + age

    difference = urgency(*one) - urgency(*other)
    ranks = POLICIES.of(*one).rank - POLICIES.of(*other).rank
    assert ranks == pytest.approx(difference, abs=1e-6)


def test_more_harm_more_doubt_and_more_waiting_come_first():
    def rank(policy=None, probability=0.5, at=NOW, ranking=PLAIN):
        return ranking.of(policy, probability, at).rank

    assert rank("weapons", ranking=Ranking({"weapons": 2.0}, {}, 24 * HOUR, 6 * HOUR)) == rank() + 1
    assert rank(probability=0.5) > rank(probability=0.99) > rank(probability=0.0)
    assert rank(at=NOW - 6 * HOUR) == pytest.approx(rank() + 1)
    assert rank(probability=None) == rank(probability=0.5)
    assert POLICIES.of("weapons", 0.5, NOW).due_at_ms == NOW + 4 * HOUR


def test_milliseconds_are_told_apart_far_from_1970():
    assert PLAIN.of(None, 0.5, NOW).rank > PLAIN.of(None, 0.5, NOW + 1).rank


@given(st.floats(0, 1))
def test_what_a_model_is_sure_of_is_read_at_last_and_not_never(probability):
    assert 1e-3 <= uncertainty(probability) <= 1
    assert math.isfinite(PLAIN.of(None, probability, NOW).rank)


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(probability):
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        uncertainty(probability)


def test_settings_say_harms_and_deadlines_of_single_policies():
    ranking = ranking_of(
        Settings(
            review_harms="weapons=10, tobacco=2.5", review_deadlines="weapons=0.5", review_halving_hours=2
        )
    )
    assert ranking.harms == {"weapons": 10, "tobacco": 2.5}
    assert ranking.deadlines_ms == {"weapons": HOUR // 2}
    assert (ranking.deadline_ms, ranking.halving_ms) == (24 * HOUR, 2 * HOUR)


@pytest.mark.parametrize(
    "given", ["weapons", "weapons=", "=3", "weapons=0", "weapons=-1", "weapons=inf", "a=1,a=2"]
)
def test_what_cannot_be_read_names_its_variable(given):
    with pytest.raises(ConfigError, match="STALLWART_REVIEW_HARMS"):
        ranking_of(Settings(review_harms=given))
    with pytest.raises(ConfigError, match="STALLWART_REVIEW_DEADLINES"):
        ranking_of(Settings(review_deadlines=given))


def test_reasons_name_each_part():
    said = reasons(POLICIES.of("weapons", 0.42, NOW), "weapons", NOW + HOUR)
    assert said == [
        "It is to be read within 3 h.",
        "The probability of weapons is 42%: the model is undecided.",
        "A missed violation of weapons counts 8 times as much as usual.",
    ]
    late = reasons(POLICIES.of(None, None, NOW), None, NOW + 24 * HOUR + 90 * 60_000)
    assert late == [
        "It was to be read 90 min ago.",
        "No model's probability counts here: it comes as if undecided.",
    ]

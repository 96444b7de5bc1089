import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from stallwart.core.decision import Action
from stallwart.decide.decide import Thresholds, decide, review_threshold

POLICIES = ("alcohol", "weapons", "fraud")
unit = st.floats(0, 1)
scores_of = st.lists(unit, min_size=3, max_size=3).map(np.array)
thresholds_of = st.builds(
    Thresholds,
    act=st.dictionaries(st.sampled_from(POLICIES), unit),
    review=st.fixed_dictionaries(dict.fromkeys(POLICIES, unit)),
)
NEVER = Thresholds(act={}, review=dict.fromkeys(POLICIES, 1.1))


@given(thresholds_of, st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 2), scores_of)
def test_a_score_that_is_no_number_is_reviewed(thresholds, wrong, place, scores):
    scores[place] = wrong
    ruling = decide(scores, POLICIES, thresholds)
    assert ruling.action is Action.REVIEW
    assert ruling.reason


@given(thresholds_of, st.lists(st.text(min_size=1), max_size=3).map(tuple))
def test_what_could_not_be_scored_is_reviewed_and_says_why(thresholds, failures):
    ruling = decide(None, POLICIES, thresholds, failures)
    assert ruling.action is Action.REVIEW
    assert all(failure in ruling.reason for failure in failures)
    assert ruling.reason


@given(scores_of, thresholds_of, st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple))
def test_a_failure_is_never_allowed_however_low_the_scores(scores, thresholds, failures):
    assert decide(scores, POLICIES, thresholds, failures).action is not Action.ALLOW


@given(scores_of, thresholds_of)
def test_only_a_certified_policy_at_its_threshold_blocks(scores, thresholds):
    ruling = decide(scores, POLICIES, thresholds)
    acting = {p for p, s in zip(POLICIES, scores, strict=True) if s >= thresholds.act.get(p, np.inf)}
    assert (ruling.action is Action.BLOCK) == bool(acting)
    if acting:
        assert set(ruling.policies) == acting


@given(scores_of, thresholds_of)
def test_allow_means_that_every_policy_is_below_both_thresholds(scores, thresholds):
    ruling = decide(scores, POLICIES, thresholds)
    below = all(
        s < thresholds.review[p] and s < thresholds.act.get(p, np.inf)
        for p, s in zip(POLICIES, scores, strict=True)
    )
    assert (ruling.action is Action.ALLOW) == below
    assert bool(ruling.policies) != below


@given(scores_of, thresholds_of)
def test_policies_stand_from_the_highest_score_down(scores, thresholds):
    ruling = decide(scores, POLICIES, thresholds)
    said = [scores[POLICIES.index(policy)] for policy in ruling.policies]
    assert said == sorted(said, reverse=True)


@given(scores_of, thresholds_of, st.integers(0, 2), unit)
def test_a_higher_score_never_makes_the_ruling_milder(scores, thresholds, place, more):
    harsher = scores.copy()
    harsher[place] = max(scores[place], more)
    order = [Action.ALLOW, Action.REVIEW, Action.BLOCK]
    before, after = (decide(some, POLICIES, thresholds).action for some in (scores, harsher))
    assert order.index(after) >= order.index(before)


def test_equal_scores_keep_the_order_of_the_taxonomy():
    thresholds = Thresholds(act={}, review=dict.fromkeys(POLICIES, 0.5))
    assert decide(np.full(3, 0.7), POLICIES, thresholds).policies == POLICIES


def test_without_certificates_nothing_blocks():
    assert decide(np.ones(3), POLICIES, NEVER).action is Action.ALLOW
    asking = Thresholds(act={}, review=dict.fromkeys(POLICIES, 0.1))
    assert decide(np.ones(3), POLICIES, asking).action is Action.REVIEW


@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_a_review_threshold_that_is_no_number_asks_for_a_person(broken):
    thresholds = Thresholds(act={"fraud": np.nan}, review={**dict.fromkeys(POLICIES, 0.9), "fraud": broken})
    assert decide(np.zeros(3), POLICIES, thresholds).action is Action.REVIEW


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_the_review_threshold_is_where_a_look_pays(miss, look):
    threshold = review_threshold(miss, look)
    assert 0 < threshold <= 1
    if look < miss:
        assert threshold * miss == pytest.approx(look)


def test_what_was_not_seen_is_said_whatever_is_decided():
    thresholds = Thresholds(act={"fraud": 0.9}, review=dict.fromkeys(POLICIES, 0.5))
    for score, action in ((0.95, Action.BLOCK), (0.6, Action.REVIEW), (0.1, Action.REVIEW)):
        scores = np.array([score if policy == "fraud" else 0.0 for policy in POLICIES])
        ruling = decide(scores, POLICIES, thresholds, ("a photo is cut short",))
        assert ruling.action == action
        assert ruling.reason.endswith("a photo is cut short")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.decision import Action
from stallwart.estimate.audit import audit
from stallwart.estimate.audit_cells import CALLS, Cell, Drawn, Sample, sample_of, strata_for, verdict_on
from stallwart.estimate.audit_words import notes

ALLOW, REVIEW, BLOCK = Action.ALLOW, Action.REVIEW, Action.BLOCK
TOBACCO, WEAPONS = ("tobacco",), ("weapons",)


def cell(action=ALLOW, policies=(), probability=0.1, day=1, bundle="b", stratum="s"):
    return Cell(day, bundle, stratum, action, policies, probability)


def drawn(of, count, *answers):
    return [Drawn(of, answer) for answer in answers for _ in range(count)]


def facts(strata):
    return {
        (one.name, one.called, one.probability): (one.population, one.violating, one.clear, one.unknown)
        for one in strata
    }


def test_cells_of_one_band_and_chance_are_one_stratum_and_others_stay_apart():
    low, again, other = cell(), cell(day=2, bundle="c"), cell(probability=0.2)
    sample = sample_of(
        {low: 100, again: 50, other: 30},
        [*drawn(low, 3, {"tobacco": "no"}), *drawn(again, 1, {"tobacco": "yes"}), *drawn(other, 2, None)],
    )
    assert facts(strata_for(sample)) == {("s", False, 0.1): (150, 1, 3, 0), ("s", False, 0.2): (30, 0, 0, 0)}
    assert sample.waiting == 2
    assert facts(strata_for(sample.within({2}))) == {("s", False, 0.1): (50, 1, 0, 0)}
    assert facts(strata_for(sample.within(bundle="b"))) == {
        ("s", False, 0.1): (100, 0, 3, 0), ("s", False, 0.2): (30, 0, 0, 0),
    }  # fmt: skip


def test_of_one_policy_only_its_own_calls_and_answers_count():
    tobacco, weapons = cell(BLOCK, TOBACCO), cell(BLOCK, WEAPONS)
    wrong = {"tobacco": "no", "weapons": "yes"}
    sample = sample_of(
        {tobacco: 40, weapons: 20},
        [*drawn(tobacco, 2, {"tobacco": "yes"}), *drawn(tobacco, 1, wrong), *drawn(weapons, 1, wrong)],
    )
    assert facts(strata_for(sample)) == {("s", True, 0.1): (60, 4, 0, 0)}
    assert facts(strata_for(sample, "tobacco")) == {
        ("s", True, 0.1): (40, 2, 1, 0), ("s", False, 0.1): (20, 0, 1, 0),
    }  # fmt: skip
    assert facts(strata_for(sample, "weapons"))["s", True, 0.1] == (20, 1, 0, 0)
    assert facts(strata_for(sample, "weapons"))["s", False, 0.1] == (40, 1, 0, 2)


def test_what_is_a_call_is_asked():
    review = cell(REVIEW, TOBACCO)
    sample = sample_of({review: 10}, [])
    assert [one.called for one in strata_for(sample)] == [False]
    assert [one.called for one in strata_for(sample, called=CALLS)] == [True]
    assert [one.called for one in strata_for(sample, "weapons", CALLS)] == [False]


def test_a_draw_that_is_not_counted_is_left_out_and_said():
    sample = sample_of({cell(): 10}, drawn(cell(day=9), 3, {"tobacco": "yes"}))
    assert (sample.uncounted, len(sample.draws)) == (3, 0)


def test_what_is_never_drawn_is_unseen_and_not_clear():
    sample = sample_of({cell(probability=0.0): 1_000}, [])
    (stratum,) = strata_for(sample)
    assert stratum.probability is None
    told = audit([stratum])
    assert (told.prevalence.value, told.prevalence.upper, told.prevalence.unseen) == (None, 1.0, 1_000)


@pytest.mark.parametrize(
    ("answers", "policy", "said"),
    [
        ({"a": "no", "b": "yes"}, None, "yes"), ({"a": "no", "b": "no"}, None, "no"),
        ({"a": "no", "b": "unknown"}, None, "unknown"), ({"a": "yes", "b": "unknown"}, None, "yes"),
        ({}, None, "unknown"), ({"a": "no"}, "b", "unknown"), ({"a": "no"}, "a", "no"),
    ],
)  # fmt: skip
def test_a_verdict_says_yes_no_or_neither(answers, policy, said):
    assert verdict_on(answers, policy) == said


cells = st.builds(
    cell,
    st.sampled_from([ALLOW, REVIEW, BLOCK]),
    st.sampled_from([(), TOBACCO, WEAPONS, ("tobacco", "weapons")]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(1, 3),
    st.sampled_from(["b", "c"]),
    st.sampled_from(["s", "t"]),
)
answers = st.none() | st.dictionaries(
    st.sampled_from(["tobacco", "weapons"]), st.sampled_from(["yes", "no", "unknown"]), min_size=1
)


@st.composite
def samples(draw):
    counts, draws = {}, []
    for one in draw(st.lists(cells, unique=True, max_size=8)):
        said = draw(st.lists(answers, max_size=5 if one.probability else 0))
        counts[one] = len(said) + draw(st.integers(0, 50))
        draws += [Drawn(one, answer) for answer in said]
    return Sample(counts, draws)


@given(samples(), st.sampled_from([None, "tobacco", "weapons"]))
def test_nothing_is_lost_or_counted_twice_between_the_parts_of_a_sample(sample, policy):
    strata = strata_for(sample, policy)
    assert sum(one.population for one in strata) == sum(sample.counts.values())
    assert sum(one.drawn for one in strata) + sample.waiting == len(sample.draws)
    parts = [strata_for(sample.within({day}), policy) for day in (1, 2, 3)]
    for what in ("population", "violating", "clear", "unknown"):
        assert sum(getattr(one, what) for part in parts for one in part) == sum(
            getattr(one, what) for one in strata
        )
    told = audit(strata)
    for figure in (told.prevalence, told.recall, told.precision):
        assert 0 <= figure.lower <= figure.upper <= 1
        assert figure.value is None or figure.lower <= figure.value <= figure.upper
    assert all(isinstance(note, str) and note for note in notes(told, sample.waiting, len(sample.draws)))


def test_intervals_hold_what_is_true_whatever_else_is_reviewed():
    """Listings of one market drawn by their chances: intervals hold the truth as often as they say."""
    rng, held = np.random.default_rng(5), 0
    of = [cell(ALLOW, (), 0.02, stratum="allow from 0"), cell(ALLOW, (), 0.3, stratum="allow from 0.01"),
          cell(BLOCK, TOBACCO, 0.4, stratum="block from 0.6")]  # fmt: skip
    sizes, rates = (9_000, 600, 150), (0.0005, 0.03, 0.9)
    for _ in range(60):
        draws, truth = [], []
        for one, size, rate in zip(of, sizes, rates, strict=True):
            broken = rng.random(size) < rate
            taken = rng.random(size) < one.probability
            truth.append(broken.sum())
            draws += [Drawn(one, {"tobacco": "yes" if bad else "no"}) for bad in broken[taken]]
        told = audit(strata_for(sample_of(dict(zip(of, sizes, strict=True)), draws)))
        true = (sum(truth) / sum(sizes), truth[2] / sum(truth), truth[2] / sizes[2])
        figures = (told.prevalence, told.recall, told.precision)
        held += sum(one.lower <= value <= one.upper for one, value in zip(figures, true, strict=True))
    assert held >= 0.93 * 180


def test_what_cannot_be_said_yet_is_said_in_words():
    def said(counts, draws):
        sample = sample_of(counts, draws)
        return " ".join(notes(audit(strata_for(sample)), sample.waiting, len(sample.draws)))

    assert said({}, []) == "Nothing was decided in this time."
    assert "Nobody has judged" in said({cell(): 10}, drawn(cell(), 1, None))
    block = cell(BLOCK, TOBACCO, 0.5)
    none_missed = said(
        {cell(): 900, block: 20}, [*drawn(cell(), 80, {"a": "no"}), *drawn(block, 8, {"a": "yes"})]
    )
    assert "No miss was found in 80 verdicts" in none_missed
    assert "no recall of 100 %" in none_missed
    assert "there is no precision" in said({cell(): 900}, drawn(cell(), 9, {"a": "yes"}))
    waits = said({cell(): 90}, [*drawn(cell(), 5, {"a": "unknown"}, {"a": "no"}), *drawn(cell(), 5, None)])
    assert "5 of 15 drawn decisions wait" in waits
    assert "5 verdicts say neither yes nor no" in waits

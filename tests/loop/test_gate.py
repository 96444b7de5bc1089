import json

import numpy as np
import pytest

from stallwart.core.scored import Rows, Scored
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.loop.gate import Margins, judge

TAXONOMY = Taxonomy(policies=tuple(Policy(id=name, title=name, prevalence=0.1) for name in ("drugs", "toys")))
MARGINS = Margins(later=0.02, older=0.05, least=10, replicates=200)


def scored(n=600, noise=(0.3, 0.3), seed=0, positives=60, label_seed=1):
    """Scores that know the label up to noise; the rows are the same whatever the noise."""
    labels = np.zeros(n, dtype=np.int64)
    labels[:positives] = 1
    labels[positives : 2 * positives] = 2
    np.random.default_rng(label_seed).shuffle(labels)
    random = np.random.default_rng(seed)
    odds = np.stack([(labels == c + 1) * 2.0 - 1 + noise[c] * random.normal(size=n) for c in (0, 1)], axis=1)
    days = np.datetime64("2025-05-01", "ms") + np.arange(n) * np.timedelta64(1, "h")
    text = np.full(n, "")
    rows = Rows(
        np.array([f"l{i}" for i in range(n)]), labels, days, days, np.arange(n), text, text,
        np.ones(n, dtype=bool), np.zeros(n, dtype=bool),
    )  # fmt: skip
    return Scored(rows, 1 / (1 + np.exp(-odds)), TAXONOMY)


def test_an_equal_challenger_passes():
    said = judge((scored(), scored()), (scored(), scored()), MARGINS)
    assert said.passed
    assert said.reasons == ()
    assert said.unjudged == ()
    assert {one.rows for one in said.seen} == {"later", "older"}
    json.dumps(said.facts(), allow_nan=False)


def test_a_better_challenger_passes():
    worse, better = scored(noise=(1.5, 1.5)), scored(noise=(0.5, 0.5), seed=4)
    said = judge((worse, worse), (better, better), MARGINS)
    assert said.passed
    assert said.seen[0].change.low > 0


def test_one_that_is_worse_on_later_rows_is_refused_and_told_by_how_much():
    good, bad = scored(noise=(0.5, 0.5)), scored(noise=(1.5, 1.5), seed=4)
    said = judge((good, good), (bad, good), MARGINS)
    assert not said.passed
    assert len(said.reasons) == 1
    assert "on 600 later listings the mean average precision changes by -0." in said.reasons[0]
    assert "above -0.020" in said.reasons[0]


def test_one_that_is_not_shown_to_be_no_worse_is_refused():
    few = {"n": 60, "positives": 6}
    one, other = (scored(noise=(1.2, 1.2), seed=seed, **few) for seed in (0, 9))
    assert not judge((one, scored()), (other, scored()), MARGINS).passed


def test_one_that_forgets_a_single_policy_is_refused_however_good_it_is_elsewhere():
    before = scored(noise=(1.0, 0.3))
    after = scored(noise=(0.3, 1.6), seed=5)
    said = judge((before, before), (before, after), MARGINS)
    assert not said.passed
    assert [reason.split()[0] for reason in said.reasons] == ["toys"]
    assert "forgets: on 60 older violations" in said.reasons[0]
    failed = [one.policy for one in said.seen if one.fails]
    assert failed == ["toys"]


def test_a_fall_within_the_margin_passes():
    before, after = scored(noise=(0.6, 0.3)), scored(noise=(0.65, 0.3), seed=0)
    said = judge((before, before), (before, after), MARGINS)
    assert said.passed


def test_policies_with_few_older_violations_are_told_not_judged():
    few = scored(n=100, positives=4)
    said = judge((scored(), few), (scored(), few), MARGINS)
    assert said.passed
    assert set(said.unjudged) == {"drugs", "toys"}


@pytest.mark.parametrize("later", [scored()[:0], scored(positives=0)])
def test_without_later_violations_there_is_nothing_to_judge_by(later):
    said = judge((later, scored()), (later, scored()), MARGINS)
    assert not said.passed
    assert "nothing to judge it by" in said.reasons[0]

import json
from dataclasses import replace

import numpy as np
import pytest

from stallwart.core.errors import DataError
from stallwart.core.scored import Scored
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.evaluation.compare import BETTER, MIXED, SAME, WORSE, Candidate, compare
from stallwart.evaluation.comparison import comparison_text, write_comparison
from stallwart.evaluation.evaluate import Options
from stallwart.evaluation.figures import Gates

GATES = Gates(np.full(3, 0.8), np.full(3, 0.3))
OPTIONS = Options(replicates=100)


@pytest.fixture
def pair(make_scored):
    """A weak and a strong model on the same 600 rows."""
    weak, strong = make_scored(skill=1.0), make_scored(skill=4.0)
    return Candidate("weak", weak, GATES), Candidate("strong", strong, GATES)


def test_a_model_against_itself_shows_no_difference(pair):
    found = compare(pair[0], replace(pair[0], name="again"), OPTIONS)
    assert found.verdict == SAME
    assert set(found.verdicts.values()) == {SAME}
    assert found.macro["average_precision"].change.live.value == 0


def test_the_verdict_turns_with_the_order(pair):
    weak, strong = pair
    assert compare(weak, strong, OPTIONS).verdict == BETTER
    assert compare(strong, weak, OPTIONS).verdict == WORSE


def test_the_change_of_a_mean_is_the_difference_of_the_means(pair):
    found = compare(*pair, OPTIONS)
    for difference in found.macro.values():
        for which in ("measured", "live"):
            first, second, change = (getattr(p, which).value for p in vars(difference).values())
            assert change == pytest.approx(second - first)


def test_better_on_average_but_worse_somewhere_is_mixed(pair):
    weak, strong = pair
    scores = strong.scored.scores.copy()
    scores[:, 2] = weak.scored.scores[::-1, 2]  # one policy in no order at all
    broken = Candidate("partly", replace(strong.scored, scores=scores), GATES)
    found = compare(weak, broken, OPTIONS)
    assert found.verdicts["alcohol"] == BETTER
    assert found.verdicts["fraud"] in (WORSE, MIXED)
    assert found.verdict == MIXED


def test_rows_in_another_order_are_the_same_rows(pair):
    weak, strong = pair
    turned = replace(strong, scored=strong.scored[np.arange(600)[::-1]])
    assert compare(weak, turned, OPTIONS) == compare(weak, strong, OPTIONS)


def test_only_shared_policies_and_listings_outside_the_others_are_compared(pair):
    weak, strong = pair
    kept = strong.scored.rows.labels != 3
    policies = (*strong.scored.taxonomy.policies[:2], Policy(id="new", title="New", prevalence=0.01))
    other = Candidate(
        "other", Scored(strong.scored.rows, strong.scored.scores, Taxonomy(policies=policies)), GATES
    )
    found = compare(weak, other, OPTIONS)
    assert set(found.policies) == {"alcohol", "weapons"}
    assert found.left_out == ("fraud", "new")
    assert found.part.n == kept.sum()


def test_other_rows_other_labels_and_no_shared_policy_are_refused(pair):
    weak, strong = pair
    with pytest.raises(DataError, match="different listings"):
        compare(weak, replace(strong, scored=strong.scored[:-1]), OPTIONS)
    labels = strong.scored.rows.labels.copy()
    labels[0] = (labels[0] + 1) % 4
    rows = replace(strong.scored.rows, labels=labels)
    with pytest.raises(DataError, match="different labels"):
        compare(weak, replace(strong, scored=replace(strong.scored, rows=rows)), OPTIONS)
    alone = Taxonomy(policies=tuple(Policy(id=f"x{i}", title="X", prevalence=0.01) for i in range(3)))
    with pytest.raises(DataError, match="share no policy"):
        compare(weak, replace(strong, scored=replace(strong.scored, taxonomy=alone)), OPTIONS)


def test_a_comparison_reads_on_a_terminal_and_in_three_files(pair, tmp_path):
    weak, strong = pair
    found = compare(weak, replace(strong, name="<b>strong</b>"), OPTIONS)
    text = comparison_text(found)
    assert text.startswith(
        "<b>strong</b> against weak: better, on 600 listings from 2025-10-15 to 2025-12-15."
    )
    assert "average precision" in text
    assert write_comparison(found, tmp_path).name == "comparison.html"
    html = (tmp_path / "comparison.html").read_text()
    assert "&lt;b&gt;strong&lt;/b&gt; against weak" in html
    assert "<b>strong" not in html
    assert json.loads((tmp_path / "comparison.json").read_text())["verdict"] == "better"
    assert (tmp_path / "comparison.md").read_text().startswith("# &lt;b&gt;strong")

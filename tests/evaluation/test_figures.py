import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from stallwart.evaluation.draws import draw
from stallwart.evaluation.figures import (
    PER_NEUTRAL,
    Costs,
    Drawn,
    Figure,
    Gates,
    macro,
    policy_figures,
    ratio,
    traffic_figures,
)
from stallwart.evaluation.ranking import Ranking, area, recall_at
from stallwart.evaluation.wording import change, count, interval, number

GATES = Gates(np.array([0.7, np.inf, 0.6]), np.array([0.2, 0.2, 0.2]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40))
def test_average_precision_is_that_of_sklearn_under_any_ties_and_weights(rows):
    scores, positive, weights = (np.array(column) for column in zip(*rows, strict=True))
    scores, weights = scores / 4.0, weights.astype(float)
    if not (weights * positive).sum():
        return
    ours = area(*Ranking(scores, positive).curve(weights[:, None]))[0]
    assert ours == pytest.approx(average_precision_score(positive, scores, sample_weight=weights))


def test_recall_at_a_precision_is_the_best_over_all_thresholds():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True])
    curve = Ranking(scores, positive).curve(np.ones((4, 1)))
    assert recall_at(*curve, 0.75)[0] == pytest.approx(1.0)
    assert recall_at(*curve, 0.9)[0] == pytest.approx(1 / 3)


def test_precision_in_the_first_k_counts_weight_and_not_rows():
    ranking = Ranking(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    weights = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0]])
    found = ranking.precision_in_first(weights, np.array([2.0, 2.0]))
    assert found == pytest.approx([0.5, 1.0])


def test_without_positives_ranking_figures_have_no_value():
    assert np.isnan(
        Ranking(np.array([0.5, 0.4]), np.array([False, False])).average_precision(np.ones((2, 3)))
    ).all()


def test_live_weights_give_each_label_its_share_in_every_replicate(make_scored):
    scored = make_scored()
    live = draw(scored, 20).weights[1]
    shares = np.array([live[scored.rows.labels == label].sum(axis=0) for label in range(4)]) / len(scored)
    assert shares == pytest.approx(np.tile([[0.94], [0.02], [0.01], [0.03]], 21))


def test_rows_of_a_group_come_and_go_together(make_scored):
    scored = make_scored()
    counts = draw(scored, 20).counts
    same = scored.rows.labels[::2] == scored.rows.labels[1::2]
    assert (counts[::2][same] == counts[1::2][same]).all()


def test_figures_at_the_threshold_are_what_counting_gives(make_scored):
    scored = make_scored()
    figures = policy_figures(scored, 0, GATES, Costs(), draw(scored, 50))
    called, positive = scored.scores[:, 0] >= 0.7, scored.rows.labels == 1
    precision = figures["precision"].pair().measured
    assert precision.value == pytest.approx((called & positive).sum() / called.sum())
    assert (precision.n_positive, precision.n) == ((called & positive).sum(), called.sum())
    assert precision.low <= precision.value <= precision.high
    neutral = scored.rows.labels == 0
    alarms = figures["false_alarms"].pair().measured
    assert alarms.value == pytest.approx(1000 * (called & neutral).sum() / neutral.sum())
    review = (scored.scores[:, 0] >= 0.2) & ~called
    cost = 30 * (called & ~positive).sum() + review.sum() + 10 * (positive & ~called & ~review).sum()
    assert figures["cost"].pair().measured.value == pytest.approx(1000 * cost / len(scored))


def test_live_precision_follows_from_the_rates_and_the_shares(make_scored):
    scored = make_scored()
    live = policy_figures(scored, 0, GATES, Costs(), draw(scored, 5))["precision"].pair().live
    called = scored.scores[:, 0] >= 0.7
    calls = [
        share * called[scored.rows.labels == i].mean() for i, share in enumerate((0.94, 0.02, 0.01, 0.03))
    ]
    assert live.value == pytest.approx(calls[1] / sum(calls))


def test_a_block_for_another_policy_is_a_false_alarm_of_the_traffic(make_scored):
    scored = make_scored()
    figures = traffic_figures(scored, GATES, Costs(), draw(scored, 5))
    calls = scored.scores >= GATES.act
    right = sum(calls[row, label - 1] for row, label in enumerate(scored.rows.labels) if label)
    precision = figures["precision"].pair().measured
    assert (precision.n_positive, precision.n) == (right, calls.any(axis=1).sum())


def test_a_policy_that_never_calls_has_no_precision_and_no_recall(make_scored):
    scored = make_scored()
    figures = policy_figures(scored, 1, GATES, Costs(), draw(scored, 5))
    assert np.isnan(figures["precision"].pair().live.value)
    recall = figures["recall"].pair().measured
    assert recall.value == recall.low == 0
    assert 0 < recall.high < 0.2


def test_a_share_that_no_row_contradicts_is_not_shown_as_certain(make_scored):
    draws = draw(make_scored(), 50)
    among = np.zeros(600, dtype=bool)
    among[:40] = True  # 20 groups of two
    figure = ratio(draws, among, among).pair().measured
    assert (figure.value, figure.high) == (1, 1)
    assert figure.low == pytest.approx(20 / (20 + 3.69), abs=1e-3)
    none = ratio(draws, np.zeros(600, dtype=bool), among, PER_NEUTRAL).pair().measured
    assert none.high == pytest.approx(1000 * 3.69 / 23.69, abs=1)


def test_intervals_hold_the_truth_about_as_often_as_they_say(make_scored):
    truth = average_precision_of(make_scored(40_000, 1.5, 99))
    held = 0
    for seed in range(60):
        scored = make_scored(500, 1.5, seed)
        figure = (
            policy_figures(scored, 0, GATES, Costs(), draw(scored, 200))["average_precision"].pair().measured
        )
        held += figure.low <= truth <= figure.high
    assert held >= 50


def average_precision_of(scored):
    return average_precision_score(scored.rows.labels == 1, scored.scores[:, 0])


def test_with_few_groups_of_positives_the_interval_says_that_nothing_is_known(make_scored):
    scored = make_scored()
    few = np.flatnonzero(scored.rows.labels == 1)[:3]
    some = scored[np.concatenate((few, np.flatnonzero(scored.rows.labels == 0)))]
    figure = policy_figures(some, 0, GATES, Costs(), draw(some, 20))["average_precision"].pair().live
    assert (figure.low, figure.high) == (0, 1)


def test_a_mean_leaves_out_policies_without_a_value():
    one = Drawn((np.array([0.5, 0.4]), np.array([0.5, 0.4])), 10, 5)
    none = Drawn((np.array([np.nan, 0.2]), np.array([np.nan, 0.2])), 0, 0)
    mean = macro([one, none], 100)
    assert mean.values[0] == pytest.approx([0.5, 0.3])
    assert (mean.n, mean.n_positive) == (10, 5)


def test_a_mean_is_as_unsure_as_the_policies_that_no_replicate_varies():
    sure = Drawn((np.ones(50), np.ones(50)), 10, 10, ends=((0.6, 1.0), (0.2, 1.0)))
    spread = np.append(0.8, np.linspace(0.7, 0.9, 49))
    live = macro([sure, Drawn((spread, spread), 10, 8)], 10).pair().live
    assert live.value == pytest.approx(0.9)
    assert live.low == pytest.approx(0.9 - np.hypot(0.4, 0.05), abs=0.005)
    assert live.high == pytest.approx(0.95, abs=0.005)


def test_a_difference_from_itself_holds_zero(make_scored):
    scored = make_scored()
    for drawn in policy_figures(scored, 1, GATES, Costs(), draw(scored, 20)).values():
        figure = drawn.minus(drawn).pair().live
        assert np.isnan(figure.value) or (figure.value == 0 and figure.low <= 0 <= figure.high)


def test_numbers_are_written_as_people_read_them(make_scored):
    scored = make_scored()
    figure = policy_figures(scored, 0, GATES, Costs(), draw(scored, 20))["precision"].pair().measured
    assert (number(0.004), number(0.5), number(-0.001), number(-0.0001), number(float("nan"))) == (
        "0.004",
        "0.50",
        "−0.001",
        "0.00",
        "–",
    )
    assert (number(1234.5, PER_NEUTRAL), number(0.52, PER_NEUTRAL), change(0.25)) == ("1,234", "0.5", "+0.25")
    assert interval(figure).startswith("[0.")
    assert " of " in count(figure)


def test_an_interval_is_written_with_as_many_decimals_at_both_ends_and_only_where_it_is_known():
    assert interval(Figure(0.0098, 0.0095, 0.0102, 9, 1)) == "[0.009–0.010]"
    assert interval(Figure(0.4, 0.005, 0.8, 9, 1)) == "[0.005–0.800]"
    assert interval(Figure(1.0, 0.998, 1.0, 9, 1)) == "[0.998–1.000]"
    assert interval(Figure(1.0, 1.0, 1.0, 120, 5)) == "[not known: all resamples agree]"
    assert interval(Figure(20.0, 20.0, 20.0, 120, 5, PER_NEUTRAL)) == "[not known: all resamples agree]"


def test_a_perfect_order_of_few_violations_is_not_shown_as_certain(make_scored):
    scored = make_scored(120, skill=60.0)
    drawn = policy_figures(scored, 0, GATES, Costs(), draw(scored, 50))
    assert "not known" in interval(drawn["average_precision"].pair().measured)


def test_the_first_hundred_of_few_listings_are_no_figure(make_scored):
    few, many = (make_scored(n) for n in (199, 200))
    found = [policy_figures(one, 0, GATES, Costs(), draw(one, 20))["precision_in_100"] for one in (few, many)]
    assert [number(one.pair().measured.value) == "–" for one in found] == [True, False]

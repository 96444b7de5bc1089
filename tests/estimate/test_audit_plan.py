import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.estimate.audit_plan import Band, band_edges, drawing_probabilities

BANDS = [
    Band(False, 90_000, 0.0002), Band(False, 7_000, 0.005), Band(False, 1_500, 0.1),
    Band(True, 900, 0.7), Band(True, 600, 0.95),
]  # fmt: skip


@st.composite
def plans(draw):
    bands = draw(
        st.lists(st.builds(Band, st.booleans(), st.floats(0, 1e5), st.floats(0, 1)), min_size=1, max_size=6)
    )
    return bands, draw(st.floats(20, 5_000)), draw(st.floats(0, 1))


@given(plans())
def test_every_listing_has_a_chance_and_the_budget_is_spent(plan):
    bands, budget, to_called = plan
    size = np.array([band.population for band in bands])
    given_out = drawing_probabilities(bands, budget, to_called, least=1e-5)
    assert ((given_out >= 1e-5) & (given_out <= 1)).all()
    floors = 1e-5 * size.sum()
    assert (given_out * size).sum() <= budget * 1.001 + floors
    if all(not band.called for band in bands):
        assert (given_out * size).sum() >= min(budget, size.sum()) * 0.999


def test_a_share_of_the_budget_goes_to_calls():
    given_out = drawing_probabilities(BANDS, 700, to_called=0.2)
    size = np.array([band.population for band in BANDS])
    assert (given_out * size)[3:].sum() == pytest.approx(140, rel=1e-6)
    assert (given_out * size).sum() == pytest.approx(700, rel=1e-6)


def test_calls_that_are_all_drawn_leave_the_rest_to_others():
    few = [BANDS[0], Band(True, 30, 0.9)]
    given_out = drawing_probabilities(few, 700, to_called=0.5)
    assert given_out[1] == 1
    assert given_out[0] * 90_000 == pytest.approx(670, rel=1e-6)


def test_others_that_are_all_drawn_leave_the_rest_to_calls():
    given_out = drawing_probabilities([Band(False, 100, 0.1), Band(True, 1_000, 0.9)], 700, to_called=0.2)
    assert given_out == pytest.approx([1, 0.6])


def test_likelier_violations_are_drawn_more():
    given_out = drawing_probabilities(BANDS, 700)
    assert given_out[0] < given_out[1] < given_out[2]


def test_doubt_draws_the_lowest_band_more():
    few, many = (drawing_probabilities(BANDS, 700, doubt=doubt)[0] for doubt in (0.0, 0.01))
    assert many > 1.4 * few


def test_a_budget_below_the_least_chance_is_refused():
    with pytest.raises(ValueError, match="raise the budget"):
        drawing_probabilities(BANDS, 9, least=1e-4)


@pytest.mark.parametrize(
    ("band", "options"),
    [
        (Band(True, -1, 0.1), {}), (Band(True, 1, 1.1), {}), (Band(True, 1, 0.1), {"to_called": 2}),
        (Band(True, 1, 0.1), {"least": 0}), (Band(True, 1, 0.1), {"doubt": -1}),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(band, options):
    with pytest.raises(ValueError, match=r"must be|needs"):
        drawing_probabilities([band], 10, **options)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 9))
def test_edges_grow_inside_the_scores_and_no_band_is_empty(scores, count):
    edges = band_edges(scores, count)
    assert len(edges) < count
    assert (np.diff(edges) > 0).all()
    assert np.bincount(np.digitize(scores, edges), minlength=len(edges) + 1).min() > 0


def test_bands_of_low_scores_hold_more_listings():
    scores = np.random.default_rng(3).beta(0.05, 5, 20_000)
    sizes = np.bincount(np.digitize(scores, band_edges(scores, 4)))
    assert (np.diff(sizes) < 0).all()


@pytest.mark.parametrize(("scores", "count"), [([], 3), ([0.1, 1.2], 3), ([float("nan")], 3), ([0.1], 0)])
def test_scores_that_are_no_probabilities_are_refused(scores, count):
    with pytest.raises(ValueError, match="needs scores"):
        band_edges(scores, count)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stallwart.estimate.audit import audit
from stallwart.estimate.audit_rows import NO, UNKNOWN, YES, strata_of

ROW = st.tuples(st.floats(1e-3, 1), st.booleans(), st.sampled_from([YES, NO, UNKNOWN]))


def columns(rows):
    return (
        np.array([row[0] for row in rows], dtype=np.float64),
        np.array([row[1] for row in rows], dtype=bool),
        np.array([row[2] for row in rows], dtype=np.int64),
    )


@settings(max_examples=60)
@given(st.lists(ROW, max_size=40), st.integers(0, 50_000), st.integers(0, 50_000))
def test_no_row_and_no_listing_is_lost(rows, calls, others):
    probability, called, verdict = columns(rows)
    calls, others = calls + int(called.sum()), others + int((~called).sum())
    strata = strata_of(probability, called, verdict, calls, others)
    assert sum(one.population for one in strata if one.called) == calls
    assert sum(one.population for one in strata if not one.called) == others
    assert sum(one.violating for one in strata) == (verdict == YES).sum()
    assert sum(one.clear for one in strata) == (verdict == NO).sum()
    assert sum(one.unknown for one in strata) == (verdict == UNKNOWN).sum()


def test_each_probability_of_a_plan_is_a_stratum_of_the_size_that_it_stands_for():
    probability = np.array([0.01] * 50 + [0.1] * 20 + [0.5] * 10)
    called = probability == 0.5
    verdict = np.array([YES] + [NO] * 49 + [YES] * 4 + [NO] * 16 + [YES] * 10)
    strata = strata_of(probability, called, verdict, 21, 5_200)
    assert [one.population for one in strata] == pytest.approx([5_000, 200, 21], abs=2)
    assert [one.violating for one in strata] == [1, 4, 10]
    assert audit(strata).recall.value == pytest.approx(21 / (21 + 100 + 40), rel=0.01)


def test_decisions_of_which_none_was_drawn_are_unseen():
    none = np.zeros(0)
    found = audit(strata_of(none, none.astype(bool), none.astype(np.int64), 5, 90))
    assert found.prevalence.unseen == 95
    assert (found.precision.lower, found.precision.upper) == (0, 1)


def test_rows_that_were_all_to_be_drawn_leave_those_that_were_not_open():
    found = audit(strata_of(np.ones(8), np.ones(8, dtype=bool), np.full(8, YES), 10, 0)).precision
    assert 0.8 <= found.lower < 0.85
    assert found.upper == 1


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([(0.0, True, YES)], {}), ([(0.5, True, 7)], {}), ([(0.5, True, YES)], {"ratio": 1.0}),
        ([(0.5, True, YES)] * 3, {"called_total": 2}),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_refused(rows, options):
    with pytest.raises(ValueError, match=r"must be|needs|were drawn"):
        strata_of(*columns(rows), **{"called_total": 9, "other_total": 9, **options})

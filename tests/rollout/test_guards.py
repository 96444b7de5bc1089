from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.estimate.ratios import paired_evidence
from stallwart.rollout.compare import compare
from stallwart.rollout.guards import WEIGHTS, event_evidence, evidence_limit, latency_ms, look
from stallwart.rollout.plan import Guards, Plan
from stallwart.rollout.tally import BASELINE
from tests.rollout.making import NOTHING, PLAN, exposure, exposures, generator, pair, tally, verdicts

CHAMPION, CHALLENGER = Arm.CHAMPION, Arm.CHALLENGER


def says(counted, comparison=NOTHING, memory_mb=10.0, plan=PLAN):
    states = look(plan, counted, comparison, ["weapons"], memory_mb)
    return {one.name if one.policy is None else f"{one.name} {one.policy}": one for one in states}


def harmful(counted, comparison=NOTHING, **rest):
    return {name for name, one in says(counted, comparison, **rest).items() if one.says == "roll back"}


def both(champion, challenger, size=2_000):
    """Both arms of the A/B step, after a baseline; each (every, what) of its exposures."""
    return tally(
        exposures(BASELINE, CHAMPION, step=0),
        exposures(size, CHAMPION, 10_000, *champion[:1], **champion[1]),
        exposures(size, CHALLENGER, 20_000, *challenger[:1], **challenger[1]),
    )


BLOCK, REVIEW = {"action": Action.BLOCK}, {"action": Action.REVIEW}


def test_the_parts_of_the_error_sum_to_the_whole():
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_with_nothing_counted_every_guard_says_advance():
    states = says(tally())
    assert {one.says for one in states.values()} == {"advance"}
    assert len(states) == 15
    assert all(np.isfinite(one.evidence) and one.words.endswith(".") for one in states.values())


def test_without_a_measured_memory_there_is_no_guard_of_it():
    assert "memory" not in says(tally(), memory_mb=None)


def test_equal_arms_go_on():
    same = (30, {"action": Action.BLOCK, "failed": True, "latency": 900_000})
    assert harmful(both(same, same)) == set()


@pytest.mark.parametrize(
    ("champion", "challenger", "guard"),
    [
        ((200, {"failed": True}), (40, {"failed": True}), "errors"),
        ((100, {"latency": 900_000}), (25, {"latency": 900_000}), "slow"),
        ((100, {"latency": 900_000}), (25, {"latency": 900_000}), "cpu"),
        ((40, BLOCK), (5, BLOCK), "blocked_most"),
        ((40, BLOCK), (5, BLOCK), "blocked_most weapons"),
        ((20, BLOCK), (200, BLOCK), "blocked_least"),
        ((20, BLOCK), (200, BLOCK), "blocked_least weapons"),
        ((20, REVIEW), (4, REVIEW), "reviewed_most"),
        ((20, REVIEW), (4, REVIEW), "reviewed_most weapons"),
        ((20, REVIEW), (4, REVIEW), "cost"),
    ],
)
def test_each_guard_rolls_back_what_it_watches_for(champion, challenger, guard):
    assert guard in harmful(both(champion, challenger))
    assert guard not in harmful(both(challenger, champion)) | harmful(both(champion, champion))


def test_overturned_blocks_roll_back():
    blocks = [exposure(n, CHALLENGER, Action.BLOCK) for n in range(60)]
    blocks += [exposure(1_000 + n, CHAMPION, Action.BLOCK) for n in range(60)]
    assert "overturned" in harmful(tally(blocks, overturned=blocks[:60]))
    assert "overturned" not in harmful(tally(blocks, overturned=blocks[30:90]))


def test_a_split_that_is_not_the_planned_one_rolls_back():
    assert "split" in harmful(tally(exposures(900, CHALLENGER), exposures(1_300, CHAMPION, 5_000)))
    assert "split" not in harmful(tally(exposures(900, CHALLENGER), exposures(930, CHAMPION, 5_000)))


def test_memory_beyond_its_bound_rolls_back():
    assert harmful(tally(), memory_mb=2_001) == {"memory"}


def test_a_fall_of_precision_and_of_coverage_rolls_back():
    rng = generator()
    worse = compare(verdicts(rng, 700, precision=(0.95, 0.7)), PLAN)
    assert "precision" in harmful(tally(), worse)
    fewer = compare(verdicts(rng, 700, coverage=(0.8, 0.3)), PLAN)
    assert "coverage" in harmful(tally(), fewer)
    same = compare(verdicts(rng, 700), PLAN)
    assert harmful(tally(), same) == set()


def test_a_few_verdicts_roll_nothing_back():
    few = compare(verdicts(generator(), 30, precision=(0.99, 0.3)), PLAN)
    assert harmful(tally(), few) == set()


def test_shadow_alone_finds_a_challenger_that_raises_or_blocks_everything():
    raises = [pair(n, challenger=Action.REVIEW, failed=(False, True)) for n in range(40)]
    assert "errors" in harmful(tally(pairs=raises))
    blocks = [pair(n, challenger=Action.BLOCK) for n in range(60)]
    assert "blocked_most" in harmful(tally(pairs=blocks))


def test_suspicion_holds():
    suspicious = tally(
        exposures(12, CHALLENGER, every=1, failed=True), exposures(1, CHAMPION, 50, 1, failed=True)
    )
    state = says(suspicious)["errors"]
    assert (state.says, state.champion, state.challenger, state.value) == ("hold", 1, 12, 12)
    assert "Suspicious" in state.words


def test_a_limit_of_zero_asks_for_nothing():
    plan = PLAN.model_copy(update={"guards": Guards(blocked_least=0)})
    assert harmful(both((20, BLOCK), (0, {})), plan=plan) == set()


def test_a_smaller_error_and_more_policies_ask_for_more_evidence():
    assert evidence_limit(Plan(false_rollback=0.01), "errors") > evidence_limit(Plan(), "errors")
    assert evidence_limit(Plan(), "errors", 5) == pytest.approx(evidence_limit(Plan(), "errors") + np.log(5))


def test_a_challenger_that_was_well_so_far_has_no_credit_to_spend():
    harm = [[0, 0], [0, 40], [0, 0]]
    shares = [0.0, 0.05, 0.5]
    well = [[0, 0], [0, 0], [4_000, 4_000]]
    now = event_evidence([0, 0, 0], harm, shares, 1.5)
    before = event_evidence([500, 0, 0], well, shares, 1.5)
    later = event_evidence([500, 0, 0], [[0, 0], [9_000, 500], [0, 40]], shares, 1.5)
    assert now > 10
    assert before < -0.5
    assert later > 10


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_evidence_from_shadow_costs_a_quarter_at_most(same, more, fewer):
    mixed = event_evidence([same, more, fewer], [[0, 0], [0, 0]], [0.0, 0.5], 2.0)
    alone = paired_evidence(same, more, fewer, 2.0)
    assert mixed >= alone - np.log(4) - 1e-9
    assert mixed >= np.log(0.75) - 1e-9


def test_latency_is_told_with_its_interval():
    numbers = count()
    rows = [exposure(next(numbers), latency=1_000 * (40 + n % 60)) for n in range(3_000)]
    champion, challenger = latency_ms(tally(rows), 0.5)
    assert 60 < champion[0] <= 70 <= champion[1] < 80
    assert challenger == (0.0, float("inf"))

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.rollout.plan import Guards
from stallwart.rollout.tally import BASELINE, BOTH, CHALLENGER_ONLY, CHAMPION_ONLY, EDGES_US, Tally, buckets
from tests.rollout.making import PLAN, exposure, exposures, pair, tally

SELLERS = PLAN.model_copy(update={"unit": "seller"})
EVENTS = ("error", "block", "review", "block:weapons", "slow", "cpu", "overturned")
rows = st.lists(
    st.builds(
        exposure,
        st.integers(0, 10_000),
        st.sampled_from(Arm),
        st.sampled_from(Action),
        st.sampled_from([1, 2]),
        st.integers(0, 5),
        st.booleans(),
        st.sampled_from([10_000, 50_000, 900_000]),
    ),
    max_size=30,
    unique_by=lambda one: one.seq,
)


@given(rows, st.randoms())
def test_any_order_and_any_parts_come_to_the_same(listed, random):
    shuffled = random.sample(listed, len(listed))
    once, parts = tally(listed, overturned=listed[:3]), Tally(PLAN)
    for one in shuffled:
        parts.add_exposures([one])
        parts.events("block")  # a look between two rows changes nothing
    parts.add_overturned(listed[:3])
    for event in EVENTS:
        assert (once.events(event) == parts.events(event)).all()
    assert (once.units() == parts.units()).all()
    assert (once.exposures() == parts.exposures()).all()
    assert (once.costs()[0] == parts.costs()[0]).all()


@given(rows)
def test_a_listing_counts_at_its_first_exposure_only(listed):
    counted = tally(listed)
    first = {one.unit: one for one in sorted(listed, key=lambda one: -one.seq)}.values()
    assert counted.events("error").sum() == sum(one.failed for one in first)
    assert counted.events("block:weapons").sum() == sum(one.action is Action.BLOCK for one in first)
    assert counted.units().sum() == len(first)


@given(rows)
def test_a_seller_counts_once_for_each_kind_of_event(listed):
    counted = tally(listed, plan=SELLERS)
    for event, has in {
        "error": lambda one: one.failed,
        "block": lambda one: one.action is Action.BLOCK,
    }.items():
        assert counted.events(event).sum() == len({one.unit for one in listed if has(one)})
    assert counted.units().sum() == len({one.unit for one in listed})


def test_a_seller_counts_where_the_event_came_first():
    later = exposure(9, Arm.CHALLENGER, Action.BLOCK, step=2, unit=7)
    first = exposure(3, Arm.CHAMPION, Action.BLOCK, step=1, unit=7)
    earlier = exposure(1, Arm.CHAMPION, step=1, unit=7)
    assert tally([later, first, earlier], plan=SELLERS).events("block").tolist() == [[0, 0], [1, 0], [0, 0]]
    assert tally([later, first, earlier]).events("block").sum() == 0


def test_what_happens_in_shadow_is_no_event_of_an_arm():
    counted = tally([exposure(1, action=Action.BLOCK, step=0)])
    assert counted.events("block").sum() == 0
    assert counted.exposures()[0].tolist() == [1, 0]


def test_pairs_are_counted_by_who_has_the_event():
    pairs = [
        pair(1, Action.BLOCK, Action.BLOCK),
        pair(2, Action.ALLOW, Action.BLOCK),
        pair(3, Action.BLOCK, Action.REVIEW),
        pair(4, Action.BLOCK, Action.REVIEW),
        pair(5, failed=(False, True)),
        pair(6),
    ]
    counted = tally(pairs=pairs)
    blocks = counted.paired("block")
    assert (blocks[BOTH], blocks[CHALLENGER_ONLY], blocks[CHAMPION_ONLY]) == (1, 1, 2)
    assert counted.paired("review").tolist() == [0, 2, 0]
    assert counted.paired("block:weapons").tolist() == [1, 1, 2]
    assert counted.paired("error").tolist() == [0, 1, 0]
    assert counted.pairs().tolist() == [6, 0, 0]
    assert counted.policies("block") == ["weapons"]


def test_a_unit_with_many_pairs_counts_at_its_first_or_as_a_seller_at_its_first_event():
    pairs = [pair(5, Action.BLOCK, unit=1), pair(4, Action.ALLOW, Action.BLOCK, unit=1), pair(3, unit=1)]
    assert tally(pairs=pairs).paired("block").tolist() == [0, 0, 0]
    assert tally(pairs=pairs, plan=SELLERS).paired("block").tolist() == [0, 1, 0]
    assert tally(pairs=pairs[:2]).paired("block").tolist() == [0, 1, 0]


def test_counterparts_of_audited_decisions_after_shadow_are_no_pairs():
    assert tally(pairs=[pair(1, Action.BLOCK, step=1)]).paired("block").sum() == 0


def test_slow_is_above_the_champions_p99_over_its_first_exposures():
    first = exposures(BASELINE, Arm.CHAMPION, step=0)
    early = [exposure(BASELINE - 2, Arm.CHALLENGER, latency=900_000, step=1, unit=99_998)]
    late = [
        exposure(BASELINE + n, arm, latency=latency, step=1)
        for n, (arm, latency) in enumerate(
            [(Arm.CHALLENGER, 900_000), (Arm.CHAMPION, 900_000), (Arm.CHALLENGER, 50_000)]
        )
    ]
    counted = tally(first, early, late)
    assert 50_000 <= counted.limit_us("latency") < 53_000
    assert counted.events("slow")[1].tolist() == [1, 1]
    assert counted.events("cpu")[1].tolist() == [1, 1]


def test_nothing_is_slow_before_slow_is_known():
    counted = tally(
        exposures(BASELINE - 1, Arm.CHAMPION), exposures(50, Arm.CHALLENGER, 10_000, latency=9_000_000)
    )
    assert counted.limit_us("latency") is None
    assert counted.events("slow").sum() == 0


def test_what_is_slow_may_be_stated():
    plan = PLAN.model_copy(update={"guards": Guards(slow_ms=100)})
    counted = tally([exposure(1, latency=99_900), exposure(2, latency=120_000)], plan=plan)
    assert counted.limit_us("latency") == 100_000
    assert counted.events("slow")[2].tolist() == [1, 0]  # buckets are 5 % wide


def test_a_value_lies_in_its_bucket():
    values = np.array([0, 10, 11, 60_000, 10**12])
    found = buckets(values)
    assert (values <= EDGES_US[found]).all()
    assert (values[1:] > EDGES_US[found[1:] - 1])[1:].all()


def test_histograms_hold_every_exposure():
    counted = tally(exposures(7, Arm.CHAMPION), exposures(3, Arm.CHALLENGER, 100, step=1))
    assert counted.histogram("latency").sum(axis=1).tolist() == [7, 3]


def test_a_review_costs_what_the_plan_says():
    counted = tally([exposure(1, Arm.CHALLENGER, Action.REVIEW), exposure(2, Arm.CHAMPION)])
    counts, amounts = counted.costs()
    spent = counts[2] @ amounts
    assert spent[1] - spent[0] == PLAN.cost.review


def test_a_hundred_thousand_exposures_are_counted_within_two_seconds():
    listed = exposures(100_000, Arm.CHAMPION, every=20, action=Action.REVIEW)
    began = time.process_time()
    counted = tally(listed)
    counted.events("review")
    assert time.process_time() - began < 2


def test_policies_set_aside_count_neither_as_blocks_nor_as_reviews():
    rows = [exposure(seq, action=action) for seq, action in enumerate(Action)]
    both = [pair(10, Action.BLOCK, Action.REVIEW), pair(11, Action.BLOCK, Action.ALLOW)]
    counted = Tally(PLAN, frozenset({"weapons"}))
    counted.add_exposures(rows)
    counted.add_pairs(both)
    for event in ("block", "review", "block:weapons", "review:weapons"):
        assert counted.events(event).sum() == counted.paired(event).sum() == 0
    assert counted.exposures().sum() == 3, "they are still exposures"
    others = Tally(PLAN, frozenset({"wine"}))
    others.add_exposures(rows)
    assert others.events("block").sum() == others.events("review:weapons").sum() == 1

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stallwart.core.decision import Action
from stallwart.estimate.audit_draw import AuditPlan, default_plan, position
from stallwart.estimate.audit_replan import Traffic, Wanted, plan_of_traffic, spending, still_fits

KEY = "ab" * 32
ALLOW, REVIEW, BLOCK = Action.ALLOW, Action.REVIEW, Action.BLOCK


def plan(**facts):
    given = {
        "edges": {ALLOW: (0.1,), REVIEW: (), BLOCK: (0.9,)},
        "chances": {ALLOW: (0.01, 0.1), REVIEW: (0.2,), BLOCK: (0.3, 0.05)},
        "unscored": 0.5,
        "blocks": {"tobacco": 0.1, "weapons": 1.0},
        "new_blocks": 0.25,
    }
    return AuditPlan(**{**given, **facts})


def traffic(n=5_000, per_day=20_000.0, blocks=60, reviews=200, seed=0, names=("tobacco",)):
    rng = np.random.default_rng(seed)
    scores = np.concatenate(
        [rng.beta(0.05, 5, n - blocks - reviews), rng.uniform(0.1, 0.6, reviews), rng.uniform(0.6, 1, blocks)]
    )
    actions = np.repeat(["allow", "review", "block"], [n - blocks - reviews, reviews, blocks])
    called = [
        () if action == "allow" else (names[place % len(names)],) for place, action in enumerate(actions)
    ]
    return Traffic(actions, scores, called, per_day)


def test_a_decision_has_the_chance_of_its_action_and_band():
    assert plan().place(ALLOW, (), 0.05).probability == 0.01
    assert plan().place(ALLOW, (), 0.1).probability == 0.1  # an edge belongs to the band above
    assert plan().place(REVIEW, ("tobacco",), 0.7).probability == 0.2
    assert plan().place(REVIEW, (), None).probability == 0.5
    assert plan().place(ALLOW, (), 0.1).stratum == "allow from 0.1"
    assert plan().place(ALLOW, (), 0.0).stratum == "allow from 0"
    assert plan().place(REVIEW, (), None).stratum == "review unscored"


def test_of_each_policy_at_least_its_share_of_blocks_is_drawn():
    assert plan().place(BLOCK, ("tobacco",), 0.5).probability == 0.3
    assert plan().place(BLOCK, ("tobacco",), 0.95).probability == 0.1
    assert plan().place(BLOCK, ("tobacco", "weapons"), 0.95).probability == 1
    assert plan().place(BLOCK, ("fireworks",), 0.95).probability == 0.25


def test_places_are_uniform_and_hang_on_key_and_id_alone():
    places = np.array([position(KEY, f"d_{number:08x}") for number in range(20_000)])
    assert places.min() >= 0
    assert places.max() < 1
    counts = np.bincount((places * 20).astype(int), minlength=20)
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 43.8  # chi-square of 19 degrees, p = 0.001
    assert position(KEY, "d_1") == position(KEY, "d_1") != position("cd" * 32, "d_1")


@pytest.mark.parametrize(
    "facts",
    [
        {"edges": {ALLOW: (0.2, 0.1), REVIEW: (), BLOCK: (0.9,)}}, {"unscored": 1.1}, {"blocks": {"x": -0.1}},
        {"chances": {ALLOW: (0.1,), REVIEW: (0.1,), BLOCK: (0.1, 0.1)}},
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(facts):
    with pytest.raises(ValueError, match="chances"):
        plan(**facts)


def test_the_budget_is_spent_on_what_comes():
    made = plan_of_traffic(traffic(), Wanted(100))
    assert spending(made, traffic()) == pytest.approx(100, rel=0.1)  # chances lie on a grid
    assert len(made.edges[ALLOW]) == 3
    assert min(made.chances[ALLOW]) > 0


def test_the_share_of_blocks_is_drawn_whatever_the_budget_is():
    many = traffic(blocks=2_000, per_day=200_000.0)
    made = plan_of_traffic(many, Wanted(100, block_share=0.05))
    assert made.place(BLOCK, ("tobacco",), 0.99).probability == pytest.approx(0.05, rel=0.1)
    others = spending(made, many) - 80_000 * made.blocks["tobacco"]
    assert others == pytest.approx(50, rel=0.15)  # half of the budget is kept for what was not blocked
    off = plan_of_traffic(many, Wanted(0, block_share=0.05))
    assert off.place(ALLOW, (), 0.01).probability == off.place(REVIEW, (), None).probability == 0
    assert off.place(BLOCK, ("tobacco",), 0.7).probability == pytest.approx(0.05, rel=0.1)


def test_of_a_policy_that_blocks_rarely_some_are_drawn_all_the_same():
    rare = traffic(
        names=("tobacco",) * 29 + ("weapons",)
    )  # 2 of 60 blocks, of 5,000 decisions of a quarter day
    made = plan_of_traffic(rare, Wanted(100, block_share=0.05, block_least=3))
    assert made.blocks["weapons"] == pytest.approx(3 / 8, rel=0.1)
    assert made.blocks["tobacco"] == pytest.approx(0.05, rel=0.1)


def test_without_blocks_all_goes_to_the_others_and_first_blocks_are_drawn_often():
    made = plan_of_traffic(traffic(blocks=0), Wanted(100, 0.05, 3))
    assert spending(made, traffic(blocks=0)) == pytest.approx(100, rel=0.1)
    assert made.place(BLOCK, ("tobacco",), 0.9).probability == 0.25


def test_a_plan_stays_while_traffic_is_about_the_same_and_goes_where_it_is_not():
    first = plan_of_traffic(traffic(), Wanted(100, 0.05, 3))
    for changed, fits in ((traffic(seed=1), True), (traffic(per_day=24_000.0), True),
                          (traffic(per_day=60_000.0), False), (traffic(blocks=600), False)):  # fmt: skip
        fresh = plan_of_traffic(changed, Wanted(100, 0.05, 3), first)
        assert fresh.edges == first.edges
        assert still_fits(first, fresh, changed) == fits


def test_before_traffic_is_known_little_is_drawn_and_with_no_budget_blocks_alone():
    assert 0 < default_plan(100, 0.05).place(ALLOW, (), 0.0001).probability <= 0.001
    off = default_plan(0, 0.05)
    assert off.place(ALLOW, (), 0.5).probability == off.place(REVIEW, ("x",), None).probability == 0
    assert off.place(BLOCK, ("x",), 0.9).probability == 0.25
    assert default_plan(0, 0).place(BLOCK, ("x",), 0.9).probability == 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 400), st.integers(0, 60), st.integers(0, 60), st.floats(10, 1e7), st.floats(0.5, 5_000),
    st.floats(0, 1), st.integers(0, 99),
)  # fmt: skip
def test_every_decision_has_a_chance_whatever_the_traffic_is(
    n, blocks, reviews, per_day, budget, share, seed
):
    seen = traffic(n + blocks + reviews, per_day, blocks, reviews, seed)
    made = plan_of_traffic(seen, Wanted(budget, share, 3))
    for action, score in ((ALLOW, 0.0), (ALLOW, 1.0), (REVIEW, 0.3), (REVIEW, None), (BLOCK, 0.9)):
        assert 0 < made.place(action, ("tobacco",), score).probability <= 1
    floor = min(1.0, max(share, 3 / max(blocks / len(seen.scores) * per_day, 1e-9)))
    most = max(1.15 * budget, floor * blocks / len(seen.scores) * per_day + budget / 2)
    assert spending(made, seen) <= 1.2 * most + 1e-4 * per_day

"""Which runtime decides: by the rollout, by what is loaded, and by how old the news is."""

import pytest
from fakes import FakeRuntime
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.listing import Listing
from stallwart.core.rollout import Arm, Rollout, Stage
from stallwart.rollout.plan import Plan
from stallwart.serving.rollouts.arms import Arms, Routing

OLD, NEW = FakeRuntime(digest="b" * 64), FakeRuntime(digest="d" * 64)
KEY = "ab" * 16


def rollout(share, stage=Stage.CANARY, shadow_share=0.0):
    return Rollout(
        rollout_id="r_1",
        champion=OLD.digest,
        challenger=NEW.digest,
        plan={},
        routing_key=KEY,
        step=0,
        stage=stage,
        share=share,
        shadow_share=shadow_share,
        held=False,
        version=1,
        started_at_ms=0,
        step_since_ms=0,
    )


def arms(routing, now=100.0):
    made = Arms(OLD, 5.0, lambda: now)
    made.use(routing)
    return made


def routed(routing, listing="L1", seller=None, now=100.0):
    return arms(routing, now).route(Listing(listing, "lamp", seller_id=seller))


def test_without_a_rollout_the_champion_decides_and_nothing_counts():
    route = Arms(OLD, 5.0, lambda: 0.0).route(Listing("L1", "lamp"))
    assert (route.runtime, route.rollout, route.other) == (OLD, None, None)


@pytest.mark.parametrize(
    ("challenger", "read_at"), [(None, 100.0), (NEW, 94.0)], ids=["not loaded", "old news"]
)
def test_a_process_that_cannot_keep_up_decides_with_the_champion_and_counts_nothing(challenger, read_at):
    route = routed(Routing(OLD, challenger, rollout(0.999), Plan(), read_at))
    assert (route.runtime, route.rollout, route.arm) == (OLD, None, Arm.CHAMPION)


@given(st.text(min_size=1), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_what_the_challenger_decides_at_one_share_it_decides_at_a_greater_one(listing, one, other):
    low, high = (
        routed(Routing(OLD, NEW, rollout(share), Plan(), 100.0), listing) for share in sorted((one, other))
    )
    assert (low.arm, high.arm) != (Arm.CHALLENGER, Arm.CHAMPION)
    assert low.unit == high.unit


def test_in_shadow_the_champion_decides_and_the_challenger_scores_its_share():
    routing = Routing(OLD, NEW, rollout(0.0, Stage.SHADOW, 0.5), Plan(), 100.0)
    routes = [routed(routing, f"L{n}") for n in range(400)]
    assert all(route.runtime is OLD and route.other is NEW for route in routes)
    assert 140 < sum(route.shadowed for route in routes) < 260


def test_a_sellers_listings_share_an_arm_and_one_without_a_seller_has_its_own():
    routing = Routing(OLD, NEW, rollout(0.5), Plan(unit="seller"), 100.0)
    assert len({routed(routing, f"L{n}", "ana").unit for n in range(20)}) == 1
    assert len({routed(routing, f"L{n}").unit for n in range(20)}) == 20
    assert routed(routing, "ana").unit != routed(routing, "L1", "ana").unit

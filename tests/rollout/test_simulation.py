import subprocess
import sys
from pathlib import Path

import pytest

from bench.rollout import BROKEN, EQUAL
from bench.rollouts.market import Market, Model
from bench.rollouts.path import paths
from bench.rollouts.replay import agreement
from stallwart.core.rollout import Stage
from stallwart.rollout.plan import Plan, Step

SKIPPED = Plan(steps=(Step(stage=Stage.AB, share=0.5),))


@pytest.mark.parametrize("name", ["blocks everything", "raises always"])
def test_a_broken_challenger_is_out_soon_also_without_shadow(name):
    for one in paths(SKIPPED, Market(), BROKEN[name], 5, 11):
        assert one.outcome == "rolled back"
        assert one.touched < 100


def test_in_shadow_it_touches_nothing():
    (one,) = paths(Plan(), Market(), BROKEN["blocks everything"], 1, 12)
    assert (one.outcome, one.step, one.touched) == ("rolled back", 0, 0)


def test_the_simulation_and_what_serves_say_the_same_at_the_same_request():
    assert agreement(Model(errors=1.0), 13).startswith("both rolled back by errors")


@pytest.mark.slow
def test_the_simulation_and_what_serves_agree_on_equal_arms_through_three_steps():
    assert agreement(EQUAL, 14, 23_000).startswith("evidence of")


@pytest.mark.slow
def test_the_bench_runs():
    bench = Path(__file__).parents[2] / "bench" / "rollout.py"
    command = [sys.executable, str(bench), "broken", "power", "better", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "at least 80 %" in done.stdout

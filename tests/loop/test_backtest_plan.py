from datetime import UTC, datetime

import pytest

from stallwart.core.errors import ConfigError
from stallwart.loop.choose import STRATEGIES
from stallwart.loop.plan import Budget, parse_plan

DATES = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)


def plan(strategies="none,random", budgets="30/week", schedules="weekly", seeds=2, dates=DATES):
    return parse_plan(*dates, strategies, budgets, schedules, seeds, 30.0, tuple(STRATEGIES))


@pytest.mark.parametrize(
    ("text", "days", "reviews"),
    [("100/week", 7, 100), ("100/week", 14, 200), ("20 / day", 7, 140), ("400/month", 30, 400),
     ("10/week", 3, 4)],
)  # fmt: skip
def test_a_budget_pays_for_its_part_of_the_time(text, days, reviews):
    assert Budget.parse(text).due(days) == reviews


@pytest.mark.parametrize("text", ["", "100", "week", "-3/week", "1.5/week", "10/year"])
def test_what_is_no_budget_is_told_how_to_write_one(text):
    with pytest.raises(ConfigError, match="100/week"):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"strategies": "best"}, "no strategy 'best'; there are: none, random"),
        ({"schedules": "hourly"}, "no schedule 'hourly'; there are: weekly"),
        ({"strategies": ""}, "needs a strategy"),
        ({"dates": DATES[::-1]}, "swap the two dates"),
    ],
)
def test_a_wrong_option_says_what_there_is(changed, said):
    with pytest.raises(ConfigError, match=said):
        plan(**changed)


def test_replays_that_cannot_differ_are_made_once():
    runs = list(plan("none,random,all", "10/week,30/week", "weekly,monthly").runs())
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    by_strategy = {kind: sum(run.strategy == kind for run in runs) for kind in ("none", "random", "all")}
    assert by_strategy == {"none": 1, "random": 8, "all": 2}

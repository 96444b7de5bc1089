"""What a backtest is asked for: budgets, schedules and strategies as people write them, and all runs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from stallwart.core.errors import ConfigError

DAY = np.timedelta64(1, "D")
WEEK_DAYS = 7
DRAWN = frozenset({"random", "mixed"})
"""Strategies that draw: only their replays differ by seed."""

_PERIODS = {"day": 1, "week": 7, "month": 30}
_BUDGET = re.compile(r"(\d{1,7})\s*/\s*(day|week|month)")


class Schedule(StrEnum):
    """How often a new model is trained on what was reviewed since."""

    WEEKLY = "weekly"
    FORTNIGHTLY = "fortnightly"
    MONTHLY = "monthly"
    NEVER = "never"

    @property
    def weeks(self) -> int:
        """Weeks between two trainings; 0 where there is none."""
        return {"weekly": 1, "fortnightly": 2, "monthly": 4, "never": 0}[self.value]


@dataclass(frozen=True)
class Budget:
    """How many listings people may read for learning, beside the queue that decisions make.

    Attributes:
        reviews: in one period.
        days: of one period.
    """

    reviews: int
    days: int

    def __str__(self) -> str:
        names = {days: name for name, days in _PERIODS.items()}
        return f"{self.reviews}/{names[self.days]}"

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """The budget that "100/week" says.

        Raises:
            ConfigError: it says none.
        """
        found = _BUDGET.fullmatch(text.strip())
        if found is None:
            raise ConfigError(f"--review-budget: {text!r} is none; write it as 100/week, 20/day or 400/month")
        return cls(int(found[1]), _PERIODS[found[2]])

    def due(self, days: float) -> int:
        """Reviews that are paid for after so many days, in all."""
        return int(self.reviews * days / self.days + 1e-9)


@dataclass(frozen=True)
class Run:
    """One replay.

    Attributes:
        strategy: name in `choose.STRATEGIES`.
        budget: of reviews.
        schedule: of training.
        seed: of everything that is drawn.
    """

    strategy: str
    budget: Budget
    schedule: Schedule
    seed: int

    @property
    def name(self) -> str:
        """For files and progress."""
        return f"{self.strategy}-{str(self.budget).replace('/', 'per')}-{self.schedule.value}-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that a backtest compares.

    Attributes:
        start: first moment that is replayed; what was listed and labelled before is learned from.
        until: first moment after the last review; what is listed from then on is only scored.
        strategies: names of ways to choose.
        budgets: of reviews.
        schedules: of training.
        seeds: how many.
        review_seconds: of a reviewer's time for one listing.
    """

    start: datetime
    until: datetime
    strategies: tuple[str, ...]
    budgets: tuple[Budget, ...]
    schedules: tuple[Schedule, ...]
    seeds: int
    review_seconds: float

    def __post_init__(self) -> None:
        if self.start >= self.until:
            raise ConfigError(
                f"--from {self.start:%Y-%m-%d} is not before --until {self.until:%Y-%m-%d};"
                " swap the two dates"
            )
        if not (self.strategies and self.budgets and self.schedules and self.seeds):
            raise ConfigError("a backtest needs a strategy, a budget, a schedule and a seed at least")

    def runs(self) -> Iterator[Run]:
        """Every replay; those that cannot differ from one another are made once.

        Without a review nothing is learned, whatever the budget and the schedule. Where nothing is drawn, all
        seeds are the same.
        """
        made = set()
        for schedule in self.schedules:
            for budget in self.budgets:
                for strategy in self.strategies:
                    for seed in range(self.seeds if strategy in DRAWN else 1):
                        run = Run(strategy, budget, schedule, seed)
                        if strategy == "none":
                            run = Run("none", self.budgets[0], Schedule.NEVER, seed)
                        elif strategy == "all":
                            run = Run("all", self.budgets[0], schedule, seed)
                        if run not in made:
                            made.add(run)
                            yield run


def parse_plan(
    start: datetime,
    until: datetime,
    strategies: str,
    budgets: str,
    schedules: str,
    seeds: int,
    review_seconds: float,
    known: tuple[str, ...],
) -> Plan:
    """The plan that a command's options say; lists are separated by commas.

    Raises:
        ConfigError: a name is unknown, or a budget none.
    """
    names = _listed(strategies)
    for name in names:
        if name not in known:
            raise ConfigError(f"--strategy: no strategy {name!r}; there are: {', '.join(known)}")
    kinds = [one.value for one in Schedule]
    for name in _listed(schedules):
        if name not in kinds:
            raise ConfigError(f"--retrain: no schedule {name!r}; there are: {', '.join(kinds)}")
    return Plan(
        start=start,
        until=until,
        strategies=names,
        budgets=tuple(Budget.parse(one) for one in _listed(budgets)),
        schedules=tuple(Schedule(one) for one in _listed(schedules)),
        seeds=seeds,
        review_seconds=review_seconds,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))

"""A backtest -> its figures with intervals over rows and seeds, and what choosing gains over chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.loop.backtest import Backtest, Setting
from stallwart.loop.months import MonthFigures

Floats = NDArray[np.float64]

_REDRAWS_SEED = 7


@dataclass(frozen=True)
class Interval:
    """A figure with a 95 % interval; NaN where there is none.

    Attributes:
        value: mean over the seeds.
        low, high: of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One setting in one month.

    Attributes:
        setting: its name.
        month: as "2025-09".
        average_precision: interval over redrawn rows and seeds at once.
        with_repeats: average precision with repeats of earlier months put back; interval over seeds.
        precision, coverage, hours: interval over seeds.
        reviews: mean over seeds.
    """

    setting: str
    month: str
    average_precision: Interval
    with_repeats: Interval
    precision: Interval
    coverage: Interval
    hours: Interval
    reviews: float


@dataclass(frozen=True)
class Gain:
    """A way to choose against chance at the same budget and schedule, in one month.

    Attributes:
        strategy: the way to choose.
        budget, schedule: of both.
        month: as "2025-12".
        gain: in average precision; interval over redrawn rows, the same for both, and seeds.
    """

    strategy: str
    budget: str
    schedule: str
    month: str
    gain: Interval

    @property
    def answer(self) -> str:
        """What the interval says."""
        if self.gain.low > 0:
            return "beats random"
        return "loses to random" if self.gain.high < 0 else "not shown to differ from random"


def lines(test: Backtest) -> list[Line]:
    """Every setting in every month, in order."""
    found = []
    for setting in test.settings:
        for place, month in enumerate(test.months):
            figures = [by_month[place] for by_month in setting.figures]
            found.append(
                Line(
                    setting=setting.name,
                    month=month.name,
                    average_precision=_redrawn(_drawn(figures)),
                    with_repeats=_over_seeds([one.with_repeats for one in figures]),
                    precision=_over_seeds([one.precision for one in figures]),
                    coverage=_over_seeds([one.coverage for one in figures]),
                    hours=_over_seeds([one.hours for one in figures]),
                    reviews=float(np.mean([one.reviews for one in figures])),
                )
            )
    return found


def gains(test: Backtest) -> list[Gain]:
    """Every choosing strategy against chance, in the last month, which all reviews come before."""
    place = len(test.months) - 1
    found = []
    for setting in test.settings:
        if setting.strategy in ("none", "random", "all"):
            continue
        rival = _rival(test.settings, setting)
        if rival is None:
            continue
        one, two = (_drawn([by_month[place] for by_month in each.figures]) for each in (setting, rival))
        found.append(
            Gain(
                strategy=setting.strategy,
                budget=str(setting.budget),
                schedule=setting.schedule.value,
                month=test.months[place].name,
                gain=_redrawn(one, two),
            )
        )
    return found


def by_policy(test: Backtest, setting: Setting) -> dict[str, float]:
    """Average precision of each policy in the last month, mean over seeds, by policy id."""
    ids = test.base.world.taxonomy.ids
    columns = test.months[-1].policies
    return {
        ids[column]: float(np.mean([seed[-1].by_policy[column] for seed in setting.figures]))
        for column in columns
    }


def _rival(settings: Sequence[Setting], of: Setting) -> Setting | None:
    for other in settings:
        if (other.strategy, other.budget, other.schedule) == ("random", of.budget, of.schedule):
            return other
    return None


def _drawn(figures: Sequence[MonthFigures]) -> Floats:
    """(seeds, 1 + replicates)."""
    return np.stack([one.average_precision for one in figures])


def _redrawn(one: Floats, minus: Floats | None = None) -> Interval:
    """The mean over seeds, or a difference of two; each replicate redraws the rows, and the seeds of each."""
    generator = np.random.default_rng(_REDRAWS_SEED)
    values = [_seeds_redrawn(each, generator) for each in ([one] if minus is None else [one, minus])]
    replicates = values[0] if minus is None else values[0] - values[1]
    value = float(one[:, 0].mean() - (0.0 if minus is None else minus[:, 0].mean()))
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _seeds_redrawn(drawn: Floats, generator: np.random.Generator) -> Floats:
    """(replicates,) means over seeds drawn with replacement, a new draw for each replicate of the rows."""
    seeds, replicates = drawn.shape[0], drawn.shape[1] - 1
    chosen = generator.integers(0, seeds, (seeds, replicates))
    return np.asarray(np.take_along_axis(drawn[:, 1:], chosen, axis=0).mean(axis=0))


def _over_seeds(values: Sequence[float]) -> Interval:
    """Mean and normal interval of the mean over seeds; of the seeds that have the figure.

    One replay shows no spread, and so has no interval: it is not certain, nothing is known of it.
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    spread = 1.96 * known.std(ddof=1) / math.sqrt(len(known)) if len(known) > 1 else math.nan
    return Interval(float(known.mean()), float(known.mean() - spread), float(known.mean() + spread))

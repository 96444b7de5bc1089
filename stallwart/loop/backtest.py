"""A plan and a market -> every replay of it, kept as it is made, and what they come to together.

A replay that was made is in a file of its own: an interrupted backtest goes on where it stopped, and one with
another strategy beside makes only the new replays.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stallwart.core.progress import Track, silent
from stallwart.loop.choose import Mixture
from stallwart.loop.learner import Taught
from stallwart.loop.months import (
    Month,
    MonthFigures,
    average_precisions,
    log_odds,
    month_figures,
    months_of,
)
from stallwart.loop.plan import Budget, Plan, Run, Schedule
from stallwart.loop.replay import Base, Played, base_of, play
from stallwart.loop.world import World
from stallwart.store.files import whole_file

_VERSION = "2"  # raise it where a replay would come out differently
_ARRAYS = ("scores", "held_back_at_first", "held_back", "reviewed", "reviewed_week")


@dataclass(frozen=True)
class Setting:
    """One way to relearn, over all seeds.

    Attributes:
        strategy, budget, schedule: as in `Run`.
        figures: by seed, then by month in order.
        held_back: by seed, mean average precision on the listings held back, by the last model.
        reviewed: by seed, how many listings of each label were read, by label column.
        models: promoted, by seed.
    """

    strategy: str
    budget: Budget
    schedule: Schedule
    figures: tuple[tuple[MonthFigures, ...], ...]
    held_back: tuple[float, ...]
    reviewed: tuple[tuple[int, ...], ...]
    models: tuple[int, ...]

    @property
    def name(self) -> str:
        """For people: what is not fixed by the strategy."""
        if self.strategy == "none":
            return "none"
        if self.strategy == "all":
            return f"all, {self.schedule.value}"
        return f"{self.strategy}, {self.budget}, {self.schedule.value}"


@dataclass(frozen=True)
class Backtest:
    """What a plan came to.

    Attributes:
        plan: what was asked for.
        base: what was replayed.
        months: figured on.
        settings: all of them, in the order of the plan.
    """

    plan: Plan
    base: Base
    months: tuple[Month, ...]
    settings: tuple[Setting, ...]


def backtest(
    world: World,
    plan: Plan,
    out: Path,
    taught: Taught | None = None,
    mixture: Mixture | None = None,
    track: Track = silent,
) -> Backtest:
    """Every replay of the plan, made or found in `out`, with its figures.

    Args:
        world: the market.
        plan: what is compared.
        out: folder; replays are kept in `replays/` below it.
        taught: how the learner weighs.
        mixture: parts of a mixed batch.
        track: shows how far it is.

    Raises:
        ConfigError: the folder cannot be written.
    """
    taught, mixture = taught or Taught(), mixture or Mixture()
    base = base_of(world, taught)
    folder = out / "replays" / _digest(world, taught, mixture)
    runs = list(plan.runs())
    played = [_kept(base, run, mixture, folder) for run in track(runs, "replaying", len(runs))]
    months = tuple(months_of(base))
    groups: dict[tuple[str, Budget, Schedule], list[Played]] = {}
    for one in played:
        groups.setdefault((one.run.strategy, one.run.budget, one.run.schedule), []).append(one)
    settings = tuple(
        _setting(base, months, of, plan.review_seconds)
        for of in track(list(groups.values()), "figuring", len(groups))
    )
    return Backtest(plan, base, months, settings)


def _kept(base: Base, run: Run, mixture: Mixture, folder: Path) -> Played:
    path = folder / f"{run.name}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                kept = {name: arrays[name] for name in _ARRAYS}
                return Played(run=run, models=int(arrays["models"]), **kept)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # broken: it is made again
    played = play(base, run, mixture)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        arrays = {name: getattr(played, name) for name in _ARRAYS}
        np.savez_compressed(file, allow_pickle=False, models=np.array(played.models), **arrays)
    return played


def _digest(world: World, taught: Taught, mixture: Mixture) -> str:
    said = f"{_VERSION} {world.digest} {sorted(asdict(taught).items())} {sorted(asdict(mixture).items())}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _setting(base: Base, months: Sequence[Month], played: Sequence[Played], seconds: float) -> Setting:
    run, k = played[0].run, len(base.world.taxonomy.ids)
    labels = base.world.rows.labels
    return Setting(
        strategy=run.strategy,
        budget=run.budget,
        schedule=run.schedule,
        figures=tuple(tuple(month_figures(base, one, month, seconds) for month in months) for one in played),
        held_back=tuple(held_back_precision(base, one.held_back) for one in played),
        reviewed=tuple(tuple(np.bincount(labels[one.reviewed], minlength=k + 1).tolist()) for one in played),
        models=tuple(one.models for one in played),
    )


def held_back_precision(base: Base, scores: np.ndarray) -> float:
    """Mean average precision on the listings held back, over the policies with a violation among them."""
    labels = base.world.rows.labels[base.world.held_back]
    policies = tuple((np.unique(labels[labels > 0]) - 1).tolist())
    if not policies:
        return float("nan")
    ones = np.ones((len(labels), 1))
    return float(average_precisions(log_odds(scores), labels, policies, ones).mean())

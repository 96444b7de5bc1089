"""One replay of a market in order of time: score, choose, ask, learn, promote, go on.

Everything that a replay decides on a day comes from `Market`, which hands out nothing of a later day. Scores
are those of the model in force when a listing came in, so every month is figured on what nobody had labelled.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stallwart.loop.choose import Mixture, Scene, choose, likeness_among, nearest_to
from stallwart.loop.learner import Inputs, Learner, Taught, inputs_of
from stallwart.loop.plan import DAY, WEEK_DAYS, Run, Schedule
from stallwart.loop.world import Market, World

Places = NDArray[np.int64]
Floats = NDArray[np.float64]

_CANDIDATE_DAYS = (
    35  # older unlabelled listings are not offered any more: what they show is seen in newer ones
)


@dataclass(frozen=True)
class Base:
    """What all replays of one world share: nothing in it depends on what is reviewed.

    Attributes:
        world: the market.
        inputs: of all listings; means and rarities of those known at the start alone.
        learner: taught what was known at the start.
        nearest: (n,) likeness to the most similar listing known at the start.
        taught: how it learned.
    """

    world: World
    inputs: Inputs
    learner: Learner
    nearest: Floats
    taught: Taught


@dataclass(frozen=True)
class Played:
    """What a replay came to.

    Attributes:
        run: which.
        scores: (n, k + 1) of each listing by the model in force when it came in; column 0 neutral.
        held_back_at_first: (h, k + 1) scores of the listings held back, by the first model.
        held_back: the same by the last model.
        reviewed: places in the order in which they were read.
        reviewed_week: of each, the week of the replay in which it was read, from 0.
        models: how many were promoted.
    """

    run: Run
    scores: Floats
    held_back_at_first: Floats
    held_back: Floats
    reviewed: Places
    reviewed_week: NDArray[np.int64]
    models: int


@dataclass
class _State:
    learner: Learner
    nearest: Floats
    scores: Floats
    reviewed: list[Places] = field(default_factory=list)
    answers: list[NDArray[np.int64]] = field(default_factory=list)
    weeks: list[NDArray[np.int64]] = field(default_factory=list)
    waiting: list[tuple[Places, NDArray[np.int64]]] = field(default_factory=list)
    models: int = 0

    def unread(self, places: Places) -> Places:
        return places[~np.isin(places, _joined(self.reviewed))]

    def found(self, k: int) -> NDArray[np.int64]:
        return np.bincount(_joined(self.answers), minlength=k + 1)


def base_of(world: World, taught: Taught) -> Base:
    """The world with a learner that knows what was known at the start."""
    inputs = inputs_of(world.features, world.before, taught)
    usable = np.flatnonzero(world.known & ~world.held_back)
    k = len(world.taxonomy.ids)
    learner = Learner(inputs, usable, world.rows.labels[usable], np.ones(len(usable)), k, taught)
    nearest = np.zeros(len(world))
    later = np.flatnonzero(world.rows.listed_at >= world.start - _CANDIDATE_DAYS * DAY)
    nearest[later] = nearest_to(inputs, later, usable)
    return Base(world, inputs, learner, nearest, taught)


def play(base: Base, run: Run, mixture: Mixture | None = None) -> Played:
    """One replay from the world's start to its last listing.

    Args:
        base: of the world.
        run: strategy, budget, schedule and seed.
        mixture: parts of a mixed batch.
    """
    world, market = base.world, Market(base.world)
    generator = np.random.default_rng([run.seed, 20_250_901])
    state = _State(
        learner=base.learner,
        nearest=base.nearest.copy(),
        scores=np.full((len(world), len(world.taxonomy.labels)), np.nan),
    )
    day, week, asked = world.start, 0, 0
    while day < world.until:
        end = min(day + WEEK_DAYS * DAY, world.until)
        arrived = market.listed(end, since=day)
        state.scores[arrived] = state.learner.model.scores(base.inputs, arrived)
        due = run.budget.due(float((end - world.start) / DAY))
        asked += _review(base, run, state, market, end, arrived, due - asked, week, generator, mixture)
        week += 1
        if run.schedule is not Schedule.NEVER and (week % run.schedule.weeks == 0 or end == world.until):
            _learn(base, state)
        day = end
    rest = np.flatnonzero(world.rows.listed_at >= world.until)
    state.scores[rest] = state.learner.model.scores(base.inputs, rest)
    held = np.flatnonzero(world.held_back)
    return Played(
        run=run,
        scores=state.scores,
        held_back_at_first=base.learner.model.scores(base.inputs, held),
        held_back=state.learner.model.scores(base.inputs, held),
        reviewed=_joined(state.reviewed),
        reviewed_week=_joined(state.weeks),
        models=state.models,
    )


def _review(
    base: Base,
    run: Run,
    state: _State,
    market: Market,
    now: np.datetime64,
    arrived: Places,
    size: int,
    week: int,
    generator: np.random.Generator,
    mixture: Mixture | None,
) -> int:
    """Choose and ask; how many were read."""
    offered = state.unread(market.listed(now, since=now - _CANDIDATE_DAYS * DAY))
    offered = offered[~base.world.known[offered]]
    if not len(offered) or (size <= 0 and run.strategy != "all"):
        return 0
    scene = Scene(
        places=offered,
        fresh=np.isin(offered, arrived),
        scores=state.learner.model.scores(base.inputs, offered),
        nearest=state.nearest[offered],
        likeness=likeness_among(base.inputs, offered),
        found=state.found(len(base.world.taxonomy.ids)),
        generator=generator,
        mixture=mixture or Mixture(),
    )
    places = choose(run.strategy, scene, size)
    if not len(places):
        return 0
    labels = market.ask(places, now)
    state.reviewed.append(places)
    state.answers.append(labels)
    state.weeks.append(np.full(len(places), week, dtype=np.int64))
    state.waiting.append((places, labels))
    if run.strategy in ("novel", "mixed"):
        rest = state.unread(offered)
        state.nearest[rest] = np.maximum(state.nearest[rest], nearest_to(base.inputs, rest, places))
    return len(places)


def _learn(base: Base, state: _State) -> None:
    if not state.waiting:
        return
    places, labels = (np.concatenate(one) for one in zip(*state.waiting, strict=True))
    weights = np.full(len(places), base.taught.reviewed)
    state.learner, state.models = state.learner.with_labels(places, labels, weights), state.models + 1
    state.waiting = []


def _joined(batches: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *batches])

"""Which unlabelled listings a reviewer reads next, by strategy.

    none       nothing
    random     a plain sample of what came in since the last look
    uncertain  where the two likeliest labels are nearest to each other, no two alike
    novel      least like anything labelled so far
    mixed      a share of each: every policy's own likely listings in turn, doubt, novelty, chance
    all        everything, whatever the budget: what reading all would give

Pure: what a strategy may look at is in its `Scene`, and holds nothing of a later day.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stallwart.loop.learner import Inputs

Places = NDArray[np.int64]
Floats = NDArray[np.float64]

_ROWS = 1024


@dataclass(frozen=True)
class Mixture:
    """Parts of a `mixed` batch; what is left of 1 is chance.

    Attributes:
        policies: share that goes round the policies, those with the fewest reviewed violations first.
        uncertain: share of the doubtful.
        novel: share of the unlike.
    """

    policies: float = 0.4
    uncertain: float = 0.3
    novel: float = 0.2


@dataclass(frozen=True)
class Scene:
    """What may be looked at when a batch is chosen.

    Attributes:
        places: (c,) listings that are published and not labelled.
        fresh: (c,) which of them came in since the last batch.
        scores: (c, k + 1) by the model in force, column 0 neutral.
        nearest: (c,) likeness to the most similar labelled listing, 1 for a copy.
        likeness: (c,) of all candidates to the candidate with this index; 1 for a copy.
        found: (k + 1,) reviewed listings of each label so far.
        generator: of what is drawn.
        mixture: parts of a mixed batch.
    """

    places: Places
    fresh: NDArray[np.bool_]
    scores: Floats
    nearest: Floats
    likeness: Callable[[int], Floats]
    found: NDArray[np.int64]
    generator: np.random.Generator
    mixture: Mixture = field(default_factory=Mixture)

    def doubt(self) -> Floats:
        """(c,) in (0, 1]: 1 where the two likeliest labels tie."""
        top = np.partition(self.scores, -2, axis=1)[:, -2:]
        return np.asarray(np.exp(-np.abs(top[:, 1] - top[:, 0])), dtype=np.float64)


def choose(strategy: str, scene: Scene, size: int) -> Places:
    """Places of at most `size` listings in the order in which they are chosen; fewer where there are no more.

    Raises:
        KeyError: there is no such strategy.
    """
    size = len(scene.places) if strategy == "all" else min(size, len(scene.places))
    if not size:
        return np.zeros(0, dtype=np.int64)
    return scene.places[np.array(STRATEGIES[strategy](scene, size), dtype=np.int64)]


def _none(scene: Scene, size: int) -> list[int]:  # noqa: ARG001
    return []


def _all(scene: Scene, size: int) -> list[int]:  # noqa: ARG001
    return list(range(len(scene.places)))


def _random(scene: Scene, size: int) -> list[int]:
    """Fresh ones first: chance alone decides which, so that the sample stands for the traffic."""
    drawn = scene.generator.random(len(scene.places)) + np.where(scene.fresh, 0.0, 1.0)
    return [int(index) for index in np.argsort(drawn, kind="stable")[:size]]


def _uncertain(scene: Scene, size: int) -> list[int]:
    return _Batch(scene).diverse(scene.doubt(), size)


def _novel(scene: Scene, size: int) -> list[int]:
    return _Batch(scene).farthest(size)


def _mixed(scene: Scene, size: int) -> list[int]:
    mixture, batch = scene.mixture, _Batch(scene)
    batch.round_robin(scene.found, round(mixture.policies * size))
    batch.diverse(scene.doubt(), round((mixture.policies + mixture.uncertain) * size))
    batch.farthest(round((mixture.policies + mixture.uncertain + mixture.novel) * size))
    for index in _random(scene, len(scene.places)):
        if len(batch.chosen) >= size:
            break
        batch.take(index)
    return batch.chosen


Strategy = Callable[[Scene, int], list[int]]
STRATEGIES: dict[str, Strategy] = {
    "none": _none,
    "random": _random,
    "uncertain": _uncertain,
    "novel": _novel,
    "mixed": _mixed,
    "all": _all,
}


class _Batch:
    """A batch that grows; nothing is taken twice, and what is taken makes its like less wanted."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._near = scene.nearest.copy()  # to anything labelled or chosen
        self._alike = np.zeros(len(scene.places))  # to anything chosen
        self._free = np.ones(len(scene.places), dtype=np.bool_)
        self.chosen: list[int] = []

    def take(self, index: int) -> None:
        """Add a candidate, if it is not in the batch yet."""
        if not self._free[index]:
            return
        self._free[index] = False
        self.chosen.append(index)
        near = self._scene.likeness(index)
        self._near = np.maximum(self._near, near)
        self._alike = np.maximum(self._alike, near)

    def diverse(self, value: Floats, size: int) -> list[int]:
        """Take by value, which fades with likeness to the batch, until `size` are chosen."""
        while len(self.chosen) < size and self._free.any():
            wanted = np.where(self._free, value * np.clip(1 - self._alike, 1e-3, 1), -np.inf)
            self.take(int(np.argmax(wanted)))
        return self.chosen

    def farthest(self, size: int) -> list[int]:
        """Take what is least like anything known, until `size` are chosen (k-center)."""
        while len(self.chosen) < size and self._free.any():
            self.take(int(np.argmin(np.where(self._free, self._near, np.inf))))
        return self.chosen

    def round_robin(self, found: NDArray[np.int64], size: int) -> None:
        """Take each policy's likeliest and most doubtful listing in turn, policies seldom found first."""
        scores = self._scene.scores
        margin = scores[:, 1:] - scores[:, :1]
        found = found[1:].astype(np.float64)
        while len(self.chosen) < size and self._free.any():
            policy = int(np.argmin(found))
            found[policy] += 1
            value = 1 / (1 + np.exp(-margin[:, policy]))
            wanted = np.where(self._free, value * np.clip(1 - self._alike, 1e-3, 1), -np.inf)
            self.take(int(np.argmax(wanted)))


def likeness_among(inputs: Inputs, places: Places) -> Callable[[int], Floats]:
    """Likeness of the listings at `places` to one of them, by their embeddings; 1 for a copy."""
    parts = unit_parts(inputs, places)

    def likeness(index: int) -> Floats:
        return np.asarray(parts @ parts[index], dtype=np.float64)

    return likeness


def unit_parts(inputs: Inputs, places: Places) -> NDArray[np.float32]:
    """(len(places), d) embeddings of length 1; zeros where a listing has none."""
    parts = inputs.parts[places]
    lengths = np.linalg.norm(parts, axis=1, keepdims=True)
    return np.asarray(parts / np.maximum(lengths, 1e-9), dtype=np.float32)


def nearest_to(inputs: Inputs, places: Places, known: Places) -> Floats:
    """(len(places),) likeness to the most similar of the known ones, 1 for a copy; 0 where none is known."""
    if not (len(known) and len(places)):
        return np.zeros(len(places))
    others = unit_parts(inputs, known).T
    found = [
        (unit_parts(inputs, some) @ others).max(axis=1)
        for some in np.array_split(places, -(-len(places) // _ROWS))
    ]
    return np.concatenate(found).astype(np.float64)

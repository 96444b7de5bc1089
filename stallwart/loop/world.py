"""Labelled listings in order of time, and the only two doors through which a replay sees them.

`World` holds everything; a replay is given a `Market`, which hands out what was there on a day and nothing of
a later one: `listed` says which listings there are, `ask` is the scripted reviewer. Both refuse a day that
lies before the one last asked about, so that no later knowledge can reach an earlier day.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import DataError
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Rows
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.loop.plan import Plan
from stallwart.model.features import Features
from stallwart.model.material import Sources, gather
from stallwart.training.recipe import EncodersRecipe

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

_PARTS = ("train", "validation", "test", "repeats", "unknown")
_HELD_SHARE = 10  # one group in so many is held back


@dataclass(frozen=True)
class World:
    """n labelled listings, ascending by time.

    Attributes:
        rows: without content.
        features: the same rows as numbers.
        taxonomy: the k policies.
        start: first moment that is replayed.
        until: first moment after the last review.
        digest: of everything above.
    """

    rows: Rows
    features: Features
    taxonomy: Taxonomy
    start: np.datetime64
    until: np.datetime64
    digest: str

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def before(self) -> Mask:
        """(n,) listed before the replay begins."""
        return np.asarray(self.rows.listed_at < self.start)

    @cached_property
    def known(self) -> Mask:
        """(n,) listed and labelled before the replay begins."""
        return np.asarray(self.before & (self.rows.labelled_at <= self.start))

    @cached_property
    def held_back(self) -> Mask:
        """(n,) known rows that no model learns from: on them it shows whether old knowledge stays.

        Whole groups of near duplicates, one in ten, drawn by a digest of their first member's id: the same
        ones whatever else is in the files.
        """
        first = self.rows.listing_ids[self._first_of_group]
        drawn = [hashlib.sha256(f"held back {one}".encode()).digest()[0] % _HELD_SHARE == 0 for one in first]
        return np.asarray(self.known & np.array(drawn, dtype=np.bool_))

    @cached_property
    def repeats(self) -> Mask:
        """(n,) a near duplicate was listed in an earlier month: such a row says little of a model."""
        months = self.rows.listed_at.astype("datetime64[M]")
        return np.asarray(months > months[self._first_of_group])

    @cached_property
    def _first_of_group(self) -> Places:
        _, first, inverse = np.unique(self.rows.groups, return_index=True, return_inverse=True)
        return np.asarray(first[inverse], dtype=np.int64)  # rows stand in order of time


class Market:
    """The world as it is seen day by day; the day never goes back.

    Args:
        world: everything.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._day = world.start

    def listed(self, day: np.datetime64, since: np.datetime64 | None = None) -> Places:
        """Places of the listings published before `day`, and from `since` on where it is given.

        Raises:
            ValueError: a later day was asked about before.
        """
        self._move(day)
        listed_at = self._world.rows.listed_at
        there = listed_at < day
        if since is not None:
            there &= listed_at >= since
        return np.flatnonzero(there)

    def ask(self, places: Places, day: np.datetime64) -> NDArray[np.int64]:
        """What a reviewer who reads these listings on `day` says: their label columns.

        Raises:
            ValueError: a listing is not published by then, or a later day was asked about before.
        """
        self._move(day)
        if (self._world.rows.listed_at[places] >= day).any():
            raise ValueError("a listing cannot be read before it is published")
        return np.asarray(self._world.rows.labels[places], dtype=np.int64)

    def _move(self, day: np.datetime64) -> None:
        if day < self._day:
            raise ValueError(f"{day} lies before {self._day}, which was asked about already")
        self._day = day


def build_world(
    sources: Sources, plan: Plan, encoders: EncodersRecipe, settings: Settings, track: Track = silent
) -> World:
    """All labelled listings of `sources`, embedded once.

    Args:
        sources: listings and labels; their dates are ignored.
        plan: when the replay begins and when reviews end.
        encoders: of the recipe that is replayed.
        settings: limits and the embeddings' folder.
        track: shows how far it is.

    Raises:
        ConfigError: an encoder cannot be had.
        DataError: nothing was listed and labelled before the replay begins, or nothing is listed in it.
    """
    cache = EmbeddingCache(settings.cache_dir)
    try:
        text, photo = (exported(name, settings.cache_dir) for name in (encoders.text, encoders.photo))
        embedder = Embedder(TextGraph(text), PhotoGraph(photo), settings, cache)
        dated = replace(sources, train_until=plan.start, validate_until=plan.until)
        material = gather(dated, embedder, settings, _PARTS, track)
    finally:
        cache.close()
    order = np.argsort(material.rows.listed_at, kind="stable")
    start, until = material.split.train_until, material.split.validate_until
    said = f"{material.digest} {start} {until} {encoders.model_dump_json()} {sources.taxonomy.digest}"
    world = World(
        rows=material.rows[order],
        features=material.at(order),
        taxonomy=sources.taxonomy,
        start=start,
        until=until,
        digest=hashlib.sha256(said.encode()).hexdigest(),
    )
    if not (world.rows.labels[world.known] > 0).any():
        raise DataError(
            f"no listing published before {start} breaks a policy and was labelled by then, so there is"
            " nothing to begin with; move --from, or check --labels"
        )
    return world

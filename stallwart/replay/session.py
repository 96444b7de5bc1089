"""One window of stored traffic through one replayer, and what of it was left out."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from stallwart.core.errors import ConfigError
from stallwart.core.progress import Track, silent
from stallwart.model.bundle import Bundle, read_bundle
from stallwart.model.shelf import from_shelf
from stallwart.replay.run import Replayed, Replayer
from stallwart.replay.stored import (
    Stored,
    Window,
    count_decisions,
    draw_decisions,
    read_decisions,
    read_drawn,
)
from stallwart.store.database import reading
from stallwart.store.tables import aliases, bundles


class Session:
    """Stored decisions, replayed.

    Args:
        engine: the database; only read.
        replayer: of the bundle.
        window: which decisions.
        sample: how many of them, drawn at random; None takes all.
        seed: of the draw.
        track: shows how far it is.

    Attributes:
        population: decisions in the window; None where the database would take too long to say.
        failed_then: decisions left out because the service could not score all of it then, by why.
        drawn: how many the sample has; 0 without one, or before it was drawn.
    """

    def __init__(
        self,
        engine: Engine,
        replayer: Replayer,
        window: Window,
        sample: int | None = None,
        seed: int = 0,
        track: Track = silent,
    ):
        self._engine, self.replayer, self._window = engine, replayer, window
        self._sample, self._seed, self._track = sample, seed, track
        self.failed_then: Counter[str] = Counter()
        self.population = count_decisions(engine, window)
        self.drawn = 0

    def replayed(self, *, failed_too: bool = False, as_then: bool = False) -> Iterator[Replayed]:
        """What can be scored again, oldest first.

        Args:
            failed_too: also what the service could not score then.
            as_then: by the thresholds that each decision was made with.

        Raises:
            StoreError: the database or the photo store does not answer.
        """
        total = self.population
        if self._sample is not None and total is not None:
            total = min(self._sample, total)
        shown = self._track(self._stored(), "replaying", total)
        wanted = (one for one in shown if failed_too or not self._failed(one))
        return self.replayer.replay(wanted, as_then=as_then)

    def facts(self) -> dict[str, Any]:
        """What every outcome says of what was read; to be asked once all is read."""
        return {
            "bundle": self.replayer.scorer.bundle.digest,
            "since_ms": self._window.since_ms,
            "until_ms": self._window.until_ms,
            "population": self.population,
            "sampled": self.drawn if self._sample else None,
            "left_out": dict(self.replayer.left_out),
            "failed_then": dict(self.failed_then),
        }

    def weight(self) -> float:
        """Decisions that each one that was drawn stands for; 1 without a sample."""
        return self.population / self.drawn if self.population and self.drawn else 1.0

    def _stored(self) -> Iterator[Stored]:
        if self._sample is None:
            yield from read_decisions(self._engine, self._window)
            return
        drawn = draw_decisions(self._engine, self._window, self._sample, self._seed)
        self.drawn = len(drawn)
        yield from read_drawn(self._engine, drawn)

    def _failed(self, one: Stored) -> bool:
        failure = one.failure
        if failure is not None:
            self.failed_then[failure] += 1
        return failure is not None


def named_bundle(name: str, engine: Engine) -> Bundle:
    """The bundle in a folder, or the registered one with this alias or this beginning of a digest.

    Raises:
        ConfigError: there is none, or several begin like this.
        BundleError: it cannot be read.
    """
    if Path(name).exists():
        return read_bundle(Path(name))
    aliased = bundles.c.digest.in_(select(aliases.c.digest).where(aliases.c.alias == name))
    begins = bundles.c.digest.startswith(name, autoescape=True)
    query = select(bundles.c.digest, bundles.c.place).where(aliased | begins).limit(2)
    with reading(engine) as connection:
        found = connection.execute(query).all()
    if len(found) != 1:
        raise ConfigError(
            f"{name}: is no folder, and {'several' if found else 'no'} registered bundles have that alias"
            " or begin with that digest"
        )
    return from_shelf(Path(found[0].place), found[0].digest)

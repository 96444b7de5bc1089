"""What a step of `stallwart watch` is, and the table of them: a new one is one module and one line here."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Engine

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

Told = Mapping[str, float]
"""What a step did, in numbers; for logs, the page and Prometheus."""

STEPS: dict[str, str] = {
    "figures": "stallwart.monitoring.figures:Figures",
    "sketches": "stallwart.monitoring.sketches:Sketches",
    "drift": "stallwart.monitoring.drift:Drift",
    "certificates": "stallwart.monitoring.certificates:Certificates",
    "verdicts": "stallwart.monitoring.verdict_drift:VerdictDrift",
    "novelty": "stallwart.monitoring.novelty:Novelties",
}
"""Name of each step, in the order in which they run, and where `Around` -> step is found."""


@dataclass(frozen=True)
class Around:
    """What a step works with.

    Attributes:
        database: where everything is.
        settings: of the installation.
        now_ms: milliseconds since 1970.
        alive: says that the watcher lives; a step calls it in long loops, and whoever stops the watcher
            stops it there: what was written until then stays.
    """

    database: Engine
    settings: Settings
    now_ms: Callable[[], int]
    alive: Callable[[], None] = lambda: None


class Step(Protocol):
    """One thing that the watcher does each round.

    It writes in short transactions that are right also where another watcher does the same at that moment
    (a cursor that is moved only from where it was read, a key that is unique), so that a kill between any two
    of them loses nothing and counts nothing twice.
    """

    def run(self) -> Told:
        """Do what there is to do now, and return.

        Raises:
            StallwartError: it could not; the next round tries again.
        """


def make_steps(around: Around, names: Sequence[str] = ()) -> dict[str, Step]:
    """The steps of these names, in the order of the table; all where none is named.

    Raises:
        ConfigError: there is no step of a name.
    """
    if unknown := [name for name in names if name not in STEPS]:
        raise ConfigError(f"no step named {unknown[0]!r}; there are: {', '.join(STEPS)}")
    made: dict[str, Step] = {}
    for name, place in STEPS.items():
        if not names or name in names:
            module, _, attribute = place.partition(":")
            made[name] = getattr(importlib.import_module(module), attribute)(around)
    return made

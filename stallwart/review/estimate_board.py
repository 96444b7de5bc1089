"""The audit's figures, worked out behind the pages: each takes some ten milliseconds, and a page has many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from stallwart.estimate.audit_cells import Sample
from stallwart.estimate.audit_figures import ABOUT, About, Figures, figures, policies_in
from stallwart.store.audit_counts import DAY_MS
from stallwart.store.audit_sample import read_sample
from stallwart.store.database import reading, store_errors

DAYS, WEEKS = 28, 12


@dataclass(frozen=True)
class Told:
    """Figures as they were at a moment.

    Attributes:
        at_ms: that moment, milliseconds since 1970.
        overall: of the last `DAYS` days; None where nothing was decided.
        policies: of the last `DAYS` days, by policy.
        bundles: of the last `DAYS` days, by bundle.
        days: of the last `DAYS` days, one by one.
        weeks: of the last `WEEKS` weeks, one by one; by policy, None for any.
    """

    at_ms: int
    overall: Figures | None
    policies: Sequence[Figures]
    bundles: Sequence[Figures]
    days: Sequence[Figures]
    weeks: Mapping[str | None, Sequence[Figures]]


class EstimateBoard:
    """The figures that were worked out last.

    Args:
        database: the site's.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, database: Engine, now_ms: Callable[[], int]):
        self._database, self._now_ms = database, now_ms
        self._told: dict[About, Told] = {}

    def latest(self, about: About) -> Told | None:
        """The figures that there are; None before the first step."""
        return self._told.get(about)

    def step(self) -> None:
        """Work them out again.

        Raises:
            StoreError: the database fails; those of before stay.
        """
        now = self._now_ms()
        tomorrow = now // DAY_MS + 1
        with (
            store_errors("the audit's figures cannot be worked out"),
            reading(self._database) as connection,
        ):
            long = read_sample(connection, tomorrow - 7 * WEEKS, tomorrow)
        lately = long.within(set(range(tomorrow - DAYS, tomorrow)))
        for about in ABOUT:
            self._told[about] = _told(now, about, long, lately)


def _told(now_ms: int, about: About, long: Sample, lately: Sample) -> Told:
    called = ABOUT[about]
    every = figures(lately, "all", None, called)
    return Told(
        at_ms=now_ms,
        overall=every[0] if every else None,
        policies=figures(lately, "policy", None, called),
        bundles=figures(lately, "bundle", None, called),
        days=figures(lately, "day", None, called),
        weeks={policy: figures(long, "week", policy, called) for policy in (None, *policies_in(long))},
    )

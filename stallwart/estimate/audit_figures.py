"""Figures of the audit by day, by week, by bundle and by policy, from one sample."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, get_args

from stallwart.core.decision import Action
from stallwart.estimate.audit import Audit, Stratum, audit
from stallwart.estimate.audit_cells import BLOCKS, CALLS, Sample, strata_for
from stallwart.estimate.audit_words import notes

By = Literal["all", "day", "week", "bundle", "policy"]
About = Literal["blocks", "calls"]
WAYS: tuple[By, ...] = get_args(By)
ABOUT: dict[About, frozenset[Action]] = {"blocks": BLOCKS, "calls": CALLS}
"""What is right or wrong: blocks, or all calls, blocks and reviews."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Figures:
    """The three figures of some of the traffic.

    Attributes:
        name: of what they are about: a day or the first one of a week as `2026-05-04`, a bundle's digest, a
            policy; "all" for everything.
        policy: whose they are; None for any policy.
        audit: the figures.
        drawn: decisions that were drawn.
        waiting: those of them that nobody has judged.
    """

    name: str
    policy: str | None
    audit: Audit
    drawn: int
    waiting: int

    @property
    def notes(self) -> list[str]:
        """What they rest on and cannot say, in plain words."""
        return notes(self.audit, self.waiting, self.drawn)


def figures(
    sample: Sample, by: By = "all", policy: str | None = None, called: Collection[Action] = BLOCKS
) -> list[Figures]:
    """Figures of each part of a sample: days and weeks in their order, bundles and policies by name.

    Nothing where nothing was decided.

    Args:
        sample: all traffic that is asked about.
        by: the parts. Weeks begin on Monday and are as long as the sample has days of them.
        policy: whose figures; None for any policy. Not looked at by policy.
        called: the actions that are calls.
    """
    if not sample.counts:
        return []
    if by == "policy":
        return [_figures(one, sample, one, called) for one in policies_in(sample)]
    if by == "bundle":
        names = sorted({cell.bundle for cell in sample.counts})
        return [_figures(name, sample.within(bundle=name), policy, called) for name in names]
    if by == "all":
        return [_figures("all", sample, policy, called)]
    parts: dict[int, set[int]] = {}
    for day in {cell.day for cell in sample.counts}:
        parts.setdefault(week_of(day) if by == "week" else day, set()).add(day)
    return [
        _figures(date_of(first), sample.within(days), policy, called) for first, days in sorted(parts.items())
    ]


def policies_in(sample: Sample) -> list[str]:
    """Policies that anything was called for, or anybody answered, by name."""
    called = {policy for cell in sample.counts for policy in cell.policies}
    return sorted(called | {policy for one in sample.draws for policy in one.answers or ()})


def week_of(day: int) -> int:
    """The Monday of a day's week; both are days since 1970, which began on a Thursday."""
    return (day + 3) // 7 * 7 - 3


def date_of(day: int) -> str:
    """A day since 1970 as `2026-05-04`."""
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def _figures(name: str, sample: Sample, policy: str | None, called: Collection[Action]) -> Figures:
    told = _audit(tuple(strata_for(sample, policy, called)))
    return Figures(name, policy, told, len(sample.draws), sample.waiting)


@lru_cache(maxsize=4_096)
def _audit(strata: Sequence[Stratum]) -> Audit:
    """Figures take some ten milliseconds, and those of past days stay as they are."""
    return audit(strata)


def plain(told: Iterable[Figures]) -> list[dict[str, object]]:
    """Figures as JSON has them: values and bounds as shares, each with the counts behind it."""
    return [
        {
            "name": one.name,
            "policy": one.policy,
            "decisions": one.audit.population,
            "called": one.audit.called,
            "drawn": one.drawn,
            "waiting": one.waiting,
            **{
                figure: {
                    "value": found.value,
                    "lower": found.lower,
                    "upper": found.upper,
                    "verdicts": found.verdicts,
                    "violating": found.violating,
                    "unknown": found.unknown,
                    "unseen": found.unseen,
                }
                for figure, found in (
                    ("prevalence", one.audit.prevalence),
                    ("recall", one.audit.recall),
                    ("precision", one.audit.precision),
                )
            },
            "notes": one.notes,
        }
        for one in told
    ]

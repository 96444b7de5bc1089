"""What each guard says of a rollout at one moment: advance, hold or roll back; anyone may look at any time.

A guard rolls back when the evidence of harm reaches one over its part of the plan's `false_rollback`. The
parts are fixed (weighted Bonferroni) and evidence is valid at all times, so a challenger as good as the
champion is rolled back with at most that chance over all guards, steps and looks together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stallwart.estimate.ratios import (
    paired_evidence,
    paired_interval,
    ratio_evidence,
    ratio_interval,
    sum_evidence,
)
from stallwart.estimate.sequences import mean_evidence, quantile_interval, split_evidence
from stallwart.rollout.compare import RHO2, Comparison, Difference
from stallwart.rollout.plan import Plan
from stallwart.rollout.tally import EDGES_US, Tally

Floats = NDArray[np.float64]
Says = Literal["advance", "hold", "roll back"]

# Each guard's part of `false_rollback`; guards over policies share theirs equally among the policies
WEIGHTS = {
    "errors": 0.12,
    "slow": 0.12,
    "cpu": 0.08,
    "cost": 0.05,
    "blocked_most": 0.10,
    "blocked_least": 0.08,
    "blocked_most of each policy": 0.06,
    "blocked_least of each policy": 0.04,
    "reviewed_most": 0.07,
    "reviewed_most of each policy": 0.05,
    "overturned": 0.05,
    "precision": 0.10,
    "coverage": 0.05,
    "split": 0.03,
}
_FEWEST_VERDICTS = 50  # that bear on a difference before it may roll back: its evidence holds for many
_LIMITS = np.geomspace(0.1, 10, 41)  # where the bound of the cost's ratio is looked for


@dataclass(frozen=True, slots=True)
class _Watch:
    """An event whose rate is watched: in `Guards` its limit has the guard's name unless stated."""

    guard: str
    event: str
    words: str
    above: bool = True


_EVENTS = (
    _Watch("errors", "error", "listings that the model failed on"),
    _Watch("slow", "slow", "slow answers"),
    _Watch("cpu", "cpu", "listings that cost much CPU"),
    _Watch("blocked_most", "block", "blocks"),
    _Watch("blocked_least", "block", "blocks", above=False),
    _Watch("reviewed_most", "review", "listings sent to review"),
    _Watch("overturned", "overturned", "blocks overturned on appeal"),
)
_OF_EACH_POLICY = ("blocked_most", "blocked_least", "reviewed_most")


@dataclass(frozen=True, slots=True)
class GuardState:
    """One guard at one moment.

    Attributes:
        name: of the guard, as in the plan's `guards`, or split.
        policy: which it is about, or None where it is about all.
        says: advance, hold (suspicious: the step is not left) or roll back.
        value: the figure, in the limit's unit: a ratio, a difference or megabytes; None where there is none.
        lower: of its interval, valid at all times at once with 95 %.
        upper: of it.
        limit: what the figure is held against.
        evidence: natural logarithm, of harm.
        evidence_limit: natural logarithm from which it rolls back.
        champion: counts behind it: units with the event, or verdicts.
        challenger: the same, of the challenger.
        words: one sentence.
    """

    name: str
    policy: str | None
    says: Says
    value: float | None
    lower: float
    upper: float
    limit: float
    evidence: float
    evidence_limit: float
    champion: int
    challenger: int
    words: str


def look(
    plan: Plan, tally: Tally, comparison: Comparison, policies: Sequence[str], memory_mb: float | None
) -> tuple[GuardState, ...]:
    """What every guard says now.

    Args:
        plan: of the rollout.
        tally: its counts so far.
        comparison: its verdicts so far.
        policies: that are watched one by one, the same at every look: those that either bundle may act on.
        memory_mb: that loading the challenger added, the most over all processes; None where not measured.
    """
    states = [_event(plan, tally, watch, None, 1) for watch in _EVENTS]
    states += [
        _event(plan, tally, watch, policy, len(policies))
        for watch in _EVENTS
        if watch.guard in _OF_EACH_POLICY
        for policy in policies
    ]
    states += [_cost(plan, tally), _split(plan, tally)]
    states += [
        _fall(plan, "precision", comparison.precision_difference, plan.guards.precision_drop, comparison),
        _fall(plan, "coverage", comparison.coverage_difference, plan.guards.coverage_drop, comparison),
    ]
    if memory_mb is not None:
        states.append(_memory(plan, memory_mb))
    return tuple(states)


def event_evidence(
    paired: ArrayLike, arms: ArrayLike, shares: ArrayLike, limit: float, above: bool = True
) -> Floats:
    """Log evidence that an event's ratio is beyond a limit, from shadow and from the arms together.

    It is a mixture over the step from which on harm is done: half of it counts everything, the other half
    begins at each later step. So a challenger that was well so far has no credit to spend before it is found
    out; the price is log 2 for one that does harm from the start.

    Args:
        paired: (..., 3) of shadow: both, only the challenger, only the champion.
        arms: (..., c, 2) units of champion and challenger with the event, by step.
        shares: (c,) of the steps.
        limit: of the ratio, > 0.
        above: whether harm is a ratio above it.

    Returns:
        (...) float64.
    """
    pairs, counts, s = np.asarray(paired), np.asarray(arms), np.asarray(shares, dtype=np.float64)
    shadow = paired_evidence(pairs[..., 0], pairs[..., 1], pairs[..., 2], limit, above)
    begins = np.flatnonzero(s > 0)
    live = [
        ratio_evidence(counts[..., k:, 1], counts[..., k:, 0], s[k:], limit, above) for k in begins.tolist()
    ]
    # a quarter from shadow on, a quarter from the first step with arms on, and half spread over these steps
    result = shadow + live[0] + np.log(0.25)
    for k, evidence in enumerate(live):
        result = np.logaddexp(result, evidence + np.log(0.5 / len(live) + 0.25 * (k == 0)))
    return np.asarray(result)


def fall_evidence(value: ArrayLike, error: ArrayLike, rows: ArrayLike, drop: float) -> Floats:
    """Log evidence that a difference lies below -drop; (...) float64, 0 while few verdicts bear on it."""
    count = np.asarray(rows, dtype=np.float64)
    z = -(np.asarray(value) + drop) / np.asarray(error)
    return np.where(count >= _FEWEST_VERDICTS, mean_evidence(z, count, RHO2), 0.0)


def evidence_limit(plan: Plan, part: str, among: int = 1) -> float:
    """Natural logarithm of the evidence from which a guard rolls back: 1 over its part of `false_rollback`.

    Args:
        plan: of the rollout.
        part: a key of `WEIGHTS`.
        among: how many policies share the part.
    """
    return float(-np.log(plan.false_rollback * WEIGHTS[part] / max(1, among)))


def latency_ms(tally: Tally, quantile: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a quantile of latency lies, in milliseconds: (lower, upper) of champion and challenger.

    Valid at all times at once with 95 % each; (0, inf) without answers. In units seen more than once,
    repeated answers count as new ones.
    """
    both = tally.histogram("latency")
    ends = [quantile_interval(counts, EDGES_US / 1_000, quantile) for counts in both]
    return ends[0], ends[1]


def _event(plan: Plan, tally: Tally, watch: _Watch, policy: str | None, among: int) -> GuardState:
    limit: float = getattr(plan.guards, watch.guard)
    part = watch.guard if policy is None else f"{watch.guard} of each policy"
    event = watch.event if policy is None else f"{watch.event}:{policy}"
    paired, arms = tally.paired(event), tally.events(event)
    x, y, s = arms[:, 1], arms[:, 0], tally.shares
    if (x + y).any():
        value, (lower, upper) = _ratio((x * (1 - s)).sum(), (y * s).sum()), ratio_interval(x, y, s)
        champion, challenger, where = int(y.sum()), int(x.sum()), ""
    else:
        both, more, fewer = (int(n) for n in paired)
        value, (lower, upper) = _ratio(both + more, both + fewer), paired_interval(both, more, fewer)
        champion, challenger, where = both + fewer, both + more, " in shadow"
    # a limit of 0 asks for nothing
    evidence = float(event_evidence(paired, arms, s, limit, watch.above)) if limit > 0 else 0.0
    about = "" if policy is None else f" for {policy}"
    words = (
        f"{_upper(watch.words)}{about}{where}: {challenger:,} of the challenger, {champion:,} of the champion"
        f"{_times(value, lower, upper)}; {'at most' if watch.above else 'at least'} {limit:g} times"
    )
    least = evidence_limit(plan, part, among)
    return _judged(
        plan,
        GuardState(
            watch.guard,
            policy,
            "advance",
            value,
            *(lower, upper),
            limit,
            evidence,
            least,
            *(champion, challenger),
            words,
        ),
    )


def _cost(plan: Plan, tally: Tally) -> GuardState:
    counts, amounts = tally.costs()
    seen = counts.any(axis=(0, 1)) & (amounts > 0)
    counts, top, s = counts[:, :, seen], max(float(amounts.max()), 1e-12), tally.shares
    size = amounts[seen] / top

    def against(ratio: float) -> float:
        return float(sum_evidence(counts[:, 1], counts[:, 0], size, s, ratio))

    spent = (counts * size).sum(axis=2)  # (steps, 2)
    value = _ratio((spent[:, 1] * (1 - s)).sum(), (spent[:, 0] * s).sum())
    lower = float(max((ratio for ratio in _LIMITS if against(float(ratio)) >= np.log(20)), default=0.0))
    units, limit = tally.units().sum(axis=0), plan.guards.cost
    words = f"Cost of a listing{_times(value, lower, float('inf'))}; at most {limit:g} times"
    return _judged(
        plan,
        GuardState(
            "cost",
            None,
            "advance",
            value,
            *(lower, float("inf")),
            limit,
            against(limit),
            evidence_limit(plan, "cost"),
            *(int(units[0]), int(units[1])),
            words,
        ),
    )


def _split(plan: Plan, tally: Tally) -> GuardState:
    units, s = tally.units(), tally.shares
    value = _ratio((units[:, 1] * (1 - s)).sum(), (units[:, 0] * s).sum())
    champion, challenger = (int(n) for n in units.sum(axis=0))
    evidence = float(split_evidence(units[:, 1], units[:, 0], s))
    words = (
        f"{challenger:,} units met the challenger and {champion:,} the champion"
        f"{', ' + format(value, '.3g') + ' times what was planned' if value is not None else ''}"
    )
    return _judged(
        plan,
        GuardState(
            "split",
            None,
            "advance",
            value,
            *ratio_interval(units[:, 1], units[:, 0], s),
            1.0,
            evidence,
            evidence_limit(plan, "split"),
            *(champion, challenger),
            words,
        ),
    )


def _fall(plan: Plan, name: str, told: Difference, drop: float, comparison: Comparison) -> GuardState:
    evidence = 0.0 if told.value is None else float(fall_evidence(told.value, told.error, told.rows, drop))
    points = (
        "not known yet"
        if told.value is None
        else (f"{100 * told.value:+.1f} points ({100 * told.lower:+.1f} to {100 * told.upper:+.1f})")
    )
    words = (
        f"{_upper(name)} of the challenger minus the champion's: {points}, from {told.rows:,} verdicts;"
        f" at least {0 - 100 * drop:+.1f}"
    )
    return _judged(
        plan,
        GuardState(
            name,
            None,
            "advance",
            told.value,
            *(told.lower, told.upper),
            0 - drop,
            evidence,
            evidence_limit(plan, name),
            *comparison.verdicts,
            words,
        ),
    )


def _memory(plan: Plan, memory_mb: float) -> GuardState:
    limit = plan.guards.memory_mb
    says: Says = "roll back" if memory_mb > limit else "advance"
    words = f"Loading the challenger added {memory_mb:,.0f} MB; at most {limit:,.0f} MB."
    return GuardState("memory", None, says, memory_mb, memory_mb, memory_mb, limit, 0.0, 0.0, 0, 0, words)


def _judged(plan: Plan, state: GuardState) -> GuardState:
    """The state with what follows from its evidence."""
    if state.evidence >= state.evidence_limit:
        return replace(state, says="roll back", words=f"{state.words}. Shown to be beyond its limit.")
    if state.evidence >= np.log(plan.guards.suspicion):
        return replace(state, says="hold", words=f"{state.words}. Suspicious, but not shown.")
    return replace(state, words=f"{state.words}.")


def _ratio(over: float, under: float) -> float | None:
    return None if over + under == 0 else float("inf") if under == 0 else float(over / under)


def _times(value: float | None, lower: float, upper: float) -> str:
    if value is None:
        return ""
    ends = f"{lower:.2g} or more" if np.isinf(upper) else f"{lower:.2g} to {upper:.2g}"
    return f", {'many' if np.isinf(value) else format(value, '.2g')} times as much ({ends})"


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]

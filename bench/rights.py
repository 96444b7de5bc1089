"""Are rights lost and earned as promised? Streams of verdicts with known precision, many times over.

    python bench/rights.py --seed 61            # about 12 minutes on an idle core
    python bench/rights.py --seed 61 --short    # about a minute

Losing: how often a policy at target loses its right within 5,000 verdicts, and after how many verdicts one
that fell loses it, counted from the fall. A fall comes at the worst moment, when the statistic stands at 0,
or after months of good conduct. "Drawn unevenly" gives one call in three the chance 0.1 and the others 0.5,
with twice as many wrong ones among the former; "in clumps, counted singly" makes 30 % of the calls right or
wrong in threes, which the watcher does not do: it counts what one seller has on one day as one.

Earning: how often a policy at target is granted the right, looking after every verdict, with four thresholds
and four attempts; and after how many verdicts one above target is.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.estimate.bounds import rate_interval
from stallwart.estimate.change import STRETCH, fall_limit, fall_path
from stallwart.estimate.earning import above_evidence, attempt_error, granted, progress

TARGETS = (0.8, 0.9, 0.95)
DROPS = (0.05, 0.10, 0.20)
GOOD_CONDUCT = 2_000  # verdicts at a precision half-way from target to 1, before a fall
LONGEST = 20_000  # verdicts in which a fall is looked for

Stream = tuple[NDArray[np.bool_], NDArray[np.float64]]  # right, weights


@dataclass(frozen=True)
class Kind:
    """How verdicts come."""

    name: str
    uneven: bool = False
    clumps: float = 0.0


EVEN = Kind("drawn evenly")
KINDS = (EVEN, Kind("drawn unevenly", uneven=True), Kind("in clumps, counted singly", clumps=0.3))


def stream(kind: Kind, precision: float, n: int, rng: np.random.Generator) -> Stream:
    """Verdicts on drawn calls whose precision over all calls, drawn or not, is as stated."""
    if kind.uneven:
        # a third of the calls is rarely drawn, and twice as often wrong as the others
        wrong = (1 - precision) * np.array([0.75, 1.5])
        drawn = np.array([2 / 3 * 0.5, 1 / 3 * 0.1])
        rare = rng.random(n) < drawn[1] / drawn.sum()
        return rng.random(n) >= wrong[rare.astype(int)], np.where(rare, 1.0, 0.1 / 0.5)
    luck = rng.random(n)
    if kind.clumps:
        starts = np.arange(0, n - 2, 3)[rng.random(len(range(0, n - 2, 3))) < kind.clumps]
        luck[starts + 1] = luck[starts + 2] = luck[starts]
    return luck < precision, np.ones(n)


def lost_at(
    kind: Kind, target: float, precision: float, n: int, rng: np.random.Generator, credit: int = 0
) -> int:
    """Verdicts from the fall until the right is lost; `n` + 1 where it is not."""
    good = stream(kind, (1 + target) / 2, credit, rng)
    fallen = stream(kind, precision, n, rng)
    right, weights = (np.concatenate(pair) for pair in zip(good, fallen, strict=True))
    alarmed = fall_path(right, weights, target)[credit:] >= fall_limit(target)
    return int(alarmed.argmax()) + 1 if alarmed.any() else n + 1


def falls(draws: int, seed: int) -> Iterator[str]:
    """Lines of Markdown: false alarms in a stretch, and verdicts until a fall is found."""
    yield "| target | verdicts | limit | lost at target in 5,000 | falls 5 points | 10 points | 20 points |"
    yield "|---|---|---|---|---|---|---|"
    for target in TARGETS:
        for place, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, round(1000 * target), place])
            lost = sum(lost_at(kind, target, target, STRETCH, rng) <= STRETCH for _ in range(draws))
            found = [
                [lost_at(kind, target, target - drop, LONGEST, rng) for _ in range(max(100, draws // 4))]
                for drop in DROPS
            ]
            interval = rate_interval(lost, draws)
            shown = " | ".join(f"{np.median(one):.0f} ({np.quantile(one, 0.9):.0f})" for one in found)
            yield (
                f"| {target} | {kind.name} | {fall_limit(target):.2f} | {lost} of {draws}: {lost / draws:.1%}"
                f" ({interval.lower:.1%} to {interval.upper:.1%}) | {shown} |"
            )


def good_conduct(draws: int, seed: int) -> Iterator[str]:
    """Lines of Markdown: a fall by 10 points at once, and after months of good conduct."""
    yield "| target | at once: median verdicts | after 2,000 verdicts of good conduct |"
    yield "|---|---|---|"
    for target in TARGETS:
        rng = np.random.default_rng([seed, round(1000 * target), 77])
        found = [
            [lost_at(EVEN, target, target - 0.1, LONGEST, rng, credit) for _ in range(draws)]
            for credit in (0, GOOD_CONDUCT)
        ]
        yield f"| {target} | {np.median(found[0]):.0f} | {np.median(found[1]):.0f} |"


def wrongly_granted(kind: Kind, target: float, n: int, rng: np.random.Generator) -> bool:
    """Whether four attempts, with four thresholds each, ever grant what is at target at every threshold."""
    thresholds = (0.5, 0.6, 0.7, 0.8)
    for attempt in (1, 2, 3, 4):
        right, weights = stream(kind, target, n, rng)
        scores = rng.uniform(0.5, 1.0, n)
        if _ever(scores, right, weights, thresholds, target, attempt_error(attempt)):
            return True
    return False


def _ever(
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
    thresholds: tuple[float, ...],
    target: float,
    error: float,
) -> bool:
    """Whether `progress` would grant after any verdict: looked at wherever one threshold alone might."""
    part = error / len(thresholds)
    for threshold in thresholds:  # no threshold is proven at a handed-on part before another is at its own
        above = scores >= threshold
        if (above_evidence(right[above], weights[above], target) >= -np.log(part)).any():
            return True
    return False


def errors(draws: int, seed: int) -> Iterator[str]:
    """Lines of Markdown: rights granted wrongly."""
    yield "| target | verdicts | granted wrongly, 4 attempts of 2,000 verdicts, 4 thresholds |"
    yield "|---|---|---|"
    for target in TARGETS:
        for place, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, round(1000 * target), 100 + place])
            wrong = sum(wrongly_granted(kind, target, 2_000, rng) for _ in range(draws))
            interval = rate_interval(wrong, draws)
            yield (
                f"| {target} | {kind.name} | {wrong} of {draws}: {wrong / draws:.1%}"
                f" ({interval.lower:.1%} to {interval.upper:.1%}) |"
            )


def power(draws: int, seed: int) -> Iterator[str]:
    """Lines of Markdown: verdicts until a policy above target is granted the right, first attempt."""
    yield "| target | all right | a fifth of the wrong calls that are allowed | half of them |"
    yield "|---|---|---|---|"
    for target in TARGETS:
        rng = np.random.default_rng([seed, round(1000 * target), 200])
        shown = [
            f"{np.median([_earned_at(target, 1 - wrong * (1 - target), rng) for _ in range(draws)]):.0f}"
            for wrong in (0.0, 0.2, 0.5)
        ]
        yield f"| {target} | {' | '.join(shown)} |"


def _earned_at(target: float, precision: float, rng: np.random.Generator) -> int:
    """Verdicts until the laxest of four thresholds, or a stricter one, is granted; looked at every tenth."""
    n = 4_000
    right, weights = stream(EVEN, precision, n, rng)
    scores = rng.uniform(0.5, 1.0, n)
    error = attempt_error(1)

    def earned(count: int) -> bool:
        told = progress(scores[:count], right[:count], weights[:count], (0.5, 0.6, 0.7, 0.8), target, error)
        return granted(told) is not None

    step = 10
    # most of the way nothing can be proven yet: begin where the laxest threshold first might be
    first = np.flatnonzero(above_evidence(right, weights, target) >= -np.log(error / 4))
    start = max(step, (int(first[0]) if len(first) else n) // 3 // step * step)
    return next((count for count in range(start, n, step) if earned(count)), n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=61)
    parser.add_argument("--short", action="store_true", help="a tenth of the draws")
    parser.add_argument("--only", choices=("falls", "conduct", "errors", "power"))
    options = parser.parse_args()
    draws = options.draws // 10 if options.short else options.draws
    parts = {
        "falls": (falls, draws),
        "conduct": (good_conduct, draws // 4),
        "errors": (errors, draws),
        "power": (power, max(20, draws // 40)),
    }
    print(f"Seed {options.seed}; {draws} draws; 95 % intervals (Clopper-Pearson); median (90th percentile).")
    for name, (part, count) in parts.items():
        if options.only in (None, name):
            print()
            for line in part(count, options.seed):
                print(line, flush=True)


if __name__ == "__main__":
    main()

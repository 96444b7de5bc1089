"""How soon can a fall by 10 points be found at all? The detector beside others, and beside a limit for any.

    python bench/rights_soonest.py --seed 61      # two minutes on an idle core

Verdicts of weight 1; every detector alarms in at most 5 % of 4,000 stretches of 5,000 verdicts at target, its
limit set by these very stretches. "At the worst moment": nothing came before the fall. "After 500 at
target": as many verdicts at target came before it, and stretches that alarmed in them are left out.

The limit for any detector: let Λ(v..t) be the likelihood ratio of verdicts v to t, fallen against at target.
The chance of an alarm within m verdicts of a fall before verdict v is the expectation at target of Λ(v..T)
where v <= T < v + m. Summed over all v it is that of the sum R of Λ(v..T) over the last m starts, which an
alarm in at most 5 % of stretches makes no larger than the mean of the 5 % largest maxima of R. A median of m
verdicts needs a chance of 0.475 on average (half of the 95 % that did not alarm before).
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stallwart.estimate.change import STRETCH

DROP, ERROR, BEFORE, AFTER = 0.10, 0.05, 500, 1_500
WINDOWS = (50, 75, 100, 150, 200, 250)
Right = NDArray[np.bool_]  # (draws, n)
Path = Callable[[Right], NDArray[np.float64]]


def ratios(right: Right, target: float, drop: float = DROP) -> NDArray[np.float64]:
    """Log likelihood ratio of each verdict, fallen against at target."""
    return np.where(right, np.log((target - drop) / target), np.log((1 - target + drop) / (1 - target)))


def cusum(target: float, drop: float) -> Path:
    def path(right: Right) -> NDArray[np.float64]:
        total = np.cumsum(ratios(right, target, drop), axis=1)
        return total - np.minimum.accumulate(np.minimum(total, 0.0), axis=1)

    return path


def window(target: float, n: int) -> Path:
    """Wrong verdicts among the last n beyond those that the target allows."""

    def path(right: Right) -> NDArray[np.float64]:
        more = np.concatenate([np.zeros((len(right), n)), target - right.astype(float)], axis=1)
        total = np.cumsum(more, axis=1)
        return np.round(total[:, n:] - total[:, :-n], 6)

    return path


def first(path: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Verdicts until the first alarm; infinite where there is none."""
    alarmed = path > limit
    return np.where(alarmed.any(axis=1), alarmed.argmax(axis=1) + 1.0, np.inf)


def row(name: str, target: float, path: Path, calm: Right, luck: NDArray[np.float64]) -> str:
    tops = np.sort(path(calm).max(axis=1))
    limit = tops[len(tops) - 1 - int(ERROR * len(tops))]  # alarms above it: at most 5 % of stretches
    worst = first(path(luck[:, BEFORE:] < target - DROP), limit)
    both = np.concatenate([luck[:, :BEFORE] < target, luck[:, BEFORE:] < target - DROP], axis=1)
    some = first(path(both), limit) - BEFORE
    some = some[some > 0]
    lost = np.mean(tops > limit)
    return (
        f"| {target} | {name} | {lost:.1%} | {np.median(worst):.0f} ({np.mean(np.minimum(worst, AFTER)):.0f})"
        f" | {np.median(some):.0f} ({np.mean(np.minimum(some, AFTER)):.0f}) |"
    )


def best_chance(target: float, m: int, calm: Right) -> float:
    """No detector finds a fall within m verdicts with more than this chance, on average over its moments."""
    steps = ratios(calm, target)
    total = np.concatenate([np.zeros((len(calm), 1)), np.cumsum(steps, axis=1)], axis=1)
    summed, most = np.zeros(len(calm)), np.zeros(len(calm))
    for t in range(1, STRETCH + 1):
        summed = np.exp(steps[:, t - 1]) * (summed + 1)
        if t > m:
            summed -= np.exp(total[:, t] - total[:, t - m - 1])
        most = np.maximum(most, summed)
    largest = np.sort(most)[-int(ERROR * len(most)) :]
    return float(largest.sum() / len(most) / (STRETCH - m + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=61)
    given = parser.parse_args()
    print("| target | detector | lost at target | median (mean) at the worst moment | after 500 at target |")
    print("|---|---|---|---|---|")
    bounds = []
    for target in (0.8, 0.9, 0.95):
        rng = np.random.default_rng([given.seed, round(1000 * target), 300])
        calm = rng.random((given.draws, STRETCH), np.float32) < target
        luck = rng.random((given.draws // 2, BEFORE + AFTER))
        for drop in (0.10, 0.12, 0.15):
            name = f"CUSUM for a fall by {100 * drop:.0f} points"
            print(row(name, target, cusum(target, drop), calm, luck), flush=True)
        for n in WINDOWS:
            print(row(f"wrong among the last {n}", target, window(target, n), calm, luck), flush=True)
        fewest = next(m for m in range(20, 400, 4) if best_chance(target, m, calm) >= 0.475)
        bounds.append(f"{fewest - 4} at {target}")
    print(f"no detector has a median of as few as {', '.join(bounds)}")


if __name__ == "__main__":
    main()

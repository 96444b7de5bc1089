"""Do rollouts keep their word? Simulated ones, with a look after every request and injected time.

    python bench/rollout.py                 # all parts, about an hour on one core
    python bench/rollout.py false --paths 600 --seed 20261
    python bench/rollout.py --quick         # a few of each, under a minute

Parts: `broken` (how many listings a broken challenger touches), `power`, `better`, `worse` (than the
margin), `false` (rollback of an equal one), `interval` (its coverage, with verdicts on a tenth of the
traffic) and `agree` (the same requests one by one through `look` and `next_move`).
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path as File

import numpy as np

sys.path.insert(0, str(File(__file__).resolve().parents[1]))

from bench.rollouts.market import ALLOW, BLOCK, Market, Model
from bench.rollouts.path import Result, paths
from bench.rollouts.replay import agreement
from stallwart.core.rollout import Stage
from stallwart.estimate.bounds import rate_interval
from stallwart.rollout.plan import Audit, Plan, Step

EQUAL = Model()
MARKETS = {
    "listings": Market(),
    "listings, 20 % returning": Market(returning=0.2),
    "10,000 sellers who differ": Market(sellers=10_000),
}
POWER = {
    "precision 10 points lower": Model(precision=0.80),
    "error rate doubled": Model(errors=0.015),
    "p99 latency x 1.5, same median": Model(tail=1.5),
    "latency x 1.5": Model(slower=1.5),
}
BROKEN = {
    "blocks everything": Model(always=BLOCK),
    "raises always": Model(errors=1.0),
    "blocks nothing": Model(always=ALLOW),
    "ten times as slow": Model(slower=10.0),
}
WORSE = {
    "precision 2.1 points lower (margin 2)": Model(precision=0.879),
    "coverage 3.1 points lower (margin 3)": Model(coverage=0.569),
}
BETTER = {
    "precision and coverage 3 points higher": Model(precision=0.93, coverage=0.63),
    "precision 3 points higher, coverage the same": Model(precision=0.93),
}


def assumptions() -> None:
    print(f"champion: {EQUAL}\nmarket: {MARKETS['listings']}\nplan: the defaults; {Plan().audit!r}")
    print("violations of five policies (35, 30, 20, 10, 5 %); blocks 2 %, reviews 5 % of listings")


def false(paths_: int, seed: int) -> None:
    print("\nFalse rollback of an equal challenger (at most 5 %)")
    for number, (name, market) in enumerate(MARKETS.items()):
        count = max(2, paths_ // 4) if market.repeats else paths_  # those take several times as long
        report(name, run(Plan(), market, EQUAL, count, seed + number), "rolled back")


def worse(paths_: int, seed: int) -> None:
    print("\nPromotion of a challenger worse than the margin (at most 5 %)")
    for number, (name, model) in enumerate(WORSE.items()):
        # the guards on traffic could only stop more of them
        results = paths(Plan(), Market(), model, paths_, seed + 10 + number, verdicts_only=True)
        report(name, list(results), "promoted")


def better(paths_: int, seed: int) -> None:
    print("\nPromotion of a better challenger (at least 80 %)")
    for number, (name, model) in enumerate(BETTER.items()):
        report(name, run(Plan(), Market(), model, paths_, seed + 20 + number), "promoted")


def power(paths_: int, seed: int) -> None:
    print("\nCaught before promotion (at least 90 %)")
    for number, (name, model) in enumerate(POWER.items()):
        report(name, run(Plan(), Market(), model, paths_, seed + 30 + number), "rolled back")


def broken(paths_: int, seed: int) -> None:
    print("\nListings that a broken challenger decided before it was out (median, p90, most)")
    plans = {"whole plan, from shadow": Plan()}
    for share in (0.01, 0.05, 0.25, 0.5):
        plans[f"shadow skipped, share {share:g}"] = Plan(
            steps=(Step(stage=Stage.AB, share=share, max_hours=672),)
        )
    for number, (name, model) in enumerate(BROKEN.items()):
        for place, plan in plans.items():
            results = run(plan, Market(), model, paths_, seed + 40 + number)
            out = Counter((one.outcome, one.guard) for one in results)
            print(f"  {name:20} {place:28} {spread([one.touched for one in results])}   {said(out)}")


def interval(paths_: int, seed: int) -> None:
    print("\nIntervals of 95 % that hold the true difference when the rollout stops (at least 94 %)")
    plan = Plan(audit=Audit(block=0.1, review=0.1, allow=0.1))
    models = {"equal": EQUAL, "3 points better": Model(precision=0.93, coverage=0.63), **WORSE}
    for number, (name, model) in enumerate(models.items()):
        results = list(paths(plan, Market(), model, paths_, seed + 50 + number, verdicts_only=True))
        for which, figure in enumerate(("precision", "coverage")):
            held = sum(one.covered[which] for one in results)
            print(f"  {name:40} {figure:10} {share_of(held, len(results))}")
        print(f"  {'':40} audited verdicts {spread([one.audited for one in results])}")


def agree(paths_: int, seed: int) -> None:
    print("\nThe same requests one by one through look() and next_move()")
    for name, model in {**BROKEN, "equal": EQUAL}.items():
        for number in range(min(paths_, 3)):
            print(f"  {name:20} {agreement(model, seed + 60 + number)}")


def run(plan: Plan, market: Market, model: Model, count: int, seed: int) -> list[Result]:
    return list(paths(plan, market, model, count, seed))


def report(name: str, results: Sequence[Result], wanted: str) -> None:
    hits = [one for one in results if one.outcome == wanted]
    stages = Plan().steps
    print(f"  {name}: {wanted} {share_of(len(hits), len(results))}")
    out = Counter((one.outcome, one.guard) for one in results)
    at = Counter(f"{stages[one.step].stage.value} {stages[one.step].share:g}" for one in hits)
    print(f"    all: {said(out)}\n    at: {', '.join(f'{place} {n}' for place, n in at.most_common())}")
    if hits:
        print(f"    requests {spread([one.requests for one in hits])}", end="; ")
        print(f"touched {spread([one.touched for one in hits])}")
        blocks = [min(one.verdicts) for one in hits]
        print(f"    verdicts {spread([one.audited for one in hits])}", end="; ")
        print(f"on blocks of an arm {spread(blocks)}", flush=True)


def share_of(hits: int, count: int) -> str:
    ends = rate_interval(hits, count)
    return f"{hits / count:.1%} ({hits} of {count}; {ends.lower:.1%} to {ends.upper:.1%})"


def spread(values: Sequence[int]) -> str:
    middle, high = np.quantile(values, [0.5, 0.9])
    return f"{middle:,.0f}, {high:,.0f}, {max(values):,}"


def said(out: Counter[tuple[str, str]]) -> str:
    return ", ".join(f"{' by '.join(filter(None, key))} {count}" for key, count in out.most_common())


PARTS = {
    "broken": broken,
    "agree": agree,
    "power": power,
    "better": better,
    "worse": worse,
    "false": false,
    "interval": interval,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--paths", type=int, default=400, help="rollouts for each line")
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--quick", action="store_true", help="2 rollouts for each line")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    assumptions()
    for name in options.parts or PARTS:
        began = time.monotonic()
        PARTS[name](2 if options.quick else options.paths, options.seed)
        count = 2 if options.quick else options.paths
        print(
            f"  [{name}: {count} rollouts a line, seed {options.seed}, {time.monotonic() - began:.0f} s]",
            flush=True,
        )


if __name__ == "__main__":
    main()

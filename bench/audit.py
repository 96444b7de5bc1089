"""Do the estimates of the audit keep their word? Simulated weeks whose truth is known.

    python bench/audit.py                     # coverage and plain sampling, about 40 minutes
    python bench/audit.py coverage --weeks 2000 --seed 20262
    python bench/audit.py plain               # sample needed with plain random sampling for the same width
    python bench/audit.py tune --seed 1       # what planning was chosen by
    python bench/audit.py --quick             # a little of each, under a minute

A week has 100,000 listings, each drawn by itself with the probability that the program's own plan gives it,
700 verdicts expected; 3 % of verdicts are unknown. Scores come from normal latents, and so are calibrated in
`calibrated`. In `adapted` violations moved towards the others by one standard deviation since the scores
were calibrated; in `pocket` a quarter of violations look to the model like any listing; in `separated` none
scores below blocks.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stallwart.core.decision import Action
from stallwart.estimate.audit import Audit, Estimate, Stratum, audit
from stallwart.estimate.audit_cells import BLOCKS, CALLS, Cell, Drawn, sample_of, strata_for
from stallwart.estimate.audit_plan import DOUBT, Band, band_edges, drawing_probabilities
from stallwart.estimate.audit_replan import Traffic, Wanted, plan_of_traffic
from stallwart.estimate.bounds import Interval, rate_interval

LISTINGS, VERDICTS, UNKNOWN = 100_000, 700, 0.03
BLOCK, REVIEW = 0.6, 0.1  # scores from which a listing is blocked, and sent to review
FIGURES = ("prevalence", "recall", "precision")
DRAWS = 1_000_000  # latents by which a market's bands are filled


@dataclass(frozen=True)
class Market:
    """What scores say of listings, and what is true of them."""

    truth: str = "calibrated"
    prevalence: float = 0.01
    apart: float = 4.0  # standard deviations between violations and others; 4 is an AUC of 0.998

    def name(self) -> str:
        return f"{self.truth}, {self.prevalence:.1%}, {self.apart:g} sd"

    def score(self, latent: np.ndarray) -> np.ndarray:
        log_odds = np.log(self.prevalence / (1 - self.prevalence)) + self.apart * latent - self.apart**2 / 2
        return 1 / (1 + np.exp(-log_odds))

    def violating(self, rng: np.random.Generator) -> np.ndarray:
        latent = rng.normal(self.apart, 1, DRAWS)
        if self.truth == "adapted":
            latent -= 1
        elif self.truth == "pocket":
            latent[: DRAWS // 4] = rng.normal(0, 1, DRAWS // 4)
        scores = self.score(latent)
        return scores[scores >= BLOCK] if self.truth == "separated" else scores


@dataclass(frozen=True)
class Plan:
    """How a week is drawn."""

    verdicts: int = VERDICTS
    allowed_bands: int = 4
    to_called: float = 0.15
    doubt: float = DOUBT
    band_doubt: float = 1e-5


@dataclass(frozen=True)
class Setting:
    """A market cut into strata, b of them."""

    names: list[str]
    called: np.ndarray
    violating: np.ndarray  # (b,) of violations, which share lies in the stratum
    neutral: np.ndarray
    prevalence: float
    probability: np.ndarray
    actions: list[Action]

    @property
    def called_too(self) -> bool:
        """Whether reviews are calls."""
        return any(c and a is Action.REVIEW for c, a in zip(self.called, self.actions, strict=True))

    def week(self, rng: np.random.Generator) -> tuple[list[Stratum], dict[str, float]]:
        """Strata with the verdicts of a week as the program makes them, and the truth of that week."""
        total = rng.binomial(LISTINGS, self.prevalence)
        bad, good = rng.multinomial(total, self.violating), rng.multinomial(LISTINGS - total, self.neutral)
        yes, no = rng.binomial(bad, self.probability), rng.binomial(good, self.probability)
        lost_yes, lost_no = rng.binomial(yes, UNKNOWN), rng.binomial(no, UNKNOWN)
        counts, draws = {}, []
        columns = zip(
            self.names, self.actions, self.probability, bad + good, yes - lost_yes, no - lost_no,
            lost_yes + lost_no, strict=True,
        )  # fmt: skip
        for name, action, probability, size, *said in columns:
            cell = Cell(0, "", name, action, () if action is Action.ALLOW else ("x",), float(probability))
            if size:
                counts[cell] = int(size)
            for answer, count in zip(("yes", "no", "unknown"), said, strict=True):
                draws += [Drawn(cell, {"x": answer})] * int(count)
        strata = strata_for(sample_of(counts, draws), called=CALLS if self.called_too else BLOCKS)
        caught, blocks = bad[self.called].sum(), (bad + good)[self.called].sum()
        truth = {
            "prevalence": total / LISTINGS,
            "recall": caught / total if total else float("nan"),
            "precision": caught / blocks if blocks else float("nan"),
        }
        return strata, truth


def action_of(score: float) -> Action:
    return Action.BLOCK if score >= BLOCK else Action.REVIEW if score >= REVIEW else Action.ALLOW


def setting(market: Market, plan: Plan | None, calls_from: float = BLOCK, verdicts: int = 0) -> Setting:
    """The market under a plan; without one, `verdicts` drawn plainly, told apart by whether called."""
    rng = np.random.default_rng(7)
    bad, good = market.violating(rng), market.score(rng.normal(0, 1, DRAWS))
    typical = np.concatenate(  # as it was when the scores were calibrated
        [
            good[: DRAWS // 10],
            market.score(rng.normal(market.apart, 1, int(market.prevalence * DRAWS / 10))),
        ]
    )
    if plan is None:
        edges, drawn = np.array([calls_from]), None
    elif plan == Plan(plan.verdicts):
        edges, drawn = products(typical, plan)
    else:
        edges, drawn = varied(typical, plan)
    cuts = np.concatenate([[-np.inf], edges, [np.inf]])
    shares = [np.histogram(scores, cuts)[0] / len(scores) for scores in (bad, good)]
    lows = np.concatenate([[0.0], edges])
    called = np.concatenate([[False], edges >= calls_from])
    names = [f"from {low:.3g}" for low in lows]
    probability = np.full(len(names), verdicts / LISTINGS) if drawn is None else drawn
    actions = [action_of(low) for low in lows]
    return Setting(names, called, shares[0], shares[1], market.prevalence, probability, actions)


def products(typical: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Edges and probabilities as the program plans them: of a sample of 10,000, by its own defaults."""
    seen = np.random.default_rng(11).choice(typical, 10_000, replace=False)
    actions = np.array([action_of(score).value for score in seen])
    policies = [() if action == "allow" else ("x",) for action in actions.tolist()]
    # Its settings are a day's, and this is a week
    wanted = Wanted(plan.verdicts, block_share=0.05, block_least=3.0 * 7)
    made = plan_of_traffic(Traffic(actions, seen, policies, LISTINGS), wanted)
    inner = [edge for action in Action for edge in made.edges[action]]
    edges = np.unique(np.array([*inner, REVIEW, BLOCK]))
    lows = [0.0, *edges.tolist()]
    places = [
        made.place(action, () if action is Action.ALLOW else ("x",), low)
        for low in lows
        for action in [action_of(low)]
    ]
    return edges, np.array([place.probability for place in places])


def varied(typical: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Edges and probabilities by other choices than the program's."""
    inner = band_edges(typical[typical < REVIEW], plan.allowed_bands, plan.band_doubt)
    edges = np.unique(np.concatenate([inner, [REVIEW, (REVIEW + BLOCK) / 2, BLOCK, 0.95]]))
    inside = np.digitize(typical, edges)
    sizes = np.bincount(inside, minlength=len(edges) + 1)
    predicted = np.bincount(inside, typical, len(edges) + 1) / np.maximum(sizes, 1)
    called = np.concatenate([[False], edges >= BLOCK])
    expected = [
        Band(bool(c), s * LISTINGS / len(typical), p)
        for c, s, p in zip(called, sizes, predicted, strict=True)
    ]
    return edges, drawing_probabilities(expected, plan.verdicts, plan.to_called, plan.doubt)


def figures(of: Setting, weeks: int, seed: int) -> list[tuple[Audit, dict[str, float]]]:
    rng = np.random.default_rng(seed)
    told = []
    for _ in range(weeks):
        strata, truth = of.week(rng)
        told.append((audit(strata), truth))
    return told


def width(estimate: Estimate | Interval) -> float:
    return estimate.upper - estimate.lower


def coverage(name: str, of: Setting, weeks: int, seed: int) -> None:
    began, told = time.perf_counter(), figures(of, weeks, seed)
    verdicts = np.mean([one.prevalence.verdicts for one, _ in told])
    called = np.mean([one.precision.verdicts for one, _ in told])
    print(f"{name}: {weeks} weeks, {verdicts:.0f} verdicts, {called:.0f} of them on calls")
    for figure in FIGURES:
        pairs = [(getattr(one, figure), truth[figure]) for one, truth in told if np.isfinite(truth[figure])]
        true = np.array([truth for _, truth in pairs])
        low = np.array([one.lower for one, _ in pairs])
        high = np.array([one.upper for one, _ in pairs])
        held = int(((low <= true) & (true <= high)).sum())
        known = rate_interval(held, len(pairs))
        wanted = "ok" if held >= 0.93 * len(pairs) else "MISSED"
        print(
            f"  {figure:10s} {held / len(pairs):.3f} [{known.lower:.3f}, {known.upper:.3f}] {wanted:6s}"
            f" true {np.median(true):.4f}, median {np.median(low):.4f} to {np.median(high):.4f},"
            f" width {np.median(high - low):.4f};"
            f" too low {np.mean(high < true):.3f}, too high {np.mean(low > true):.3f}"
        )
    unfound = [one.recall for one, truth in told if one.recall.value is None]
    ones = sum(one.recall.value == 1 for one, _ in told)
    if unfound:
        held = [one.recall.lower <= t["recall"] for one, t in told if one.recall.value is None]
        print(
            f"  no miss found in {len(unfound)} weeks: recall read as 1 in {ones}; its lower bound is at most"
            f" {max(one.lower for one in unfound):.3f}, median {np.median([o.lower for o in unfound]):.3f},"
            f" and holds in {np.mean(held):.3f}"
        )
    print(f"  {time.perf_counter() - began:.0f} s", flush=True)


def plain_widths(market: Market, verdicts: int, weeks: int, seed: int, calls_from: float) -> dict[str, float]:
    """Median widths of a plain sample: told apart by call, as `audit` can, and by the shares found alone."""
    of = setting(market, None, calls_from, verdicts)
    told = figures(of, weeks, seed)
    found = {name: float(np.median([width(getattr(one, name)) for one, _ in told])) for name in FIGURES}
    rng, shares = np.random.default_rng(seed), {name: [] for name in FIGURES}
    for _ in range(200):
        strata, _ = of.week(rng)
        yes, calls = sum(one.violating for one in strata), sum(one.judged for one in strata if one.called)
        caught = sum(one.violating for one in strata if one.called)
        known = (yes, sum(one.judged for one in strata)), (caught, yes), (caught, calls)
        for name, (hits, rows) in zip(FIGURES, known, strict=True):
            shares[name].append(width(rate_interval(hits, rows)))
    return found | {f"{name}, textbook": float(np.median(shares[name])) for name in FIGURES}


def needed(market: Market, plan: Plan, weeks: int, seed: int, calls_from: float = BLOCK) -> None:
    """Verdicts that plain random sampling takes to be as narrow, interpolated in the logarithms."""
    stratified = figures(setting(market, plan, calls_from), weeks, seed)
    wanted = {
        name: float(np.median([width(getattr(one, name)) for one, _ in stratified])) for name in FIGURES
    }
    sizes: list[int] = []
    widths: list[dict[str, float]] = []
    verdicts = plan.verdicts
    while verdicts <= 0.8 * LISTINGS:
        sizes.append(verdicts)
        widths.append(plain_widths(market, verdicts, weeks, seed + 1, calls_from))
        # Precision alone would need a large part of all traffic, which takes long to simulate
        if all(widths[-1][name] <= wanted[name] for name in FIGURES[:2]) and verdicts > 20 * plan.verdicts:
            break
        verdicts = int(verdicts * 1.6)
    cells = []
    for name in FIGURES:
        cells.append(f"{wanted[name]:.4f}")
        for way in (name, f"{name}, textbook"):
            falling = np.minimum.accumulate([one[way] for one in widths])[::-1]
            if falling[0] > wanted[name]:
                cells.append(f"over {sizes[-1] / plan.verdicts:.0f}")
                continue
            size = np.exp(np.interp(np.log(wanted[name]), np.log(falling), np.log(sizes[::-1])))
            cells.append(f"{size / plan.verdicts:.1f}")
    print(f"| {market.name()} | {plan.verdicts:,} | " + " | ".join(cells) + " |", flush=True)


MARKETS = [
    Market(truth, rate) for truth in ("calibrated", "pocket", "adapted") for rate in (0.001, 0.003, 0.01)
]


def run_coverage(weeks: int, seed: int, markets: Sequence[Market] = MARKETS) -> None:
    for place, market in enumerate(markets):
        coverage(f"blocks; {market.name()}", setting(market, Plan()), weeks, seed + place)
    calls, separated = Market(), Market("separated", 0.003)
    coverage(f"blocks and reviews; {calls.name()}", setting(calls, Plan(), REVIEW), weeks, seed + 50)
    coverage(f"blocks; {separated.name()}", setting(separated, Plan()), weeks, seed + 51)


def run_plain(weeks: int, seed: int, plans: Sequence[int] = (VERDICTS, 4 * VERDICTS)) -> None:
    print(
        "Width, and how many times as many verdicts a plain sample takes to be as narrow: told apart by call,"
    )
    print("as `audit` can, and by the textbook (Clopper and Pearson on the shares found)")
    print("| market | verdicts | prevalence | plain | textbook | recall | plain | textbook |"
          " precision | plain | textbook |")  # fmt: skip
    print("|" + "---|" * 11)
    for market in (*(Market("calibrated", rate) for rate in (0.001, 0.003, 0.01)), Market("pocket", 0.01)):
        for verdicts in plans:
            needed(market, Plan(verdicts), weeks, seed)


def run_tune(weeks: int, seed: int) -> None:
    for market in (Market("calibrated", 0.003), Market("calibrated", 0.01), Market("pocket", 0.01)):
        for plan in (
            Plan(), Plan(allowed_bands=3), Plan(allowed_bands=8), Plan(band_doubt=0), Plan(band_doubt=1e-4),
            Plan(band_doubt=0.003), Plan(doubt=0), Plan(doubt=0.0003), Plan(doubt=0.003), Plan(doubt=0.01),
            Plan(to_called=0.1), Plan(to_called=0.2), Plan(to_called=0.3),
        ):  # fmt: skip
            told = figures(setting(market, plan), weeks, seed)
            widths = [np.median([width(getattr(one, name)) for one, _ in told]) for name in FIGURES]
            print(market.name(), plan, " ".join(f"{w:.4f}" for w in widths), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=("all", "coverage", "plain", "tune"), default="all")
    parser.add_argument("--weeks", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=20262)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if asked.quick:
        run_coverage(30, asked.seed, MARKETS[::4])
        needed(Market(), Plan(), 8, asked.seed)
        return
    if asked.part in ("all", "coverage"):
        run_coverage(asked.weeks, asked.seed)
    if asked.part in ("all", "plain"):
        run_plain(min(asked.weeks, 40), asked.seed)
    if asked.part == "tune":
        run_tune(min(asked.weeks, 60), asked.seed)


if __name__ == "__main__":
    main()

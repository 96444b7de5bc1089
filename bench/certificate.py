"""Do certificates hold? Draws markets whose true precision is known at every threshold and certifies on each.

    python bench/certificate.py --draws 2000 --seed 20251

A market has the size and the shape of seven months of the real one: 7,000 neutral listings, two thirds
without a seller and most others from two; eleven more policies, three of them with 20 to 60 listings. A
listing of the policy under test scores uniformly in (0, 1), so that recall at threshold t is 1 - t, and one
of another label reaches t with a chance in proportion to (1 - t) ** power, so that true precision is known.

A certificate is missed where the true live precision at its threshold is below target. In the cases called
"null" precision at every threshold is just below target (by 0.002), so that every certificate is a miss; the
others show power.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma, norm

from stallwart.estimate.bounds import rate_interval
from stallwart.estimate.certify import certify
from stallwart.estimate.evidence import Evidence

NAMES = ("neutral", "own", "large", "wide", "middle", "shop", "plain", "small", "rare", "new", "odd", "late")
ROWS = (7000, 0, 950, 900, 400, 380, 350, 240, 140, 54, 23, 21)
SHARES = (0.0, 0.0, 0.02, 0.01, 0.02, 0.02, 0.02, 0.02, 0.005, 0.01, 0.005, 0.02)
NEUTRAL_SELLERS = (0.237, 0.066, 0.006, 0.004, 0.002, 0.001)  # share of the neutral rows of each known seller
JUST_BELOW = 0.002  # how far below target the precision of a null case is


@dataclass(frozen=True)
class Kind:
    """What the policy under test is like."""

    name: str
    rows: int
    share: float
    target: float
    sellers: int  # equally large ones


KINDS = (
    Kind("960 rows, share 0.02, target 0.95, 60 sellers", 960, 0.02, 0.95, 60),
    Kind("360 rows, share 0.02, target 0.90, 2 sellers", 360, 0.02, 0.90, 2),
    Kind("380 rows, share 0.01, target 0.90, 6 sellers", 380, 0.01, 0.90, 6),
)


@dataclass(frozen=True)
class Case:
    """How it errs.

    Attributes:
        name: what is shown.
        precision: true precision at recall `at`, as an offset from target (nulls) or as it is.
        from_neutral: share of the false alarms that neutral listings cause.
        others: labels that cause the rest, in proportion to their shares; all when empty.
        power: false alarms grow as recall ** power; 1 keeps precision the same at every threshold.
        clumps: coefficient of variation of the false-alarm rates of neutral sellers.
        lean: correlation, on the normal scale, of own scores with their seller; 0 takes sellers as given.
        copies: share of rows that stand in near-duplicate groups of three, which score alike.
    """

    name: str
    precision: float | None = None
    from_neutral: float = 0.5
    others: tuple[str, ...] = ()
    power: float = 1.0
    at: float = 1.0
    clumps: float = 0.0
    lean: float = 0.0
    copies: float = 0.0


CASES = (
    Case("null: half neutral, half all others"),
    Case("null: neutral alone", from_neutral=1.0),
    Case("null: one large policy alone", from_neutral=0.0, others=("large",)),
    Case("null: near duplicates, 30 % in threes", copies=0.3),
    Case("null: neutral sellers differ (cv 0.5), duplicates", clumps=0.5, copies=0.3),
    Case("null: neutral alone, its sellers differ (cv 1)", from_neutral=1.0, clumps=1.0),
    Case("null: own sellers differ (0.3), neutral too (cv 0.5)", clumps=0.5, lean=0.3),
    Case("null: a policy with 54 rows alone", from_neutral=0.0, others=("new",)),
    Case("null: a policy with 21 rows alone", from_neutral=0.0, others=("late",)),
    Case("falls: target crossed at recall 0.7", power=3.0, at=0.7),
    Case("power: precision 0.97", precision=0.97),
    Case("power: precision 0.99", precision=0.99),
    Case("power: precision 0.995, duplicates", precision=0.995, copies=0.3),
)


@dataclass(frozen=True)
class Outcome:
    """Counts over draws of one case and kind."""

    draws: int
    certified: int
    missed: int


def true_precision(case: Case, kind: Kind) -> Callable[[float], float]:
    """Live precision at each recall in (0, 1]."""
    cost = false_alarm_cost(case, kind)

    def at(recall: float) -> float:
        return kind.share * recall / (kind.share * recall + cost * recall**case.power)

    return at


def false_alarm_cost(case: Case, kind: Kind) -> float:
    """Live false alarms per listing at recall 1."""
    wanted = case.precision or kind.target - (JUST_BELOW if case.power == 1 else 0)
    return float(kind.share * (1 - wanted) / wanted * case.at ** (1 - case.power))


def market(case: Case, kind: Kind, seed: int) -> Evidence:
    """Labels, near duplicates and sellers: one design for all draws of a case and kind."""
    rng = np.random.default_rng(seed)
    shares = np.array(SHARES)
    shares[1] = kind.share
    shares[0] = 1 - shares.sum()
    rows = np.array(ROWS)
    rows[1] = kind.rows
    labels = np.repeat(np.arange(len(NAMES)), rows)
    return Evidence(labels, _groups(labels, case.copies, rng), _sellers(rows, kind, rng), shares, NAMES)


def draw(case: Case, kind: Kind, evidence: Evidence, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n,) scores of the policy under test."""
    labels, n = evidence.labels, len(evidence.labels)
    # rows of a group share their luck; a group's number is its first row
    luck, place = rng.random(n)[evidence.groups], rng.random(n)[evidence.groups]
    sellers = evidence.seller_clusters
    known = evidence.sellers != ""
    normal = np.where(known, rng.standard_normal(sellers.max() + 1)[sellers], 0.0)
    chance = _chances(case, kind, evidence.shares)[labels]
    if case.clumps:
        shape = 1 / case.clumps**2
        neutral = known & (labels == 0)
        chance[neutral] *= gamma.ppf(norm.cdf(normal[neutral]), shape, scale=1 / shape)
    scores = np.where(luck < chance, 1 - (1 - place) ** (1 / case.power), -place)
    own = labels == 1
    scores[own] = place[own]
    if case.lean and kind.sellers:  # Gaussian copula: uniform over sellers, alike within one
        mixed = case.lean * normal[own] + np.sqrt(1 - case.lean**2) * norm.ppf(place[own])
        scores[own] = norm.cdf(mixed)
    return scores


def run(case: Case, kind: Kind, draws: int, seed: int) -> Outcome:
    """Certify on `draws` sets of scores and count misses."""
    precision = true_precision(case, kind)
    evidence = market(case, kind, seed)
    certified = missed = 0
    for index in range(draws):
        scores = draw(case, kind, evidence, np.random.default_rng([seed, index]))
        certificate = certify(scores, evidence, "own", kind.target)
        if certificate.threshold is not None:
            certified += 1
            missed += precision(1 - certificate.threshold) < kind.target
    return Outcome(draws, certified, missed)


def table(cases: tuple[Case, ...], kinds: tuple[Kind, ...], draws: int, seed: int) -> Iterator[str]:
    """Lines of Markdown, one for each case and kind as soon as it is known."""
    yield f"{draws} draws each, seed {seed}; 95 % intervals (Clopper-Pearson).\n"
    yield "| case | policy | certified | missed | missed, interval |"
    yield "|---|---|---|---|---|"
    pairs = [(case, kind) for case in cases for kind in kinds]
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(run, case, kind, draws, seed + n) for n, (case, kind) in enumerate(pairs)]
        for (case, kind), job in zip(pairs, jobs, strict=True):
            got = job.result()
            interval = rate_interval(got.missed, got.draws)
            yield (
                f"| {case.name} | {kind.name} | {got.certified} ({got.certified / got.draws:.1%}) "
                f"| {got.missed} ({got.missed / got.draws:.1%}) "
                f"| {interval.lower:.1%} to {interval.upper:.1%} |"
            )


def _chances(case: Case, kind: Kind, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    cost = false_alarm_cost(case, kind)
    causing = np.array([c > 1 and (name in case.others or not case.others) for c, name in enumerate(NAMES)])
    chances = np.where(causing, (1 - case.from_neutral) * cost / shares[causing].sum(), 0.0)
    chances[0] = case.from_neutral * cost / shares[0]
    return np.asarray(chances)


def _groups(labels: NDArray[np.int64], copies: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers, the first of its group for each row; threes within a label."""
    groups = np.arange(len(labels))
    for c in range(len(NAMES)):
        mine = rng.permutation(np.flatnonzero(labels == c))
        threes = mine[: int(copies * len(mine)) // 3 * 3].reshape(-1, 3)
        groups[threes] = threes[:, :1]
    return groups


def _sellers(rows: NDArray[np.int64], kind: Kind, rng: np.random.Generator) -> NDArray[np.str_]:
    neutral = rng.choice(len(NEUTRAL_SELLERS) + 1, rows[0], p=[1 - sum(NEUTRAL_SELLERS), *NEUTRAL_SELLERS])
    names = [np.where(neutral > 0, np.char.add("n", neutral.astype(str)), "")]
    for c in range(1, len(NAMES)):
        many = kind.sellers if c == 1 else 5 * c
        seller = rng.integers(0, max(1, many), rows[c]).astype(str)
        names.append(np.char.add(f"{c}-", seller) if many else np.full(rows[c], ""))
    return np.concatenate(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20251)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--kind", default="", help="policies whose description contains this")
    options = parser.parse_args()
    chosen = tuple(case for case in CASES if options.only in case.name)
    kinds = tuple(kind for kind in KINDS if options.kind in kind.name)
    for line in table(chosen, kinds, options.draws, options.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""The real market played in order: rights lost and regained, its labels as a scripted reviewer's verdicts.

    python bench/rights_market.py MARKET --out docs/rights_market.svg

A model learns all labels known on the first day of month `--first` (September: new sellers come two weeks
later), and is certified on rolling origins from April on, each scored by a model of earlier months. Then the
months to December are played: each label comes with its live share (so many listings of the month are drawn,
with replacement, in the order of their dates), blocks are drawn with a stated share, and each verdict is the
label. The change detector of `estimate/change.py` withdraws. On the first of each month another model learns
all labels known by then, the last month being one more origin; it acts where its own certificate says so, or
earns.

The default trains one member of the default recipe, the logistic regression on both embeddings, for 20 epochs
in place of 60: minutes on busy cores; `--members all` trains the default as it is. Nothing is chosen here.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from experiments import embedder_of, sources_of
from numpy.typing import NDArray

from stallwart.core.scored import Scored
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.estimate.certify import Certificate, certify_all
from stallwart.estimate.change import fall_limit, fall_path
from stallwart.estimate.earning import attempt_error, granted, progress, thresholds_to_try
from stallwart.model.bundle import Calibration
from stallwart.model.material import Material, gather
from stallwart.training.calibrate import base_rate_calibration, fit_calibration
from stallwart.training.origins import Origin, fit_origins, run_folder
from stallwart.training.recipe import Recipe, read_recipe

CUTS = tuple(datetime(2025, month, 1, tzinfo=UTC) for month in (4, 7, 9, 10, 11, 12))
STARTS = tuple(datetime(2025, month, 1, tzinfo=UTC) for month in (9, 10, 11, 12))
END = datetime(2026, 1, 1, tzinfo=UTC)
LOOK = 5  # verdicts between two looks at what is earned


@dataclass(frozen=True)
class Made:
    """One bundle's worth of model: its certificates, and its scores of all that comes after it."""

    certificates: dict[str, Certificate]
    places: NDArray[np.int64]
    later: NDArray[np.float64]

    def scores(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, k) of listings that came after it was made."""
        return self.later[np.searchsorted(self.places, places)]


@dataclass(frozen=True)
class Traffic:
    """Listings as they come: places in the material's rows, in order of time."""

    places: NDArray[np.int64]


def made(material: Material, recipe: Recipe, taxonomy: Taxonomy, work: Path, at: datetime) -> Made:
    """Trained on what was listed and labelled by `at`, certified on rolling origins up to it."""
    cuts = [cut for cut in CUTS if cut < at] + [at]
    ends = [*cuts[1:], END]
    origins = [_origin(material, cut, end) for cut, end in zip(cuts, ends, strict=True)]
    fitted = fit_origins(material, recipe, taxonomy, origins, work)
    shares = np.array([taxonomy.shares[label] for label in taxonomy.labels])
    labels = [material.rows.labels[one.origin.score] for one in fitted]

    def calibration(end: int) -> Calibration:
        """Of the origins before one alone, so that its scores know nothing of its months."""
        if not end:
            return base_rate_calibration(material.rows.labels[fitted[0].origin.train], shares)
        odds = np.concatenate([one.log_odds for one in fitted[:end]])
        return fit_calibration(odds, np.concatenate(labels[:end]), shares)

    scores = [calibration(place).probabilities(one.log_odds) for place, one in enumerate(fitted)]
    places = np.concatenate([one.origin.score for one in fitted[:-1]])
    rolling = Scored(material.rows[places], np.concatenate(scores[:-1]), taxonomy)
    return Made(certify_all(rolling, 0.95), fitted[-1].origin.score, scores[-1])


def _origin(material: Material, cut: datetime, end: datetime) -> Origin:
    """What is trained on at a cut, and the listings up to `end` that its model scores: none is a repeat."""
    rows, start, stop = material.rows, _moment(cut), _moment(end)
    usable = np.zeros(len(rows), dtype=bool)
    usable[material.places] = True
    early = usable & (rows.listed_at < start)
    train = np.flatnonzero(early & (rows.labelled_at <= start))
    score = usable & (rows.listed_at >= start) & (rows.listed_at < stop)
    score &= ~np.isin(rows.groups, np.unique(rows.groups[early]))
    return Origin(f"{cut:%Y-%m}", train, np.flatnonzero(score))


def _moment(at: datetime) -> np.datetime64:
    return np.datetime64(at.replace(tzinfo=None), "ms")


def month_traffic(
    material: Material, taxonomy: Taxonomy, start: datetime, end: datetime, n: int, rng: np.random.Generator
) -> Traffic:
    """Listings of a month: each once where n is 0, else n of them at the live shares."""
    rows = material.rows
    places = _origin(material, start, end).score
    if n:
        labels = rows.labels[places]
        shares = np.array([taxonomy.shares[label] for label in taxonomy.labels])
        counts = np.bincount(labels, minlength=len(shares))
        chance = (np.where(counts > 0, shares, 0) / np.maximum(counts, 1))[labels]
        places = rng.choice(places, n, p=chance / chance.sum())
    return Traffic(places[np.argsort(rows.listed_at[places], kind="stable")])


@dataclass
class Story:
    """What became of one policy's right, verdict by verdict."""

    policy: str
    target: float
    days: list[float]
    statistic: list[float]
    right: list[bool]
    moves: list[tuple[float, str]]
    blocks: int = 0
    blocks_right: int = 0

    def breaks(self, day: float) -> None:
        """What comes is about another bundle or another right."""
        self.days.append(day)
        self.statistic.append(float("nan"))
        self.right.append(True)


def play(
    material: Material,
    taxonomy: Taxonomy,
    bundles: list[Made],
    traffic: list[Traffic],
    scored: list[NDArray[np.float64]],
    policy: str,
    share: float,
    rng: np.random.Generator,
) -> Story:
    """One policy through the months; with one bundle it decides about all of them."""
    column = taxonomy.ids.index(policy)
    target = taxonomy.policies[column].precision
    story = Story(policy, target, [], [], [], [])
    limit = fall_limit(target)
    acts, threshold, attempt = False, None, 0
    seen: list[bool] = []
    tried: tuple[float, ...] = ()
    would: list[tuple[float, bool]] = []
    deciding: Made | None = None
    for number, month in enumerate(traffic):
        bundle = bundles[min(number, len(bundles) - 1)]
        days = _days(material, month.places)
        scores = scored[number][:, column]
        truth = material.rows.labels[month.places] == column + 1
        drawn = rng.random(len(truth)) < share
        certificate = bundle.certificates[policy]
        least = min(certificate.threshold or 1.0, *thresholds_to_try(certificate.at_score))
        if bundle is not deciding:
            deciding, seen, would, attempt = bundle, [], [], 0
            acts, threshold = certificate.certified, certificate.threshold
            first = float(days[0])
            story.breaks(first)
            if acts:
                story.moves.append((first, f"certified from {threshold:.2f}"))
            else:
                attempt, tried = 1, thresholds_to_try(certificate.at_score)
                story.moves.append((first, "not certified: earns"))
        for place in np.flatnonzero(scores >= least):
            day, score, is_right, is_drawn = days[place], scores[place], truth[place], drawn[place]
            if acts and threshold is not None and score >= threshold:
                story.blocks += 1
                story.blocks_right += int(is_right)
                if not is_drawn:
                    continue
                seen.append(bool(is_right))
                at = float(fall_path(seen, np.ones(len(seen)), target)[-1])
                story.days.append(float(day))
                story.statistic.append(at)
                story.right.append(bool(is_right))
                if at >= limit:
                    story.moves.append((float(day), f"withdrawn after {len(seen)} verdicts"))
                    story.breaks(float(day))
                    acts, threshold, would = False, None, []
                    attempt, tried = attempt + 1, thresholds_to_try(bundle.certificates[policy].at_score)
            elif not acts and tried and score >= min(tried) and is_drawn:
                would.append((float(score), bool(is_right)))
                if len(would) % LOOK:
                    continue
                values, verdicts = zip(*would, strict=True)
                told = progress(values, verdicts, np.ones(len(would)), tried, target, attempt_error(attempt))
                earned = granted(told)
                if earned is not None:
                    story.moves.append((float(day), f"earned at {earned:.2f}, {len(would)} verdicts"))
                    acts, threshold, seen = True, earned, []
    return story


def _days(material: Material, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Days since 1 September."""
    start = np.datetime64("2025-09-01", "ms")
    return (material.rows.listed_at[places] - start) / np.timedelta64(1, "D")


def drawn_plot(told: dict[str, Story], out: Path, said: str) -> None:
    """An SVG: the detector's statistic over time, without and with relearning."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "rights", "svg.fonttype": "path", "font.size": 10})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(told), 1, figsize=(9, 2.9 * len(told)), sharex=True)
    for axis, (title, story) in zip(np.atleast_1d(axes), told.items(), strict=True):
        limit = fall_limit(story.target)
        axis.axhline(limit, color="#b3261e", linewidth=1.2, linestyle="--")
        axis.text(121.5, limit + 0.25, "withdrawn from here", color="#b3261e", fontsize=8.5, ha="right")
        axis.plot(story.days, story.statistic, color="#1f5fbf", linewidth=1.4, drawstyle="steps-post")
        wrong = [
            (day, at) for day, at, ok in zip(story.days, story.statistic, story.right, strict=True) if not ok
        ]
        if wrong:
            axis.plot(*zip(*wrong, strict=True), "x", color="#b3261e", markersize=4, label="a wrong block")
        for number, (day, words) in enumerate(story.moves):
            axis.axvline(day, color="#59616b", linewidth=0.8)
            axis.annotate(
                words, (day, limit * (0.82 - 0.16 * (number % 4))), xytext=(4, 0),
                textcoords="offset points", fontsize=8.5, color="#1a1d21",
            )  # fmt: skip
        axis.set_ylim(-0.3, limit * 1.25)
        axis.set_xlim(0, 122)
        axis.set_title(title, fontsize=10.5, loc="left")
        axis.set_ylabel("evidence of a fall")
        axis.spines[["top", "right"]].set_visible(False)
    axes = np.atleast_1d(axes)
    axes[-1].set_xticks([0, 30, 61, 91, 122], ["1 September", "1 October", "1 November", "1 December", "31"])
    axes[-1].set_xlabel(said, fontsize=8.5, color="#59616b")
    figure.tight_layout()
    figure.savefig(
        out, format=out.suffix.lstrip("."), metadata={"Date": None} if out.suffix == ".svg" else None
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("market", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--policy", default="tobacco", help="of the plot")
    parser.add_argument("--members", choices=("linear", "lexical", "all"), default="linear")
    parser.add_argument(
        "--listings", type=int, default=20_000, help="a month at live shares; 0 plays each once"
    )
    parser.add_argument("--share", type=float, default=0.25, help="of blocks and would-be blocks drawn")
    parser.add_argument("--first", type=int, choices=(9, 10), default=9, help="month of the first model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = Settings()
    recipe = read_recipe("default")
    kinds = {"linear": ("linear",), "lexical": ("lexical",), "all": ("lexical", "linear", "late")}
    members = tuple(one for one in recipe.members if one.kind in kinds[options.members])
    if options.members == "linear":
        members = (members[0].model_copy(update={"epochs": 20}),)
    recipe = recipe.model_copy(update={"members": members})
    starts = STARTS[options.first - STARTS[0].month :]
    sources = sources_of(options.market)
    wanted = ("train", "validation", "test", "repeats")
    material = gather(sources, embedder_of(settings), settings, wanted, titles=True)
    print("material read", file=sys.stderr, flush=True)
    # One folder for all: what an earlier month's bundle fitted on the same rows is not fitted again
    work = run_folder(settings.cache_dir, recipe, material, sources.taxonomy)
    bundles = []
    for at in starts:
        bundles.append(made(material, recipe, sources.taxonomy, work, at))
        print(f"trained for {at:%d %B}", file=sys.stderr, flush=True)
    ends = (*starts[1:], END)
    rng = np.random.default_rng(options.seed)
    traffic = [
        month_traffic(material, sources.taxonomy, start, end, options.listings, rng)
        for start, end in zip(starts, ends, strict=True)
    ]
    listings = sum(len(one.places) for one in traffic)
    print(f"{listings:,} listings, {options.share:.0%} of blocks drawn, seed {options.seed}")
    print("\n| policy | relearning | certified at | blocks | right | moves (days from 1 September) |")
    print("|---|---|---|---|---|---|")
    told: dict[str, Story] = {}
    scored = {
        name: [
            bundles[number if name == "monthly" else 0].scores(month.places)
            for number, month in enumerate(traffic)
        ]
        for name in ("no", "monthly")
    }
    for policy in sources.taxonomy.ids:
        for name, some in (("no", bundles[:1]), ("monthly", bundles)):
            if name == "no" and not some[0].certificates[policy].certified:
                continue
            story = play(
                material, sources.taxonomy, some, traffic, scored[name], policy, options.share,
                np.random.default_rng([options.seed, 1]),
            )  # fmt: skip
            first = some[0].certificates[policy]
            at = f"{first.threshold:.3f}" if first.threshold is not None else "-"
            moves = "; ".join(f"{day:.0f}: {words}" for day, words in story.moves)
            share = f"{story.blocks_right / story.blocks:.1%}" if story.blocks else "-"
            print(f"| {policy} | {name} | {at} | {story.blocks} | {share} | {moves} |", flush=True)
            if policy == options.policy:
                how = "relearning each month" if name == "monthly" else "without relearning"
                told[f"{policy.capitalize()}, {how}"] = story
    if options.out and told:
        how = f"{options.listings:,} listings a month at live shares" if options.listings else "each once"
        said = f"{how}; {options.share:.0%} of blocks drawn; members: {options.members}; seed {options.seed}"
        drawn_plot(told, options.out, said)


if __name__ == "__main__":
    main()

"""Recall under attack, of a bundle without defences and of others: python bench/evasion.py STEP MARKET ...

    train MARKET OUT [--recipe R] [--as-written] [--no-certify]   a bundle; the n-grams without normalising
    draw MARKET DRAWN.json                                        which violations are attacked
    attack MARKET DRAWN.json OUT.json [--part validation] NAME=FOLDER ...   what every attack costs them
    show OUT.json ... [--svg docs/evasion.svg]                    tables, and the curves, of one drawing

A bundle trained with --as-written must be attacked under a name that begins with `bare`: its n-grams then do
not normalise either. Choices look at `--part validation`, which is September; October to December, `test`,
are reported. Seed 0; intervals are 95 %, by bootstrap over the violations of each policy.
"""

import argparse
import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from experiments import embedder_of, sources_of

from stallwart.core.settings import Settings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.wordlist import read_wordlists
from stallwart.encoders import lexical
from stallwart.encoders.cache import EmbeddingCache
from stallwart.evaluation.attacks import ATTACKS, WORDS
from stallwart.evaluation.evasion import MODERATE, Attack, Outcome, attack_all
from stallwart.evaluation.run import draw_names, read_violations
from stallwart.model.bundle import read_bundle
from stallwart.model.material import gather
from stallwart.model.runtime import Scorer
from stallwart.training import origins
from stallwart.training.recipe import read_recipe
from stallwart.training.train import train

REPLICATES = 2_000
_NORMALISE = lexical.normalise


def normalising(on: bool) -> None:
    """Whether n-grams are also made of normalised text, in this process."""
    lexical.normalise = _NORMALISE if on else str.casefold
    # Also part of what names a run, so that none takes members that were fitted the other way
    origins.LEXICON = lexical.VERSION if on else f"{lexical.VERSION}, as written alone"


def train_bundle(args: argparse.Namespace) -> None:
    normalising(not args.as_written)
    made = train(
        sources_of(args.market), read_recipe(args.recipe), args.out, Settings(), certify=args.certify
    )
    print(json.dumps({"bundle": made.bundle.digest, "origins": made.origins}, indent=1))


def draw_from(args: argparse.Namespace) -> None:
    settings, sources = Settings(), sources_of(args.market)
    material = gather(sources, embedder_of(settings), settings, ("validation",))
    drawn = {
        part: draw_names(material, sources.taxonomy, Attack(args.per_policy, part))
        for part in ("validation", "test")
    }
    args.drawn.write_text(json.dumps(drawn) + "\n")
    print({part: len(names) for part, names in drawn.items()})


def attack_bundles(args: argparse.Namespace) -> None:
    settings, sources = Settings(), sources_of(args.market)
    attack = Attack(part=args.part, strengths=args.strengths, attacks=args.attacks, lexicon=args.lexicon)
    words = read_wordlists(attack.lexicon, Rejects.within(settings))
    told: dict[str, object] = {"attack": asdict(attack), "bundles": {}}
    violations = read_violations(sources, settings, json.loads(args.drawn.read_text())[args.part])
    with contextlib.closing(EmbeddingCache(settings.cache_dir)) as cache:
        for name, folder in (pair.split("=") for pair in args.bundles):
            normalising(not name.startswith("bare"))
            bundle = read_bundle(Path(folder))
            bundle = replace(bundle, certificates=()) if args.by_rule else bundle
            scorer = Scorer(bundle, settings, cache)
            thresholds, outcomes = attack_all(scorer, violations, attack, words)
            act, ids = scorer.bundle.thresholds.act, scorer.bundle.taxonomy.ids
            told["policies"] = [policy for _, policy in violations]
            told["bundles"][name] = {
                "digest": scorer.bundle.digest,
                "september": scorer.bundle.card["rolling_origins"]["final"],
                "thresholds": dict(zip(ids, thresholds.tolist(), strict=True)),
                "certified": sorted(act),
                "outcomes": [_plain(one) for one in outcomes],
            }
    args.out.write_text(json.dumps(told, default=str) + "\n")


def _plain(one: Outcome) -> dict[str, object]:
    parts = {part: getattr(one, part).astype(int).tolist() for part in ("changed", "before", "after")}
    return {"attack": one.attack, "strength": one.strength, **parts}


class Shown:
    """What was measured, with intervals."""

    def __init__(self, told: list[dict]):
        self.part, self.policies = told[0]["attack"]["part"], np.array(told[0]["policies"])
        self.bundles = {name: bundle for one in told for name, bundle in one["bundles"].items()}
        self.names = list(self.bundles)
        self._outcomes = {
            (name, one["attack"], one["strength"]): one
            for each in told
            for name, bundle in each["bundles"].items()
            for one in bundle["outcomes"]
        }
        random = np.random.default_rng(0)
        places = [np.flatnonzero(self.policies == policy) for policy in np.unique(self.policies)]
        self.drawn = np.concatenate(
            [mine[random.integers(len(mine), size=(REPLICATES, len(mine)))] for mine in places], axis=1
        )

    def outcome(self, name: str, attack: str, strength: float) -> tuple[np.ndarray, ...]:
        one = self._outcomes[name, attack, strength]
        return tuple(np.array(one[part], dtype=bool) for part in ("changed", "before", "after"))

    def strengths(self, name: str, attack: str) -> list[float]:
        return sorted(at for bundle, one, at in self._outcomes if (bundle, one) == (name, attack))

    def kept(self, name: str, attack: str, strength: float, only: np.ndarray | None = None):
        """Share of recall that is left, over all violations together (or some), and its interval."""
        _, before, after = self.outcome(name, attack, strength)
        only = np.ones(len(before), bool) if only is None else only
        before, after = before & only, after & only
        if not before.sum():
            return (float("nan"),) * 3
        shares = after[self.drawn].sum(axis=1) / np.maximum(1, before[self.drawn].sum(axis=1))
        return (after.sum() / before.sum(), *np.quantile(shares, [0.025, 0.975]))

    def gained(self, name: str, other: str, attack: str, strength: float):
        """How much larger the share is for one bundle than for another, on the same draws."""
        pairs = [self.outcome(one, attack, strength)[1:] for one in (name, other)]
        point = [after.sum() / before.sum() for before, after in pairs]
        drawn = [after[self.drawn].sum(axis=1) / before[self.drawn].sum(axis=1) for before, after in pairs]
        return (point[0] - point[1], *np.quantile(drawn[0] - drawn[1], [0.025, 0.975]))

    def broken(self, name: str, attack: str, strength: float) -> list[str]:
        """Policies, of which at least five violations were caught, that lose more than a fifth."""
        _, before, after = self.outcome(name, attack, strength)
        found = []
        for policy in np.unique(self.policies):
            mine = self.policies == policy
            caught, still = before[mine].sum(), after[mine].sum()
            if caught >= 5 and still < 0.8 * caught:
                found.append(f"{policy} {still}/{caught}")
        return found


def show(args: argparse.Namespace) -> None:
    shown = Shown([json.loads(path.read_text()) for path in args.out])
    names = shown.names
    attacks = [one for one in ATTACKS if any(shown.strengths(name, one) for name in names)]
    strengths = sorted(
        {strength for name in names for one in attacks for strength in shown.strengths(name, one)}
    )
    print(f"{len(shown.policies)} violations, {shown.part}")
    for name in names:
        bundle = shown.bundles[name]
        first = next(one for one in attacks if shown.strengths(name, one))
        caught = shown.outcome(name, first, shown.strengths(name, first)[0])[1].sum()
        print(f"{name}: {bundle['digest'][:12]}, certified {bundle['certified']}, caught {caught}")
        print(f"    September: {bundle['september']}")
    for strength in strengths:
        print(f"\n| at {strength} | changed | {' | '.join(names)} |\n|{'---|' * (2 + len(names))}")
        for attack in attacks:
            having = [name for name in names if strength in shown.strengths(name, attack)]
            if not having:
                continue
            changed = int(shown.outcome(having[0], attack, strength)[0].sum())
            cells = [written(shown.kept(name, attack, strength)) if name in having else "" for name in names]
            print(f"| {attack} | {changed} | {' | '.join(cells)} |")
    for name in names:
        certified = np.isin(shown.policies, shown.bundles[name]["certified"])
        print(f"\n{name}: certified policies alone, and those that lose more than a fifth at {MODERATE}")
        for attack in (one for one in attacks if MODERATE in shown.strengths(name, one)):
            alone = written(shown.kept(name, attack, MODERATE, certified))
            print(f"- {attack}: {alone}; {', '.join(shown.broken(name, attack, MODERATE)) or 'none'}")
    for name in names[1:]:
        print(f"\n{name} less {names[0]}, at {MODERATE}")
        both = [one for one in attacks if all(MODERATE in shown.strengths(n, one) for n in (name, names[0]))]
        for attack in both:
            print(f"- {attack}: {written(shown.gained(name, names[0], attack, MODERATE))}")
    if args.svg:
        draw(shown, attacks, args.svg)


def written(figure: tuple[float, ...]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*figure)


def draw(shown: Shown, attacks: list[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 4
    rows = -(-len(attacks) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11, 2.5 * rows), sharex=True, sharey=True)
    colours = ("#8a8a8a", "#1f77b4", "#d2691e", "#2ca02c")
    for axis, attack in zip(axes.flat, attacks, strict=False):
        for name, colour in zip(shown.names, colours, strict=False):
            if not (strengths := shown.strengths(name, attack)):
                continue
            curve = np.array([(1.0, 1.0, 1.0), *(shown.kept(name, attack, s) for s in strengths)])
            axis.plot([0, *strengths], curve[:, 0], color=colour, label=name, marker="o", markersize=3)
            axis.fill_between(
                [0, *strengths], curve[:, 1], curve[:, 2], color=colour, alpha=0.15, linewidth=0
            )
        if attack in WORDS:
            axis.plot([MODERATE], [0.8], marker="_", color="black", markersize=14)
        axis.set_title(attack, fontsize=10)
        axis.set_ylim(0, 1.08)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(attacks) :]:
        axis.set_axis_off()
    axes.flat[0].legend(fontsize=8, loc="lower left", frameon=False)
    figure.supxlabel("strength of the attack")
    figure.supylabel("share of recall that is left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("train")
    one.add_argument("market", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--recipe", default="default")
    one.add_argument("--as-written", action="store_true")
    one.add_argument("--no-certify", dest="certify", action="store_false")
    one.set_defaults(run=train_bundle)
    one = steps.add_parser("draw")
    one.add_argument("market", type=Path)
    one.add_argument("drawn", type=Path)
    one.add_argument("--per-policy", type=int, default=50)
    one.set_defaults(run=draw_from)
    one = steps.add_parser("attack")
    one.add_argument("market", type=Path)
    one.add_argument("drawn", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("bundles", nargs="+")
    one.add_argument("--part", choices=("validation", "test"), default="test")
    one.add_argument("--strengths", type=float, nargs="+", default=(0.1, 0.3, 0.6, 1.0))
    one.add_argument("--attacks", nargs="+", default=ATTACKS)
    one.add_argument("--by-rule", action="store_true", help="take no threshold from a certificate")
    one.add_argument("--lexicon", type=Path, action="append", default=[])
    one.set_defaults(run=attack_bundles)
    one = steps.add_parser("show")
    one.add_argument("out", type=Path, nargs="+")
    one.add_argument("--svg", type=Path)
    one.set_defaults(run=show)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

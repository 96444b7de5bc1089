"""The tables of docs/experiments.md, made again: python bench/experiments.py MARKET [--only grid|seeds|parts]

Everything is trained on listings to 31 August. September is what choices look at (policies with at least 20
positives there); October to December are only reported. Near duplicates of earlier listings are left out of
both; "all rows" puts those of October to December back in.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.evaluation.baseline import score_baseline
from stallwart.model.features import Features
from stallwart.model.material import Material, Sources, gather
from stallwart.training.fit import Examples, ensemble_log_odds, fit_member, readable
from stallwart.training.members import Ensemble, Member
from stallwart.training.recipe import MemberRecipe, read_recipe

SEEDS = (0, 1, 2)


def read(market: Path, settings: Settings) -> Material:
    recipe = read_recipe("default")
    folders = [exported(name, settings.cache_dir) for name in (recipe.encoders.text, recipe.encoders.photo)]
    embedder = Embedder(
        TextGraph(folders[0]), PhotoGraph(folders[1]), settings, EmbeddingCache(settings.cache_dir)
    )
    sources = Sources(
        listings=tuple(sorted(market.glob("listings-*.parquet"))),
        labels=(market / "labels.csv",),
        taxonomy=read_taxonomy(market / "policies.toml"),
        columns=Columns(),
        train_until=datetime(2025, 9, 1, tzinfo=UTC),
        validate_until=datetime(2025, 10, 1, tzinfo=UTC),
    )
    return gather(sources, embedder, settings, ("train", "validation", "test", "repeats"), titles=True)


def precisions(scores: np.ndarray, labels: np.ndarray, least: int) -> dict[int, float]:
    return {
        column: float(average_precision_score(labels == column + 1, scores[:, column]))
        for column in range(scores.shape[1])
        if (labels == column + 1).sum() >= least
    }


def examples(material: Material, change: str = "") -> Examples:
    places = material.split.train
    features, titles = changed(material.at(places), change), changed(material.titles_at(places), change)
    n = len(places)
    months = material.rows.listed_at[places].astype("datetime64[M]")
    keep = features.has_text | features.has_photo
    labels = material.rows.labels[places]
    return Examples(features, titles, labels, np.ones(n, np.float32), months == months.max())[keep]


def changed(features: Features, change: str) -> Features:
    return {"": lambda f: f, "photo": Features.without_photos, "text": Features.without_text}[change](
        features
    )


FITTED: dict[tuple[str, int, int], Member] = {}  # by recipe, seed and examples; many tables share members


def ensemble(recipes: tuple[MemberRecipe, ...], seed: int, shown: Examples, k: int) -> Ensemble:
    members = []
    for recipe in recipes:
        if not readable(recipe, shown.features).any():
            continue
        for s in range(recipe.seeds):
            own = 0 if recipe.kind == "linear" else 1000 * seed + s  # a convex problem has one answer
            key = (recipe.model_dump_json(), own, id(shown))
            if key not in FITTED:
                FITTED[key] = fit_member(recipe, shown, k, own)
            members.append(FITTED[key])
    return Ensemble(members)


def scores(made: Ensemble, material: Material, places: np.ndarray, change: str = "") -> np.ndarray:
    return np.nan_to_num(ensemble_log_odds(made, changed(material.at(places), change)), nan=-30.0)


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def parts(material: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    split, rows = material.split, material.rows
    later = split.repeats[rows.listed_at[split.repeats] >= split.validate_until]
    return split.validation, split.test, np.sort(np.concatenate([split.test, later]))


def macro(made: Ensemble, material: Material, places: np.ndarray, least: int) -> float:
    return float(
        np.mean(
            list(precisions(scores(made, material, places), material.rows.labels[places], least).values())
        )
    )


def grid(material: Material, k: int) -> Iterator[str]:
    shown = EXAMPLES[""]
    september, test, _ = parts(material)
    yield "| fusion | output | loss | modality dropout | September | October to December |"
    yield "|---|---|---|---|---|---|"
    axes = itertools.product(
        ("concat", "gated", "embrace", "late"), ("softmax", "per_policy"), (2.0, 0.0), (0.0, 0.5)
    )
    for kind, output, gamma, dropped in axes:
        recipe = MemberRecipe(
            kind=kind, output=output, gamma=gamma, modality_dropout=dropped, dropout=0.4, noise=0.3, epochs=10
        )
        made = [ensemble((recipe,), seed, shown, k) for seed in SEEDS]
        figures = [
            spread([macro(one, material, places, least) for one in made])
            for places, least in ((september, 20), (test, 1))
        ]
        loss = "focal, gamma 2" if gamma else "cross-entropy"
        yield f"| {kind} | {output} | {loss} | {dropped:g} | {figures[0]} | {figures[1]} |"


def seeds(material: Material, k: int) -> Iterator[str]:
    shown, names = EXAMPLES[""], read_taxonomy(Path(ARGUMENTS.market) / "policies.toml").ids
    september, test, every = parts(material)
    recipe = read_recipe("default").members
    made = [ensemble(recipe, seed, shown, k) for seed in SEEDS]
    singles = {
        f"{one.kind} ({'+'.join(one.reads)})": [ensemble((one,), seed, shown, k) for seed in SEEDS]
        for one in recipe
    }
    train = material.split.train
    words = {
        name: score_baseline(
            material.texts_at(train), material.rows.labels[train], material.texts_at(places), k
        )
        for name, places in (("test", test), ("every", every), ("september", september))
    }
    labels = material.rows.labels
    yield "| model | September | October to December | the same, repeats included |"
    yield "|---|---|---|---|"
    baseline = [
        np.mean(list(precisions(words[name], labels[places], least).values()))
        for name, places, least in (("september", september, 20), ("test", test, 1), ("every", every, 1))
    ]
    yield f"| text-only n-grams | {baseline[0]:.3f} | {baseline[1]:.3f} | {baseline[2]:.3f} |"
    for name, group in {**singles, "default (all of them)": made}.items():
        figures = [
            spread([macro(one, material, places, least) for one in group])
            for places, least in ((september, 20), (test, 1), (every, 1))
        ]
        yield f"| {name} | {figures[0]} | {figures[1]} | {figures[2]} |"
    yield ""
    yield "| policy | positives | text-only n-grams | default | repeats included |"
    yield "|---|---|---|---|---|"
    one_by_one = [precisions(scores(one, material, test), labels[test], 1) for one in made]
    with_repeats = [precisions(scores(one, material, every), labels[every], 1) for one in made]
    text = precisions(words["test"], labels[test], 1)
    for column, name in enumerate(names):
        yield (
            f"| {name} | {(labels[test] == column + 1).sum()} | {text[column]:.3f} |"
            f" {spread([one[column] for one in one_by_one])} |"
            f" {spread([one[column] for one in with_repeats])} |"
        )


def without_a_part(material: Material, k: int) -> Iterator[str]:
    names = read_taxonomy(Path(ARGUMENTS.market) / "policies.toml").ids
    recipe, (_, test, _) = read_recipe("default").members, parts(material)
    labels, features = material.rows.labels, material.at(test)
    yield "| taken away | policy | positives | default without it | trained without it | difference |"
    yield "|---|---|---|---|---|---|"
    everything = EXAMPLES[""]
    whole = [ensemble(recipe, seed, everything, k) for seed in SEEDS]
    for change, left in (("photo", features.has_text), ("text", features.has_photo)):
        places = test[left]
        shown = EXAMPLES[change]
        alone = [ensemble(recipe, seed, shown, k) for seed in SEEDS]
        both = [
            [precisions(scores(one, material, places, change), labels[places], 50) for one in group]
            for group in (whole, alone)
        ]
        for column in both[0][0]:
            first, second = ([one[column] for one in group] for group in both)
            differences = np.subtract(first, second)
            half = 4.303 * differences.std(ddof=1) / np.sqrt(len(SEEDS))  # Student, 2 degrees of freedom
            yield (
                f"| {change} | {names[column]} | {(labels[places] == column + 1).sum()} | {spread(first)} |"
                f" {spread(second)} | {differences.mean():+.3f} [{differences.mean() - half:+.3f} to"
                f" {differences.mean() + half:+.3f}] |"
            )


TABLES = {"seeds": seeds, "parts": without_a_part, "grid": grid}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("market", help="folder of the market")
    parser.add_argument("--only", choices=TABLES, action="append")
    ARGUMENTS = parser.parse_args()
    settings = Settings()
    torch.set_num_threads(settings.threads)
    data = read(Path(ARGUMENTS.market), settings)
    EXAMPLES = {change: examples(data, change) for change in ("", "photo", "text")}
    policies = len(read_taxonomy(Path(ARGUMENTS.market) / "policies.toml").ids)
    for table in ARGUMENTS.only or TABLES:
        print(f"\n### {table}, seeds {', '.join(map(str, SEEDS))}\n")
        for line in TABLES[table](data, policies):
            print(line)
            sys.stdout.flush()

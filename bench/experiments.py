"""The tables of docs/experiments.md, made again: python bench/experiments.py MARKET [--only TABLE]

Everything is trained on listings to 31 August. September is what choices look at (policies with at least 20
positives there); October to December are only reported. Near duplicates of earlier listings are left out of
both; "all rows" puts those of October to December back in.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.lexical import Lexicon
from stallwart.encoders.table import exported
from stallwart.evaluation.baseline import score_baseline
from stallwart.model.features import Features
from stallwart.model.material import Material, Sources, gather
from stallwart.training.augment import make_copies
from stallwart.training.disguise import evasion
from stallwart.training.fit import Examples, ensemble_log_odds, fit_member, readable
from stallwart.training.members import Ensemble, Member
from stallwart.training.recipe import AugmentRecipe, MemberRecipe, read_recipe

SEEDS = (0, 1, 2)


def embedder_of(settings: Settings) -> Embedder:
    recipe = read_recipe("default")
    folders = [exported(name, settings.cache_dir) for name in (recipe.encoders.text, recipe.encoders.photo)]
    return Embedder(
        TextGraph(folders[0]), PhotoGraph(folders[1]), settings, EmbeddingCache(settings.cache_dir)
    )


def sources_of(market: Path) -> Sources:
    return Sources(
        listings=tuple(sorted(market.glob("listings-*.parquet"))),
        labels=(market / "labels.csv",),
        taxonomy=read_taxonomy(market / "policies.toml"),
        columns=Columns(),
        train_until=datetime(2025, 9, 1, tzinfo=UTC),
        validate_until=datetime(2025, 10, 1, tzinfo=UTC),
    )


def read(market: Path, settings: Settings) -> Material:
    wanted = ("train", "validation", "test", "repeats")
    return gather(sources_of(market), embedder_of(settings), settings, wanted, titles=True)


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
    keep = readable_rows(features)
    labels = material.rows.labels[places]
    return Examples(features, titles, labels, np.ones(n, np.float32), months == months.max())[keep]


def readable_rows(features: Features) -> np.ndarray:
    return features.has_text | features.has_photo


def changed(features: Features, change: str) -> Features:
    return {"": lambda f: f, "photo": Features.without_photos, "text": Features.without_text}[change](
        features
    )


FITTED: dict[tuple[str, int, int], Member] = {}  # by recipe, seed and examples; many tables share members
SHOWN: dict[str, Examples] = {}  # kept, or another's place in memory would be taken for theirs


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


def disguised(material: Material, places: np.ndarray, embedder: Embedder) -> Features:
    """The rows with their texts as someone writes them who hides words from filters."""
    features, texts = material.at(places), material.texts_at(places)
    random = np.random.default_rng(0)
    hidden = [Listing(str(row), evasion(text, random)) for row, text in enumerate(texts)]
    text = np.stack(
        [features.text[0] * 0 if one.text is None else one.text for one in embedder.embed(hidden)]
    )
    return replace(features, text=text, words=Lexicon().rows(one.text for one in hidden))


AUGMENTATIONS = {
    "none": AugmentRecipe(),
    "noise": AugmentRecipe(text=("noise",)),
    "evasion": AugmentRecipe(text=("evasion",)),
}


def augment(material: Material, k: int) -> Iterator[str]:
    market, embedder = Path(ARGUMENTS.market), embedder_of(Settings())
    september, test, _ = parts(material)
    hidden, labels = disguised(material, september, embedder), material.rows.labels[september]
    yield "| copies of half the weight | September | September, disguised | October to December |"
    yield "|---|---|---|---|"
    recipes = AUGMENTATIONS
    if ARGUMENTS.lexicon:
        slang = AugmentRecipe(text=("slang",), slang=(ARGUMENTS.lexicon,), slang_policies=("drugs",))
        recipes = {**recipes, "slang, for drugs": slang}
    for name, recipe in recipes.items():
        copies = make_copies(material, sources_of(market), embedder, recipe, 0, embedder.settings)
        at = np.searchsorted(material.places, material.split.train[TRAINED_ON])
        shown = SHOWN[name] = replace(EXAMPLES[""], copies=tuple(copy[at] for copy in copies))
        share = 0.5 if copies else 0.0
        members = tuple(
            one.model_copy(update={"augmented": share if "text" in one.reads else 0.0})
            for one in read_recipe("default").members
        )
        made = ensemble(members, 0, shown, k)
        odds = np.nan_to_num(ensemble_log_odds(made, hidden), nan=-30.0)
        figures = [
            macro(made, material, september, 20),
            float(np.mean(list(precisions(odds, labels, 20).values()))),
            macro(made, material, test, 1),
        ]
        yield f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} |"


TABLES = {"seeds": seeds, "parts": without_a_part, "grid": grid, "augment": augment}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("market", help="folder of the market")
    parser.add_argument("--lexicon", help="word list for the row on slang")
    parser.add_argument("--only", choices=TABLES, action="append")
    ARGUMENTS = parser.parse_args()
    settings = Settings()
    torch.set_num_threads(settings.threads)
    data = read(Path(ARGUMENTS.market), settings)
    EXAMPLES = {change: examples(data, change) for change in ("", "photo", "text")}
    TRAINED_ON = readable_rows(data.at(data.split.train))
    policies = len(read_taxonomy(Path(ARGUMENTS.market) / "policies.toml").ids)
    for table in ARGUMENTS.only or TABLES:
        print(f"\n### {table}, seeds {', '.join(map(str, SEEDS))}\n")
        for line in TABLES[table](data, policies):
            print(line)
            sys.stdout.flush()

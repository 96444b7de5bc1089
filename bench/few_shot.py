"""A policy withheld from training and given a few examples: python bench/few_shot.py MARKET [--examples 10]

The game of each policy: all of its listings before the cut are removed, not made neutral, but for some that
are drawn (one of each group of near duplicates) as examples. The head sees these, the policy's text, neutral
listings, and the embeddings of the other policies' violations of before the cut, as a bundle knows them.
Average precision is on all listings after the cut that repeat nothing from before it.

With `--months june`, `september` or `kinds` nothing of October to December is looked at: choices are made
there. `kinds` cuts January to August by kind instead of time: each policy's listings are put into four
clusters, of which two are before the cut and two after it. Seeds are 0, 1, 2 ...; intervals are over the
draws of examples.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import t as student
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy, read_taxonomy
from stallwart.encoders.graphs import TextGraph
from stallwart.encoders.table import exported
from stallwart.index.nearest import KnownViolations, unit_rows
from stallwart.model.features import Features
from stallwart.training.fewrows import Against, gathered, rows_of
from stallwart.training.fewshot import FewShot, fit_head, phrases

CUTS = {
    "june": ("2025-06-01", "2025-06-01", "2025-09-01"),
    "september": ("2025-09-01", "2025-09-01", "2025-10-01"),
    "test": ("2025-09-01", "2025-10-01", "2026-01-01"),
}
KINDS = "kinds"
CLUSTERS: dict[int, np.ndarray] = {}
LEAST = 8  # positives after the cut without which a policy says nothing


@dataclass(frozen=True)
class Table:
    """The market as arrays."""

    features: Features
    labels: np.ndarray
    listed_at: np.ndarray
    labelled_at: np.ndarray
    groups: np.ndarray


def table_of(market: Path, keep: Path | None) -> Table:
    if keep is None or not keep.exists():
        from experiments import read

        material = read(market, Settings())
        rows = material.rows[material.places]
        made = Table(material.features, rows.labels, rows.listed_at, rows.labelled_at, rows.groups)
        if keep is not None:
            write_table(made, keep)
        return made
    with np.load(keep, allow_pickle=False) as a:
        words = csr_matrix((np.ones(len(a["indices"]), "f4"), a["indices"], a["indptr"]), tuple(a["shape"]))
        features = Features(a["text"], a["has_text"], a["photos"], a["starts"], words)
        return Table(features, *(a[name] for name in ("labels", "listed_at", "labelled_at", "groups")))


def write_table(one: Table, keep: Path) -> None:
    f, w = one.features, one.features.words
    np.savez(
        keep, text=f.text, has_text=f.has_text, photos=f.photos, starts=f.starts, indices=w.indices,
        indptr=w.indptr, shape=w.shape, labels=one.labels, listed_at=one.listed_at,
        labelled_at=one.labelled_at, groups=one.groups,
    )  # fmt: skip


def parts(table: Table, cut: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows before and after a cut."""
    if cut == KINDS:
        return by_kind(table, seed)
    until, begin, end = (np.datetime64(day, "ms") for day in CUTS[cut])
    before = np.flatnonzero((table.listed_at < until) & (table.labelled_at <= until))
    after = np.flatnonzero((table.listed_at >= begin) & (table.listed_at < end))
    seen = np.unique(table.groups[table.listed_at < begin])
    return before, after[~np.isin(table.groups[after], seen)]


def by_kind(table: Table, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Half of each policy's clusters and of the neutral groups before the cut, the other half after it."""
    random = np.random.default_rng([seed, 99])
    early = np.flatnonzero(table.listed_at < np.datetime64("2025-09-01", "ms"))
    half = random.random(table.groups.max() + 1) < 0.5
    first = half[table.groups]
    for policy in range(1, table.labels.max() + 1):
        rows = early[table.labels[early] == policy]
        first[rows] = np.isin(clusters(table, rows, policy), random.permutation(4)[:2])
    before, after = early[first[early]], early[~first[early]]
    return before, after[~np.isin(table.groups[after], table.groups[before])]


def clusters(table: Table, rows: np.ndarray, policy: int) -> np.ndarray:
    """Which of four clusters of its policy each row is in, by words and photos."""
    if policy not in CLUSTERS:
        shown = table.features[rows]
        both = np.concatenate([unit_rows(shown.text), 0.7 * unit_rows(shown.mean_photo())], axis=1)
        CLUSTERS[policy] = KMeans(4, n_init=3, random_state=policy).fit_predict(both)
    return CLUSTERS[policy]


def drawn(table: Table, before: np.ndarray, policy: int, n: int, seed: int) -> np.ndarray:
    """Examples of a policy, at most one of each group of near duplicates."""
    rows = np.random.default_rng([seed, policy]).permutation(before[table.labels[before] == policy])
    _, first = np.unique(table.groups[rows], return_index=True)
    return rows[np.sort(first)][:n]


def against(table: Table, before: np.ndarray, policy: int, seed: int, neutral: int, known: int) -> Against:
    random = np.random.default_rng([seed, policy, 7])
    free = before[table.labels[before] == 0]
    others = before[(table.labels[before] > 0) & (table.labels[before] != policy)]
    free, others = (
        np.sort(random.choice(rows, min(size, len(rows)), replace=False))
        for rows, size in ((free, neutral), (others, known))
    )
    shown = table.features[others]
    names = np.array([str(row) for row in others])
    return Against(
        table.features[free],
        KnownViolations(
            names, table.labels[others].astype(str), unit_rows(shown.text).astype(np.float16),
            unit_rows(shown.mean_photo()).astype(np.float16),
        ),
    )  # fmt: skip


def game(
    table: Table,
    cut: str,
    policy: int,
    told: np.ndarray,
    n: int,
    seed: int,
    how: FewShot,
    sizes: tuple[int, int],
) -> tuple[float, float]:
    """Average precision of the head, and of plain logistic regression on the same embeddings and rows."""
    before, after = parts(table, cut, seed)
    examples = table.features[drawn(table, before, policy, n, seed)]
    means, rows = gathered(examples, against(table, before, policy, seed, *sizes))
    head = fit_head(rows, means, told, how)
    yes = table.labels[after] == policy
    # The rows after the cut in the head's own terms: the same steps, with the means of before it
    later = table.features[after]
    shown = rows_of(later.text * later.has_text[:, None], later.mean_photo(), np.zeros(len(later)), means)
    found = average_precision_score(yes, head.of_rows(shown.text, shown.photo))
    if not n:
        return float(found), float("nan")
    x = np.concatenate([rows.text, rows.photo], axis=1).astype(np.float32)
    plain = LogisticRegression(C=0.01, max_iter=60).fit(x, rows.yes)
    z = plain.decision_function(np.concatenate([shown.text, shown.photo], axis=1).astype(np.float32))
    return float(found), float(average_precision_score(yes, z))


def interval(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.3f} [{np.mean(values) - half:.3f}, {np.mean(values) + half:.3f}]"


def measure(table: Table, taxonomy: Taxonomy, arguments: argparse.Namespace) -> None:
    encoder = TextGraph(exported("minilm-l6", Settings().cache_dir))
    how = FewShot(**{name: float(value) for name, _, value in (one.partition("=") for one in arguments.how)})
    sizes = (arguments.neutral, arguments.known)
    print(f"{arguments.months}, {arguments.examples} examples, seeds 0 to {arguments.draws - 1}, {how}")
    print("| policy | positives | few-shot head | plain logistic regression |\n|---|---|---|---|")
    by_seed: list[list[tuple[float, float]]] = [[] for _ in range(arguments.draws)]
    before, after = parts(table, arguments.months, 0)
    for column, policy in enumerate(taxonomy.policies, start=1):
        n = int((table.labels[after] == column).sum())
        if n < LEAST or (table.labels[before] == column).sum() < arguments.examples:
            continue
        told = np.stack([encoder.encode(one) for one in phrases(policy)])
        found = [
            game(table, arguments.months, column, told, arguments.examples, seed, how, sizes)
            for seed in range(arguments.draws)
        ]
        for seed, one in enumerate(found):
            by_seed[seed].append(one)
        mine, plain = ([one[which] for one in found] for which in (0, 1))
        print(f"| {policy.id} | {n} | {interval(mine)} | {interval(plain)} |", flush=True)
    means = [np.mean(one, axis=0) for one in by_seed]
    columns = (interval([float(one[which]) for one in means]) for which in (0, 1))
    print(f"| **mean of {len(by_seed[0])}** | | " + " | ".join(columns) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("market", type=Path)
    parser.add_argument("--months", choices=(*CUTS, KINDS), default="test")
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--neutral", type=int, default=1000)
    parser.add_argument("--known", type=int, default=1200)
    parser.add_argument("--how", nargs="*", default=[], help="as pull=0.01")
    parser.add_argument("--keep", type=Path, help="file of the market's features, made where it is not there")
    arguments = parser.parse_args()
    measure(
        table_of(arguments.market, arguments.keep),
        read_taxonomy(arguments.market / "policies.toml"),
        arguments,
    )


if __name__ == "__main__":
    main()

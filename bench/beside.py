"""Scores with and without an add-on beside a bundle: python bench/beside.py BUNDLE MARKET [--listings 2000]

An add-on for a policy that the bundle does not know, as `stallwart policy add` fits it: its text, ten
listings of September as examples, and 1,000 neutral ones and the bundle's known violations against it. The
same listings are then ruled by the service's runtime alone and with the add-on beside it, and the bundle's
scores are compared bit by bit. Time is that of the add-on alone, per listing.
"""

import argparse
import csv
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from stallwart.core import rulebook
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Policy
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.additions import additions
from stallwart.model.addon import AddOn, encoder_digests
from stallwart.model.bundle import Bundle, read_bundle
from stallwart.model.features import Features, collect
from stallwart.model.runtime import Scorer
from stallwart.serving.runtime import BundleRuntime
from stallwart.training.fewrows import only
from stallwart.training.fewshot import fit_addon, phrases

NEW = Policy(id="edged", title="Knives", covers="Knives, blades and swords.", prevalence=0.01)
EXAMPLES, NEUTRAL = 10, 1000


def made_addon(bundle: Bundle, embedder, features: Features, labels: np.ndarray) -> AddOn:
    told = np.stack([embedder.text.encode(one) for one in phrases(NEW)])
    examples = features[np.flatnonzero(labels == "weapons")[:EXAMPLES]]
    against = only(
        features[np.flatnonzero(labels == "neutral")[:NEUTRAL]], bundle.taxonomy.ids, bundle.known, NEW.id
    )
    encoders = encoder_digests(bundle.folder)
    return fit_addon(NEW, told, examples, against, encoders, min(bundle.review.values()))


def measure(folder: Path, market: Path, count: int) -> None:
    settings, bundle = Settings(), read_bundle(folder)
    cache = EmbeddingCache(settings.cache_dir)
    embedder = Scorer(bundle, settings, cache).embedder
    with (market / "labels.csv").open(encoding="utf-8") as file:
        label = {row["listing_id"]: row["label"] for row in csv.DictReader(file)}
    files = [market / "listings-2025-09.parquet", market / "listings-2025-08.parquet"]
    listings = list(read_listings(files, Columns(), settings, Rejects.within(settings), decode=False))
    embedded = list(embedder.embed(listings))
    features = collect(embedded, embedder.text.spec.d, embedder.photo.spec.d)[1]
    labels = np.array([label.get(one.listing_id, "") for one in listings])
    begun = time.process_time()
    addon = made_addon(bundle, embedder, features, labels)
    print(
        f"fitted on {addon.card['against']:,} rows against it in {time.process_time() - begun:.1f} s of CPU"
    )
    print(f"{len(addon.model_dump_json()) / 1000:.0f} kB of JSON")
    alone = BundleRuntime(bundle, settings)
    book = rulebook.add(rulebook.begin(bundle.taxonomy), NEW)
    beside = alone.with_additions(additions(book, bundle.taxonomy, encoder_digests(bundle.folder), [addon]))
    differing = compared = scored = 0
    seconds = []
    for listing, one in list(zip(listings, embedded, strict=True))[:count]:
        parts = alone.parts(listing)
        made = dict(zip(parts.photo_keys, one.photos, strict=True))
        if parts.text_key:
            made[parts.text_key] = one.text
        first, second = alone.rule(parts, made), beside.rule(parts, made)
        assert first.scores is not None
        assert second.scores is not None
        compared += len(first.scores)
        differing += int((first.scores.view(np.int64) != second.scores.view(np.int64)).sum())
        assert first.ruling == second.ruling
        scored += int(np.isfinite(second.added).sum())
        begun = time.perf_counter()
        addon.score(one.text, one.photos)
        seconds.append(time.perf_counter() - begun)
    print(
        f"{compared:,} scores of {len(seconds):,} listings: {differing} differ by a bit, all rulings the same"
    )
    print(f"{scored:,} scores of the add-on, {np.median(seconds) * 1e6:.0f} µs in the median")
    cache.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("market", type=Path)
    parser.add_argument("--listings", type=int, default=2000)
    arguments = parser.parse_args()
    measure(arguments.bundle, arguments.market, arguments.listings)


if __name__ == "__main__":
    main()

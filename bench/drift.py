"""Drift: false alarms on a market that stays as it is, and how soon a changed one is noticed.

    python bench/drift.py MARKET            all, some minutes once the embeddings are cached
    python bench/drift.py MARKET --only order

`steady`: listings of April to August in random order, with daily and weekly rhythm (at night and at the
weekend other languages and kinds), 20 weeks after the reference. `grey` and `language`: the same, and after
five weeks photos lose their colour, or the second language goes. `order`: the real market as it came, and
when the September change was raised. A look is made every 50 listings and every day, at the settings'
defaults.
"""

import argparse
import io
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.monitoring.detect import Detectors
from stallwart.monitoring.reading import Reader
from stallwart.monitoring.sample import Sample

DAY = 86_400_000
WEEK = 7 * DAY
START = int(datetime(2025, 1, 6, tzinfo=UTC).timestamp() * 1000)  # a Monday
REFERENCE, LOOK = 1_000, 50


def embedder(settings):
    cache = EmbeddingCache(settings.cache_dir)
    text, photo = (exported(name, settings.cache_dir) for name in ("minilm-l6", "efficientnet-lite0"))
    return Embedder(TextGraph(text), PhotoGraph(photo), settings, cache)


def sketched(listings, settings, encoders):
    """Columns of sketches, kept in a file by the market's size: photos need not be decoded again."""
    reader = Reader(encoders, settings)
    return [(one.listing, reader.read(one)) for one in encoders.embed(listings)]


def sample_of(rows, scores, policies):
    return Sample(
        decision_ids=np.array([listing.listing_id for listing, _ in rows]),
        at_ms=np.array([int(listing.listed_at.timestamp() * 1000) for listing, _ in rows]),
        text=np.stack([one.text for _, one in rows]),
        photo=np.stack([one.photo for _, one in rows]),
        language=np.array([one.language for _, one in rows]),
        parts=np.array([one.parts for _, one in rows]),
        size=np.array([one.size for _, one in rows]),
        colour=np.array([np.nan if one.colour is None else one.colour for _, one in rows]),
        scores=scores,
        stands_for=np.ones(len(rows)),
        policies=policies,
    )


def labels_of(market):
    import csv

    with (market / "labels.csv").open(newline="") as file:
        return {row["listing_id"]: row["label"] for row in csv.DictReader(file)}


def scored(sample, labels, trained):
    """Out-of-sample scores of a plain model on sketches: logistic regressions trained on the first rows."""
    from sklearn.linear_model import LogisticRegression

    x = np.hstack([sample.text, sample.photo])
    policies = tuple(sorted(set(labels[trained]) - {"neutral"}))
    scores = np.zeros((len(sample), len(policies)))
    for column, policy in enumerate(policies):
        model = LogisticRegression(C=10, class_weight="balanced", max_iter=200)
        model.fit(x[trained], labels[trained] == policy)
        scores[:, column] = model.predict_proba(x)[:, 1]
    return replace(sample, scores=scores, policies=policies)


def read_market(market, settings):
    encoders = embedder(settings)
    files = sorted(market.glob("listings-*.parquet"))
    listings = read_listings(files, Columns.parse(""), settings, Rejects(), decode=False)
    rows = sorted(
        sketched(listings, settings, encoders), key=lambda row: (row[0].listed_at, row[0].listing_id)
    )
    said = labels_of(market)
    labels = np.array([said[listing.listing_id] for listing, _ in rows])
    sellers = np.array([listing.seller_id or "" for listing, _ in rows])
    sample = sample_of(rows, np.zeros((len(rows), 0)), ())
    march = sample.at_ms < datetime(2025, 4, 1, tzinfo=UTC).timestamp() * 1000
    return scored(sample, labels, march), labels, sellers, march


def times(rng, weeks, per_week):
    """Moments of listings: fewer at night and at weekends."""
    hours = np.arange(7 * 24)
    weight = (0.35 + 0.65 * np.exp(-(((hours % 24) - 19) ** 2) / 40)) * np.where(hours // 24 >= 5, 0.6, 1.0)
    counts = rng.poisson(per_week * weight / weight.sum(), size=(weeks, len(hours)))
    starts = START + np.arange(weeks)[:, None] * WEEK + hours * 3_600_000
    at = np.repeat(starts.ravel(), counts.ravel())
    return np.sort(at + rng.integers(0, 3_600_000, len(at)))


def steady(rng, pool, weeks, per_week):
    """Rows of the pool with rhythm: at night other languages come thrice as often, and at weekends others."""
    at = times(rng, weeks, per_week)
    night = (at % DAY) // 3_600_000 < 6
    weekend = ((at // DAY + 3) % 7) >= 5
    tilt = {"night": pool.language != "en", "weekend": pool.scores.argmax(axis=1) == 3}
    place = np.empty(len(at), dtype=np.int64)
    for n in (False, True):
        for w in (False, True):
            weight = np.where(tilt["night"] & n, 3.0, 1.0) * np.where(tilt["weekend"] & w, 2.0, 1.0)
            mine = (night == n) & (weekend == w)
            place[mine] = rng.choice(len(pool), size=int(mine.sum()), p=weight / weight.sum())
    return replace(pool[place], at_ms=at), place


def alarms(stream, per_year, reference=REFERENCE, begins=0, only_first=False):
    """{detector: (rows after `begins`, time, finding)} of each detector's first alarm."""
    detectors = Detectors(stream[:reference], per_year)
    first, last = {}, stream.at_ms[reference - 1]
    looked = reference
    for end in range(reference + LOOK, len(stream) + 1):
        if end - looked < LOOK and stream.at_ms[end - 1] - last < DAY:
            continue
        later = stream[max(reference, end - 800) : end]
        for one in detectors.look(later, stream.at_ms[end - 1] - last):
            if one.is_alarm and one.detector not in first:
                first[one.detector] = (end - begins, int(stream.at_ms[end - 1]), one)
        if only_first and any(rows > 0 for rows, *_ in first.values()):
            break
        looked, last = end, stream.at_ms[end - 1]
    return first


def grey(photo):
    with Image.open(io.BytesIO(photo)) as image, io.BytesIO() as out:
        image.convert("L").convert("RGB").save(out, "JPEG", quality=90)
        return out.getvalue()


def day(at_ms):
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def run_steady(pool, settings, seeds):
    total = []
    for seed in range(seeds):
        stream, _ = steady(np.random.default_rng(seed), pool, 23, 350)
        found = alarms(stream, settings.drift_false_alarms)
        total.append(len(found))
        print(f"  seed {seed}: {len(found)} false alarms in 20 weeks", *found, flush=True)
    print(f"steady: {sum(total)} false alarms in {seeds} x 20 weeks; most in one: {max(total)}")


def run_language(pool, settings, seeds):
    took = []
    for seed in range(seeds):
        stream, _ = steady(np.random.default_rng(100 + seed), pool, 12, 350)
        change = START + 5 * WEEK
        kept = stream[(stream.at_ms < change) | (stream.language != "ru")]
        begins = int((kept.at_ms < change).sum())
        found = alarms(kept, settings.drift_false_alarms, begins=begins, only_first=True)
        took.append(min((rows for rows, *_ in found.values() if rows > 0), default=10**6))
        print(f"  seed {seed}:", {name: rows for name, (rows, *_) in found.items()}, flush=True)
    print(f"language: noticed after {sorted(took)} listings")


def run_grey(pool, grey_rows, settings, seeds):
    took = []
    for seed in range(seeds):
        rng = np.random.default_rng(200 + seed)
        stream, _ = steady(rng, pool, 9, 350)
        change = START + 5 * WEEK
        after = np.flatnonzero((stream.at_ms >= change) & stream.has_photo)
        with_photo = list(grey_rows)
        replaced = {}
        for row in after:
            replaced[row] = grey_rows[with_photo[int(rng.integers(len(with_photo)))]]
        photo, colour = stream.photo.copy(), stream.colour.copy()
        for row, one in replaced.items():
            photo[row], colour[row] = one.photo, one.colour
        begins = int((stream.at_ms < change).sum())
        changed = replace(stream, photo=photo, colour=colour)
        found = alarms(changed, settings.drift_false_alarms, begins=begins, only_first=True)
        took.append(min((rows for rows, *_ in found.values() if rows > 0), default=10**6))
        print(f"  seed {seed}:", {name: rows for name, (rows, *_) in found.items()}, flush=True)
    print(f"grey: noticed after {sorted(took)} listings")


def grey_sketches(market, settings, count=400):
    """Sketches of `count` photos of January to August that lost their colour."""
    encoders = embedder(settings)
    files = sorted(market.glob("listings-*.parquet"))[:8]
    chosen = []
    rng = np.random.default_rng(7)
    for one in read_listings(files, Columns.parse(""), settings, Rejects(), decode=False):
        if one.photos and rng.random() < 0.06 and len(chosen) < count:
            chosen.append(replace(one, title=None, description=None, photos=tuple(map(grey, one.photos))))
    return {listing.listing_id: one for listing, one in sketched(chosen, settings, encoders)}


def run_order(sample, labels, sellers, settings, first_day):
    start = datetime.fromisoformat(first_day).replace(tzinfo=UTC).timestamp() * 1000
    kept = sample.at_ms >= start
    stream = sample[kept]
    found = alarms(stream, settings.drift_false_alarms)
    print(f"order, reference of {REFERENCE} listings from {first_day} to {day(stream.at_ms[REFERENCE - 1])}:")
    for name, (_, at, one) in sorted(found.items(), key=lambda item: item[1][1]):
        print(f"  {day(at)} {name}: p {one.p:.1e} < {one.level:.1e}; {one.words}")
    autumn = datetime(2025, 9, 15, tzinfo=UTC).timestamp() * 1000
    known = set(sellers[(sample.at_ms < autumn) & (sellers != "")])
    new = (sample.at_ms >= autumn) & (labels != "neutral") & (sellers != "")
    new &= ~np.isin(sellers, list(known))
    reached = sample.at_ms[np.flatnonzero(new)[199]]
    print(f"  the 200th violating listing of a seller new since 15 September came on {day(reached)}")
    soon = [name for name, (_, at, _) in found.items() if autumn <= at <= reached + WEEK]
    print(f"  alarms from 15 September to a week after it: {soon}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("market", type=Path)
    parser.add_argument("--only", choices=["steady", "language", "grey", "order"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--reference-from", default="2025-06-01")
    told = parser.parse_args()
    settings = Settings()
    sample, labels, sellers, trained = read_market(told.market, settings)
    august = sample.at_ms < datetime(2025, 9, 1, tzinfo=UTC).timestamp() * 1000
    pool = sample[august & ~trained]
    print(f"{len(sample)} listings; pool of April to August: {len(pool)}", file=sys.stderr)
    if told.only in (None, "steady"):
        run_steady(pool, settings, told.seeds)
    if told.only in (None, "language"):
        run_language(pool, settings, told.seeds)
    if told.only in (None, "grey"):
        run_grey(pool, grey_sketches(told.market, settings), settings, told.seeds)
    if told.only in (None, "order"):
        run_order(sample, labels, sellers, settings, told.reference_from)


if __name__ == "__main__":
    main()

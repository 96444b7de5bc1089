"""How often is a near duplicate of a violation one? On labelled listings in the order of time.

    python bench/known_distances.py MARKET --until 2025-10-01

Each listing meets the violations that were labelled before it was listed; the nearest of them speaks, by
photo (bits of 256 that differ, met as the index does: coarse hashes within seven bits), by text (estimated
Jaccard) and by meaning (cosine of the embeddings of words, and of photos). For each distance: how many
matched, how many broke the same policy, the 95 % lower bound of that share, and the share at the live shares
of the policies (neutral listings are far more there). Only embeddings that the cache knows are compared.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.labels import read_labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.cache import EmbeddingCache, content_key
from stallwart.encoders.spec import read_spec
from stallwart.estimate.bounds import lower_bound
from stallwart.index.fingerprint import prints_of, signature
from stallwart.index.nearest import unit_rows

BINS = {
    "photo": (0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48),
    "text": (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5),
    "words' meaning": (0.99, 0.97, 0.95, 0.92, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6),
    "photo's meaning": (0.99, 0.97, 0.95, 0.92, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6),
}


def collect(market: Path, until: datetime, settings: Settings) -> list[dict]:
    taxonomy = read_taxonomy(market / "policies.toml")
    rejects = Rejects(settings.max_rejects)
    labels = read_labels([market / "labels.csv"], Columns(), taxonomy, rejects).as_of()
    cache = EmbeddingCache(settings.cache_dir)
    specs = {part: read_spec(next(settings.cache_dir.glob(f"encoders/{name}*")))
             for part, name in (("text", "minilm"), ("photo", "efficientnet"))}  # fmt: skip
    rows = []
    for listing in read_listings(sorted(market.glob("*.parquet")), Columns(), settings, rejects):
        label = labels.get(listing.listing_id)
        if label is None or listing.listed_at is None or listing.listed_at >= until:
            continue
        words, photos = prints_of(listing, settings)
        keys = {"text": content_key(specs["text"], listing.text.encode())} if listing.text else {}
        if listing.photos:
            keys["photo"] = content_key(specs["photo"], listing.photos[0])
        known = cache.get(list(keys.values()))
        rows.append({
            "at": listing.listed_at, "known_at": label.labelled_at or listing.listed_at, "label": label.label,
            "digest": words.digest if words else None, "words": signature(words),
            "coarse": photos[0].coarse if photos else None, "fine": photos[0].fine if photos else None,
            **{part: known.get(key) for part, key in keys.items()},
        })  # fmt: skip
    rows.sort(key=lambda row: row["at"])
    return rows


def matrix(rows: list[dict], name: str, convert) -> tuple[np.ndarray, np.ndarray]:
    places = np.array([i for i, row in enumerate(rows) if row.get(name) is not None])
    return places, np.array([convert(rows[i][name]) for i in places])


def nearest(rows: list[dict], kind: str) -> list[tuple[float, int, int]]:
    """(how near, place of the listing, place of the violation); of all that have it."""
    is_known = np.array([row["label"] != "neutral" for row in rows])
    known_at = np.array([row["known_at"].timestamp() for row in rows])
    name = {"photo": "fine", "text": "words", "words' meaning": "text", "photo's meaning": "photo"}[kind]
    as_row = (lambda b: np.frombuffer(b, np.uint8)) if name in ("fine", "words") else np.asarray
    places, values = matrix(rows, name, as_row)
    coarse = np.array([rows[i]["coarse"] for i in places], np.uint64) if kind == "photo" else None
    values = unit_rows(values) if "meaning" in kind else values
    mine = is_known[places]
    found = []
    for at, place in enumerate(places):
        usable = np.flatnonzero(mine & (known_at[places] < rows[place]["at"].timestamp()))
        usable = usable[places[usable] != place]
        if kind == "photo" and len(usable):
            usable = usable[np.bitwise_count(coarse[usable] ^ coarse[at]) <= 7]
        if not len(usable):
            continue
        if kind == "photo":
            apart = np.bitwise_count(values[usable] ^ values[at]).sum(axis=1)
            best = int(np.argmin(apart))
            score = float(apart[best])
        elif kind == "text":
            same = (values[usable] == values[at]).mean(axis=1)
            best = int(np.argmax(same))
            score = (float(same[best]) - 1 / 256) / (1 - 1 / 256)
        else:
            cosine = values[usable] @ values[at]
            best = int(np.argmax(cosine))
            score = float(cosine[best])
        found.append((score, int(place), int(places[usable[best]])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("market", type=Path)
    parser.add_argument("--until", type=lambda day: datetime.fromisoformat(day).replace(tzinfo=UTC),
                        default=datetime(2025, 10, 1, tzinfo=UTC))  # fmt: skip
    given = parser.parse_args()
    settings = Settings()
    rows = collect(given.market, given.until, settings)
    shares = read_taxonomy(given.market / "policies.toml").shares
    counts = {name: sum(row["label"] == name for row in rows) for name in {row["label"] for row in rows}}
    live = {**shares, "neutral": 1 - sum(v for k, v in shares.items() if k != "neutral")}
    weight = {name: live[name] / count for name, count in counts.items()}
    print(
        f"{len(rows):,} listings before {given.until:%Y-%m-%d}, {len(rows) - counts['neutral']:,} violations"
    )
    for kind, bins in BINS.items():
        found = nearest(rows, kind)
        print(f"{kind}: {len(found):,} listings could be compared")
        below = kind == "photo"
        before = None
        for edge in bins:
            hit = [
                (rows[p]["label"], rows[v]["label"])
                for s, p, v in found
                if (s <= edge if below else s >= edge - 1e-9)
            ]
            inside = [(rows[p]["label"], rows[v]["label"]) for s, p, v in found
                      if ((s <= edge and (before is None or s > before)) if below
                          else (s >= edge - 1e-9 and (before is None or s < before - 1e-9)))]  # fmt: skip
            right = sum(a == b for a, b in hit)
            some = sum(a != "neutral" for a, b in hit)
            heavy = sum(weight[a] for a, b in hit)
            heavy_right = sum(weight[a] for a, b in hit if a == b)
            inner = sum(a == b for a, b in inside)
            if hit:
                print(
                    f"  {'<=' if below else '>='} {edge:<5} matched {len(hit):6,}  same policy {right:6,}"
                    f" = {right / len(hit):.3f} (>= {lower_bound(right, len(hit)):.3f})"
                    f"  any violation {some:6,}  at live shares {heavy_right / heavy:.3f}"
                    f"   in this step {inner} of {len(inside)}"
                )
            before = edge


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

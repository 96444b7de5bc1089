"""Replay against bulk scoring of the same: python bench/replay.py BUNDLE LISTINGS.parquet [--rows 600]

The listings are decided about by the bundle and stored, photos and all; then what `stallwart score` does and
what `stallwart replay` does run in turn, three times, with no embedding known and then with all of them.
The ratio of the medians is what counts, since absolute times on a shared machine lie.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import Engine

from stallwart.core.decision import Cause, Decision
from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.bundle import read_bundle
from stallwart.model.runtime import Scorer
from stallwart.model.table import write_scores
from stallwart.replay.rules import limits_of
from stallwart.replay.run import Replayer
from stallwart.replay.session import Session
from stallwart.replay.stored import Window
from stallwart.replay.tally import Tally
from stallwart.replay.verify import verify
from stallwart.store.database import database_url, open_database, upgrade, writing
from stallwart.store.decisions import Draft, revision_of, write
from stallwart.store.photos import PhotoStore

ALL = Window(None, 2**60)


def read(listings: Path, settings: Settings):
    return read_listings([listings], Columns(), settings, Rejects(10**9), decode=False)


def store(engine: Engine, scorer: Scorer, photos: PhotoStore, listings: Path, settings: Settings) -> None:
    """One decision for each listing, as the service stores it."""
    limits = limits_of(scorer.bundle)
    for number, scored in enumerate(scorer.score(read(listings, settings))):
        listing = scored.embedded.listing
        digests = tuple(hashlib.sha256(photo).hexdigest() for photo in listing.photos)
        for photo in listing.photos:
            photos.put(photo)
        revision, ruling = revision_of(listing, digests, None), scored.ruling
        values = None if scored.scores is None else scored.scores.tolist()
        decision = Decision(
            decision_id=f"d_{number:09}", listing_id=listing.listing_id, revision=revision.revision,
            action=ruling.action, policies=ruling.policies, reason=ruling.reason,
            scores=None if values is None else dict(zip(limits, values, strict=True)), thresholds=limits,
            bundle=scorer.bundle.digest, taxonomy=scorer.bundle.taxonomy.digest, cause=Cause.NEW,
            decided_at_ms=1_750_000_000_000 + number,
        )  # fmt: skip
        with writing(engine) as connection:
            write(connection, [Draft(revision, decision)], (), decision.decided_at_ms)


def score_seconds(scorer: Scorer, listings: Path, settings: Settings, out: Path) -> float:
    started = time.perf_counter()
    write_scores(scorer.score(read(listings, settings)), scorer.bundle, out)
    return time.perf_counter() - started


def replay_seconds(scorer: Scorer, photos: PhotoStore, engine: Engine) -> float:
    started, tally = time.perf_counter(), Tally()
    for one in Session(engine, Replayer(scorer, photos), ALL).replayed():
        tally.add(one)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("listings", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        part, settings = folder / "part.parquet", Settings(data_dir=folder / "data", threads=chosen.threads)
        pq.write_table(pq.read_table(chosen.listings).slice(0, chosen.rows), part, row_group_size=256)
        bundle, photos = read_bundle(chosen.bundle), PhotoStore(str(folder / "photos"))
        engine = open_database(database_url(settings), settings)
        upgrade(engine)

        def scorer(cache: str) -> Scorer:
            return Scorer(bundle, settings, EmbeddingCache(folder / cache))

        store(engine, scorer("warm"), photos, part, settings)
        for known in (False, True):
            pairs = [
                (
                    score_seconds(
                        scorer("warm" if known else f"s{turn}"), part, settings, folder / "o.parquet"
                    ),
                    replay_seconds(scorer("warm" if known else f"r{turn}"), photos, engine),
                )
                for turn in range(3)
            ]
            scored, replayed = (statistics.median(column) for column in zip(*pairs, strict=True))
            rows = pq.ParquetFile(part).metadata.num_rows
            print(
                f"{'all' if known else 'no'} embeddings known: score {rows / scored:.1f} and replay"
                f" {rows / replayed:.1f} listings per second ({rows} rows, {chosen.threads} threads,"
                f" medians of 3), ratio {scored / replayed:.2f}"
            )
        found = verify(Session(engine, Replayer(scorer("warm"), photos), ALL).replayed(), bundle.taxonomy.ids)
        print(f"the same again: {found.equal} of {found.compared}")
        engine.dispose()
    raise SystemExit(found.equal != found.compared)


if __name__ == "__main__":
    main()

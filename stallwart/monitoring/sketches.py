"""The step `sketches`: decided listings into short vectors and facts, at a bounded rate, off the hot path.

Which decisions are sketched is a hash of their id against a share, so it depends on nothing about the
listing. Embeddings come from the cache that the service fills, and are computed here where they are not
there.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, func, select

from stallwart.core.decision import PEOPLE, Cause
from stallwart.core.errors import NotFoundError, StoreError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.model.bundle import Bundle
from stallwart.model.shelf import from_shelf
from stallwart.monitoring.reading import Reader, Sketch
from stallwart.monitoring.step import Around, Told
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.hourly import locked_cursor, move_cursor, settled
from stallwart.store.photos import PhotoStore
from stallwart.store.registry import champion, read_bundle_row
from stallwart.store.revisions import listing_of, read_revision
from stallwart.store.sketches import SketchRow, add_sketches, drop_sketches
from stallwart.store.tables import decisions, revisions

CURSOR = "sketches"
_PAGE = 500
_SAME = PEOPLE | {Cause.RESCAN}  # another decision about a listing that was sketched when it came
_DAY_MS = 86_400_000
_QUERY = (
    select(
        decisions.c.seq,
        decisions.c.decision_id,
        decisions.c.revision,
        decisions.c.bundle,
        decisions.c.action,
        decisions.c.scores,
        decisions.c.cause,
        decisions.c.decided_at_ms,
        revisions.c.seller_id,
        revisions.c.purged_at_ms,
    )
    .join_from(decisions, revisions, revisions.c.revision == decisions.c.revision)
)  # fmt: skip


class Sketches:
    """Sketches what was decided since the last round."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._photos = PhotoStore(photo_place(around.settings), around.now_ms)
        self._encoders: Encoders | None = None

    def run(self) -> Told:
        """Sketch a share of what is new, page by page.

        Raises:
            StoreError: the database or the photo store fails; the next round goes on.
            BundleError: the champion's bundle cannot be read.
        """
        told = {"read": 0.0, "sketched": 0.0, "computed": 0.0}
        with store_errors("listings cannot be sketched"):
            encoders = self._ready()
            if encoders is None:
                return told
            more = True
            while more:
                self._around.alive()
                more = self._page(encoders, told)
            now = self._around.now_ms()
            with writing(self._around.database) as connection:
                drop_sketches(connection, now - self._around.settings.watch_sketch_days * _DAY_MS)
        return told

    def _ready(self) -> "Encoders | None":
        with reading(self._around.database) as connection:
            digest = champion(connection)
            place = None if digest is None else read_bundle_row(connection, digest).place
        if digest is None or place is None:
            return None
        if self._encoders is None or self._encoders.digest != digest:
            self._encoders = Encoders(from_shelf(Path(place), digest), self._around.settings)
        return self._encoders

    def _page(self, encoders: "Encoders", told: dict[str, float]) -> bool:
        """Read and embed without a lock, then write and move the cursor where it still is as it was."""
        engine, now = self._around.database, self._around.now_ms()
        with reading(engine) as connection:
            after = _cursor(connection)
            rows = settled(connection, _QUERY, decisions.c.seq, "decided_at_ms", after, now, _PAGE)
            share = self._share(connection, now)
            chosen = [row for row in rows if _chosen(row, share)]
            listings = [(row, one) for row in chosen if (one := self._listing(connection, row)) is not None]
        if not rows:
            return False
        made = encoders.sketch(listings, share)
        with writing(engine) as connection:
            if locked_cursor(connection, CURSOR) != after:
                return True  # another watcher was here meanwhile
            add_sketches(connection, made)
            move_cursor(connection, CURSOR, rows[-1].seq)
        told["read"] += len(rows)
        told["sketched"] += len(made)
        told["computed"] = float(encoders.computed)
        return len(rows) == _PAGE

    def _share(self, connection: Connection, now_ms: int) -> float:
        """The share of decisions that keeps to the rate, by what a day brought."""
        day = decisions.c.decided_at_ms >= now_ms - _DAY_MS
        count = connection.execute(select(func.count()).select_from(decisions).where(day)).scalar_one()
        wanted = 24 * self._around.settings.watch_listings_per_hour
        return min(1.0, wanted / max(1, int(count)))

    def _listing(self, connection: Connection, row: Row[Any]) -> Listing | None:
        revision = read_revision(connection, row.revision)
        if revision is None or revision.purged_at_ms is not None:
            return None
        try:
            return listing_of(revision, tuple(self._photos.get(photo) for photo in revision.photos))
        except (NotFoundError, StoreError):  # retention, or a disk: the words alone would be another listing
            return None


class Encoders:
    """The champion's encoders, with the service's cache.

    Args:
        bundle: the champion.
        settings: for the cache and the bounds on photos.
    """

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.digest = bundle.digest
        text = TextGraph(bundle.folder / "text", settings.provider)
        photo = PhotoGraph(bundle.folder / "photo", settings.provider)
        self._embedder = Embedder(text, photo, settings, EmbeddingCache(settings.cache_dir))
        self._reader = Reader(self._embedder, settings)
        self._seen = bundle.seen
        self.space = hashlib.sha256(text.spec.digest + photo.spec.digest).hexdigest()[:16]

    @property
    def computed(self) -> int:
        """Embeddings that were not in the cache."""
        return self._embedder.counts.computed

    def sketch(self, listings: Sequence[tuple[Row[Any], Listing]], share: float) -> list[SketchRow]:
        """Sketches of decided listings, drawn with a share."""
        embedded = self._embedder.embed([listing for _, listing in listings])
        return [
            self._row(row, listing, self._reader.read(one), share)
            for (row, listing), one in zip(listings, embedded, strict=True)
        ]

    def _row(self, row: Row[Any], listing: Listing, one: Sketch, share: float) -> SketchRow:
        facts = {
            "space": self.space,
            "language": one.language,
            "parts": one.parts,
            "size": one.size,
            "colour": None if one.colour is None else round(one.colour, 4),
            "seller": _hashed(listing.seller_id),
            "scores": None if row.scores is None else {k: round(v, 6) for k, v in row.scores.items()},
            "action": row.action,
            "share": share,
        }
        unlike = None
        if self._seen is not None and len(self._seen):
            far = float(self._seen.distances(one.text[None], one.photo[None])[0])
            unlike = None if np.isnan(far) else far
        vector = np.concatenate([one.text, one.photo]).astype("<f2").tobytes()
        return SketchRow(row.seq, row.decision_id, row.bundle, row.decided_at_ms, facts, vector, unlike)


def photo_place(settings: Settings) -> str:
    """Where photos are kept."""
    return settings.photo_store or str(settings.data_dir / "photos")


def _chosen(row: Row[Any], share: float) -> bool:
    digest = hashlib.blake2b(f"sketch {row.decision_id}".encode(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "big") < share * 2**64
    return drawn and row.purged_at_ms is None and row.cause not in _SAME


def _hashed(seller: str | None) -> str:
    return (
        ""
        if seller is None
        else hashlib.blake2b(seller.encode("utf-8", "replace"), digest_size=6).hexdigest()
    )


def _cursor(connection: Connection) -> int:
    from stallwart.store.tables import cursors

    return int(connection.execute(select(cursors.c.seq).where(cursors.c.name == CURSOR)).scalar() or 0)

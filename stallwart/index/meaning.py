"""What is near a listing in meaning: by embeddings, among judged listings and what was decided lately.

Lives in the memory of the review process and is bounded; it is built again at a start, from the embedding
cache where that has what is needed.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

from sqlalchemy import ColumnElement, Engine, func, select

from stallwart.content.photo import PhotoError
from stallwart.core.listing import Listing
from stallwart.encoders.embed import Embedded, Embedder
from stallwart.encoders.graphs import Embedding
from stallwart.index.content import listing_with_photos, read_revisions
from stallwart.index.near import Near, confirmed
from stallwart.index.vectors import Vectors
from stallwart.store.database import reading, store_errors
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import decisions, verdicts

RECENT = 20_000
"""Revisions decided lately that are at hand."""
JUDGED = 50_000
"""Revisions with a verdict that are at hand, the latest."""
_BATCH = 50
_MORE = 8  # times as many are looked up as are wanted: some are of the same listing, or were cleared
_FAILED = "nearest listings cannot be read"


class Meaning:
    """Embeddings of some listings, and which are near another one.

    Args:
        engine: the database.
        photos: where photos are.
        encoders: the encoders of what decides now, with the embedding cache; None where there is no bundle.
    """

    def __init__(self, engine: Engine, photos: PhotoStore, encoders: Callable[[], Embedder | None]):
        self._engine, self._photos, self._encoders = engine, photos, encoders
        self._embedder: Embedder | None = None
        self._judged: _Shelf | None = None
        self._recent: _Shelf | None = None

    def step(self) -> bool:
        """Take in the next verdicts and decisions, fifty of each; whether there may be more.

        Raises:
            StoreError: the database or the photo store fails; the next step does the same again.
        """
        embedder = self._encoders()
        if embedder is None:
            return False
        if self._embedder is None or _digests(self._embedder) != _digests(embedder):
            self._judged, self._recent = _Shelf(embedder, JUDGED), _Shelf(embedder, RECENT)
        self._embedder = embedder
        assert self._judged is not None
        assert self._recent is not None
        with store_errors(_FAILED):
            more = self._follow(embedder, self._judged, verdicts.c.seq, verdicts.c.revision)
            return self._follow(embedder, self._recent, decisions.c.seq, decisions.c.revision) or more

    def near(self, revision: str, most: int = 50) -> list[Near]:
        """The nearest of what was judged or decided lately, one for each listing but itself.

        Args:
            revision: digest of what they are near to; embedded where the cache does not know it.
            most: how many at most.

        Raises:
            StoreError: the database or the photo store fails.
        """
        return self._near(revision, [self._judged, self._recent], most, compute=True)

    def violations(self, revision: str, most: int = 3) -> list[Near]:
        """Those that a person confirmed to break a policy, the nearest first.

        Nothing where the embeddings of the revision are not known yet: a page does not wait for an encoder.
        """
        found = self._near(revision, [self._judged], _MORE * most, compute=False)
        with store_errors(_FAILED), reading(self._engine) as connection:
            return confirmed(connection, found)[:most]

    def forget(self, listing_id: str) -> int:
        """How many revisions of a listing were at hand; none is any more."""
        return sum(shelf.forget(listing_id) for shelf in (self._judged, self._recent) if shelf)

    def _near(self, revision: str, shelves: "list[_Shelf | None]", most: int, compute: bool) -> list[Near]:
        embedder = self._embedder
        if embedder is None:
            return []
        with store_errors(_FAILED), reading(self._engine) as connection:
            asked = read_revisions(connection, [revision]).get(revision)
        if asked is None or asked.purged_at_ms is not None:
            return []
        embedded = _embed(embedder, listing_with_photos(asked, self._photos), compute)
        if embedded is None:
            return []
        best: dict[str, Near] = {}
        found = [one for shelf in shelves if shelf for one in shelf.nearest(embedded, _MORE * most)]
        for one in sorted(found, key=lambda one: (-one.likeness, one.listing_id)):
            if one.listing_id != asked.listing_id:
                best.setdefault(one.listing_id, one)
        return list(best.values())[:most]

    def _follow(
        self, embedder: Embedder, shelf: "_Shelf", seq: ColumnElement[int], revision: ColumnElement[str]
    ) -> bool:
        with reading(self._engine) as connection:
            if shelf.after is None:
                shelf.after = max(0, (connection.execute(select(func.max(seq))).scalar() or 0) - shelf.most)
            query = select(seq.label("seq"), revision.label("revision")).where(seq > shelf.after)
            rows = connection.execute(query.order_by(seq).limit(_BATCH)).all()
            found = read_revisions(connection, {row.revision for row in rows})
        for row in rows:
            content = found.get(row.revision)
            if content is not None and content.purged_at_ms is None and row.revision not in shelf:
                embedded = _embed(embedder, listing_with_photos(content, self._photos), compute=True)
                assert embedded is not None
                shelf.put(row.revision, embedded)
            shelf.after = row.seq
        return len(rows) == _BATCH


class _Shelf:
    """The latest revisions of one kind with their vectors; the oldest go where there are too many."""

    def __init__(self, embedder: Embedder, most: int):
        self.most = most
        self.after: int | None = None  # the last row that was taken in
        self._text, self._photo = Vectors(embedder.text.spec.d), Vectors(embedder.photo.spec.d)
        self._kept: OrderedDict[int, tuple[str, str]] = OrderedDict()  # to revision and listing
        self._numbers: dict[str, int] = {}
        self._next, self._lock = 1, threading.Lock()

    def __contains__(self, revision: str) -> bool:
        return revision in self._numbers

    def put(self, revision: str, embedded: Embedded) -> None:
        with self._lock:
            number, self._next = self._next, self._next + 1
            if embedded.text is not None:
                self._text.add([number], embedded.text)
            if len(embedded.photos):  # the first is what a catalogue shows
                self._photo.add([number], embedded.photos[0])
            self._kept[number] = (revision, embedded.listing.listing_id)
            self._numbers[revision] = number
            if len(self._kept) > self.most:
                self._let_go(next(iter(self._kept)))

    def nearest(self, embedded: Embedded, count: int) -> list[Near]:
        found: dict[int, float] = {}
        with self._lock:
            asked = [(self._photo, row) for row in embedded.photos]
            asked += [(self._text, embedded.text)] if embedded.text is not None else []
            for vectors, row in asked:
                for number, cosine in vectors.nearest(row, count):
                    found[number] = max(cosine, found.get(number, -1.0))
            return [Near(*self._kept[number], "meaning", cosine) for number, cosine in found.items()]

    def forget(self, listing_id: str) -> int:
        with self._lock:
            gone = [number for number, (_, whose) in self._kept.items() if whose == listing_id]
            for number in gone:
                self._let_go(number)
        return len(gone)

    def _let_go(self, number: int) -> None:
        self._text.remove([number])
        self._photo.remove([number])
        revision, _ = self._kept.pop(number)
        del self._numbers[revision]


def _embed(embedder: Embedder, listing: Listing, compute: bool) -> Embedded | None:
    """The listing with its embeddings; None where they are not known and are not to be made."""
    parts = embedder.parts(listing)
    made: dict[bytes, Embedding | PhotoError] = {}
    if embedder.cache:
        made.update(embedder.cache.get(list(parts.jobs)))
    missing = [key for key in parts.jobs if key not in made]
    if missing and not compute:
        return None
    fresh = {key: parts.jobs[key]() for key in missing}
    if embedder.cache and fresh:
        embedder.cache.put([(key, one) for key, one in fresh.items() if not isinstance(one, PhotoError)])
    return embedder.joined(parts, {**made, **fresh})


def _digests(embedder: Embedder) -> tuple[bytes, bytes]:
    return embedder.text.spec.digest, embedder.photo.spec.digest

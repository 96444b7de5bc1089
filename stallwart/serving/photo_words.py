"""Reads the photos of listings that were let through, after the answer, and tells the service what they say.

A process of its own follows the stored decisions, so that nothing waits for it: what stands in the queue are
rows that are stored anyway. A cursor moves once the words of a page were taken, so that a kill loses nothing
and at most one page is read again, to the same end. Whoever falls behind by `read_hours` leaves the oldest
out, and counts them.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, select

from stallwart.client import Client, MissingError
from stallwart.content.photo import PhotoError
from stallwart.core.decision import Action, Cause
from stallwart.core.errors import NotFoundError
from stallwart.core.settings import Settings
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.decisions import last_decisions
from stallwart.store.hourly import locked_cursor, move_cursor, settled
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import decisions, revisions

CURSOR = "photo-words"
COUNTS = {
    "listings": "that were let through and have photos",
    "photos": "that were read",
    "worded": "listings with words in their photos",
    "raised": "listings that these words sent to review, or blocked",
    "late": "listings left out because they waited longer than STALLWART_READ_HOURS",
    "gone": "listings that were edited, erased or judged by a person meanwhile, or whose photos are not kept",
    "unreadable": "photos that could not be read",
}
"""What a round counts, and what each count is of."""
_PAGE = 32
_LONGEST = 10_000  # characters of words that the service takes
_REMEMBERED = 10_000  # photos whose words are known: the same one stands in many listings
_MODELS = (Cause.NEW, Cause.EDIT, Cause.RESCAN)
_QUERY = (
    select(
        decisions.c.seq,
        decisions.c.decision_id,
        decisions.c.listing_id,
        decisions.c.decided_at_ms,
        revisions.c.photos,
    )
    .join_from(decisions, revisions, revisions.c.revision == decisions.c.revision)
    .where(
        decisions.c.action == Action.ALLOW.value,
        decisions.c.cause.in_([cause.value for cause in _MODELS]),
        revisions.c.purged_at_ms.is_(None),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Around:
    """What a reader works with.

    Attributes:
        database: where decisions are.
        photos: where photos are kept.
        client: calls the service.
        read: a photo's bytes -> the words on it; raises PhotoError.
        settings: how late, and how many photos.
        now_ms: milliseconds since 1970.
    """

    database: Engine
    photos: PhotoStore
    client: Client
    read: Callable[[bytes], str]
    settings: Settings
    now_ms: Callable[[], int]


class PhotoWords:
    """Follows what was let through.

    Args:
        around: what it works with.
    """

    def __init__(self, around: Around):
        self._around = around
        self._known: OrderedDict[str, str] = OrderedDict()

    def round(self) -> Counter[str]:
        """Read all that is new; how many, by `COUNTS`.

        Raises:
            StoreError: the database or the photo store fails; the next round goes on.
            ServiceError: the service takes no words now; the next round goes on.
        """
        told: Counter[str] = Counter()
        with store_errors("photos cannot be read"):
            while self._page(told):
                pass
        return told

    def _page(self, told: Counter[str]) -> bool:
        """Read a page without a lock, then move the cursor where it still is as it was."""
        around = self._around
        with writing(around.database) as connection:  # the first time, it makes the cursor
            after = locked_cursor(connection, CURSOR)
        with reading(around.database) as connection:
            now = around.now_ms()
            rows = settled(connection, _QUERY, decisions.c.seq, "decided_at_ms", after, now, _PAGE)
            shown = [row for row in rows if row.photos]
            last = last_decisions(connection, {row.listing_id for row in shown})
        if not rows:
            return False
        for row in shown:
            stands = last[row.listing_id].decision_id == row.decision_id
            self._listing(row, stands, told)
        with writing(around.database) as connection:
            if locked_cursor(connection, CURSOR) == after:  # or another reader was here meanwhile
                move_cursor(connection, CURSOR, rows[-1].seq)
        return len(rows) == _PAGE

    def _listing(self, row: Row[Any], stands: bool, told: Counter[str]) -> None:
        around = self._around
        told["listings"] += 1
        if row.decided_at_ms < around.now_ms() - around.settings.read_hours * 3_600_000:
            told["late"] += 1
            return
        try:
            words = self._words(row.photos[: around.settings.read_photos], told) if stands else None
            if words:
                told["worded"] += 1
                decision = around.client.photo_words(row.decision_id, words)
                told["raised"] += decision.supersedes == row.decision_id
        except (MissingError, NotFoundError):
            words = None
        told["gone"] += words is None

    def _words(self, digests: Sequence[str], told: Counter[str]) -> str:
        found = dict.fromkeys(self._one(digest, told) for digest in digests)
        return " ".join(words for words in found if words)[:_LONGEST]

    def _one(self, digest: str, told: Counter[str]) -> str:
        """The words on one photo; those of the last ones are remembered.

        Raises:
            NotFoundError: it is not kept any more.
        """
        if digest in self._known:
            self._known.move_to_end(digest)
            return self._known[digest]
        photo = self._around.photos.get(digest)
        try:
            words = self._around.read(photo)
            told["photos"] += 1
        except PhotoError:
            words = ""
            told["unreadable"] += 1
        self._known[digest] = words
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return words

"""Makes the fingerprints that are missing, behind the service's back and never on its path."""

from collections.abc import Callable

from sqlalchemy import Engine, select

from stallwart.core.settings import Settings
from stallwart.index.content import listing_with_photos, read_revisions
from stallwart.index.fingerprint import fingerprint_of
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.fingerprints import add_fingerprints
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import decisions, fingerprints
from stallwart.store.trail import Trail

_BATCH = 100
_FAILED = "fingerprints could not be made; the next step goes on"
_MISSING = (
    select(decisions.c.seq, decisions.c.decided_at_ms, decisions.c.revision)
    .outerjoin(fingerprints, fingerprints.c.revision == decisions.c.revision)
    .where(decisions.c.first_of.is_not(None), fingerprints.c.seq.is_(None))
)


class Fingerprinter:
    """Makes fingerprints, a step at a time; several may be at work on one database.

    Args:
        engine: the database.
        photos: where the photos are.
        settings: bounds on words and photos.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, engine: Engine, photos: PhotoStore, settings: Settings, now_ms: Callable[[], int]):
        self._engine, self._photos, self._settings = engine, photos, settings
        self._trail = Trail("fingerprints", _MISSING, now_ms)

    def step(self) -> tuple[int, bool]:
        """How many revisions of the next hundred got a fingerprint, and whether there may be more.

        A revision whose content was deleted gets an empty one, so that it is not asked for again.

        Raises:
            StoreError: the database or the photo store fails; the next step does the same again.
        """
        with store_errors(_FAILED):
            with reading(self._engine) as connection:
                rows = self._trail.missing(connection, _BATCH)
                found = read_revisions(connection, [row.revision for row in rows])
            made = [
                fingerprint_of(digest, listing_with_photos(revision, self._photos), self._settings)
                for digest, revision in found.items()
            ]
            with writing(self._engine) as connection:
                kept = read_revisions(connection, found)  # retention may have emptied some meanwhile
                still = [
                    one for one in made if kept[one.revision].purged_at_ms == found[one.revision].purged_at_ms
                ]
                added = add_fingerprints(connection, still)
                self._trail.done(connection, rows, _BATCH)
        return added, len(rows) == _BATCH

    def behind(self) -> int:
        """About how many decisions are still to be looked at."""
        with store_errors(_FAILED), reading(self._engine) as connection:
            return self._trail.behind(connection)

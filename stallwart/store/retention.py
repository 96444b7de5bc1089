"""Deletes what is older than retention says: words and photos go, decisions stay.

In short transactions, so that the service is never held up for long. A batch's photos are deleted before its
rows are emptied: a purge that is stopped anywhere does the same batch again, and leaves no photo behind.
A photo that was put for a decision that was then not stored is swept after a day.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, select, tuple_, update

from stallwart.core.errors import StoreError
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.explanations import forget_explanations
from stallwart.store.findable import forget_words_of
from stallwart.store.fingerprints import forget_fingerprints
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import (
    decisions,
    feedback,
    photo_uses,
    quota_windows,
    requests,
    revisions,
    verdicts,
)

_BATCH = 200
# Two hours: a photo that was stored since may belong to a revision that is being written right now
_RECENT_MS = 7_200_000
_MINUTE_MS = 60_000
_STRAY_MS = 86_400_000  # a day: far longer than any decision takes from its photos to its commit
_FEW = 3  # strays that are no sign of another database's store


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge came to.

    Attributes:
        revisions: whose words and photos were emptied.
        photos: sha256 of each photo that no kept revision shows any more.
        requests: request keys that were forgotten.
        quota_windows: minutes of quotas that were forgotten.
        notes: of feedback and verdicts that were emptied because they were old themselves; those about
            emptied revisions are not counted.
    """

    revisions: int
    photos: tuple[str, ...]
    requests: int
    quota_windows: int
    notes: int


def purge(
    engine: Engine, photos_delete: Callable[[str, int], object], older_than_ms: int, now_ms: int
) -> Purged:
    """Empty revisions and forget requests that were stored before a time; returns what that came to.

    Of a revision title, description, photos and the reasons of unread ones go, and what quotes them: the
    evidence of its decisions, and the notes of feedback and verdicts about it. Notes go also when they are
    that old themselves, since they may have come after the revision was emptied. What SQLite deletes is
    overwritten in its file.

    Args:
        engine: the database.
        photos_delete: deletes a photo by its sha256, unless it was stored at or after a time in milliseconds
            since 1970; may be called again for one that is gone.
        older_than_ms: milliseconds since 1970.
        now_ms: milliseconds since 1970.

    Raises:
        StoreError: the database fails; what was done until then stays done.
    """
    gone: list[str] = []
    emptied = 0
    with store_errors("old listings could not be deleted; run it again"):
        for batch in _old_revisions(engine, older_than_ms):
            unused = _unused_photos(engine, batch)
            for photo in unused:
                photos_delete(photo, now_ms - _RECENT_MS)
            emptied += _empty(engine, batch, now_ms)
            gone += unused
        forgotten = _forget(engine, requests, requests.c.created_at_ms < older_than_ms)
        minutes = _forget(engine, quota_windows, quota_windows.c.minute < older_than_ms // _MINUTE_MS)
        notes = sum(_empty_notes(engine, table, older_than_ms) for table in (feedback, verdicts))
        _truncate_log(engine)
    return Purged(emptied, tuple(dict.fromkeys(gone)), forgotten, minutes, notes)


def _old_revisions(engine: Engine, older_than_ms: int) -> Iterator[dict[str, list[str]]]:
    """Batches of revisions that were not emptied yet, with their photos."""
    query = (
        select(revisions.c.revision, revisions.c.photos)
        .where(revisions.c.purged_at_ms.is_(None), revisions.c.stored_at_ms < older_than_ms)
        .order_by(revisions.c.stored_at_ms)
        .limit(_BATCH)
    )
    while True:
        with reading(engine) as connection:
            batch = {row.revision: row.photos for row in connection.execute(query)}
        if not batch:
            return
        yield batch


def _unused_photos(engine: Engine, batch: dict[str, list[str]]) -> list[str]:
    """Photos of the batch that no revision outside of it shows."""
    shown = {photo for photos in batch.values() for photo in photos}
    query = select(photo_uses.c.photo).where(
        photo_uses.c.photo.in_(shown), photo_uses.c.revision.not_in(batch)
    )
    with reading(engine) as connection:
        return sorted(shown - set(connection.execute(query).scalars()))


def _empty(engine: Engine, batch: dict[str, list[str]], now_ms: int) -> int:
    uses = [(photo, revision) for revision, photos in batch.items() for photo in set(photos)]
    with writing(engine) as connection:
        _overwrite(connection)
        old = revisions.c.revision.in_(batch) & revisions.c.purged_at_ms.is_(None)
        done = connection.execute(
            update(revisions)
            .where(old)
            .values(title=None, description=None, photos=[], unread=[], purged_at_ms=now_ms)
        )
        connection.execute(update(decisions).where(decisions.c.revision.in_(batch)).values(evidence=None))
        about = select(decisions.c.decision_id).where(decisions.c.revision.in_(batch))
        for table in (feedback, verdicts):
            quotes = table.c.decision_id.in_(about) & table.c.note.is_not(None)
            connection.execute(update(table).where(quotes).values(note=None))
        forget_fingerprints(connection, list(batch))
        forget_words_of(connection, list(batch))
        forget_explanations(connection, list(batch))
        for pairs in _slices(uses):
            connection.execute(
                delete(photo_uses).where(tuple_(photo_uses.c.photo, photo_uses.c.revision).in_(pairs))
            )
        return int(done.rowcount)


def _empty_notes(engine: Engine, table: Table, older_than_ms: int) -> int:
    """Empty old notes in batches; how many there were."""
    old = table.c.note.is_not(None) & (table.c.created_at_ms < older_than_ms)
    batch = select(table.c.seq).where(old).limit(_BATCH)
    total = 0
    while True:
        with writing(engine) as connection:
            _overwrite(connection)
            done = connection.execute(update(table).where(table.c.seq.in_(batch)).values(note=None)).rowcount
        total += int(done)
        if done < _BATCH:
            return total


def _slices(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _forget(engine: Engine, table: Table, old: ColumnElement[bool]) -> int:
    """Delete old rows in batches; how many there were."""
    key = tuple_(*table.primary_key.columns)
    batch = select(*table.primary_key.columns).where(old).limit(_BATCH)
    total = 0
    while True:
        with writing(engine) as connection:
            done = int(connection.execute(delete(table).where(key.in_(batch))).rowcount)
        total += done
        if done < _BATCH:
            return total


def _overwrite(connection: Connection) -> None:
    """Have SQLite overwrite what the transaction deletes, so that no words stay readable in free pages."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _truncate_log(engine: Engine) -> None:
    """Old pages are also in SQLite's log, until it is emptied; a reader that is at work puts that off."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        finally:
            connection.close()


PARTS = tuple(f"{number:02x}" for number in range(256))
"""How the digests of all photos begin."""


def parts_of_hour(now_ms: int) -> tuple[str, ...]:
    """A twenty-fourth of `PARTS`, another one each hour: in a day a service looks through all of them."""
    return PARTS[now_ms // 3_600_000 % 24 :: 24]


def sweep_photos(
    engine: Engine, photos: PhotoStore, now_ms: int, parts: Iterable[str] = PARTS, *, most: bool = False
) -> int:
    """Delete kept photos that no revision shows; how many there were.

    Such a photo was put for a decision that was then not stored. One that was put within a day, by the clock
    of the store itself or by ours, stays: its decision may be on its way. Putting it again makes it young.

    Args:
        engine: the database.
        photos: where they are kept.
        now_ms: milliseconds since 1970.
        parts: how the digests begin that are looked at.
        most: delete even where more than half of what is kept would go.

    Raises:
        StoreError: the database or the photo store fails, or more than half of the photos are shown by no
            revision: the store may be another database's, and nothing was deleted.
    """
    before_ms = min(now_ms, photos.clock_ms()) - _STRAY_MS
    strays, kept = [], 0
    with store_errors("photos that nothing shows could not be looked up; run it again"):
        for part in parts:
            found = photos.digests(part)
            kept += len(found)
            strays += _shown_by_none(engine, found)
    if not most and len(strays) > _FEW and 2 * len(strays) > kept:
        raise StoreError(
            f"{len(strays):,} of {kept:,} kept photos belong to no listing of this database, so that the"
            " photo store may be another one's; if it is not, run: stallwart db purge --strays"
        )
    return sum(photos.delete(digest, before_ms) for digest in strays)


def _shown_by_none(engine: Engine, digests: Sequence[str]) -> list[str]:
    """Those of the photos that no revision shows."""
    found: list[str] = []
    for some in _slices(digests):
        with reading(engine) as connection:
            query = select(photo_uses.c.photo).where(photo_uses.c.photo.in_(some)).distinct()
            shown = set(connection.execute(query).scalars())
        found += [digest for digest in some if digest not in shown]
    return found

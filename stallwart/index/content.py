"""Stored revisions with the bytes of their photos, as they were decided about."""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from stallwart.core.errors import NotFoundError
from stallwart.core.listing import Listing
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import Revision, listing_of
from stallwart.store.tables import revisions as table

_ROWS = 400  # of one statement


def read_revisions(connection: Connection, digests: Iterable[str]) -> dict[str, Revision]:
    """The revisions that are there, by digest."""
    wanted, found = list(digests), {}
    for start in range(0, len(wanted), _ROWS):
        some = table.c.revision.in_(wanted[start : start + _ROWS])
        for row in connection.execute(select(table).where(some)).mappings():
            one = Revision(**{**row, "photos": tuple(row["photos"]), "unread": tuple(row["unread"])})
            found[one.revision] = one
    return found


def listing_with_photos(revision: Revision, photos: PhotoStore) -> Listing:
    """The listing, with those of its photos that are still kept.

    Raises:
        StoreError: the photo store fails.
    """
    kept = []
    for digest in revision.photos:
        try:
            kept.append(photos.get(digest))
        except NotFoundError:
            continue  # deleted since: what is left is compared
    return listing_of(revision, tuple(kept))

"""A listing's content as one immutable state with a digest, as it is stored before anything is decided."""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select

from stallwart.core.errors import DataError
from stallwart.core.listing import Listing
from stallwart.store.tables import revisions

# NUL, and halves of surrogate pairs: no text column of PostgreSQL takes them
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable state of a listing's content, as the table keeps it.

    Attributes:
        revision: sha256 over everything below but the last two, and over the caller's version.
        listing_id: whose content it is.
        title: the seller's headline, or None.
        description: the seller's text, or None.
        photos: sha256 of each photo in hexadecimal, in the seller's order.
        unread: why a photo that was sent is not among them, one entry for each.
        seller_id: who published it, or None.
        price: finite, in the market's currency, or None.
        language: as the market states it, or None.
        listed_at_ms: when it was published, or None.
        stored_at_ms: when it was stored; None before.
        purged_at_ms: when retention emptied title, description, photos and unread; None where it did not.
    """

    revision: str
    listing_id: str
    title: str | None
    description: str | None
    photos: tuple[str, ...]
    unread: tuple[str, ...]
    seller_id: str | None
    price: float | None
    language: str | None
    listed_at_ms: int | None
    stored_at_ms: int | None = None
    purged_at_ms: int | None = None


def revision_of(listing: Listing, photos: tuple[str, ...], version: str | None) -> Revision:
    """The revision that a listing is, with a digest that differs where any content does.

    What no database stores as it is (NUL, halves of surrogate pairs) becomes U+FFFD, before the digest. The
    digest is the sha256 of a JSON array in ASCII: a format number, the listing's id, the version, and each
    content field in the order of the class.

    Args:
        listing: its photos are not looked at.
        photos: sha256 of each in hexadecimal, in the seller's order.
        version: the caller's own name for this state, or None.

    Raises:
        DataError: the listing's id holds a NUL or half a surrogate pair.
    """
    if _UNSTORABLE.search(listing.listing_id):
        raise DataError("listing_id holds a character that cannot be stored (NUL or a lone surrogate)")
    content = (
        storable(listing.title),
        storable(listing.description),
        photos,
        tuple(_UNSTORABLE.sub("\ufffd", reason) for reason in listing.unread),
        storable(listing.seller_id),
        _finite(listing.price),
        storable(listing.language),
        _ms(listing.listed_at),
    )
    # A JSON array is unambiguous: texts are quoted and escaped, null is not "null", each field has its place
    encoded = _JSON.encode((1, listing.listing_id, version, *content)).encode("ascii")
    return Revision(hashlib.sha256(encoded).hexdigest(), listing.listing_id, *content)


def listing_of(revision: Revision, photos: tuple[bytes, ...]) -> Listing:
    """The listing that a revision was made of, as it was scored.

    Args:
        revision: not purged.
        photos: the bytes of each of its photos, in their order.
    """
    at = revision.listed_at_ms
    return Listing(
        listing_id=revision.listing_id,
        title=revision.title,
        description=revision.description,
        photos=photos,
        seller_id=revision.seller_id,
        listed_at=None if at is None else datetime.fromtimestamp(at / 1_000, UTC),
        price=revision.price,
        language=revision.language,
        unread=revision.unread,
    )


def storable(value: str | None) -> str | None:
    """The text with U+FFFD for what a database does not take: NUL and halves of surrogate pairs."""
    if value is None or (value.isascii() and "\0" not in value):  # most are, and a sub takes its time
        return value
    return _UNSTORABLE.sub("\ufffd", value)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ms(at: datetime | None) -> int | None:
    if at is None:
        return None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


_BY_DIGEST = select(revisions).where(revisions.c.revision == bindparam("digest"))


def read_revision(connection: Connection, revision: str) -> Revision | None:
    """The revision with this digest; None where there is none."""
    row = connection.execute(_BY_DIGEST, {"digest": revision}).mappings().first()
    if row is None:
        return None
    return Revision(**{**row, "photos": tuple(row["photos"]), "unread": tuple(row["unread"])})

"""What a seller publishes, and what enforcement said of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing as published; every part but the id may be missing.

    A model may read `title`, `description` and `photos` and nothing else: seller, price, language
    and whether a field was filled give labels away.

    Attributes:
        listing_id: unique name within the market.
        title: the seller's headline, or None.
        description: the seller's text, or None.
        photos: encoded image files as bytes, in the seller's order.
        seller_id: who published it, or None where unknown.
        listed_at: when, in UTC, or None where unknown.
        price: in the market's currency, or None.
        language: as the market states it, or None.
        unread: why a photo or text that the seller published is not here, one entry for each.
    """

    listing_id: str
    title: str | None = None
    description: str | None = None
    photos: tuple[bytes, ...] = ()
    seller_id: str | None = None
    listed_at: datetime | None = None
    price: float | None = None
    language: str | None = None
    unread: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Title and description as one text; "" where both are missing."""
        title, description = (self.title or "").strip(), (self.description or "").strip()
        if not (title and description) or title == description:
            return title or description
        return f"{title}. {description}"

    def with_read(self, words: str) -> Self:
        """The listing with words that were read in its photos: they come before its description.

        An encoder reads the beginning of a text, and a long description must not push them out.
        """
        if not words:
            return self
        description = (self.description or "").strip()
        return replace(self, description=f"{words}. {description}" if description else words)


@dataclass(frozen=True, slots=True)
class Label:
    """What enforcement said of one listing.

    Attributes:
        listing_id: whose label it is.
        label: `neutral` or a policy id.
        labelled_at: when it became known, in UTC; None means it was known at once.
        labelled_by: who said so; "" where unknown.
        weight: one over the probability that this listing was drawn for labelling, >= 1 or 1.
    """

    listing_id: str
    label: str
    labelled_at: datetime | None = None
    labelled_by: str = ""
    weight: float = 1.0

"""The confirmed violations nearest to a revision: near duplicates first, then what is alike in meaning."""

from sqlalchemy import Engine

from stallwart.index.meaning import Meaning
from stallwart.index.near import Near, NearDuplicates
from stallwart.store.database import reading, store_errors


class Violations:
    """Looks up confirmed violations.

    Args:
        engine: the database.
        duplicates: finds near duplicates by words and photos.
        meaning: finds what is alike in meaning; None where embeddings are not at hand.
    """

    def __init__(self, engine: Engine, duplicates: NearDuplicates, meaning: Meaning | None = None):
        self._engine, self._duplicates, self._meaning = engine, duplicates, meaning

    def nearest(self, revision: str, most: int = 3) -> list[Near]:
        """The nearest, one for each listing and never the listing itself; nothing is embedded for it.

        Args:
            revision: digest of what they are near to.
            most: how many at most.

        Raises:
            StoreError: the database or the photo store fails.
        """
        with store_errors("nearest violations cannot be read"), reading(self._engine) as connection:
            found = self._duplicates.violations(connection, revision, most)
        if self._meaning is not None and len(found) < most:
            known = {one.listing_id for one in found}
            alike = self._meaning.violations(revision, most)
            found += [one for one in alike if one.listing_id not in known]
        return found[:most]

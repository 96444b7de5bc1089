"""Near duplicates of a revision by its words and photos: index look-ups, then each candidate is compared."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from stallwart.content.wordprint import WordPrint, likeness, word_print
from stallwart.core.settings import Settings
from stallwart.index.content import listing_with_photos, read_revisions
from stallwart.index.fingerprint import (
    coarse_of,
    estimated_likeness,
    fingerprint_of,
    photo_distance,
    photo_probes,
)
from stallwart.store.fingerprints import Fingerprint, read_fingerprint, sharing
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import Revision, listing_of, read_revision
from stallwart.store.tables import verdicts
from stallwart.store.verdicts import MEASURING, Answer

SAME_PHOTO = 28
"""Bits of 256 up to which two photos are near duplicates."""
SAME_TEXT = 0.75
"""Jaccard similarity from which two texts are near duplicates."""
_PER_BUCKET = 256
_CANDIDATES = 300  # fingerprints that are compared
_READ = 60  # of those, texts that are read to compare them exactly


@dataclass(frozen=True, slots=True)
class Near:
    """A revision near another one.

    Attributes:
        revision: its digest.
        listing_id: whose it is.
        by: which part is alike: "text", "photo" or "meaning".
        likeness: in [0, 1]: of texts Jaccard's, of photos the share of equal bits, of meaning the cosine.
        policies: those that a person said it breaks; empty where nobody did.
        verdict_id: the verdict that said so, or None.
    """

    revision: str
    listing_id: str
    by: str
    likeness: float
    policies: tuple[str, ...] = ()
    verdict_id: str | None = None


class NearDuplicates:
    """Looks up near duplicates in the database.

    Args:
        photos: where photos are; read only for a revision that has no fingerprint yet.
        settings: bounds on words and photos.
    """

    def __init__(self, photos: PhotoStore, settings: Settings):
        self._photos, self._settings = photos, settings

    def of(self, connection: Connection, revision: str, most: int = 50) -> list[Near]:
        """The nearest first, at most one for each listing and never the listing itself.

        Args:
            connection: in any transaction.
            revision: digest of what they are near to.
            most: how many at most.
        """
        asked = read_revision(connection, revision)
        if asked is None or asked.purged_at_ms is not None:
            return []
        print_ = read_fingerprint(connection, revision) or fingerprint_of(
            revision, listing_with_photos(asked, self._photos), self._settings
        )
        found = [*self._by_photo(connection, print_), *self._by_text(connection, asked, print_)]
        best: dict[str, Near] = {}
        for one in sorted(found, key=lambda one: (-one.likeness, one.listing_id)):
            if one.listing_id != asked.listing_id:
                best.setdefault(one.listing_id, one)
        return list(best.values())[:most]

    def violations(self, connection: Connection, revision: str, most: int = 3) -> list[Near]:
        """Those near duplicates that a person confirmed to break a policy, the nearest first."""
        return confirmed(connection, self.of(connection, revision, _CANDIDATES))[:most]

    def _by_photo(self, connection: Connection, print_: Fingerprint) -> list[Near]:
        probes = {key for photo in print_.photos for key in photo_probes(coarse_of(photo))}
        near = []
        for other, _ in sharing(connection, probes, _PER_BUCKET, 8 * _CANDIDATES):
            distance = photo_distance(print_.photos, other.photos)
            if distance is not None and distance <= SAME_PHOTO:
                near.append(Near(other.revision, other.listing_id, "photo", 1 - distance / 256))
        return near

    def _by_text(self, connection: Connection, asked: Revision, print_: Fingerprint) -> list[Near]:
        words = _words_of(asked, self._settings)
        if words is None:
            return []
        word_keys = print_.keys[: 1 if print_.words is None else 9]
        shared = sharing(connection, word_keys, _PER_BUCKET, _CANDIDATES)
        equal = word_keys[0]
        ranked = sorted(
            (one for one, _ in shared),
            key=lambda one: (equal not in one.keys, -estimated_likeness(print_.words, one.words)),
        )[:_READ]
        content = read_revisions(connection, [one.revision for one in ranked])
        near = []
        for other in content.values():
            theirs = _words_of(other, self._settings)
            alike = 0.0 if theirs is None else likeness(words, theirs)
            if alike >= SAME_TEXT:
                near.append(Near(other.revision, other.listing_id, "text", round(alike, 4)))
        return near


def confirmed(connection: Connection, near: Collection[Near]) -> list[Near]:
    """Those that a person said break a policy, in their order, with the policies and the verdict."""
    said: dict[str, Any] = {}
    if near:
        for row in connection.execute(_SAID, {"revisions": [one.revision for one in near]}):
            said[row.revision] = row  # the last one holds
    marked = []
    for one in near:
        holds = said.get(one.revision)
        broken = () if holds is None else tuple(p for p, a in holds.answers.items() if a == Answer.YES)
        if holds is not None and broken:
            marked.append(Near(one.revision, one.listing_id, one.by, one.likeness, broken, holds.verdict_id))
    return marked


_SAID = (
    select(verdicts.c.revision, verdicts.c.verdict_id, verdicts.c.answers)
    .where(
        verdicts.c.revision.in_(bindparam("revisions", expanding=True)),
        verdicts.c.source.not_in([source.value for source in MEASURING]),
    )
    .order_by(verdicts.c.seq)
)


def _words_of(revision: Revision, limits: Settings) -> WordPrint | None:
    return word_print(revision.title, listing_of(revision, ()).text[: limits.max_text_chars])

"""Listings -> groups of near duplicates: nearly the same words, or nearly the same photo.

Works over a stream and keeps signatures of one to two kilobytes for each listing, not its content. Candidates
come from buckets (Broder 1997, MinHash; Indyk and Motwani 1998, LSH; a pigeonhole over the bits of photo
hashes), and every pair is verified by its Jaccard similarity or Hamming distance before it is joined.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.content.photoprint import BITS, fine_hash
from stallwart.content.wordprint import WordPrint, same_text, word_print
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings

_BANDS, _BAND = 19, 5  # a pair of similarity 0.75 meets with probability 0.994, one of 0.3 with 0.05
_BUCKET = 64  # latest members of a bucket that are compared, so that a template costs linear time
_SAME_PHOTO = 28  # bits; photos of different things differ in about 128, resized ones in up to 25
_PIECES = 21
_MAX_SHARED = 20  # listings; a photo in more of them is a placeholder or a banner and joins nothing


@dataclass(frozen=True, slots=True)
class _Text:
    """What is kept of a text, and its buckets."""

    words: WordPrint
    bands: list[bytes]


class DuplicateFinder:
    """Finds groups of near duplicates among listings that are added one by one.

    Args:
        limits: bounds on the photos that are decoded.
    """

    def __init__(self, limits: Settings) -> None:
        self._limits = limits
        self._texts: list[_Text | None] = []
        self._photo_owner: list[int] = []
        self._photo_hash: list[bytes] = []  # 32 bytes, or a digest of the bytes where the photo is flat
        self._photo_digest: list[bytes] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, listing: Listing) -> None:
        """Take in the signatures of the next listing; a photo that does not decode counts by its bytes."""
        for photo in listing.photos:
            self._photo_owner.append(len(self._texts))
            self._photo_digest.append(hashlib.blake2b(photo, digest_size=16).digest())
            limits = self._limits
            self._photo_hash.append(fine_hash(photo, limits.max_photo_bytes, limits.max_photo_pixels))
        self._texts.append(_signature(listing))

    def groups(self, *, text: bool = True, photos: bool = True) -> NDArray[np.int64]:
        """(n,) group of each listing, in the order added: the place of its earliest member.

        Args:
            text: join listings by their words.
            photos: join listings by their photos.
        """
        union = _Union(len(self))
        if text:
            for one, other in self._text_pairs(union):
                union.join(one, other)
        if photos:
            for one, other in self._photo_pairs():
                union.join(one, other)
        return union.groups()

    def groups_as_of(self, early: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(n,) groups of all listings, where later ones never join two early groups into one.

        What comes later may be found to repeat something early, and must not change what was known early.

        Args:
            early: (n,) which listings are early.
        """
        groups = self.groups()
        places = np.flatnonzero(early)
        joined = groups.copy()
        joined[places] = places[self._among(places).groups()]
        first_early = dict(zip(groups[places][::-1].tolist(), joined[places][::-1].tolist(), strict=True))
        for place in np.flatnonzero(~early).tolist():
            joined[place] = first_early.get(int(groups[place]), int(groups[place]))
        return joined

    def _among(self, places: NDArray[np.int64]) -> "DuplicateFinder":
        """The same signatures, of the listings at `places` alone."""
        new = {place: i for i, place in enumerate(places.tolist())}
        found = DuplicateFinder(self._limits)
        found._texts = [self._texts[place] for place in places.tolist()]
        kept = [i for i, owner in enumerate(self._photo_owner) if owner in new]
        found._photo_owner = [new[self._photo_owner[i]] for i in kept]
        found._photo_hash = [self._photo_hash[i] for i in kept]
        found._photo_digest = [self._photo_digest[i] for i in kept]
        return found

    def _text_pairs(self, union: "_Union") -> Iterator[tuple[int, int]]:
        first: dict[bytes, int] = {}
        buckets: defaultdict[bytes, list[int]] = defaultdict(list)
        for place, text in enumerate(self._texts):
            if text is None:
                continue
            earliest = first.setdefault(text.words.digest, place)
            if earliest != place:
                yield earliest, place
                continue
            candidates = sorted({other for band in text.bands for other in buckets[band][-_BUCKET:]})
            for other in candidates:
                if union.find(other) != union.find(place) and self._same(text, other):
                    yield other, place
            for band in text.bands:
                buckets[band].append(place)

    def _same(self, text: _Text, place: int) -> bool:
        other = self._texts[place]
        return other is not None and same_text(text.words, other.words)

    def _photo_pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of listings with a photo in common, those with a placeholder left out."""
        union = _Union(len(self._photo_owner))
        first: dict[bytes, int] = {}
        for place, digest in enumerate(self._photo_digest):
            union.join(first.setdefault(digest, place), place)
        for one, other in _near(self._photo_hash, sorted(first.values())):
            union.join(one, other)
        members: defaultdict[int, list[int]] = defaultdict(list)
        for owner, group in zip(self._photo_owner, union.groups().tolist(), strict=True):
            if not members[group] or members[group][-1] != owner:
                members[group].append(owner)
        for owners in members.values():
            if len(owners) <= _MAX_SHARED:
                yield from ((owners[0], owner) for owner in owners[1:])


def duplicate_groups(listings: Iterable[Listing], limits: Settings) -> NDArray[np.int64]:
    """(n,) group of near duplicates of each listing: the place of its earliest member."""
    finder = DuplicateFinder(limits)
    for listing in listings:
        finder.add(listing)
    return finder.groups()


def _signature(listing: Listing) -> _Text | None:
    words = word_print(listing.title, listing.text)
    return None if words is None else _Text(words, words.bands(_BANDS, _BAND))


def _near(hashes: list[bytes], places: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs of places whose hashes differ in at most `_SAME_PHOTO` bits.

    The bits are cut into pieces, and hashes that agree in a whole piece are compared: always the case within
    20 differing bits, and in 997 of 1,000 cases with 28.
    """
    places = [place for place in places if hashes[place]]
    if not places:
        return
    bits = np.unpackbits(np.frombuffer(b"".join(hashes[place] for place in places), np.uint8)).reshape(
        -1, BITS
    )
    packed = np.packbits(bits, axis=1)
    for piece in np.array_split(np.arange(BITS), _PIECES):
        keys = bits[:, piece] @ (1 << np.arange(len(piece), dtype=np.int64))
        order = np.argsort(keys, kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            yield from ((places[a], places[b]) for a, b in _close(packed, run))


def _close(packed: NDArray[np.uint8], run: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Pairs within a bucket that are near; each is compared with the `_BUCKET` before it."""
    for end in range(1, len(run)):
        before = run[max(0, end - 4 * _BUCKET) : end]
        distances = np.bitwise_count(packed[before] ^ packed[run[end]]).sum(axis=1)
        yield from ((int(other), int(run[end])) for other in before[distances <= _SAME_PHOTO])


class _Union:
    """Disjoint sets whose root is their smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self._parent[high] = low

    def groups(self) -> NDArray[np.int64]:
        return np.array([self.find(place) for place in range(len(self._parent))], dtype=np.int64)

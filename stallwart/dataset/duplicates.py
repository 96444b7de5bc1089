"""Listings -> groups of near duplicates: nearly the same words, or nearly the same photo.

Works over a stream and keeps signatures of one to two kilobytes for each listing, not its content. Candidates
come from buckets (Broder 1997, MinHash; Indyk and Motwani 1998, LSH; a pigeonhole over the bits of photo
hashes), and every pair is verified by its Jaccard similarity or Hamming distance before it is joined.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zlib import crc32

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stallwart.content.photo import PhotoError, decode_photo
from stallwart.content.text import normalise
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings

Hashes = NDArray[np.uint32]

# Shop software marks a copy this way; the marks would outweigh a short title.
_COPY_MARK = re.compile(r"\(\s*(?:clone|copy)\s*\)")
_NO_WORD = re.compile(r"[\W_]+")
_NAMES = re.compile(r"[^\W\d_]{2,}")
_SHINGLE = 5  # characters
_TITLE_SHINGLE = 3
_MAX_HASHES = 256  # of a text's shingles are kept, the smallest: exact for short texts, an estimate for long
_MIN_TEXT = 12  # characters; shorter texts are joined only where they are equal
_BANDS, _BAND = 19, 5  # a pair of similarity 0.75 meets with probability 0.994, one of 0.3 with 0.05
_SAME_TEXT = 0.75
_NEARLY_EQUAL = 0.9  # above it a differing word is a misspelt one
_SAME_WORDS = 0.8  # of words without digits: amounts may differ, what is sold may not
_SAME_TITLE = 0.65  # names differ in a catalogue whose descriptions all follow one template
_BUCKET = 64  # latest members of a bucket that are compared, so that a template costs linear time
_PHOTO_BITS = 256
_SAME_PHOTO = 28  # bits; photos of different things differ in about 128, resized ones in up to 25
_PIECES = 21
_FLAT = 6.0  # standard deviation of grey levels below which a hash is noise
_MAX_SHARED = 20  # listings; a photo in more of them is a placeholder or a banner and joins nothing


@dataclass(frozen=True, slots=True)
class _Text:
    """What is kept of a text: digest, hashed shingles and words, its title's shingles, its buckets."""

    digest: bytes
    shingles: Hashes
    words: Hashes
    title: Hashes
    bands: tuple[bytes, ...]


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
            self._photo_hash.append(_photo_hash(photo, self._limits))
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
            earliest = first.setdefault(text.digest, place)
            if earliest != place:
                yield earliest, place
                continue
            candidates = sorted({other for band in text.bands for other in buckets[band][-_BUCKET:]})
            for other in candidates:
                if union.find(other) != union.find(place) and _same_text(text, self._texts[other]):
                    yield other, place
            for band in text.bands:
                buckets[band].append(place)

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
    text = _words(listing.text)
    if not text:
        return None
    shingles = _shingles(text, _SHINGLE) if len(text) >= _MIN_TEXT else np.zeros(0, np.uint32)
    return _Text(
        digest=hashlib.blake2b(text.encode(), digest_size=12).digest(),
        shingles=shingles[:_MAX_HASHES],
        words=np.unique(np.array([crc32(word.encode()) for word in _NAMES.findall(text)], np.uint32))[
            :_MAX_HASHES
        ],
        title=_shingles(_words(listing.title or ""), _TITLE_SHINGLE)[:_MAX_HASHES],
        bands=_bands(shingles),
    )


def _words(text: str) -> str:
    """Normalised words with one space between them; signs alone are kept where there is nothing else."""
    plain = normalise(text)
    return _NO_WORD.sub(" ", _COPY_MARK.sub(" ", plain)).strip() or plain


def _shingles(text: str, size: int) -> Hashes:
    """Sorted distinct 32 bit hashes of all runs of `size` characters; none where the text is shorter."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="replace"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < size:
        return np.zeros(0, np.uint32)
    rolling = np.zeros(len(codes) - size + 1, np.uint64)
    for offset in range(size):
        rolling = (rolling + codes[offset : offset + len(rolling)]) * np.uint64(0x9E3779B97F4A7C15)
        rolling ^= rolling >> np.uint64(29)
    return np.unique((rolling >> np.uint64(32)).astype(np.uint32))


# One multiply-shift hash function for each place of the signature; fixed, so that runs agree.
_MULTIPLIERS = (
    np.random.default_rng(1).integers(1, 1 << 63, size=(_BANDS * _BAND, 1), dtype=np.uint64) * 2 + 1
)


def _bands(shingles: Hashes) -> tuple[bytes, ...]:
    """The buckets of a set of shingles: one for each band of its MinHash signature."""
    if not len(shingles):
        return ()
    minima = np.concatenate(
        [
            (_MULTIPLIERS * part.astype(np.uint64) >> np.uint64(32)).min(axis=1, keepdims=True)
            for part in np.array_split(shingles, 1 + len(shingles) // 4096)
        ],
        axis=1,
    ).min(axis=1)
    return tuple(
        hashlib.blake2b(bytes([band]) + row.tobytes(), digest_size=8).digest()
        for band, row in enumerate(minima.reshape(_BANDS, _BAND))
    )


def _same_text(one: _Text, other: _Text | None) -> bool:
    if other is None or (likeness := _jaccard(one.shingles, other.shingles)) < _SAME_TEXT:
        return False
    if likeness < _NEARLY_EQUAL and _jaccard(one.words, other.words) < _SAME_WORDS:
        return (
            False  # another thing in the same phrases: "lamp in good condition", "kettle in good condition"
        )
    if not len(one.title) or not len(other.title):
        return True
    return _jaccard(one.title, other.title) >= _SAME_TITLE


def _jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard similarity of two sets by their smallest hashes; exact where the sets are small."""
    if not len(one) or not len(other):
        return 0.0
    union = np.union1d(one, other)[:_MAX_HASHES]
    common = np.intersect1d(one, other, assume_unique=True)
    return float(np.searchsorted(common, union[-1], side="right") / len(union))


def _photo_hash(photo: bytes, limits: Settings) -> bytes:
    """32 bytes of perceptual hash (DCT signs); b"" where the photo is flat or does not decode."""
    try:
        pixels = decode_photo(photo, limits.max_photo_bytes, limits.max_photo_pixels, min_side=128)
    except PhotoError:
        return b""
    grey = Image.fromarray(pixels).convert("L").resize((64, 64), Image.Resampling.LANCZOS)
    if np.asarray(grey, dtype=np.float64).std() < _FLAT:
        return b""
    return np.packbits(imagehash.phash(grey, hash_size=16).hash).tobytes()


def _near(hashes: list[bytes], places: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs of places whose hashes differ in at most `_SAME_PHOTO` bits.

    The bits are cut into pieces, and hashes that agree in a whole piece are compared: always the case within
    20 differing bits, and in 997 of 1,000 cases with 28.
    """
    places = [place for place in places if hashes[place]]
    if not places:
        return
    bits = np.unpackbits(np.frombuffer(b"".join(hashes[place] for place in places), np.uint8)).reshape(
        -1, _PHOTO_BITS
    )
    packed = np.packbits(bits, axis=1)
    for piece in np.array_split(np.arange(_PHOTO_BITS), _PIECES):
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

"""A revision's content -> its fingerprint, and how near two fingerprints are. Pure.

Words meet in buckets of four minima each (8 bands; two texts of similarity 0.75 share one with probability
0.95, of 0.3 with 0.06) and in one of all their words. Photos meet in the four quarters of their coarse hash;
a look also asks for quarters that differ in one bit, so that all within seven bits are found (multi-index
hashing: Norouzi, Punjani and Fleet 2012, arXiv 1307.2982).
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from stallwart.content.photoprint import PhotoPrint, differing_bits, photo_print
from stallwart.content.wordprint import MINIMA, WordPrint, word_print
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.store.fingerprints import Fingerprint

_BANDS, _BAND = 8, 4
_QUARTERS, _QUARTER_BITS = 4, 16
_LOW = 256  # values of a minimum's low byte


def fingerprint_of(revision: str, listing: Listing, limits: Settings) -> Fingerprint:
    """The fingerprint of one revision; without words and photos it has no buckets.

    Args:
        revision: its digest.
        listing: its content; a photo that is flat or does not decode has no hash.
        limits: bounds on words and photos.
    """
    words, photos = prints_of(listing, limits)
    keys = [*word_keys(words), *(key for one in photos for key in photo_keys(one.coarse))]
    return Fingerprint(
        revision=revision,
        listing_id=listing.listing_id,
        words=signature(words),
        photos=tuple(photo_bytes(one) for one in photos),
        keys=tuple(dict.fromkeys(keys)),
    )


def prints_of(listing: Listing, limits: Settings) -> tuple[WordPrint | None, list[PhotoPrint]]:
    """What is hashed of a listing: its words, and each photo that has a hash."""
    words = word_print(listing.title, listing.text[: limits.max_text_chars])
    prints = (
        photo_print(photo, limits.max_photo_bytes, limits.max_photo_pixels)
        for photo in listing.photos[: limits.max_photos]
    )
    return words, [one for one in prints if one is not None]


def signature(words: WordPrint | None) -> bytes | None:
    """95 bytes that estimate how alike two texts are; None of a text that is too short for it."""
    return None if words is None or not len(words.minima) else words.minima.astype(np.uint8).tobytes()


def word_keys(words: WordPrint | None) -> list[int]:
    """The buckets of a text: the first is of all its words."""
    if words is None:
        return []
    return [_key(b"w" + words.digest), *(_key(b"b" + band) for band in words.bands(_BANDS, _BAND))]


def photo_keys(coarse: int) -> list[int]:
    """The four buckets of a photo."""
    return [_quarter_key(place, value) for place, value in enumerate(_quarters(coarse))]


def photo_probes(coarse: int) -> list[int]:
    """The 68 buckets in which photos within seven bits are."""
    return [
        _quarter_key(place, value ^ flip)
        for place, value in enumerate(_quarters(coarse))
        for flip in (0, *(1 << bit for bit in range(_QUARTER_BITS)))
    ]


def photo_bytes(one: PhotoPrint) -> bytes:
    """40 bytes: the coarse hash and the fine one."""
    return one.coarse.to_bytes(8, "big") + one.fine


def coarse_of(photo: bytes) -> int:
    """The coarse hash in 40 bytes of a photo."""
    return int.from_bytes(photo[:8], "big")


def photo_distance(one: Sequence[bytes], other: Sequence[bytes]) -> int | None:
    """In how many of 256 bits the two photos differ that are nearest; None where a side has none."""
    return min((differing_bits(a[8:], b[8:]) for a in one for b in other), default=None)


def estimated_likeness(one: bytes | None, other: bytes | None) -> float:
    """Jaccard similarity of two texts in [0, 1] by their signatures; within about 0.05 of the real one."""
    if one is None or other is None:
        return 0.0
    same = int(np.count_nonzero(np.frombuffer(one, np.uint8) == np.frombuffer(other, np.uint8)))
    # Of minima that differ, one in 256 has the same low byte
    return max(0.0, (same / MINIMA - 1 / _LOW) / (1 - 1 / _LOW))


def _quarters(coarse: int) -> list[int]:
    return [(coarse >> (_QUARTER_BITS * place)) & 0xFFFF for place in range(_QUARTERS)]


def _quarter_key(place: int, value: int) -> int:
    return _key(b"p" + bytes([place]) + value.to_bytes(2, "big"))


def _key(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)

"""A photo's bytes -> perceptual hashes, which differ in few bits where photos look nearly the same.

Signs of the low frequencies of the grey photo (pHash): 256 bits tell photos apart, and 64 of the lowest
frequencies find them. Knows nothing of listings and tables.
"""

from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

from stallwart.content.photo import PhotoError, decode_photo

BITS = 256
"""Bits of the fine hash."""
_FLAT = 6.0  # standard deviation of grey levels below which a hash is noise
_MIN_SIDE = 128  # of the decoded photo


@dataclass(frozen=True, slots=True)
class PhotoPrint:
    """Two hashes of one photo.

    Attributes:
        fine: 32 bytes; photos of different things differ in about 128 bits, resized ones in up to 25.
        coarse: 64 bits, in [0, 2**64).
    """

    fine: bytes
    coarse: int


def photo_print(photo: bytes, max_bytes: int, max_pixels: int) -> PhotoPrint | None:
    """The hashes of a photo; None where it is flat or does not decode.

    Args:
        photo: encoded.
        max_bytes: bound on its bytes.
        max_pixels: bound on its pixels.
    """
    grey = _grey(photo, max_bytes, max_pixels)
    if grey is None:
        return None
    coarse = np.packbits(imagehash.phash(grey, hash_size=8).hash).tobytes()
    return PhotoPrint(_fine(grey), int.from_bytes(coarse, "big"))


def fine_hash(photo: bytes, max_bytes: int, max_pixels: int) -> bytes:
    """32 bytes of the fine hash alone; b"" where the photo is flat or does not decode."""
    grey = _grey(photo, max_bytes, max_pixels)
    return b"" if grey is None else _fine(grey)


def differing_bits(one: bytes, other: bytes) -> int:
    """In how many bits two hashes of the same length differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def _grey(photo: bytes, max_bytes: int, max_pixels: int) -> Image.Image | None:
    try:
        pixels = decode_photo(photo, max_bytes, max_pixels, min_side=_MIN_SIDE)
    except PhotoError:
        return None
    grey = Image.fromarray(pixels).convert("L").resize((64, 64), Image.Resampling.LANCZOS)
    return None if np.asarray(grey, dtype=np.float64).std() < _FLAT else grey


def _fine(grey: Image.Image) -> bytes:
    return np.packbits(imagehash.phash(grey, hash_size=16).hash).tobytes()

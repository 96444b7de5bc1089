"""Embedded listings -> what a sketch keeps of them: short vectors and a few facts."""

from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

from stallwart.content.photo import PhotoError, decode_photo, photo_size
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.encoders.embed import Embedded, Embedder
from stallwart.index.sketch import WIDTH, Projector

_SCRIPTS = {
    "LATIN": "latin",
    "CYRILLIC": "cyrillic",
    "GREEK": "greek",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
}
_COLOUR_SIDE = 64  # pixels are enough to see whether a photo has colour


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is kept of a listing; no content.

    Attributes:
        text: (WIDTH,) float32 of length 1, zeros without words.
        photo: (WIDTH,) float32 of length 1, zeros without photos.
        language: as the market states it, or `script:` and the script of most letters; "" without words.
        parts: letters of what is there: t(itle), d(escription), p(hoto).
        size: the first photo's shape and longer side in powers of two, as `wide 1024`; "" without one.
        colour: mean difference of a pixel's strongest and weakest channel, in [0, 1]; None without a photo.
    """

    text: NDArray[np.float32]
    photo: NDArray[np.float32]
    language: str
    parts: str
    size: str
    colour: float | None


class Reader:
    """Makes sketches with the encoders of one bundle."""

    def __init__(self, embedder: Embedder, settings: Settings) -> None:
        self._settings = settings
        self._text, self._photo = Projector(embedder.text.spec), Projector(embedder.photo.spec)

    def read(self, embedded: Embedded) -> Sketch:
        """The sketch of a listing with its embeddings."""
        listing = embedded.listing
        text, photo = np.zeros((2, WIDTH), dtype=np.float32)
        if embedded.text is not None:
            text = self._text.rows(embedded.text[None])[0]
        if len(embedded.photos):
            photo = self._photo.rows(embedded.photos.mean(axis=0, keepdims=True))[0]
        size, colour = self._look(listing)
        return Sketch(text, photo, language_or_script(listing), parts(listing), size, colour)

    def _look(self, listing: Listing) -> tuple[str, float | None]:
        for photo in listing.photos[:1]:
            limits = (self._settings.max_photo_bytes, self._settings.max_photo_pixels)
            try:
                width, height = photo_size(photo, *limits)
                pixels = decode_photo(photo, *limits, _COLOUR_SIDE).astype(np.int16)
            except PhotoError:
                return "unreadable", None
            return size_name(width, height), float(np.ptp(pixels, axis=2).mean() / 255)
        return "", None


def parts(listing: Listing) -> str:
    """Letters of what a listing has, as `tdp`; `none` where it has nothing."""
    there = (("t", listing.title), ("d", listing.description), ("p", listing.photos))
    return "".join(letter for letter, part in there if part) or "none"


def size_name(width: int, height: int) -> str:
    """A photo's shape and its longer side, rounded down to a power of two."""
    longer, ratio = max(width, height, 1), width / max(height, 1)
    shape = "wide" if ratio > 1.1 else "tall" if ratio < 1 / 1.1 else "square"
    return f"{shape} {2 ** int(log2(longer))}"


def language_or_script(listing: Listing) -> str:
    """The language that the market states, or the script of most letters; "" without words."""
    if listing.language:
        return listing.language[:20].lower()
    text = listing.text[:2_000]
    if not text:
        return ""
    import unicodedata

    counts: dict[str, int] = {}
    for letter in text:
        if letter.isalpha():
            kind = unicodedata.name(letter, "OTHER").split(" ")[0]
            counts[kind] = counts.get(kind, 0) + 1
    if not counts:
        return "script:none"
    most = max(counts, key=lambda kind: counts[kind])
    return f"script:{_SCRIPTS.get(most, 'other')}"

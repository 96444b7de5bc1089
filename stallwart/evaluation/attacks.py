"""What sellers do to a listing so that a model does not see it: one function for each attack, of a strength.

A strength is in [0, 1]: for words the share of the longer words that are changed, for photos how far the
change goes. What is drawn depends on the seed and the listing's id alone. Attacks are measured and never
trained on: what training makes of listings is its own (`training/disguise.py`).
"""

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from stallwart.core.listing import Listing
from stallwart.dataset.wordlist import Wordlist

_WORD = re.compile(r"[^\W\d_]{4,}")
_ALIKE = str.maketrans("aceopxyiABCEHKMOPTX", "асеорхуіАВСЕНКМОРТХ")
_DIGITS = str.maketrans("oieastOIEAST", "013457013457")
_SEPARATORS = ".-_* "
_INVISIBLE = ("\u200b", "\u200d", "\u2060", "\u00ad")
_QUALITY = 90  # of photos that are written again; an attack on quality goes below
_LARGEST = 1024  # pixels of a side: what a photo is attacked at

TextAttack = Callable[[str, np.random.Generator], str]
PhotoAttack = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _alike(word: str, _: np.random.Generator) -> str:
    return word.translate(_ALIKE)


def _digits(word: str, _: np.random.Generator) -> str:
    return word[0] + word[1:].translate(_DIGITS)


def _separated(word: str, random: np.random.Generator) -> str:
    return _SEPARATORS[int(random.integers(len(_SEPARATORS)))].join(word)


def _hidden(word: str, random: np.random.Generator) -> str:
    place = int(random.integers(1, len(word)))
    return word[:place] + _INVISIBLE[int(random.integers(len(_INVISIBLE)))] + word[place:]


def _misspelt(word: str, random: np.random.Generator) -> str:
    place = int(random.integers(1, len(word) - 1))
    kind = int(random.integers(3))
    if kind == 0:
        return word[:place] + word[place + 1 :]
    if kind == 1:
        return word[:place] + word[place] + word[place:]
    return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]


TEXT: dict[str, TextAttack] = {
    "look-alike letters": _alike,
    "digits for letters": _digits,
    "separators": _separated,
    "invisible characters": _hidden,
    "misspelling": _misspelt,
}


def _cropped(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    keep = 1 - 0.6 * strength
    width, height = (max(1, round(side * keep)) for side in image.size)
    left = int(random.integers(image.width - width + 1))
    top = int(random.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _mirrored(image: Image.Image, _strength: float, _random: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _bordered(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    colour = tuple(int(value) for value in random.integers(256, size=3))
    return ImageOps.expand(image, round(0.5 * strength * max(image.size)), colour)


def _overlaid(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    made = image.copy()
    draw = ImageDraw.Draw(made)
    for _ in range(3):
        width, height = (max(1, round(0.5 * strength * side)) for side in image.size)
        left, top = int(random.integers(image.width)), int(random.integers(image.height))
        colour = tuple(int(value) for value in random.integers(256, size=3))
        draw.rectangle((left, top, left + width, top + height), colour)
    return made


def _compressed(image: Image.Image, strength: float, _: np.random.Generator) -> Image.Image:
    held = io.BytesIO()
    image.save(held, "JPEG", quality=max(3, round(_QUALITY - 87 * strength)))
    return Image.open(io.BytesIO(held.getvalue())).convert("RGB")


def _shifted(image: Image.Image, strength: float, random: np.random.Generator) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turn = round(127 * strength * random.choice([-1, 1]))
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    turned = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return ImageEnhance.Brightness(turned).enhance(1 - 0.4 * strength)


PHOTO: dict[str, PhotoAttack] = {
    "crop": _cropped,
    "mirror": _mirrored,
    "border": _bordered,
    "overlay": _overlaid,
    "re-compression": _compressed,
    "colour shift": _shifted,
}
MOVED = "text moved into the photo"
"""The words leave the text, as large a share as the strength, and stand on the photo."""
SLANG = "slang"
"""Terms are replaced by their other names, as large a share of those found as the strength."""
WORDS = (*TEXT, SLANG)
"""Attacks on words that leave them in the text: what the rule speaks of."""
ATTACKS = (*WORDS, MOVED, *PHOTO)
NO_WORDS = Wordlist()


def attacked(
    listing: Listing, attack: str, strength: float, seed: int, words: Wordlist = NO_WORDS
) -> Listing:
    """The listing under one attack; the same object where there is nothing to attack.

    Args:
        listing: as published.
        attack: one of `ATTACKS`.
        strength: in [0, 1]; 0 changes nothing.
        seed: of what is drawn, with the listing's id.
        words: terms and their other names, for `SLANG`.
    """
    digest = hashlib.sha256(f"{seed} {attack} {listing.listing_id}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    if not strength:
        return listing
    if attack == SLANG:
        return _reworded(listing, lambda text: words.with_slang(text, strength, random))
    if attack in TEXT:
        return _reworded(listing, lambda text: _words(text, TEXT[attack], strength, random))
    if attack == MOVED:
        return _moved(listing, strength)
    return _photos(listing, lambda image: PHOTO[attack](image, strength, random))


def _reworded(listing: Listing, change: Callable[[str], str]) -> Listing:
    title, description = (text and change(text) for text in (listing.title, listing.description))
    return replace(listing, title=title, description=description)


def _words(text: str, change: TextAttack, strength: float, random: np.random.Generator) -> str:
    def changed(match: re.Match[str]) -> str:
        return change(match.group(), random) if random.random() < strength else match.group()

    return _WORD.sub(changed, text)


def _moved(listing: Listing, strength: float) -> Listing:
    words = listing.text.split()
    if not words or not listing.photos:
        return listing
    count = max(1, round(strength * len(words)))
    said, left = words[:count], " ".join(words[count:])
    made = _photos(replace(listing, photos=listing.photos[:1]), lambda image: _written(image, said))
    return replace(made, title=left or None, description=None, photos=made.photos + listing.photos[1:])


def _written(image: Image.Image, words: list[str]) -> Image.Image:
    made, lines = image.copy(), [" ".join(words[at : at + 4]) for at in range(0, min(len(words), 32), 4)]
    size = max(10, made.height // 12)
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, 0, made.width, size * (len(lines) + 1)), "white")
    for number, line in enumerate(lines):
        draw.text((4, size * number + 2), line, "black", font_size=size)
    return made


def _photos(listing: Listing, change: Callable[[Image.Image], Image.Image]) -> Listing:
    """The listing with its photos changed; one that does not decode stays as it is."""
    made = []
    for photo in listing.photos:
        try:
            with Image.open(io.BytesIO(photo)) as opened:
                image = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            made.append(photo)
            continue
        image.thumbnail((_LARGEST, _LARGEST))
        held = io.BytesIO()
        change(image).save(held, "JPEG", quality=_QUALITY)
        made.append(held.getvalue())
    return replace(listing, photos=tuple(made))

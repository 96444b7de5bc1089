"""A listing's words -> what tells near duplicates: hashed runs of characters, MinHash, and how alike two are.

Broder 1997, "On the resemblance and containment of documents": the share of equal minima estimates the
Jaccard similarity of two sets of shingles. Knows nothing of listings and tables.
"""

import hashlib
import re
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from stallwart.content.text import normalise

Hashes = NDArray[np.uint32]

MINIMA = 95
"""Hash functions of a signature."""
# Shop software marks a copy this way; the marks would outweigh a short title.
_COPY_MARK = re.compile(r"\(\s*(?:clone|copy)\s*\)")
_NO_WORD = re.compile(r"[\W_]+")
_NAMES = re.compile(r"[^\W\d_]{2,}")
_SHINGLE = 5  # characters
_TITLE_SHINGLE = 3
_MAX_HASHES = 256  # of a text's shingles are kept, the smallest: exact for short texts, an estimate for long
_MIN_TEXT = 12  # characters; shorter texts are alike only where they are equal
_SAME_TEXT = 0.75
_NEARLY_EQUAL = 0.9  # above it a differing word is a misspelt one
_SAME_WORDS = 0.8  # of words without digits: amounts may differ, what is sold may not
_SAME_TITLE = 0.65  # names differ in a catalogue whose descriptions all follow one template
# One multiply-shift hash function for each minimum; fixed, so that runs and stored signatures agree.
_MULTIPLIERS = np.random.default_rng(1).integers(1, 1 << 63, size=(MINIMA, 1), dtype=np.uint64) * 2 + 1


@dataclass(frozen=True, slots=True)
class WordPrint:
    """What is kept of a text.

    Attributes:
        digest: 12 bytes, of its normalised words: equal where those are.
        shingles: sorted hashes of its runs of five characters, at most 256; none of a very short text.
        words: sorted hashes of its words without digits, at most 256.
        title: sorted hashes of its title's runs of three characters, at most 256.
        minima: (95,) MinHash signature; empty where there are no shingles.
    """

    digest: bytes
    shingles: Hashes
    words: Hashes
    title: Hashes
    minima: Hashes

    def bands(self, count: int, rows: int) -> list[bytes]:
        """The buckets of its signature: `count` times 8 bytes, each of `rows` minima; none without them."""
        if not len(self.minima):
            return []
        cut = self.minima[: count * rows].astype(np.uint64).reshape(count, rows)
        return [
            hashlib.blake2b(bytes([band]) + row.tobytes(), digest_size=8).digest()
            for band, row in enumerate(cut)
        ]


def word_print(title: str | None, text: str) -> WordPrint | None:
    """What is kept of a listing's words; None where there are none.

    Args:
        title: the title alone.
        text: all words, the title among them.
    """
    plain = plain_words(text)
    if not plain:
        return None
    shingles = _shingles(plain, _SHINGLE) if len(plain) >= _MIN_TEXT else np.zeros(0, np.uint32)
    names = np.array([crc32(word.encode()) for word in _NAMES.findall(plain)], np.uint32)
    return WordPrint(
        digest=hashlib.blake2b(plain.encode(), digest_size=12).digest(),
        shingles=shingles[:_MAX_HASHES],
        words=np.unique(names)[:_MAX_HASHES],
        title=_shingles(plain_words(title or ""), _TITLE_SHINGLE)[:_MAX_HASHES],
        minima=_minima(shingles),
    )


def plain_words(text: str) -> str:
    """Normalised words with one space between them; signs alone are kept where there is nothing else."""
    plain = normalise(text)
    return _NO_WORD.sub(" ", _COPY_MARK.sub(" ", plain)).strip() or plain


def likeness(one: WordPrint, other: WordPrint) -> float:
    """Jaccard similarity of two texts in [0, 1]: exact for short ones, 1 where words are equal."""
    return 1.0 if one.digest == other.digest else _jaccard(one.shingles, other.shingles)


def same_text(one: WordPrint, other: WordPrint) -> bool:
    """Whether two texts are near duplicates: the same thing in nearly the same words."""
    alike = _jaccard(one.shingles, other.shingles)
    if alike < _SAME_TEXT:
        return False
    if alike < _NEARLY_EQUAL and _jaccard(one.words, other.words) < _SAME_WORDS:
        return (
            False  # another thing in the same phrases: "lamp in good condition", "kettle in good condition"
        )
    if not len(one.title) or not len(other.title):
        return True
    return _jaccard(one.title, other.title) >= _SAME_TITLE


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


def _minima(shingles: Hashes) -> Hashes:
    """(95,) the smallest value of each hash function over a set; empty for the empty set."""
    if not len(shingles):
        return np.zeros(0, np.uint32)
    minima = np.concatenate(
        [
            (_MULTIPLIERS * part.astype(np.uint64) >> np.uint64(32)).min(axis=1, keepdims=True)
            for part in np.array_split(shingles, 1 + len(shingles) // 4096)
        ],
        axis=1,
    ).min(axis=1)
    return np.asarray(minima, dtype=np.uint32)


def _jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard similarity of two sets by their smallest hashes; exact where the sets are small."""
    if not len(one) or not len(other):
        return 0.0
    union = np.union1d(one, other)[:_MAX_HASHES]
    common = np.intersect1d(one, other, assume_unique=True)
    return float(np.searchsorted(common, union[-1], side="right") / len(union))

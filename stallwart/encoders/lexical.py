"""Words as they are written: hashed word and character n-grams beside the embeddings.

Names, slang and brands decide many cases that a sentence encoder blurs. The text is read twice, as written
and normalised against evasion, so that the second view adds and never replaces. Hashing needs no vocabulary,
so nothing of the training texts is stored in a bundle.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from stallwart.content.text import normalise

BUCKETS = 2**17  # for words and for characters each
MAX_CHARS = 2000  # of a text that are read; later ones repeat what the first said, and cost linearly
_RECENT = 64  # texts
VERSION = "words 1-2 and characters 2-5, as written and normalised, 2**17 buckets each"


class Lexicon:
    """Texts -> sparse rows of n-grams; stateless, the same in training and when scoring."""

    width = 2 * BUCKETS

    def __init__(self) -> None:
        # It takes more than a second to load, and most commands never ask for n-grams
        from sklearn.feature_extraction.text import HashingVectorizer

        shared = {
            "n_features": BUCKETS,
            "norm": None,
            "alternate_sign": False,
            "binary": True,
            "lowercase": False,
        }
        self._words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
        self._characters = HashingVectorizer(ngram_range=(2, 5), analyzer="char_wb", **shared)
        self._recent = lru_cache(_RECENT)(self._row)

    def rows(self, texts: Iterable[str]) -> csr_matrix:
        """(n, width) sparse float32 ones where a text holds an n-gram; empty without words."""
        views = [_both_views(text) for text in texts]
        if not views:  # which the hashing does not take
            return csr_matrix((0, self.width), dtype=np.float32)
        joined = hstack([self._words.transform(views), self._characters.transform(views)], format="csr")
        joined.sort_indices()
        return joined.astype(np.float32)

    def row(self, text: str) -> NDArray[np.int64]:
        """(m,) numbers of the buckets that one text fills, ascending; bucket 0 without words. Read only.

        The last few are remembered: two bundles that read the same listing need them once.
        """
        return self._recent(text[:MAX_CHARS])

    def _row(self, text: str) -> NDArray[np.int64]:
        one = self.rows([text])
        found = one.indices.astype(np.int64) if one.nnz else np.zeros(1, dtype=np.int64)
        found.flags.writeable = False
        return found


def _both_views(text: str) -> str:
    text = text[:MAX_CHARS].encode(errors="replace").decode()  # half characters cannot be hashed
    plain = text.casefold()
    normal = normalise(text)
    if normal == plain:
        return plain
    # Only what the normalised view says anew: an honest text must not count twice
    known = set(plain.split())
    return f"{plain} {' '.join(word for word in normal.split() if word not in known)}"

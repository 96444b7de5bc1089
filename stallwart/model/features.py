"""Embedded listings as arrays in memory: what heads are fitted on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from stallwart.core.listing import Listing
from stallwart.encoders.embed import Embedded, Embedder
from stallwart.encoders.lexical import Lexicon


@dataclass(frozen=True)
class Features:
    """n listings as numbers, without their content.

    Attributes:
        text: (n, d_text) float32; zeros where there are no words.
        has_text: (n,) bool.
        photos: (m, d_photo) float32, all photos of all listings.
        starts: (n + 1,) int64; listing i owns photos[starts[i]:starts[i + 1]].
        words: (n, width) sparse float32 n-grams.
    """

    text: NDArray[np.float32]
    has_text: NDArray[np.bool_]
    photos: NDArray[np.float32]
    starts: NDArray[np.int64]
    words: csr_matrix

    def __len__(self) -> int:
        return len(self.text)

    @property
    def n_photos(self) -> NDArray[np.int64]:
        """(n,) photos of each listing."""
        return np.diff(self.starts)

    @property
    def has_photo(self) -> NDArray[np.bool_]:
        """(n,) whether a listing has a photo."""
        return self.n_photos > 0

    def mean_photo(self) -> NDArray[np.float32]:
        """(n, d_photo) mean of each listing's photos; zeros where it has none."""
        sums = np.zeros((len(self), self.photos.shape[1]), dtype=np.float32)
        owner = np.repeat(np.arange(len(self)), self.n_photos)
        np.add.at(sums, owner, self.photos)
        counts = np.maximum(self.n_photos, 1).astype(np.float32)
        return np.asarray(sums / counts[:, None], dtype=np.float32)

    def followed_by(self, other: "Features") -> "Features":
        """These listings, then the other ones."""
        return Features(
            np.concatenate([self.text, other.text]),
            np.concatenate([self.has_text, other.has_text]),
            np.concatenate([self.photos, other.photos]),
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            vstack([self.words, other.words], format="csr"),
        )

    def without_photos(self) -> "Features":
        """The same listings with every photo taken away."""
        return Features(self.text, self.has_text, self.photos[:0], np.zeros_like(self.starts), self.words)

    def without_text(self) -> "Features":
        """The same listings with every word taken away."""
        nothing = csr_matrix(self.words.shape, dtype=np.float32)
        return Features(
            np.zeros_like(self.text), np.zeros_like(self.has_text), self.photos, self.starts, nothing
        )

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Features":
        """The listings that a mask or index array selects, in its order."""
        index = np.flatnonzero(which) if which.dtype == np.bool_ else which
        counts = self.n_photos[index]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        # Photo j of the new listing i stands at starts_old[index[i]] + j
        offsets = np.repeat(self.starts[index] - starts[:-1], counts) + np.arange(starts[-1])
        return Features(
            self.text[index], self.has_text[index], self.photos[offsets], starts, self.words[index]
        )


def title_only(listings: Sequence[Listing], features: Features, embedder: Embedder) -> Features:
    """The same listings and photos with the title as the only text, where there is a description to drop.

    Listings without both have no words in this view; `has_text` says which have.
    """
    both = [bool(one.title and one.description and one.title.strip() != one.text) for one in listings]
    titles = [Listing(one.listing_id, one.title) for one, has in zip(listings, both, strict=True) if has]
    text = np.zeros_like(features.text)
    for place, embedded in zip(np.flatnonzero(both).tolist(), embedder.embed(titles), strict=True):
        text[place] = embedded.text
    words = Lexicon().rows(one.title or "" if has else "" for one, has in zip(listings, both, strict=True))
    return Features(text, np.array(both, dtype=bool), features.photos, features.starts, words)


def collect(embedded: Iterable[Embedded], d_text: int, d_photo: int) -> tuple[list[Listing], Features]:
    """Listings (their photos dropped, so that memory holds numbers only) and their features.

    Memory grows by some 6 kB a listing: 4 * (d_text + d_photo) bytes and the n-grams.
    """
    lexicon, listings, texts, photos = Lexicon(), [], [], []
    has_text, counts = [], []
    for one in embedded:
        light = one.listing
        listings.append(
            Listing(
                light.listing_id,
                light.title,
                light.description,
                (),
                light.seller_id,
                light.listed_at,
                light.price,
                light.language,
            )
        )
        has_text.append(one.text is not None)
        texts.append(one.text if one.text is not None else np.zeros(d_text, dtype=np.float32))
        photos.append(one.photos)
        counts.append(len(one.photos))
    features = Features(
        text=np.stack(texts) if texts else np.empty((0, d_text), dtype=np.float32),
        has_text=np.array(has_text, dtype=bool),
        photos=np.concatenate(photos) if photos else np.empty((0, d_photo), dtype=np.float32),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        words=lexicon.rows(listing.text for listing in listings),
    )
    return listings, features

"""Known violations, and which of them a listing is nearest to.

Exact cosine similarity over a matrix in memory: some thousands of violations take a millisecond, and exact
needs no tuning. An approximate index earns its place from about a million entries.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbour:
    """A known violation near a listing.

    Attributes:
        listing_id: whose it is.
        policy: what it broke.
        similarity: cosine in [-1, 1]; of text and photo, the larger.
        by: which part is alike, "text" or "photo".
    """

    listing_id: str
    policy: str
    similarity: float
    by: str


@dataclass(frozen=True)
class KnownViolations:
    """m violations with their embeddings.

    Attributes:
        listing_ids: (m,) str.
        policies: (m,) str.
        text: (m, d_text) float16 of length 1; a row of zeros where there are no words.
        photo: (m, d_photo) float16 of length 1; a row of zeros where there is no photo.
    """

    listing_ids: NDArray[np.str_]
    policies: NDArray[np.str_]
    text: NDArray[np.float16]
    photo: NDArray[np.float16]

    def nearest(
        self,
        text: NDArray[np.float32] | None,
        photos: NDArray[np.float32],
        count: int = 3,
        but: str = "",
    ) -> list[Neighbour]:
        """The `count` most similar violations, most similar first, leaving out the listing called `but`.

        Args:
            text: (d_text,) or None.
            photos: (p, d_photo), p >= 0; the most similar of them speaks.
            count: how many at most.
            but: a listing id that is not its own neighbour.
        """
        if not len(self.listing_ids):
            return []
        by_text = np.full(len(self.listing_ids), -1.0, dtype=np.float32)
        by_photo = by_text.copy()
        if text is not None:
            by_text = self.text.astype(np.float32) @ unit_rows(text[None])[0]
        if len(photos):
            by_photo = (self.photo.astype(np.float32) @ unit_rows(photos).T).max(axis=1)
        best = np.where(self.listing_ids == but, -1.0, np.maximum(by_text, by_photo))
        order = np.lexsort((self.listing_ids, -best))[:count]
        return [
            Neighbour(
                str(self.listing_ids[i]),
                str(self.policies[i]),
                round(float(best[i]), 4),
                "text" if by_text[i] >= by_photo[i] else "photo",
            )
            for i in order
            if best[i] > 0
        ]


def unit_rows(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d) rows scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(lengths, 1e-12), dtype=np.float32)

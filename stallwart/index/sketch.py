"""Short vectors of listings, and how far a listing lies from what a bundle was trained on.

A sketch is a fixed random projection of an embedding, scaled to length 1: 64 numbers keep the cosine of two
embeddings within some 0.1 (Johnson and Lindenstrauss), in a sixth to a twentieth of the room. The projection
depends on the encoder alone, so that sketches that a bundle carries and those of live listings can be
compared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.encoders.spec import EncoderSpec
from stallwart.index.nearest import unit_rows

WIDTH = 64


class Projector:
    """Embeddings of one encoder -> sketches."""

    def __init__(self, spec: EncoderSpec) -> None:
        rng = np.random.default_rng(int.from_bytes(spec.digest[:8], "big"))
        square, _ = np.linalg.qr(rng.standard_normal((spec.d, min(WIDTH, spec.d))))
        self._matrix = np.zeros((spec.d, WIDTH), dtype=np.float32)
        self._matrix[:, : square.shape[1]] = square

    def rows(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, WIDTH) of length 1 from (n, d); a row of zeros stays one."""
        return unit_rows(np.asarray(embeddings @ self._matrix, dtype=np.float32))


@dataclass(frozen=True)
class Seen:
    """Sketches of m listings of a training part.

    Attributes:
        text: (m, WIDTH) float16 of length 1; a row of zeros where there are no words.
        photo: (m, WIDTH) float16 of length 1; a row of zeros where there is no photo.
    """

    text: NDArray[np.float16]
    photo: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.text)

    def distances(
        self, text: NDArray[np.float32], photo: NDArray[np.float32], neighbours: int = 3
    ) -> NDArray[np.float64]:
        """(n,) how unlike the training part listings are: 0 is a repeat, 1 has nothing in common with any.

        Of each part that a listing has, one minus the mean cosine to its nearest neighbours; the mean of both
        parts. NaN where a listing has neither, or nothing was seen.

        Args:
            text: (n, WIDTH); rows of zeros where there are no words.
            photo: (n, WIDTH); rows of zeros where there is no photo.
            neighbours: how many speak, >= 1.
        """
        parts = np.stack([_apart(text, self.text, neighbours), _apart(photo, self.photo, neighbours)], axis=1)
        there = ~np.isnan(parts)
        counts = there.sum(axis=1)
        sums = np.where(there, parts, 0.0).sum(axis=1)
        return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))


def _apart(rows: NDArray[np.float32], known: NDArray[np.float16], neighbours: int) -> NDArray[np.float64]:
    there = np.any(known != 0, axis=1)
    full = known[there].astype(np.float32)
    k = min(neighbours, len(full))
    apart = np.full(len(rows), np.nan)
    mine = np.flatnonzero(np.any(rows != 0, axis=1))
    if not k:
        return apart
    for start in range(0, len(mine), 1_024):
        some = mine[start : start + 1_024]
        nearest = np.partition(rows[some] @ full.T, -k, axis=1)[:, -k:]
        apart[some] = 1.0 - nearest.mean(axis=1)
    return apart

"""Sketched listings as columns: what the detectors of drift and novelty compute on. No content."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT_PER_DAY = 5
"""Listings of one seller on one day that count: what a seller uploads in one go says one thing many times."""


@dataclass(frozen=True)
class Sample:
    """n listings in the order of time; every array has n entries.

    Attributes:
        decision_ids: str.
        at_ms: int64, when each was decided, milliseconds since 1970.
        text: (n, WIDTH) float32 sketches of words; zeros where there are none.
        photo: (n, WIDTH) float32 sketches of photos; zeros where there are none.
        language: str, as the market states it, or the script of the words.
        parts: str, which of title, description and photo are there.
        size: str, the first photo's size and shape in steps; "" without one.
        colour: float64 in [0, 1], how colourful the first photo is; NaN without one.
        scores: (n, k) float64 probabilities; NaN where nothing was scored.
        stands_for: float64, of how many listings each was drawn.
        policies: the k columns of `scores`.
    """

    decision_ids: NDArray[np.str_]
    at_ms: NDArray[np.int64]
    text: NDArray[np.float32]
    photo: NDArray[np.float32]
    language: NDArray[np.str_]
    parts: NDArray[np.str_]
    size: NDArray[np.str_]
    colour: NDArray[np.float64]
    scores: NDArray[np.float64]
    stands_for: NDArray[np.float64]
    policies: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.decision_ids)

    def __getitem__(self, which: Any) -> "Sample":
        """The listings that a mask, slice or index array selects, in its order."""
        columns = [field.name for field in fields(self) if field.name != "policies"]
        return replace(self, **{name: getattr(self, name)[which] for name in columns})

    @property
    def has_text(self) -> NDArray[np.bool_]:
        """(n,) whether a listing has words."""
        return np.asarray(np.any(self.text != 0, axis=1))

    @property
    def has_photo(self) -> NDArray[np.bool_]:
        """(n,) whether a listing has a photo."""
        return np.asarray(np.any(self.photo != 0, axis=1))

"""Labelled listings with their scores, as columns; calibration, certificates and evaluation read them."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stallwart.core.taxonomy import Taxonomy


@dataclass(frozen=True)
class Rows:
    """n labelled listings without their content; every array has n entries in the same order.

    Attributes:
        listing_ids: str.
        labels: int64, column in `Taxonomy.labels`; 0 is neutral, and in a comparison -1 is a policy outside.
        listed_at: datetime64[ms], UTC.
        labelled_at: datetime64[ms], UTC; the time of `listed_at` where unknown.
        groups: int64, near duplicates share a number.
        sellers: str; "" where unknown.
        languages: str; "" where unknown.
        has_text: bool, the listing has words.
        has_photo: bool, the listing has a photo that decodes.
    """

    listing_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    listed_at: NDArray[np.datetime64]
    labelled_at: NDArray[np.datetime64]
    groups: NDArray[np.int64]
    sellers: NDArray[np.str_]
    languages: NDArray[np.str_]
    has_text: NDArray[np.bool_]
    has_photo: NDArray[np.bool_]

    def __post_init__(self) -> None:
        sizes = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"columns differ in length: {sizes}")

    def __len__(self) -> int:
        return len(self.listing_ids)

    def __getitem__(self, which: Any) -> "Rows":
        """The rows that a mask, slice or index array selects, in its order."""
        return replace(self, **{field.name: getattr(self, field.name)[which] for field in fields(self)})

    @property
    def months(self) -> NDArray[np.str_]:
        """(n,) month of `listed_at` as "2025-09"."""
        return np.datetime_as_string(self.listed_at.astype("datetime64[M]")).astype(np.str_)


@dataclass(frozen=True)
class Scored:
    """Rows with the probability that each policy is broken.

    Attributes:
        rows: the n listings.
        scores: (n, k) float64 in [0, 1], columns as `taxonomy.ids`; independent, need not sum to 1.
        taxonomy: the k policies.
    """

    rows: Rows
    scores: NDArray[np.float64]
    taxonomy: Taxonomy

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.rows), len(self.taxonomy.ids)):
            raise ValueError(
                f"scores are {self.scores.shape}, expected {(len(self.rows), len(self.taxonomy.ids))}"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> "Scored":
        """The rows that a mask, slice or index array selects, with their scores."""
        return replace(self, rows=self.rows[which], scores=self.scores[which])

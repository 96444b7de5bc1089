"""Listings and labels -> columns without content, as the split, calibration and evaluation read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import DataError
from stallwart.core.listing import Label, Listing
from stallwart.core.scored import Rows
from stallwart.core.taxonomy import Taxonomy


@dataclass
class RowsBuilder:
    """Collects what `Rows` needs from a stream of listings, without their content.

    Attributes:
        taxonomy: the labels' columns.
        labels: listing id -> label; a listing without one is counted and not taken.
        unlabelled: how many listings had no label.
        undated: how many had a label and no `listed_at`, and were not taken either.
    """

    taxonomy: Taxonomy
    labels: Mapping[str, Label]
    unlabelled: int = 0
    undated: int = 0
    _taken: list[tuple[str, int, datetime, datetime, str, str, bool, bool]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._taken)

    def add(self, listing: Listing) -> bool:
        """Whether the listing was taken; it needs a label and a time."""
        label = self.labels.get(listing.listing_id)
        if label is None:
            self.unlabelled += 1
            return False
        if listing.listed_at is None:
            self.undated += 1
            return False
        self._taken.append(
            (
                listing.listing_id,
                self.taxonomy.labels.index(label.label),
                listing.listed_at,
                label.labelled_at or listing.listed_at,
                listing.seller_id or "",
                listing.language or "",
                bool(listing.text),
                bool(listing.photos),
            )
        )
        return True

    def rows(self, groups: NDArray[np.int64]) -> Rows:
        """The n listings taken, in order.

        Args:
            groups: (n,) near-duplicate group of each, as `DuplicateFinder.groups` gives it.

        Raises:
            DataError: no listing was taken.
        """
        if not self._taken:
            raise DataError(
                f"no listing has both a label and a date ({self.unlabelled:,} have no label, "
                f"{self.undated:,} no date); check that --labels belongs to these listings and that "
                "--columns names the right columns"
            )
        ids, labels, listed, labelled, sellers, languages, has_text, has_photo = zip(
            *self._taken, strict=True
        )
        return Rows(
            listing_ids=np.array(ids, dtype=np.str_),
            labels=np.array(labels, dtype=np.int64),
            listed_at=_times(listed),
            labelled_at=_times(labelled),
            groups=groups,
            sellers=np.array(sellers, dtype=np.str_),
            languages=np.array(languages, dtype=np.str_),
            has_text=np.array(has_text, dtype=np.bool_),
            has_photo=np.array(has_photo, dtype=np.bool_),
        )


def as_known(rows: Rows, labels: Mapping[str, Label], taxonomy: Taxonomy) -> tuple[Rows, NDArray[np.bool_]]:
    """The rows with other labels, such as those of an earlier day, and (n,) whether each has one.

    A row without a label keeps the one it had; the mask says not to use it.
    """
    known = np.array([listing_id in labels for listing_id in rows.listing_ids.tolist()], dtype=np.bool_)
    columns, times = rows.labels.copy(), rows.labelled_at.copy()
    for place in np.flatnonzero(known).tolist():
        label = labels[str(rows.listing_ids[place])]
        columns[place] = taxonomy.labels.index(label.label)
        times[place] = rows.listed_at[place] if label.labelled_at is None else _times((label.labelled_at,))[0]
    return replace(rows, labels=columns, labelled_at=times), known


def _times(times: tuple[datetime, ...]) -> NDArray[np.datetime64]:
    return np.array([int(time.timestamp() * 1000) for time in times], dtype="datetime64[ms]")

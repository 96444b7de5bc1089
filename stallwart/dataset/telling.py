"""How much each field, and whether it is filled, gives away of the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.core.listing import Listing

NEVER_SEEN = ("has seller", "has price", "language")
"""Fields that no model reads."""


@dataclass(frozen=True)
class Telling:
    """How much a field gives away of the label: mutual information over the label's entropy, in [0, 1]."""

    field: str
    share: float
    seen_by_model: bool


def fields_of(listing: Listing) -> dict[str, str]:
    """What each field would tell a model that could see whether it is filled."""
    filled = {
        "title": bool((listing.title or "").strip()),
        "description": bool((listing.description or "").strip()),
        "photo": bool(listing.photos),
    }
    return {
        "parts": " + ".join(name for name, there in filled.items() if there),
        **{f"has {name}": str(there) for name, there in filled.items()},
        "has seller": str(listing.seller_id is not None),
        "has price": str(listing.price is not None),
        "language": listing.language or "",
        "length of text": str(len(listing.text).bit_length()),
    }


def find_telling(fields: Mapping[str, Sequence[str]], labels: NDArray[np.int64]) -> list[Telling]:
    """What each field gives away, the most telling first.

    Args:
        fields: name -> its n values.
        labels: (n,) label columns.
    """
    telling = [
        Telling(name, _information(values, labels), name not in NEVER_SEEN) for name, values in fields.items()
    ]
    return sorted(telling, key=lambda one: (-one.share, one.field))


def _information(values: Sequence[str], labels: NDArray[np.int64]) -> float:
    """Mutual information of a field and the label over the label's entropy; 0 where there is one label."""
    _, codes = np.unique(np.array(values), return_inverse=True)
    joint = np.zeros((codes.max() + 1, labels.max() + 1))
    np.add.at(joint, (codes, labels), 1 / len(labels))
    entropy = _entropy(joint.sum(axis=0))
    if entropy == 0:
        return 0.0
    return max(0.0, (entropy + _entropy(joint.sum(axis=1)) - _entropy(joint.ravel())) / entropy)


def _entropy(shares: NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())

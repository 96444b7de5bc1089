"""Examples of a new policy and what it is told apart from -> rows that its head is fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stallwart.index.nearest import KnownViolations, unit_rows
from stallwart.model.addon import centred
from stallwart.model.features import Features

Floats = NDArray[np.float64]

EXAMPLE, HARMLESS = -1, 0
_BLANK = 1e-6


@dataclass(frozen=True)
class Against:
    """Rows that do not break the policy.

    Attributes:
        features: listings that nobody called.
        known: violations of other policies; None where there are none.
    """

    features: Features
    known: KnownViolations | None = None


@dataclass(frozen=True)
class Rows:
    """Examples and rows against them as the head reads them: centred, zero where a part is missing.

    Attributes:
        text, photo: (n, d_text) and (n, d_photo).
        has_text: (n,) bool.
        kind: (n,) int64; -1 is an example, 0 a listing that nobody called, from 1 the other policies.
    """

    text: Floats
    photo: Floats
    has_text: NDArray[np.bool_]
    kind: NDArray[np.int64]

    def __getitem__(self, which: NDArray[np.bool_]) -> "Rows":
        return Rows(self.text[which], self.photo[which], self.has_text[which], self.kind[which])

    @property
    def yes(self) -> NDArray[np.bool_]:
        """(n,) whether it is an example."""
        return np.asarray(self.kind == EXAMPLE)


@dataclass(frozen=True)
class Means:
    """(d_text,) and (d_photo,) middle of the listings that nobody called, each scaled to length 1."""

    text: Floats
    photo: Floats


def only(features: Features, policies: Sequence[str], known: KnownViolations, but: str) -> Against:
    """Listings that nobody called, and the known violations of some policies but one."""
    kept = np.isin(known.policies, [name for name in policies if name != but])
    chosen = replace(
        known,
        listing_ids=known.listing_ids[kept],
        policies=known.policies[kept],
        text=known.text[kept],
        photo=known.photo[kept],
    )
    return Against(features, chosen)


def gathered(examples: Features, against: Against) -> tuple[Means, Rows]:
    """All rows, examples first, centred on the listings that nobody called."""
    middle = Means(*(_mean(part) for part in _parts(against.features)))
    text, photo = zip(*(_parts(one) for one in (examples, against.features)), strict=True)
    kind = [np.full(len(examples), EXAMPLE), np.full(len(against.features), HARMLESS)]
    if (known := against.known) is not None and len(known.policies):
        text, photo = (*text, known.text.astype(np.float32)), (*photo, known.photo.astype(np.float32))
        kind.append(1 + np.unique(known.policies, return_inverse=True)[1])
    return middle, rows_of(np.concatenate(text), np.concatenate(photo), np.concatenate(kind), middle)


def rows_of(
    text: NDArray[np.float32], photo: NDArray[np.float32], kind: NDArray[np.int64], means: Means
) -> Rows:
    """Rows of embeddings, (n, d_text) and (n, d_photo); one of zeros is a part that is missing."""
    has_text, has_photo = (np.abs(part).sum(axis=1) > _BLANK for part in (text, photo))
    return Rows(
        centred(unit_rows(text), means.text) * has_text[:, None],
        centred(unit_rows(photo), means.photo) * has_photo[:, None],
        has_text,
        kind.astype(np.int64),
    )


def _parts(features: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return features.text * features.has_text[:, None], features.mean_photo()


def _mean(part: NDArray[np.float32]) -> Floats:
    has = np.abs(part).sum(axis=1) > _BLANK
    if not has.any():
        return np.zeros(part.shape[1])
    return np.asarray(unit_rows(part[has]).astype(np.float64).mean(axis=0))

"""The errors worth reading: the highest scores without a violation, and the lowest with one.

Scores and labels pick them; what they look like comes from a `Witness`. Thumbnails are re-encoded, so that
nothing of a listing's file but its pixels reaches the page.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stallwart.content.photo import PhotoError, decode_photo
from stallwart.core.listing import Listing
from stallwart.core.scored import Scored

FALSE_CALL, MISS = "scored high without breaking it", "breaks it and scored low"
_EXCERPT = 420
_THUMBNAIL = 160
_MAX_PHOTO_BYTES, _MAX_PHOTO_PIXELS = 20_000_000, 60_000_000


@dataclass(frozen=True)
class Witness:
    """Where the content behind an error comes from.

    Attributes:
        content: listings by id for some ids; an id that is missing is shown without content.
        words: words and their weight for one listing and policy id, the weightiest first; None where there is
            no such evidence.
    """

    content: Callable[[Sequence[str]], Mapping[str, Listing]]
    words: Callable[[Listing, str], Sequence[tuple[str, float]]] | None = None


@dataclass(frozen=True)
class WorstError:
    """One listing that a policy got wrong.

    Attributes:
        policy: id of the policy whose score it is.
        kind: `FALSE_CALL` or `MISS`.
        listing_id: whose.
        label: what enforcement said.
        score: in [0, 1].
        month: when it was listed.
        excerpt: the beginning of its text; "" where it has none or its content is not at hand.
        thumbnail: JPEG bytes, longer side at most 160 px, or None.
        words: words and their weight, the weightiest first.
    """

    policy: str
    kind: str
    listing_id: str
    label: str
    score: float
    month: str
    excerpt: str = ""
    thumbnail: bytes | None = None
    words: tuple[tuple[str, float], ...] = ()


def worst_errors(scored: Scored, witness: Witness | None, each: int = 4) -> tuple[WorstError, ...]:
    """Up to `each` false calls and misses of each policy, one for each group of near duplicates."""
    picked = list(_pick(scored, each))
    ids = [str(scored.rows.listing_ids[row]) for _, _, row in picked]
    known = witness.content(sorted(set(ids))) if witness else {}
    months = scored.rows.months
    errors = []
    for (column, kind, row), listing_id in zip(picked, ids, strict=True):
        policy = scored.taxonomy.ids[column]
        listing = known.get(listing_id)
        words = witness.words(listing, policy) if witness and witness.words and listing else ()
        errors.append(
            WorstError(
                policy=policy,
                kind=kind,
                listing_id=listing_id,
                label=scored.taxonomy.labels[scored.rows.labels[row]],
                score=float(scored.scores[row, column]),
                month=str(months[row]),
                excerpt=_cut(listing.text) if listing else "",
                thumbnail=thumbnail(listing.photos[0]) if listing and listing.photos else None,
                words=tuple((str(word), float(weight)) for word, weight in words),
            )
        )
    return tuple(errors)


def _pick(scored: Scored, each: int) -> Iterator[tuple[int, str, int]]:
    """Column, kind and row of every error to show."""
    for column in range(len(scored.taxonomy.ids)):
        scores, positive = scored.scores[:, column], scored.rows.labels == column + 1
        if not positive.any():
            continue
        for kind, rows in (
            (FALSE_CALL, np.flatnonzero(~positive)[np.argsort(-scores[~positive], kind="stable")]),
            (MISS, np.flatnonzero(positive)[np.argsort(scores[positive], kind="stable")]),
        ):
            _, first = np.unique(scored.rows.groups[rows], return_index=True)
            for row in rows[np.sort(first)[:each]]:
                yield column, kind, int(row)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1].rstrip() + "…"


def thumbnail(photo: bytes) -> bytes | None:
    """The photo as a JPEG with its longer side at most 160 px; None where it does not decode."""
    try:
        image = Image.fromarray(decode_photo(photo, _MAX_PHOTO_BYTES, _MAX_PHOTO_PIXELS, min_side=_THUMBNAIL))
    except PhotoError:
        return None
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return file.getvalue()

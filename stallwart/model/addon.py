"""An add-on: one policy's own head, beside a bundle, over the embeddings and n-grams that the bundle makes.

    addon.json   format, the policy, its encoders, head, calibration and card, and a digest over all of it

It is one JSON file, so that nothing is unpickled and everybody can read what decides. It is no part of a
bundle and changes none: the bundle's graph runs as before, and this score is computed after it. It fits every
bundle with the same encoders, so that a promotion does not take a new policy away.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stallwart.core.errors import BundleError
from stallwart.core.taxonomy import Policy
from stallwart.encoders.lexical import VERSION, Lexicon
from stallwart.encoders.spec import read_spec
from stallwart.index.nearest import unit_rows
from stallwart.store.files import whole_file

FORMAT = 1
FILE = "addon.json"
_TINY = 1e-9


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Voter(_Json):
    """One linear member of a head; it speaks where a part is there that it reads.

    Attributes:
        weight: of its log-odds in the mean over those that speak, > 0.
        bias: log-odds where nothing speaks for or against.
        text: (d_text,) weights of the words' embedding, centred and of length sqrt(d_text); empty for none.
        photo: (d_photo,) the same of a photo; of several photos the one that speaks most for it counts.
        buckets: numbers of n-grams, ascending.
        grams: weights of these; a text's n-grams share a length of 1.
    """

    weight: float = Field(default=1.0, gt=0)
    bias: float
    text: tuple[float, ...] = ()
    photo: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    grams: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "Voter":
        if len(self.buckets) != len(self.grams) or not (self.text or self.photo or self.buckets):
            raise ValueError("a voter reads text, photos or n-grams, with a weight for each")
        if list(self.buckets) != sorted(set(self.buckets)) or not all(
            0 <= bucket < Lexicon.width for bucket in self.buckets
        ):
            raise ValueError(f"buckets must ascend within 0 to {Lexicon.width - 1}")
        return self


class Head(_Json):
    """How a listing's embeddings and n-grams become log-odds.

    Attributes:
        text_mean, photo_mean: (d_text,) and (d_photo,), taken off embeddings that were scaled to length 1.
        voters: one or more.
    """

    text_mean: tuple[float, ...]
    photo_mean: tuple[float, ...]
    voters: tuple[Voter, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> "Head":
        for voter in self.voters:
            if len(voter.text) not in (0, len(self.text_mean)) or len(voter.photo) not in (
                0,
                len(self.photo_mean),
            ):
                raise ValueError("a voter's weights do not fit the embeddings")
        return self

    def log_odds(
        self,
        text: NDArray[np.float32] | None,
        photos: NDArray[np.float32],
        buckets: NDArray[np.int64] | None,
    ) -> float:
        """Of one listing, before calibration; NaN where no voter may speak.

        Args:
            text: (d_text,) of its words; None without any.
            photos: (p, d_photo), p >= 0.
            buckets: (m,) n-grams of its words; None without any.
        """
        words = None if text is None else centred(unit_rows(text[None]), self._text_mean)[0]
        shown = centred(unit_rows(photos), self._photo_mean) if len(photos) else None
        total = weight = 0.0
        for voter, arrays in zip(self.voters, self._arrays, strict=True):
            said = _said(voter, arrays, words, shown, buckets)
            if said is not None:
                total, weight = total + voter.weight * said, weight + voter.weight
        return total / weight if weight else math.nan

    @cached_property
    def _text_mean(self) -> NDArray[np.float64]:
        return np.array(self.text_mean)

    @cached_property
    def _photo_mean(self) -> NDArray[np.float64]:
        return np.array(self.photo_mean)

    @cached_property
    def _arrays(self) -> list["_Arrays"]:
        return [
            _Arrays(
                np.array(one.text), np.array(one.photo), np.array(one.buckets, np.int64), np.array(one.grams)
            )
            for one in self.voters
        ]


@dataclass(frozen=True)
class _Arrays:
    text: NDArray[np.float64]
    photo: NDArray[np.float64]
    buckets: NDArray[np.int64]
    grams: NDArray[np.float64]


def centred(rows: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) rows without the mean, each of length sqrt(d): how odd a row is must not be how loud."""
    moved = rows.astype(np.float64) - mean
    lengths = np.sqrt((moved * moved).sum(axis=1, keepdims=True))
    return np.asarray(moved / np.maximum(lengths, _TINY) * math.sqrt(rows.shape[1]))


def _said(
    voter: Voter,
    arrays: _Arrays,
    words: NDArray[np.float64] | None,
    shown: NDArray[np.float64] | None,
    buckets: NDArray[np.int64] | None,
) -> float | None:
    """Log-odds of one voter, None where nothing that it reads is there."""
    value, speaks = voter.bias, False
    if voter.text and words is not None:
        value, speaks = value + float((arrays.text * words).sum()), True
    if voter.photo and shown is not None:
        value, speaks = value + float((shown * arrays.photo).sum(axis=1).max()), True
    if voter.buckets and buckets is not None:
        found = np.isin(arrays.buckets, buckets)
        value, speaks = value + float(arrays.grams[found].sum()) / math.sqrt(max(len(buckets), 1)), True
    return value if speaks else None


class AddOn(_Json):
    """A policy and its head, as they lie in a file.

    Attributes:
        format: of the file.
        policy: its text, wanted precision and share.
        text, photo: digests of the encoders' facts, in hexadecimal: embeddings of others mean nothing to it.
        lexicon: version of the n-grams.
        head: embeddings -> log-odds.
        slope, intercept: log-odds -> probability at the policy's share, as a bundle's calibration.
        review: probability in [0, 1] from which a listing is a candidate.
        card: how many examples of which kind it was fitted on, and how.
    """

    format: int = FORMAT
    policy: Policy
    text: str
    photo: str
    lexicon: str = VERSION
    head: Head
    slope: float = Field(gt=0)
    intercept: float
    review: float = Field(ge=0, le=1)
    card: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """sha256 over all of it; its name in every decision that it was asked about."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def fits(self, text: str, photo: str) -> bool:
        """Whether embeddings of these encoders, by the digests of their facts, are those it was made for."""
        return (self.text, self.photo, self.lexicon) == (text, photo, VERSION)

    def score(
        self,
        text: NDArray[np.float32] | None,
        photos: NDArray[np.float32],
        buckets: NDArray[np.int64] | None,
    ) -> float:
        """Calibrated probability of one listing in (0, 1); NaN where there is nothing it can read."""
        z = self.slope * self.head.log_odds(text, photos, buckets) + self.intercept
        return 0.5 * (1.0 + math.tanh(0.5 * z))


def encoder_digests(bundle: Path) -> tuple[str, str]:
    """What `AddOn.fits` asks for, of the bundle in a folder.

    Raises:
        BundleError: it has no encoders.
    """
    return read_spec(bundle / "text").digest.hex(), read_spec(bundle / "photo").digest.hex()


def write_addon(addon: AddOn, shelf: Path) -> Path:
    """The add-on's folder on the shelf of bundles, written there where it is not yet; whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    place = shelf / "addons" / addon.digest
    if not (place / FILE).exists():
        with whole_file(place / FILE) as temporary:
            content = {"digest": addon.digest, "addon": addon.model_dump(mode="json")}
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return place


def read_addon(place: Path, digest: str | None = None) -> AddOn:
    """The add-on in a folder, after its digest was checked.

    Args:
        place: the folder.
        digest: that it must have; None takes its own word.

    Raises:
        BundleError: it is none, of a later format, was changed, or is another one.
    """
    path = place / FILE
    try:
        content = json.loads(path.read_bytes())
        addon = AddOn.model_validate(content["addon"])
        named = content["digest"]
    except OSError as err:
        raise BundleError(
            f"{path}: cannot be read ({err.strerror or err}); add the policy again with: stallwart policy add"
        ) from None
    except (ValidationError, ValueError, TypeError, KeyError, RecursionError) as err:
        said = str(err).splitlines()[0]
        raise BundleError(f"{path}: is no add-on ({said}); add the policy again") from None
    if addon.format != FORMAT:
        raise BundleError(f"{path}: has format {addon.format}, this version reads {FORMAT}; add it again")
    if addon.digest != named or digest not in (None, named):
        raise BundleError(f"{path}: was changed since it was written, or is another one; add it again")
    return addon

"""An add-on: one policy's own head, beside a bundle, over the embeddings that the bundle makes.

    addon.json   format, the policy, its encoders, head, calibration and card, and a digest over all of it

It is one JSON file, so that nothing is unpickled and everybody can read what decides. It is no part of a
bundle and changes none: the bundle's graph runs as before, and this score is computed after it. It fits every
bundle with the same encoders, so that a promotion does not take a new policy away.
"""

import hashlib
import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import logsumexp

from stallwart.core.errors import BundleError
from stallwart.core.taxonomy import Policy
from stallwart.encoders.spec import read_spec
from stallwart.index.nearest import unit_rows
from stallwart.store.files import whole_file

FORMAT = 2
FILE = "addon.json"
_TINY = 1e-9


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Linear(_Json):
    """A linear score of both embeddings, each centred and of length sqrt(d); a part that is missing adds 0.

    Attributes:
        bias: the score where both are missing.
        text: (d_text,) weights of the words' embedding.
        photo: (d_photo,) weights of a photo's.
    """

    bias: float
    text: tuple[float, ...]
    photo: tuple[float, ...]


class Head(_Json):
    """How a listing's embeddings become log-odds.

    Attributes:
        text_mean, photo_mean: (d_text,) and (d_photo,), taken off embeddings that were scaled to length 1.
        policy: what speaks for the policy.
        claims: what speaks for each of what was known already: harmless, and the other policies.
        share: of log(sum(exp(claims))) that is taken off, >= 0: what others claim is less likely to be new.
    """

    text_mean: tuple[float, ...]
    photo_mean: tuple[float, ...]
    policy: Linear
    claims: tuple[Linear, ...] = ()
    share: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "Head":
        for one in (self.policy, *self.claims):
            if (len(one.text), len(one.photo)) != (len(self.text_mean), len(self.photo_mean)):
                raise ValueError("the weights do not fit the embeddings")
        return self

    def log_odds(self, text: NDArray[np.float32] | None, photos: NDArray[np.float32]) -> float:
        """Of one listing, before calibration; NaN where there are neither words nor photos.

        Args:
            text: (d_text,) of its words; None without any.
            photos: (p, d_photo), p >= 0; the one that speaks most for the policy counts.
        """
        if text is None and not len(photos):
            return math.nan
        n = max(len(photos), 1)
        words, shown = np.zeros((n, len(self.text_mean))), np.zeros((n, len(self.photo_mean)))
        if text is not None:
            words[:] = centred(unit_rows(text[None]), self._means[0])
        if len(photos):
            shown = centred(unit_rows(photos), self._means[1])
        return float(self.of_rows(words, shown).max())

    def of_rows(self, text: NDArray[np.float64], photo: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) log-odds of rows as `centred` gives them, with zeros for a part that is missing.

        Args:
            text: (n, d_text).
            photo: (n, d_photo).
        """
        bias, of_text, of_photo = self._arrays
        # Not one product of matrices: its last bits would depend on how many rows there are
        said = np.stack(
            [bias + of_text @ words + of_photo @ shown for words, shown in zip(text, photo, strict=True)]
        )
        if not self.claims:
            return np.asarray(said[:, 0])
        return np.asarray(said[:, 0] - self.share * logsumexp(said[:, 1:], axis=1))

    @cached_property
    def _means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.text_mean), np.array(self.photo_mean)

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        """(1 + claims,) biases, and weights of text and photo in as many rows."""
        both = (self.policy, *self.claims)
        return np.array([one.bias for one in both]), *(
            np.array([getattr(one, part) for one in both]) for part in ("text", "photo")
        )


def centred(rows: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) rows without the mean, each of length sqrt(d): how odd a row is must not be how loud."""
    moved = rows.astype(np.float64) - mean
    lengths = np.sqrt((moved * moved).sum(axis=1, keepdims=True))
    return np.asarray(moved / np.maximum(lengths, _TINY) * math.sqrt(rows.shape[1]))


class AddOn(_Json):
    """A policy and its head, as they lie in a file.

    Attributes:
        format: of the file.
        policy: its text, wanted precision and share.
        text, photo: digests of the encoders' facts, in hexadecimal: embeddings of others mean nothing to it.
        head: embeddings -> log-odds.
        slope, intercept: log-odds -> probability at the policy's share, as a bundle's calibration.
        review: probability in [0, 1] from which a listing is a candidate.
        card: how many examples of which kind it was fitted on, and how.
    """

    format: int = FORMAT
    policy: Policy
    text: str
    photo: str
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
        return (self.text, self.photo) == (text, photo)

    def score(self, text: NDArray[np.float32] | None, photos: NDArray[np.float32]) -> float:
        """Calibrated probability of one listing in (0, 1); NaN where there is nothing it can read."""
        z = self.slope * self.head.log_odds(text, photos) + self.intercept
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

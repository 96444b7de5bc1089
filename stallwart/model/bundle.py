"""A bundle: one folder that can score, whole or refused.

    bundle.json         format, digests of all other files, and the bundle's own digest
    taxonomy.json       the policies, in the order of the scores' columns
    text/ photo/        the encoders (`encoders/spec.py`)
    heads.onnx          embeddings and n-grams -> log-odds of each policy
    calibration.json    log-odds -> probability at the live shares, per policy
    thresholds.json     certificates and review thresholds
    seen.npz            sketches of the training part, where there are any (older bundles have none)
    known.npz           violations of the training part: ids, policies, embeddings
    card.json           recipe, data digest, seeds, versions, figures of its making

Nothing in it is ever unpickled: graphs are protobuf, arrays are read with pickle off, the rest is JSON.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stallwart.core.errors import BundleError
from stallwart.core.taxonomy import Taxonomy
from stallwart.decide.decide import Thresholds
from stallwart.encoders.spec import GRAPH, SPEC, TOKENIZER
from stallwart.estimate.certify import Certificate
from stallwart.index.nearest import KnownViolations
from stallwart.index.sketch import Seen
from stallwart.store.files import file_digest

FORMAT = 1
MANIFEST = "bundle.json"
TAXONOMY, HEADS, CALIBRATION = "taxonomy.json", "heads.onnx", "calibration.json"
THRESHOLDS, KNOWN, CARD = "thresholds.json", "known.npz", "card.json"
SEEN = "seen.npz"  # older bundles have none
_REQUIRED = (
    TAXONOMY, HEADS, CALIBRATION, THRESHOLDS, KNOWN, CARD,
    f"text/{GRAPH}", f"text/{SPEC}", f"text/{TOKENIZER}", f"photo/{GRAPH}", f"photo/{SPEC}",
)  # fmt: skip
_CERTIFICATES = TypeAdapter(tuple[Certificate, ...])
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


class Calibration(BaseModel):
    """Log-odds -> probability at the live shares: sigmoid(slope * log_odds + intercept), per policy.

    Platt scaling (1999), fitted on out-of-sample rows weighted to the live shares.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]

    def probabilities(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) in (0, 1) from (n, k) log-odds."""
        z = log_odds * np.array(self.slopes) + np.array(self.intercepts)
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))  # the sigmoid, without overflow


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    files: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked.

    Attributes:
        folder: where it lies.
        digest: sha256 over the names and digests of all its files; its name in every decision.
        taxonomy: the k policies.
        calibration: of the k columns.
        certificates: one for each policy, granted or not.
        unseen_sellers: the same on unseen sellers alone, where there were any; for the report.
        review: review threshold of each policy.
        card: what made it.
    """

    folder: Path
    digest: str
    taxonomy: Taxonomy
    calibration: Calibration
    certificates: tuple[Certificate, ...]
    unseen_sellers: tuple[Certificate, ...]
    review: dict[str, float]
    card: dict[str, Any]

    @property
    def thresholds(self) -> Thresholds:
        """From which score each policy acts, and from which it asks for a person."""
        act = {c.policy: c.threshold for c in self.certificates if c.certified and c.threshold is not None}
        return Thresholds(act=act, review=self.review)

    @cached_property
    def known(self) -> KnownViolations:
        """The violations that it was trained on."""
        path = self.folder / KNOWN
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return KnownViolations(**{name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, TypeError, EOFError, BadZipFile) as err:
            raise BundleError(f"{path}: holds no known violations ({err}); train it again") from None

    @cached_property
    def seen(self) -> Seen | None:
        """Sketches of what it was trained on; None where it carries none."""
        path = self.folder / SEEN
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return Seen(**{name: arrays[name] for name in arrays.files})
        except (OSError, ValueError, TypeError, EOFError, BadZipFile) as err:
            raise BundleError(f"{path}: holds no sketches ({err}); train it again") from None


def seal(folder: Path) -> str:
    """Write the manifest of a folder that holds all parts of a bundle; returns the bundle's digest."""
    files = {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = _Manifest(format=FORMAT, digest=_digest(files), files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    return manifest.digest


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, after every digest was checked.

    Raises:
        BundleError: it is no bundle, of a later format, incomplete, or a file is not what was sealed.
    """
    manifest = _read_manifest(folder)
    for name, digest in manifest.files.items():
        path = folder / name
        if not _PLAIN_PATH.fullmatch(name) or not path.is_file():
            raise BundleError(f"{folder}: {name} is missing; copy the bundle again, whole")
        if file_digest(path) != digest:
            raise BundleError(f"{path}: was changed or cut short since it was written; copy the bundle again")
    if manifest.digest != _digest(manifest.files):
        raise BundleError(f"{folder / MANIFEST}: does not match its own digest; copy the bundle again")
    if absent := [name for name in _REQUIRED if name not in manifest.files]:
        raise BundleError(f"{folder}: lacks {', '.join(absent)}; train it again")
    try:
        thresholds = json.loads((folder / THRESHOLDS).read_bytes())
        bundle = Bundle(
            folder=folder,
            digest=manifest.digest,
            taxonomy=Taxonomy.model_validate_json((folder / TAXONOMY).read_bytes()),
            calibration=Calibration.model_validate_json((folder / CALIBRATION).read_bytes()),
            certificates=_CERTIFICATES.validate_python(thresholds["certificates"]),
            unseen_sellers=_CERTIFICATES.validate_python(thresholds["unseen_sellers"]),
            review={str(name): float(value) for name, value in thresholds["review"].items()},
            card=json.loads((folder / CARD).read_bytes()),
        )
    except (ValidationError, ValueError, TypeError, KeyError, RecursionError) as err:
        raise BundleError(
            f"{folder}: was made by another version of Stallwart ({err}); train it again"
        ) from None
    _check_fits(bundle)
    return bundle


def _check_fits(bundle: Bundle) -> None:
    """Every policy has its calibration, its certificate and a review threshold that is a number."""
    ids, calibration = bundle.taxonomy.ids, bundle.calibration
    fits = {
        CALIBRATION: len(calibration.slopes) == len(calibration.intercepts) == len(ids),
        THRESHOLDS: tuple(certificate.policy for certificate in bundle.certificates) == ids
        and set(bundle.review) == set(ids)
        and bool(np.all(np.isfinite(list(bundle.review.values())))),
    }
    for name, fine in fits.items():
        if not fine:
            raise BundleError(f"{bundle.folder / name}: does not fit the taxonomy's policies; train it again")


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: is no bundle ({MANIFEST} is missing); make one with: stallwart train")
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise BundleError(
                f"{path}: has format {content.get('format')!r}, this version reads {FORMAT}; train it again"
            )
        return _Manifest.model_validate(content)
    except (OSError, ValueError, RecursionError) as err:
        raise BundleError(
            f"{path}: cannot be read ({str(err).splitlines()[0]}); copy the bundle again"
        ) from None


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()

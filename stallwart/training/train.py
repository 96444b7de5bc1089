"""Sources and a recipe -> a bundle: the whole of `stallwart train`."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Scored
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.decide.decide import review_threshold
from stallwart.encoders.embed import Embedder
from stallwart.encoders.export import export_graph
from stallwart.encoders.spec import read_spec
from stallwart.estimate.certify import Certificate, certify_all
from stallwart.index.nearest import unit_rows
from stallwart.index.sketch import Projector
from stallwart.model import bundle as parts
from stallwart.model.bundle import Bundle, Calibration, read_bundle, seal
from stallwart.model.material import Material, Sources
from stallwart.store.files import whole_folder
from stallwart.training.fit import macro_average_precision
from stallwart.training.members import Ensemble
from stallwart.training.origins import (
    Fitted,
    calibrated,
    fit_origins,
    plan,
    run_folder,
    unseen_seller_rows,
    versions,
)
from stallwart.training.prepare import prepare
from stallwart.training.quantise import quantise_encoders
from stallwart.training.recipe import Recipe

LEAST_POSITIVES = 20  # a policy with fewer in the scored part does not count in the average that choices use


_SEEN = 8_000  # sketches of the training part that a bundle carries; 256 bytes each


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        bundle: as it was written and read again.
        origins: macro average precision of each origin on the rows it scored, with the policies counted.
        roles: examples of each role that the final ensemble was fitted on.
        skipped: what was left out of the files, by reason.
        int8: what 8-bit encoders cost (see `Quantised`); None where they were not asked for.
    """

    bundle: Bundle
    origins: dict[str, dict[str, float]]
    roles: dict[str, int]
    skipped: dict[str, int]
    int8: dict[str, float] | None = None


def train(
    sources: Sources,
    recipe: Recipe,
    out: Path,
    settings: Settings,
    certify: bool = True,
    track: Track = silent,
    int8: bool = False,
) -> Trained:
    """A bundle in `out`, with a certificate for each policy, granted or not.

    A run that was interrupted goes on where it stopped: embeddings and fitted members are kept under
    `settings.cache_dir` until the bundle is written.

    Args:
        sources: listings, labels and dates.
        recipe: all choices.
        out: folder of the bundle; replaced if it is there.
        settings: limits.
        certify: fit rolling origins and certify thresholds; without, nothing may act alone.
        track: shows how far it is.
        int8: ship the encoders in 8 bits, and measure what that costs.

    Raises:
        ConfigError: an encoder cannot be had, a folder cannot be written, or `out` holds something else.
        DataError: the listings or labels cannot be used.
    """
    _check_replaceable(out)
    prepared = prepare(sources, recipe, settings, track)
    material, embedder, text, photo = (
        prepared.material,
        prepared.embedder,
        prepared.text,
        prepared.photo,
    )
    if not (material.rows.labels[material.split.train] > 0).any():
        left_out = ", ".join(
            f"{n:,} {kind}: {reason}" for (kind, reason), n in material.rejects.counts.items()
        )
        raise DataError(
            f"no listing before {material.split.train_until} breaks a policy, so there is nothing to learn"
            f" (left out: {left_out or 'nothing'}); check --labels, --policies and the dates"
        )
    work = run_folder(settings.cache_dir, recipe, material, sources.taxonomy)
    origins = plan(material, prepared.first_origin_months, rolling=certify)
    fitted = fit_origins(material, recipe, sources.taxonomy, origins, work, track, prepared.copies)
    rolling, final, calibration = calibrated(fitted, material, sources.taxonomy)
    certificates = _certificates(rolling, final, recipe, certify)
    unseen: tuple[Certificate, ...] = ()
    if certify:
        mask = unseen_seller_rows(fitted, material.rows)
        unseen = tuple(certify_all(rolling, recipe.certification.confidence, mask).values())
    figures = _origin_figures(fitted, material, sources.taxonomy)
    quantised = None
    if int8:
        folders = (text, photo)
        quantised = quantise_encoders(
            material, sources, fitted[-1].ensemble, folders, work, settings, LEAST_POSITIVES, track
        )
        text, photo = quantised.text, quantised.photo
    cost = None if quantised is None else quantised.cost()
    card = {**_card(sources, recipe, material, fitted[-1], figures), "int8": cost}
    with whole_folder(out) as folder:
        for source, name in ((text, "text"), (photo, "photo")):
            shutil.copytree(source, folder / name)
        _write_heads(fitted[-1].ensemble, embedder, folder)
        _write_tables(folder, sources.taxonomy, calibration, certificates, unseen, recipe, card)
        _write_known(folder, material, sources.taxonomy)
        _write_seen(folder, material)
        seal(folder)
    shutil.rmtree(work, ignore_errors=True)
    skipped = {f"{kind}: {reason}": n for (kind, reason), n in material.rejects.counts.items()}
    return Trained(read_bundle(out), figures, fitted[-1].roles.counts(), skipped, cost)


def _check_replaceable(out: Path) -> None:
    # Before the work and not after it, and never at the cost of a folder that only shares the name
    if out.exists() and not (out.is_dir() and ((out / parts.MANIFEST).is_file() or not any(out.iterdir()))):
        raise ConfigError(f"{out}: holds something that is no bundle; name a new folder with --out")


def _certificates(rolling: Scored, final: Scored, recipe: Recipe, certify: bool) -> tuple[Certificate, ...]:
    if certify:
        return tuple(certify_all(rolling, recipe.certification.confidence, final=final).values())
    # One origin is no evidence of what time does: every threshold stays withheld, and says so
    nothing = rolling[np.zeros(len(rolling), dtype=np.bool_)]
    return tuple(certify_all(nothing, recipe.certification.confidence).values())


def _origin_figures(
    fitted: list[Fitted], material: Material, taxonomy: Taxonomy
) -> dict[str, dict[str, float]]:
    figures = {}
    for one in fitted:
        labels = material.rows.labels[one.origin.score]
        counted = [c for c in range(1, len(taxonomy.labels)) if (labels == c).sum() >= LEAST_POSITIVES]
        figures[one.origin.name] = {
            "macro_average_precision": macro_average_precision(one.log_odds, labels, LEAST_POSITIVES),
            "policies": len(counted),
            "rows": len(labels),
            "positives": int((labels > 0).sum()),
        }
    return figures


def _write_heads(ensemble: Ensemble, embedder: Embedder, folder: Path) -> None:
    d_text, d_photo = embedder.text.spec.d, embedder.photo.spec.d
    example = (
        torch.zeros(1, d_text),
        torch.ones(1, 1),
        torch.zeros(2, d_photo),
        torch.ones(1, 1),
        torch.arange(3),
    )
    inputs = ("text", "has_text", "photos", "has_photo", "buckets")
    export_graph(ensemble, example, folder / parts.HEADS, inputs, {"photos": {0: "p"}, "buckets": {0: "m"}})


def _write_tables(
    folder: Path,
    taxonomy: Taxonomy,
    calibration: Calibration,
    certificates: tuple[Certificate, ...],
    unseen: tuple[Certificate, ...],
    recipe: Recipe,
    card: dict[str, Any],
) -> None:
    costs = recipe.certification
    review = review_threshold(costs.miss_cost, costs.review_cost)
    thresholds = {
        "certificates": [asdict(certificate) for certificate in certificates],
        "unseen_sellers": [asdict(certificate) for certificate in unseen],
        "review": dict.fromkeys(taxonomy.ids, review),
    }
    (folder / parts.TAXONOMY).write_text(taxonomy.model_dump_json(indent=1) + "\n")
    (folder / parts.CALIBRATION).write_text(calibration.model_dump_json(indent=1) + "\n")
    (folder / parts.THRESHOLDS).write_text(json.dumps(thresholds, indent=1) + "\n")
    (folder / parts.CARD).write_text(json.dumps(card, indent=1) + "\n")


def _write_known(folder: Path, material: Material, taxonomy: Taxonomy) -> None:
    places = material.split.train[material.rows.labels[material.split.train] > 0]
    features = material.at(places)
    labels = np.array(taxonomy.labels)
    with (folder / parts.KNOWN).open("wb") as file:
        np.savez(
            file,
            listing_ids=material.rows.listing_ids[places],
            policies=labels[material.rows.labels[places]],
            text=unit_rows(features.text).astype(np.float16),
            photo=unit_rows(features.mean_photo()).astype(np.float16),
        )


def _write_seen(folder: Path, material: Material) -> None:
    """Sketches of the training part, at most so many drawn evenly over time: what is unlike them is new."""
    train = material.split.train
    features = material.at(train[np.unique(np.linspace(0, len(train) - 1, _SEEN).astype(np.int64))])
    text, photo = (Projector(read_spec(folder / name)) for name in ("text", "photo"))
    with (folder / parts.SEEN).open("wb") as file:
        np.savez(
            file,
            text=text.rows(features.text).astype(np.float16),
            photo=photo.rows(features.mean_photo()).astype(np.float16),
        )


def _card(
    sources: Sources,
    recipe: Recipe,
    material: Material,
    final: Fitted,
    figures: dict[str, dict[str, float]],
) -> dict[str, Any]:
    rows, split = material.rows, material.split
    names = sources.taxonomy.labels
    counts = {
        name: dict(Counter(names[label] for label in rows.labels[getattr(split, name)].tolist()))
        for name in ("train", "validation")
    }
    sellers = np.unique(rows.sellers[split.train])
    return {
        "recipe": recipe.model_dump(mode="json"),
        "taxonomy": sources.taxonomy.digest,
        "train_until": str(split.train_until),
        "validate_until": str(split.validate_until),
        "data": {
            "digest": material.digest,
            "rows": {name: len(getattr(split, name)) for name in counts},
            "labels": counts,
            "repeats": len(split.repeats),
            "labelled_too_late": len(split.unknown),
        },
        # Keyed digests would be no safer: who has the listings has the ids
        "sellers": hashlib.sha256("\n".join(sellers.tolist()).encode()).hexdigest(),
        "examples": final.roles.counts(),
        "rolling_origins": figures,
        "versions": versions(),
    }

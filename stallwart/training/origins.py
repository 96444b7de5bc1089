"""Rolling origins: each month scored by an ensemble of earlier months only.

They give calibration and certificates thousands of rows that no model saw, in time order, drift included;
the last origin trains on the whole training part and is the ensemble that ships.
"""

import hashlib
import json
import platform
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from stallwart import __version__
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Rows, Scored
from stallwart.core.taxonomy import Taxonomy
from stallwart.encoders.lexical import VERSION as LEXICON
from stallwart.model.bundle import Calibration
from stallwart.model.material import Material
from stallwart.store.files import file_digest, whole_file
from stallwart.training.augment import Copy
from stallwart.training.calibrate import base_rate_calibration, fit_calibration
from stallwart.training.examples import Roles, choose_examples
from stallwart.training.fit import Examples, ensemble_log_odds, fit_member, readable
from stallwart.training.members import Ensemble, Member, member_arrays, new_member, with_arrays
from stallwart.training.recipe import MemberRecipe, Recipe, WeightsRecipe


@dataclass(frozen=True)
class Origin:
    """One cut in time.

    Attributes:
        name: month that is scored, or "final".
        train: places in the rows that may be trained on.
        score: places in the rows that are scored.
    """

    name: str
    train: NDArray[np.int64]
    score: NDArray[np.int64]


@dataclass(frozen=True)
class Fitted:
    """What one origin came to.

    Attributes:
        origin: the cut.
        ensemble: fitted on its training rows.
        roles: which of them it was fitted on.
        log_odds: (len(origin.score), k) before calibration; rows on which no member speaks are left at the
            lowest.
    """

    origin: Origin
    ensemble: Ensemble
    roles: Roles
    log_odds: NDArray[np.float64]


def plan(material: Material, first_months: int, rolling: bool) -> list[Origin]:
    """The origins in order of time; the final one, which scores the validation part, comes last.

    Args:
        material: split by time.
        first_months: months of training rows before the first that is scored.
        rolling: whether to plan any but the final one.
    """
    rows, split = material.rows, material.split
    origins = []
    months = np.unique(rows.listed_at[split.train].astype("datetime64[M]"))
    for month in months[first_months:] if rolling else []:
        start = month.astype("datetime64[ms]")
        listed, labelled = rows.listed_at[split.train], rows.labelled_at[split.train]
        train = split.train[(listed < start) & (labelled <= start)]
        score = split.train[listed.astype("datetime64[M]") == month]
        # A repeat of anything listed before says nothing new, labelled in time or not
        seen = np.unique(rows.groups[split.train[listed < start]])
        score = score[~np.isin(rows.groups[score], seen)]
        if len(score) and (rows.labels[train] > 0).any():
            origins.append(Origin(str(month), train, score))
    return [*origins, Origin("final", split.train, split.validation)]


def fit_origins(
    material: Material,
    recipe: Recipe,
    taxonomy: Taxonomy,
    origins: list[Origin],
    work: Path,
    track: Track = silent,
    copies: tuple[Copy, ...] = (),
) -> list[Fitted]:
    """All origins fitted in order; a member that an interrupted run finished is taken from `work`.

    Args:
        material: with features of every row that the origins name.
        recipe: members and examples.
        taxonomy: the k policies.
        origins: as `plan` gives them.
        work: folder that belongs to this very run.
        track: shows how far it is.
        copies: changed copies of the material's listings; they are trained on, never scored.
    """
    k = len(taxonomy.ids)
    confusion = np.full(len(material.rows), np.nan)
    fitted: list[Fitted] = []
    jobs = [(origin, which) for origin in origins for which in range(len(recipe.members))]
    members: list[Member] = []
    for origin, which in track(jobs, "training", len(jobs)):
        if which == 0:
            members, roles, examples = [], *_examples(material, recipe, origin, confusion, copies)
        member = recipe.members[which]
        # A market without photos, say, goes on without the members that read nothing else
        for seed in range(member.seeds if readable(member, examples.features).any() else 0):
            members.append(_member(work, member, examples, roles, k, 1000 * recipe.seed + seed))
        if which == len(recipe.members) - 1:
            ensemble = Ensemble(members)
            log_odds = ensemble_log_odds(ensemble, material.at(origin.score))
            log_odds = np.where(np.isnan(log_odds), np.nanmin(log_odds, initial=-30.0), log_odds)
            confusion[origin.score] = log_odds.max(axis=1)
            fitted.append(Fitted(origin, ensemble, roles, log_odds))
    return fitted


def calibrated(
    fitted: list[Fitted], material: Material, taxonomy: Taxonomy
) -> tuple[Scored, Scored, Calibration]:
    """Rolling-origin scores, the final ensemble's scores on validation, and the calibration that ships.

    Each origin is calibrated on the origins before it alone, so that its scores know nothing of its month;
    the first one by its training rows' base rates. The shipped calibration is fitted on all of them.
    """
    shares = np.array([taxonomy.shares[label] for label in taxonomy.labels])
    labels = [material.rows.labels[one.origin.score] for one in fitted]

    def up_to(end: int) -> Calibration:
        return fit_calibration(
            np.concatenate([one.log_odds for one in fitted[:end]]), np.concatenate(labels[:end]), shares
        )

    shipped = up_to(len(fitted))
    first = base_rate_calibration(material.rows.labels[fitted[0].origin.train], shares)
    scores = [(up_to(i) if i else first).probabilities(one.log_odds) for i, one in enumerate(fitted)]
    final = Scored(
        material.rows[fitted[-1].origin.score], shipped.probabilities(fitted[-1].log_odds), taxonomy
    )
    places = np.concatenate([one.origin.score for one in fitted])
    return Scored(material.rows[places], np.concatenate(scores), taxonomy), final, shipped


def unseen_seller_rows(fitted: list[Fitted], rows: Rows) -> NDArray[np.bool_]:
    """(n,) of `calibrated`'s first result: neutral, or by a seller that its origin never saw."""
    masks = []
    for one in fitted:
        known = np.unique(rows.sellers[one.origin.train])
        sellers, labels = rows.sellers[one.origin.score], rows.labels[one.origin.score]
        masks.append((labels == 0) | ((sellers != "") & ~np.isin(sellers, known)))
    return np.concatenate(masks)


def _examples(
    material: Material,
    recipe: Recipe,
    origin: Origin,
    confusion: NDArray[np.float64],
    copies: tuple[Copy, ...],
) -> tuple[Roles, Examples]:
    features, targets = material.at(origin.train), material.rows.labels[origin.train]
    weights = row_weights(material, recipe.weights, origin)
    roles = choose_examples(features, targets, recipe.examples, recipe.seed, confusion[origin.train], weights)
    chosen = origin.train[roles.places]
    months = material.rows.listed_at[chosen].astype("datetime64[M]")
    examples = Examples(
        features=features[roles.places],
        titles=material.titles_at(chosen),
        targets=targets[roles.places],
        weights=roles.weights,
        latest=months == months.max(),
        copies=tuple(copy[np.searchsorted(material.places, chosen)] for copy in copies),
    )
    return roles, examples


def row_weights(material: Material, recipe: WeightsRecipe, origin: Origin) -> NDArray[np.float32]:
    """(len(origin.train),) what each training listing counts, for how its label was sampled and for its age.

    An origin's training part ends with its latest listing, so that an earlier origin weighs as a model
    trained on that day would have.
    """
    listed = material.rows.listed_at[origin.train]
    recent = listed > listed.max() - np.timedelta64(recipe.recent_days, "D") if len(listed) else False
    sampling = np.minimum(material.weights[origin.train], recipe.most_sampling)
    return np.asarray(sampling * np.where(recent, recipe.recent, 1.0), dtype=np.float32)


def _member(work: Path, recipe: MemberRecipe, examples: Examples, roles: Roles, k: int, seed: int) -> Member:
    """Fitted now, or by an earlier run that was interrupted; arrays only, nothing is unpickled."""
    said = hashlib.sha256(recipe.model_dump_json(exclude={"weight", "seeds"}).encode())
    for part in (roles.places, roles.weights, examples.latest):
        said.update(part.tobytes())
    path = work / f"{said.hexdigest()[:32]}-{seed}.npz"
    features = examples.features
    if path.exists():
        sizes = features.text.shape[1], features.photos.shape[1], features.words.shape[1]
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return with_arrays(
                    new_member(recipe, *sizes, k), {name: arrays[name] for name in arrays.files}
                )
        except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
            pass  # of another version, or broken: it is fitted again
    member = fit_member(recipe, examples, k, seed)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **member_arrays(member))
    return member


def run_folder(cache_dir: Path, recipe: Recipe, material: Material, taxonomy: Taxonomy) -> Path:
    """Where a run keeps its fitted members: named by all that decides them but their own recipes."""
    said = {
        "data": material.digest,
        "split": [str(material.split.train_until), str(material.split.validate_until)],
        "taxonomy": taxonomy.digest,
        "encoders": recipe.encoders.model_dump(),
        "augment": recipe.augment.model_dump(),
        "seed": recipe.seed,
        "word lists": [_digest(Path(path)) for path in (*recipe.augment.slang, *recipe.augment.synonyms)],
        "versions": versions(),
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return cache_dir / "runs" / digest[:32]


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""  # what is wrong with it is said where it is read


def versions() -> dict[str, str]:
    """Of everything whose change may change a bundle."""
    return {
        "stallwart": __version__,
        "lexicon": LEXICON,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }

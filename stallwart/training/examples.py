"""Which rows are trained on, and in which role.

positive        breaks a policy
hard negative   neutral, and nearest to violations in embedding space, or confused by an earlier model
easy negative   any other neutral listing, drawn at a stated ratio
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stallwart.index.nearest import unit_rows
from stallwart.model.features import Features
from stallwart.training.recipe import ExamplesRecipe

POSITIVE, HARD, EASY = 0, 1, 2
_BLOCK = 2048  # rows of one similarity matrix


@dataclass(frozen=True)
class Roles:
    """The rows that were chosen.

    Attributes:
        places: (n,) into the features that were given, ascending.
        roles: (n,) POSITIVE, HARD or EASY.
        weights: (n,) float32; an easy negative stands for all that were not drawn.
    """

    places: NDArray[np.int64]
    roles: NDArray[np.int64]
    weights: NDArray[np.float32]

    def counts(self) -> dict[str, int]:
        """How many of each role."""
        return {
            name: int((self.roles == role).sum())
            for name, role in (("positive", POSITIVE), ("hard_negative", HARD), ("easy_negative", EASY))
        }


def choose_examples(
    features: Features,
    targets: NDArray[np.int64],
    recipe: ExamplesRecipe,
    seed: int,
    confusion: NDArray[np.float64] | None = None,
    row_weights: NDArray[np.float32] | None = None,
) -> Roles:
    """Positives, hard negatives and a sample of the easy ones.

    Args:
        features: n listings that may be trained on.
        targets: (n,) class columns, 0 neutral.
        recipe: how many of each.
        seed: of the draw of easy negatives.
        confusion: (n,) highest log-odds that an earlier model gave a row it had not seen, NaN where none did.
        row_weights: (n,) what each listing counts; 1 where None.
    """
    positives, neutral = np.flatnonzero(targets > 0), np.flatnonzero(targets == 0)
    wanted = min(round(recipe.hard_per_positive * len(positives)), len(neutral))
    near = _nearness(features, positives, neutral)
    hard = set(neutral[np.argsort(-near, kind="stable")[: -(-wanted // 2)]].tolist())
    confused = (
        np.full(len(neutral), -np.inf)
        if confusion is None
        else np.nan_to_num(confusion[neutral], nan=-np.inf)
    )
    # Where no earlier model judged, nearness fills the other half too
    for place in (*neutral[np.lexsort((-near, -confused))].tolist(),):
        if len(hard) >= wanted:
            break
        hard.add(place)
    hard_places = np.array(sorted(hard), dtype=np.int64)
    easy_pool = np.setdiff1d(neutral, hard_places)
    # At least one, or nothing would stand for all the others
    size = min(len(easy_pool), max(1, round(recipe.easy_per_positive * max(len(positives), 1))))
    easy = np.sort(np.random.default_rng(seed).choice(easy_pool, size=size, replace=False))
    places = np.concatenate([positives, hard_places, easy])
    roles = np.repeat([POSITIVE, HARD, EASY], [len(positives), len(hard_places), len(easy)])
    each = np.ones(len(targets)) if row_weights is None else row_weights.astype(np.float64)
    stands_for = each[easy_pool].sum() / max(each[easy].sum(), 1.0)
    weights = (np.array([1.0, recipe.hard_weight, stands_for])[roles] * each[places]).astype(np.float32)
    order = np.argsort(places, kind="stable")
    return Roles(places[order], roles[order], weights[order])


def _nearness(
    features: Features, positives: NDArray[np.int64], neutral: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(len(neutral),) cosine similarity to the nearest violation, by text or by photo."""
    near = np.full(len(neutral), -1.0, dtype=np.float32)
    if not len(positives):
        return near
    for rows, there in ((features.text, features.has_text), (features.mean_photo(), features.has_photo)):
        known = unit_rows(rows[positives[there[positives]]])
        if not len(known):
            continue
        for start in range(0, len(neutral), _BLOCK):
            block = neutral[start : start + _BLOCK]
            similar = (unit_rows(rows[block]) @ known.T).max(axis=1)
            near[start : start + _BLOCK] = np.maximum(
                near[start : start + _BLOCK], np.where(there[block], similar, -1.0)
            )
    return near

"""A generated market and a run of training on it with the tiny encoders."""

from datetime import UTC, datetime
from pathlib import Path

from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.model.material import Sources
from stallwart.training.recipe import CertificationRecipe, EncodersRecipe, MemberRecipe, Recipe
from stallwart.training.train import Trained, train

ENCODERS = EncodersRecipe(text="tiny.encoders:Text", photo="tiny.encoders:Photo")
RECIPE = Recipe(
    encoders=ENCODERS,
    members=(
        MemberRecipe(kind="lexical", reads=("text",), gamma=0, learning_rate=0.3, epochs=2),
        MemberRecipe(kind="linear", gamma=0, epochs=10),
        MemberRecipe(kind="concat", width=16, epochs=3),
    ),
    certification=CertificationRecipe(first_origin_months=5),
)
CUTS = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 10, 1, tzinfo=UTC)


def sources_of(folder: Path, **changes) -> Sources:
    """A market folder's listings, labels and rulebook, cut at September and October."""
    given = {
        "listings": tuple(sorted(folder.glob("*.parquet"))),
        "labels": (folder / "labels.csv",),
        "taxonomy": read_taxonomy(folder / "policies.toml"),
        "columns": Columns(),
        "train_until": CUTS[0],
        "validate_until": CUTS[1],
    }
    return Sources(**{**given, **changes})


def tiny_train(folder: Path, out: Path, cache_dir: Path, recipe: Recipe = RECIPE, **changes) -> Trained:
    """A bundle from the market in `folder`, with the tiny encoders."""
    settings = Settings(cache_dir=cache_dir, threads=1)
    return train(sources_of(folder, **changes), recipe, out, settings)

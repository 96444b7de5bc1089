"""`stallwart tune`: a search for a better recipe."""

from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.core.taxonomy import read_taxonomy
from stallwart.store.files import whole_file


def tune(
    listings: shared.Listings,
    policies: shared.Policies,
    out: Annotated[Path, typer.Option("--out", help="Recipe to write.", show_default=False)],
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    recipe: shared.RecipeName = "default",
    train_until: shared.TrainUntil = None,
    validate_until: shared.ValidateUntil = None,
    trials: Annotated[int, typer.Option(min=1, help="Recipes to try in all.")] = 30,
    origins: Annotated[int, typer.Option(min=1, help="Latest months to score each of them on.")] = 3,
    as_json: shared.AsJson = False,
) -> None:
    """Search hyperparameters on rolling origins up to --validate-until; later listings are never looked at.

    Interrupt it at any time: the same command goes on where it stopped.

    Example:

        stallwart tune listings/*.parquet --labels labels.csv --policies policies.toml --out better.toml
    """
    with shared.train_extra():
        import tomli_w

        from stallwart.training.recipe import read_recipe
        from stallwart.training.tune import tune as run
    sources = shared.sources(listings, labels, read_taxonomy(policies), columns, train_until, validate_until)
    settings = shared.read_settings()
    best, figure, started = run(sources, read_recipe(recipe), trials, origins, settings, shared.show_progress)
    with whole_file(out) as temporary:
        temporary.write_text(tomli_w.dumps(best.model_dump(mode="json")), encoding="utf-8")
    if as_json:
        shared.print_json({"recipe": best.model_dump(mode="json"), "figure": figure, "started_from": started})
        return
    print(f"macro average precision on the last {origins} origins: {figure:.4f}, was {started:.4f}")  # noqa: T201
    print(f"recipe: {out}; train with --recipe {out}")  # noqa: T201

"""`stallwart train`: listings and labels -> a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from stallwart.cli import shared
from stallwart.core.taxonomy import read_taxonomy

if TYPE_CHECKING:
    from stallwart.estimate.certify import Certificate
    from stallwart.training.train import Trained


def train(
    listings: shared.Listings,
    policies: shared.Policies,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.", show_default=False)],
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    recipe: shared.RecipeName = "default",
    train_until: shared.TrainUntil = None,
    validate_until: shared.ValidateUntil = None,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify/--no-certify", help="Score each month by earlier ones and certify thresholds."
        ),
    ] = True,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Ship 8-bit encoders, and print what that costs in quality."),
    ] = False,
    lexicon: Annotated[
        list[Path] | None,
        typer.Option(
            "--lexicon", help="CSV with the columns term,slang: also train on copies with slang replaced."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the recipe's.")] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Learn the rulebook from past enforcement and write a bundle that can score.

    Listings after --validate-until are never looked at, so that `evaluate` can report on them. A run that is
    interrupted goes on where it stopped when the same command is given again.

    Example:

        stallwart train listings/*.parquet --labels labels.csv --policies policies.toml --out bundles/first
    """
    with shared.train_extra():
        from stallwart.training.recipe import read_recipe
        from stallwart.training.train import train as run
    chosen = read_recipe(recipe)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    for path in lexicon or ():
        chosen = chosen.with_slang(str(path))
    trained = run(
        shared.sources(listings, labels, read_taxonomy(policies), columns, train_until, validate_until),
        chosen,
        out,
        shared.read_settings(),
        certify,
        shared.show_progress,
        int8,
    )
    if as_json:
        shared.print_json(_facts(trained))
    else:
        _print(trained)


def _facts(trained: "Trained") -> dict[str, object]:
    return {
        "bundle": str(trained.bundle.folder),
        "digest": trained.bundle.digest,
        "rolling_origins": trained.origins,
        "examples": trained.roles,
        "skipped": trained.skipped,
        "int8": trained.int8,
        "certificates": [certificate.to_json() for certificate in trained.bundle.certificates],
    }


def _enough(one: "Certificate") -> str:
    """What a policy needs, in a few words; the report says why."""
    if one.needs is None:
        return ""
    verdicts = f"{one.needs.verdicts} right verdicts"
    if one.needs.from_score is not None:
        verdicts += f" above {one.needs.from_score:.3f}"
    more = one.needs.neutral_listings
    return verdicts if more is None else f"{verdicts}, or {more:,} more neutral listings"


def _print(trained: "Trained") -> None:
    console = shared.console()
    table = Table(title="What each policy may do alone", title_justify="left")
    for name in ("policy", "may act alone", "precision at live shares", "at recall", "what would be enough"):
        table.add_column(name, overflow="fold")
    for one in trained.bundle.certificates:
        table.add_row(
            one.policy,
            f"from {one.threshold:.4f}" if one.certified else "not yet",
            f">= {one.precision_lower:.2f} (wanted {one.target:.2f})"
            if one.certified
            else f"wanted {one.target:.2f}",
            f"{one.recall:.2f} of {one.positives}" if one.certified else "",
            _enough(one),
        )
    console.print(table)
    counted = {name: figures for name, figures in trained.origins.items() if figures["policies"]}
    if not counted:
        console.print("no month has a policy with enough positives to average over")
    for name, figures in counted.items():
        figure = figures["macro_average_precision"]
        console.print(
            f"scored {name}: macro average precision {figure:.3f} over {figures['policies']} policies with"
            f" enough positives, {figures['rows']:,} rows",
        )
    if (cost := trained.int8) is not None:
        console.print(
            f"8-bit encoders: macro average precision on {cost['rows']:,} validation rows"
            f" {cost['average_precision_int8']:.3f}, was {cost['average_precision']:.3f}; mean cosine"
            f" {cost['text_cosine']:.3f} (text), {cost['photo_cosine']:.3f} (photo)",
        )
    for reason, count in trained.skipped.items():
        shared.say(f"left out, {reason}: {count:,}")
    console.print(f"bundle {trained.bundle.digest[:12]} in {trained.bundle.folder}")

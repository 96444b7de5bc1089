"""`stallwart compare`: two bundles on the same later listings."""

from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.evaluation.evaluate import Options
from stallwart.model.bundle import read_bundle


def compare(
    first: Annotated[
        Path, typer.Argument(help="Folder of the bundle that decides today.", show_default=False)
    ],
    second: Annotated[Path, typer.Argument(help="Folder of the bundle that wants to.", show_default=False)],
    listings: shared.Listings,
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.html, comparison.json and comparison.md.")
    ] = None,
    replicates: shared.Replicates = 1000,
    as_json: shared.AsJson = False,
) -> None:
    """Put two bundles on the same listings, later than the training of both, and say which is better.

    Example:

        stallwart compare bundles/first bundles/second listings/*.parquet --labels labels.csv
    """
    # What these pull takes seconds to load; `stallwart --help` should not wait for it
    from stallwart.evaluation.comparison import comparison_json, comparison_text, write_comparison
    from stallwart.evaluation.run import compare_bundles

    one, two = read_bundle(first), read_bundle(second)
    sources = shared.sources(listings, labels, one.taxonomy, columns)
    options = Options(replicates=replicates)
    comparison = compare_bundles(one, two, sources, shared.read_settings(), options, shared.show_progress)
    if out is not None:
        shared.say(f"comparison: {write_comparison(comparison, out)}")
    if as_json:
        print(comparison_json(comparison), end="")  # noqa: T201
    else:
        print(comparison_text(comparison), end="")  # noqa: T201

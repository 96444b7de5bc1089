"""`stallwart sample`: write a generated market to try everything on."""

from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.dataset.sample import write_sample


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write; an earlier sample in it is replaced.")],
    listings: Annotated[int, typer.Option(help="How many listings, at least 60.")] = 600,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 7,
    shares_as_generated: Annotated[
        bool,
        typer.Option(
            "--shares-as-generated",
            help="State as live shares those of the generated listings; without, violations are rarer.",
        ),
    ] = False,
) -> None:
    """Write a generated market: invented listings, drawn photos, labels and a rulebook.

    Example: stallwart sample sample-market --listings 600 --seed 7
    """
    write_sample(out, listings, seed, shares_as_generated=shares_as_generated)
    shared.console().print(
        f"Wrote a generated market of {listings:,} listings (nothing in it is real) to {out}.\n"
        f"Next: stallwart check {out}/*.parquet --labels {out}/labels.csv --policies {out}/policies.toml",
        soft_wrap=True,
    )

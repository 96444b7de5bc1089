"""`stallwart explain`: why one listing scores as it does."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stallwart.cli import shared
from stallwart.core.errors import DataError
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import listing_files
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.bundle import read_bundle
from stallwart.model.explain import Explanation, Region
from stallwart.model.explain import explain as run
from stallwart.model.runtime import Scorer

_SHADES = " ░▒▓█"


def explain(
    bundle: shared.BundleFolder,
    listings: shared.Listings,
    listing: Annotated[str, typer.Option("--listing", help="Id of the listing.", show_default=False)],
    policy: Annotated[
        str | None, typer.Option(help="Policy to explain; the highest score's if not given.")
    ] = None,
    columns: shared.ColumnNames = "",
    as_json: shared.AsJson = False,
) -> None:
    """Show which words, which region of which photo and which known violations speak for a score.

    Example:

        stallwart explain bundles/first new/*.parquet --listing L123
    """
    settings = shared.read_settings()
    scorer = Scorer(read_bundle(bundle), settings, EmbeddingCache(settings.cache_dir))
    files = listing_files(listings)
    rejects = Rejects.within(settings)
    stream = read_listings(files, Columns.parse(columns), settings, rejects, decode=False, to_rule=True)
    found = next((one for one in stream if one.listing_id == listing), None)
    if found is None:
        raise DataError(
            f"no listing {listing!r} in {len(files)} file(s); check the id, and that its row is not rejected"
        )
    explanation = run(scorer, found, policy)
    if as_json:
        shared.print_json(_facts(explanation, scorer.bundle.taxonomy.ids))
    else:
        _print(explanation, scorer)


def _facts(explanation: Explanation, policies: tuple[str, ...]) -> dict[str, object]:
    scored = explanation.scored
    scores = None if scored.scores is None else dict(zip(policies, scored.scores.tolist(), strict=True))
    return {
        "listing_id": scored.embedded.listing.listing_id,
        "policy": explanation.policy,
        "action": scored.ruling.action.value,
        "reason": scored.ruling.reason,
        "scores": scores,
        "words": [asdict(word) for word in explanation.words],
        "regions": [{**asdict(region), "patches": region.patches.tolist()} for region in explanation.regions],
        "nearest": [asdict(neighbour) for neighbour in explanation.nearest],
    }


def _print(explanation: Explanation, scorer: Scorer) -> None:
    console, scored = shared.console(), explanation.scored
    listing = scored.embedded.listing
    console.print(
        Text(f"{listing.listing_id}: {scored.ruling.action.value}, {scored.ruling.reason}", style="bold")
    )
    if scored.scores is None:
        return
    act = scorer.bundle.thresholds.act
    table = Table(title="Scores at live shares", title_justify="left")
    for name in ("policy", "score", "acts from", "review from"):
        table.add_column(name)
    for column in sorted(range(len(scored.scores)), key=lambda c: -scored.scores[c])[:5]:  # type: ignore[index]
        name = scorer.bundle.taxonomy.ids[column]
        limit = f"{act[name]:.4f}" if name in act else "never"
        table.add_row(name, f"{scored.scores[column]:.4f}", limit, f"{scorer.bundle.review[name]:.2f}")
    console.print(table)
    console.print(Text(f"Words for {explanation.policy} (log-odds lost without them)", style="bold"))
    for word in explanation.words[:8]:
        console.print(Text(f"  {word.weight:+6.2f}  {word.text}"))
    if not explanation.words:
        console.print("  none: the listing has no words")
    for region in explanation.regions:
        _print_region(console, region)
    console.print(Text("Nearest known violations", style="bold"))
    for near in explanation.nearest:
        console.print(Text(f"  {near.similarity:.2f} by {near.by}  {near.policy}  {near.listing_id}"))


def _print_region(console: Console, region: Region) -> None:
    console.print(
        Text(f"Photo {region.photo + 1} (darkest patch: {region.weight:+.2f} log-odds)", style="bold")
    )
    top = max(region.weight, 1e-9)
    for row in region.patches:
        shades = (_SHADES[int(min(max(value / top, 0), 1) * (len(_SHADES) - 1))] * 2 for value in row)
        console.print(Text("  " + "".join(shades)))

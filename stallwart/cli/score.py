"""`stallwart score`: a bundle and listings -> scores and rulings in a file."""

from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.core.errors import ConfigError
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import count_rows, listing_files
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.bundle import read_bundle
from stallwart.model.runtime import Scorer
from stallwart.model.table import write_scores


def score(
    bundle: shared.BundleFolder,
    listings: shared.Listings,
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.", show_default=False)],
    columns: shared.ColumnNames = "",
    rejects_to: shared.RejectsTo = None,
    as_json: shared.AsJson = False,
) -> None:
    """Score listings: for each policy a calibrated probability, and what the bundle's thresholds make of it.

    A listing that cannot be scored, as one with neither words nor a photo that can be read, is ruled `review`
    and says why; a row without an id of its own is left out and counted.

    Memory does not grow with the number of rows. The file appears when it is whole; a run that is
    interrupted goes on from the embeddings that it had made.

    Example:

        stallwart score bundles/first new/*.parquet --out scores.parquet
    """
    if out.suffix != ".parquet":
        raise ConfigError(f"--out {out}: scores are written as Parquet; name a file that ends in .parquet")
    settings = shared.read_settings()
    cache = EmbeddingCache(settings.cache_dir)
    scorer = Scorer(read_bundle(bundle), settings, cache)
    files = listing_files(listings)
    with Rejects.within(settings, rejects_to) as rejects:
        stream = read_listings(files, Columns.parse(columns), settings, rejects, decode=False, to_rule=True)
        shown = shared.show_progress(stream, "scoring", count_rows(files))
        counts = write_scores(scorer.score(shown), scorer.bundle, out)
    cache.close()
    facts = {
        "out": str(out),
        "bundle": scorer.bundle.digest,
        "actions": counts,
        "embeddings": {"computed": scorer.embedder.counts.computed, "cached": scorer.embedder.counts.cached},
        "left_out": {f"{kind}: {reason}": n for (kind, reason), n in rejects.counts.items()},
        "photos_not_read": scorer.embedder.counts.failures,
    }
    if as_json:
        shared.print_json(facts)
        return
    total = sum(counts.values())
    said = ", ".join(f"{count:,} {action}" for action, count in counts.items())
    print(f"{total:,} listings scored: {said}; written to {out}")  # noqa: T201
    for reason, count in (*facts["left_out"].items(), *scorer.embedder.counts.failures.items()):  # type: ignore[attr-defined]
        shared.say(f"left out or cut, {reason}: {count:,}")

"""`stallwart known`: what is known to be bad, so that near duplicates are caught at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, wall_ms
from stallwart.core.errors import NotFoundError

if TYPE_CHECKING:
    from stallwart.index.proven import ProvenFile

app = typer.Typer(
    name="known",
    help="Things that a person confirmed to break a policy; running services follow changes within seconds.",
    no_args_is_help=True,
)


@app.command("list")
def list_(
    policy: Annotated[str | None, typer.Option(help="Only of one policy.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most that are shown.")] = 100,
    as_json: shared.AsJson = False,
) -> None:
    """Known entries that count, the newest first.

    Example:
        stallwart known list --policy weapons
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import reading
        from stallwart.store.known import list_known

        with reading(engine) as connection:
            entries = list_known(connection, policy=policy, limit=limit)
    rows = [_shown(one) for one in entries]
    if as_json:
        shared.print_json(rows)
        return
    for row in rows:
        print(f"{row['entry']}  {row['added']}  {row['policy']}  {row['listing']}  {row['why']}")  # noqa: T201
    if not rows:
        shared.say("nothing is known to be bad yet; a confirmed violation becomes so by itself")


@app.command()
def add(
    decision: Annotated[str, typer.Argument(help="Id of a decision on the listing, d_...")],
    policy: Annotated[str, typer.Argument(help="The policy that it breaks.")],
    why: shared.Why,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Make the content of a decided listing known to be bad.

    Verdicts do this by themselves; this is for what somebody else found.

    Example:
        stallwart known add d_0193f2 weapons --why "named by the police"
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.index.content import listing_with_photos
        from stallwart.index.fingerprint import fingerprint_of
        from stallwart.store.database import reading, writing
        from stallwart.store.decisions import read_decision, read_revision
        from stallwart.store.known import add_known
        from stallwart.store.photos import PhotoStore

        with reading(engine) as connection:
            found = read_decision(connection, decision)
            revision = read_revision(connection, found.revision) if found else None
        if revision is None or revision.purged_at_ms is not None:
            raise NotFoundError(f"there is no decision {decision!r} whose content is kept")
        photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
        made = fingerprint_of(revision.revision, listing_with_photos(revision, photos), settings)
        with writing(engine) as connection:
            entry = add_known(connection, made, policy, who=shared.operator(who), why=why, now_ms=wall_ms())
    _say(_shown(entry), f"{entry.entry_id}: is known to break {policy}", as_json)


@app.command()
def remove(
    entry: Annotated[str, typer.Argument(help="Id of the entry, k_...")],
    why: shared.Why,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Let a known entry count no more; its verdict does not bring it back.

    Example:
        stallwart known remove k_0193f2 --why "a common photo"
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import writing
        from stallwart.store.known import remove_known

        with writing(engine) as connection:
            gone = remove_known(connection, entry, who=shared.operator(who), why=why, now_ms=wall_ms())
    _say(_shown(gone), f"{gone.entry_id}: counts no more", as_json)


@app.command()
def certify(
    bundle: shared.BundleFolder,
    listings: shared.Listings,
    out: Annotated[
        Path, typer.Option("--out", help="File to write, for STALLWART_KNOWN_CERTIFIED.", show_default=False)
    ],
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    as_json: shared.AsJson = False,
) -> None:
    """Certify on labelled listings up to which distance a near duplicate of a violation is one.

    Each listing is compared with what had been labelled a violation before it was listed. Targets, live
    shares and the encoder of words are the bundle's.

    Example:
        stallwart known certify bundles/first listings/*.parquet --labels labels.csv --out near.json
    """
    from stallwart.encoders.cache import EmbeddingCache
    from stallwart.evaluation.known import certify_known
    from stallwart.model.bundle import read_bundle
    from stallwart.model.runtime import Scorer

    settings = shared.read_settings()
    scorer = Scorer(read_bundle(bundle), settings, EmbeddingCache(settings.cache_dir))
    sources = shared.sources(listings, labels, scorer.bundle.taxonomy, columns)
    made = certify_known(sources, scorer.embedder, settings, track=shared.show_progress)
    made.write(out)
    if as_json:
        shared.print_json(made.model_dump(mode="json"))
    else:
        _print_proven(made)
    shared.say(f"written: {out}")


def _print_proven(made: "ProvenFile") -> None:
    print(f"{made.listings:,} listings, {made.first} to {made.last}; bounds of {made.confidence:.0%}")  # noqa: T201
    print("policy  kind  blocks up to  at  precision  bound  target  own near  neutral near  others near")  # noqa: T201
    for one in made.distances:
        upto = "-" if one.distance is None else f"{one.distance:g}"
        print(  # noqa: T201
            f"{one.policy}  {one.kind}  {upto}  {one.at:g}  {one.precision:.3f}  {one.lower:.3f}"
            f"  {one.target:g}  {one.own_near:,} of {one.own:,}  {one.neutral_near:,} of {one.neutral:,}"
            f"  {one.others_near:,}"
        )


def _shown(one: Any) -> dict[str, Any]:
    return {
        "entry": one.entry_id,
        "policy": one.policy,
        "listing": one.listing_id,
        "verdict": one.verdict_id,
        "who": one.who,
        "why": one.why,
        "added": moment(one.added_at_ms),
        "removed": moment(one.removed_at_ms),
    }


def _say(facts: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        shared.print_json(facts)
    else:
        print(text)  # noqa: T201

"""`stallwart bundles`: which bundles there are, and which of them decides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from stallwart.store.registry import BundleRow

app = typer.Typer(
    name="bundles",
    help="The registry: bundles by digest, with their reports, and which of them decides.",
    no_args_is_help=True,
)

Digest = Annotated[
    str, typer.Argument(help="The bundle's digest, or the beginning of it.", show_default=False)
]


@app.command()
def add(
    folder: shared.BundleFolder,
    report: Annotated[
        Path | None,
        typer.Option(help="report.json of `stallwart evaluate` on this bundle; a summary of it is kept."),
    ] = None,
    who: shared.Who = None,
    why: Annotated[str, typer.Option(help="Why, for the audit log.")] = "registered",
    as_json: shared.AsJson = False,
) -> None:
    """Check a bundle, copy it into STALLWART_BUNDLE_STORE, and register it, so that it can be rolled out.

    A bundle that is registered stays as it is; a new report takes the place of the one before.

    Example:
        stallwart bundles add bundles/second --report report/report.json
    """
    from stallwart.model.bundle import read_bundle
    from stallwart.model.shelf import shelf, shelve

    settings, by = shared.read_settings(), shared.operator(who)
    made = read_bundle(folder.resolve())
    summary = None
    if report is not None:
        from stallwart.evaluation.summary import read_summary

        summary = read_summary(report, made.digest)
    with ready_database(settings) as engine:
        from stallwart.store import registry
        from stallwart.store.database import writing

        place = shelve(made, shelf(settings))
        with writing(engine) as connection:
            row = registry.register(
                connection,
                digest=made.digest,
                place=str(place),
                card=made.card,
                report=summary,
                who=by,
                why=why,
                now_ms=wall_ms(),
                again=True,
            )
            facts = _facts(row, _names(connection))
    if as_json:
        shared.print_json(facts)
        return
    print(row.digest)  # noqa: T201
    shared.say(f"registered, kept in {row.place}; next: stallwart rollout start {row.digest[:12]}")


@app.command("list")
def list_(as_json: shared.AsJson = False) -> None:
    """Show all bundles, the newest first.

    Example:
        stallwart bundles list
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import registry
        from stallwart.store.database import reading

        with reading(engine) as connection:
            names = _names(connection)
            facts = [_facts(row, names) for row in registry.list_bundles(connection)]
    if as_json:
        shared.print_json(facts)
        return
    table = Table(Column("digest", no_wrap=True), "is", "registered", "average precision", "parent", "place")
    for fact in facts:
        table.add_row(
            fact["digest"][:12],
            fact["is"] or "",
            shortly(fact["registered"]),
            _average_precision(fact["report"]),
            (fact["parent"] or "")[:12],
            fact["place"],
        )
    shared.console().print(table if facts else "no bundles; see: stallwart bundles add")


@app.command()
def show(digest: Digest, as_json: shared.AsJson = False) -> None:
    """Show one bundle with its card and the summary of its report.

    Example:
        stallwart bundles show 8afaaf04a650 --json
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import registry
        from stallwart.store.database import reading

        with reading(engine) as connection:
            row = registry.find_bundle(connection, digest)
            facts = {**_facts(row, _names(connection)), "card": row.card}
    if as_json:
        shared.print_json(facts)
        return
    for name in ("digest", "is", "registered", "place", "parent", "data_digest"):
        print(f"{name.replace('_', ' ')}: {facts[name] or 'none'}")  # noqa: T201
    print(f"average precision: {_average_precision(row.report)}")  # noqa: T201


@app.command()
def champion(digest: Digest, why: shared.Why, who: shared.Who = None, as_json: shared.AsJson = False) -> None:
    """Have a bundle decide about everything, without a rollout: the first one, or back in an emergency.

    Refused while a rollout runs. Running services follow within seconds.

    Example:
        stallwart bundles champion 8afaaf04a650 --why "the new one blocks toys"
    """
    by = shared.operator(who)
    with ready_database(shared.read_settings()) as engine:
        from stallwart.model.shelf import from_shelf
        from stallwart.store import registry
        from stallwart.store.database import reading, writing

        with reading(engine) as connection:
            row = registry.find_bundle(connection, digest)
        from_shelf(Path(row.place), row.digest)  # no service could load what is gone or broken
        with writing(engine) as connection:
            registry.set_champion(connection, row.digest, who=by, why=why, now_ms=wall_ms())
            facts = _facts(row, _names(connection))
    if as_json:
        shared.print_json(facts)
    else:
        print(f"{row.digest} is the champion")  # noqa: T201


def _names(connection: "Connection") -> dict[str, str]:
    """Aliases by digest."""
    from stallwart.store.registry import Alias, alias

    named = {name: alias(connection, name) for name in Alias}
    return {digest: name.value for name, digest in named.items() if digest is not None}


def _facts(row: "BundleRow", names: dict[str, str]) -> dict[str, Any]:
    return {
        "digest": row.digest,
        "is": names.get(row.digest),
        "place": row.place,
        "parent": row.parent,
        "data_digest": row.data_digest,
        "registered": moment(row.registered_at_ms),
        "report": row.report,
    }


def _average_precision(report: dict[str, Any] | None) -> str:
    """Macro average precision at live prevalence, with its interval and the number of examples."""
    if report is None:
        return "no report"
    try:
        live = report["macro"]["average_precision"]["live"]
        return f"{live['value']:.3f} [{live['low']:.3f}, {live['high']:.3f}], n = {live['n']:,}"
    except (KeyError, TypeError, ValueError):  # a figure may be null: too few rows
        return "not measured"

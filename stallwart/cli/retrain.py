"""`stallwart retrain`: verdicts and enforcement's labels -> a challenger in shadow, or why not."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms
from stallwart.core.errors import GateError
from stallwart.core.taxonomy import read_taxonomy

if TYPE_CHECKING:
    from stallwart.loop.retrain import Outcome


def retrain(
    policies: shared.Policies,
    listings: Annotated[
        list[Path] | None,
        typer.Argument(help="The market's own listings, beside those that the service has kept."),
    ] = None,
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    until: Annotated[
        str | None, typer.Option(help="First day that is not known any more; today if not given.")
    ] = None,
    when: Annotated[
        str | None,
        typer.Option(help="Only where it is time: every=7d, labels=500, drift; several with commas."),
    ] = None,
    recipe: shared.RecipeName = "default",
    plan: Annotated[
        Path | None, typer.Option(help="TOML file with what differs from the default rollout.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="Why, for the audit log.")] = "retrained",
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Train on all that is known, compare with the champion, and start the challenger in shadow if it may.

    A challenger that is worse on later listings, or forgets on older ones, is not started: the reasons are
    printed, and the exit code is 1. One run works at a time; one that was killed goes on where it stopped
    when the same command is given again on the same day.

    Example:

        stallwart retrain --policies policies.toml --when every=7d,labels=500,drift
    """
    from stallwart.loop.due import due, parse_when
    from stallwart.rollout.plan import read_plan
    from stallwart.store.database import reading
    from stallwart.training.recipe import read_recipe

    settings, by = shared.read_settings(), shared.operator(who)
    reasons = None if when is None else parse_when(when)
    sources = shared.sources(listings or [], labels, read_taxonomy(policies), columns)
    steps, chosen = read_plan(plan), read_recipe(recipe)
    with ready_database(settings) as engine:
        if reasons is not None:
            with reading(engine) as connection:
                reason = due(connection, reasons, wall_ms())
            if reason is None:
                _not_due(as_json)
                return
            why = f"{why}: {reason}"
        # A timer asks each hour, and mostly it is not due: torch is loaded only from here on
        with shared.train_extra():
            from stallwart.loop.retrain import Asked
            from stallwart.loop.retrain import retrain as run
        from stallwart.loop.files import Given
        from stallwart.store.erased import read_tombstones
        from stallwart.store.photos import PhotoStore

        given = Given(sources.listings, sources.labels, sources.columns, sources.taxonomy)
        now = datetime.fromtimestamp(wall_ms() / 1_000, UTC)
        end = shared.day(until, "--until") or now.replace(hour=0, minute=0, second=0, microsecond=0)
        photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
        with reading(engine) as connection:
            tombstones = read_tombstones(connection)
        erased = tombstones.holds if tombstones.keyed else None
        asked = Asked(end, given, chosen, steps, by, why)
        outcome = run(engine, photos, asked, settings, wall_ms, shared.show_progress, erased)
    if as_json:
        shared.print_json(_facts(outcome))
    else:
        _print(outcome)
    if not outcome.passed:
        assert outcome.gate is not None
        raise GateError("; ".join(outcome.gate["reasons"]) + f"; the bundle is kept in {outcome.folder}")


def _not_due(as_json: bool) -> None:
    if as_json:
        shared.print_json({"due": False})
    else:
        shared.say("not due: nothing that --when names has happened since the last retraining")


def _facts(outcome: "Outcome") -> dict[str, Any]:
    return {
        "due": True,
        "passed": outcome.passed,
        "bundle": outcome.bundle,
        "folder": str(outcome.folder),
        "champion": outcome.champion,
        "gate": outcome.gate,
        "labels": outcome.labels,
        "held_back": outcome.held_back,
        "carried": outcome.carried,
        "left_open": outcome.left_open,
        "rollout": outcome.rollout_id,
    }


def _print(outcome: "Outcome") -> None:
    console = shared.console()
    total = sum(outcome.labels.values())
    console.print(f"{total:,} labels, {outcome.held_back:,} of them held back")
    if outcome.carried or outcome.left_open:
        console.print(
            f"moves of policies: {outcome.carried:,} labels carried over, {outcome.left_open:,} left open"
        )
    if outcome.gate is not None:
        table = Table(title="Average precision", title_justify="left")
        for name in ("rows", "policy", "violations", "champion", "challenger", "change"):
            table.add_column(name)
        for one in outcome.gate["seen"]:
            value, low, high = one["change"]
            table.add_row(
                one["rows"],
                one["policy"] + (" (fails)" if one["fails"] else ""),
                f"{one['positives']:,}",
                _number(one["champion"]),
                _number(one["challenger"]),
                f"{_number(value, '+.3f')} [{_number(low, '+.3f')} to {_number(high, '+.3f')}]",
            )
        console.print(table)
        if outcome.gate["unjudged"]:
            console.print(f"too few older violations to judge: {', '.join(outcome.gate['unjudged'])}")
    console.print(f"bundle {outcome.bundle[:12]} in {outcome.folder}")
    if outcome.rollout_id is not None:
        console.print(f"in shadow: {outcome.rollout_id}; next: stallwart rollout status --watch")
    elif outcome.champion is None:
        console.print(
            f"nothing decides yet; next: stallwart bundles champion {outcome.bundle[:12]} --why first"
        )


def _number(value: float | None, form: str = ".3f") -> str:
    return "not known" if value is None else f"{value:{form}}"

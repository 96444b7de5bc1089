"""`stallwart erase`: all traces of a listing or a seller, with preview, confirmation and certificate."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms
from stallwart.core.errors import ConfigError, GateError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.core.settings import Settings
    from stallwart.store.erased import Kind
    from stallwart.store.erasing import Erasure

app = typer.Typer(
    name="erase",
    help="Erase all traces of a listing or a seller, for good; tombstones keep them from coming back.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Its id.", show_default=False)]
Why = Annotated[str, typer.Option(help="For the audit log, which keeps it: without the id.")]
Who = Annotated[str | None, typer.Option(help="For the audit log; user and machine if not given.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def listing(name: Name, why: Why, who: Who = None, yes: Yes = False, as_json: shared.AsJson = False) -> None:
    """Erase a listing: all its revisions, photos that no other shows, notes, evidence, embeddings.

    Example:
        stallwart erase listing L1 --why "its seller asked for it"
    """
    _erase("listing", name, why, who, yes, as_json)


@app.command()
def seller(name: Name, why: Why, who: Who = None, yes: Yes = False, as_json: shared.AsJson = False) -> None:
    """Erase a seller: all listings that ever were theirs, one after the other.

    Stopped anywhere, the same command goes on.

    Example:
        stallwart erase seller s42 --why "closed the account"
    """
    _erase("seller", name, why, who, yes, as_json)


@app.command()
def resume(as_json: shared.AsJson = False) -> None:
    """Go on with erasures that were stopped, or whose photos waited; a running service does so by itself.

    Example:
        stallwart erase resume
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.store import erasing

        found = erasing.resume(engine, _tools(engine, settings))
        _keep(engine, settings)
    _show(found, as_json)


@app.command("list")
def list_(as_json: shared.AsJson = False) -> None:
    """Show erasures, the newest first.

    Example:
        stallwart erase list --json
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import reading
        from stallwart.store.erasing import list_erasures

        with reading(engine) as connection:
            found = list_erasures(connection)
    _show(found, as_json)


@app.command()
def lift(
    kind: Annotated[str, typer.Argument(help="listing or seller.", show_default=False)],
    name: Name,
    why: Why,
    who: Who = None,
) -> None:
    """Let a listing or a seller that was erased be published again; what is gone stays gone.

    Example:
        stallwart erase lift seller s42 --why "opened an account again"
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.store import erasing

        by = shared.operator(who)
        erasing.lift(engine, _kind(kind), name, who=by, why=why, now_ms=wall_ms())
        _keep(engine, settings)
    shared.say(f"the {kind} may be published again; a running service knows within seconds")


def _erase(kind: str, name: str, why: str, who: str | None, yes: bool, as_json: bool) -> None:
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.store import erasing

        found = erasing.preview(engine, _kind(kind), name)
        if found.revisions or found.decisions or found.views:
            shared.say(
                f"{found.listings:,} listings, {found.revisions:,} revisions, {found.decisions:,} decisions,"
                f" {found.photos:,} photos go; {found.shared:,} photos stay, since other listings show them"
            )
            question = "Erase this for good?"
        else:
            shared.say(f"nothing is stored of a {kind} {name!r}")
            question = "Keep what comes under this id from being published all the same?"
        if not yes and not _agreed(question):
            raise GateError("nothing was erased; without a terminal to ask on, give --yes")
        tools = _tools(engine, settings)
        done = erasing.erase(engine, tools, _kind(kind), name, who=shared.operator(who), why=why)
        _keep(engine, settings)
    _show([done], as_json)


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question, default=False, err=True)
    except typer.Abort:  # nobody is there to answer
        shared.say("")
        return False


def _kind(kind: str) -> "Kind":
    from stallwart.store.erased import Kind

    if kind not in [one.value for one in Kind]:
        raise ConfigError(f"{kind!r} is neither listing nor seller")
    return Kind(kind)


def _tools(engine: "Engine", settings: "Settings") -> Any:
    from stallwart.model.seen import erase_tools

    return erase_tools(engine, settings, wall_ms)


def _keep(engine: "Engine", settings: "Settings") -> None:
    """The copy of tombstones beside the database: a backup that is restored would take them along."""
    from stallwart.store.erased import TOMBSTONES, keep_beside

    keep_beside(engine, settings.data_dir / TOMBSTONES)


def _show(found: list["Erasure"], as_json: bool) -> None:
    if as_json:
        shared.print_json([asdict(one) for one in found])
        return
    table = Table(
        "erasure", "kind", "began", "ended", Column("rows", justify="right"),
        Column("photos waiting", justify="right"), Column("entry", justify="right"), "why",
    )  # fmt: skip
    for one in found:
        table.add_row(
            one.erasure_id, one.kind, shortly(moment(one.began_at_ms)),
            shortly(moment(one.ended_at_ms)) or "goes on", f"{sum(one.counts.values()):,}", str(one.waiting),
            str(one.entry or ""), one.why,
        )  # fmt: skip
    shared.console().print(table if found else "no erasures")
    if any(one.waiting for one in found):
        shared.say(
            "photos that came within 15 minutes wait: a running service deletes them, or run later:"
            " stallwart erase resume"
        )

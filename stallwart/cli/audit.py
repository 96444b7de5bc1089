"""`stallwart audit`: who did what and why, whether that was changed, and what slips through."""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import audit_sample, shared
from stallwart.cli.database import moment, ready_database, shortly
from stallwart.core.errors import ConfigError, GateError

if TYPE_CHECKING:
    from stallwart.store.audit import Entry

app = typer.Typer(
    name="audit",
    help="The audit log, each entry with the hash of the one before; and the audit of decisions: how much"
    " slips through.",
    no_args_is_help=True,
)
app.command()(audit_sample.estimates)
app.command()(audit_sample.plan)

_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", re.ASCII)


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option(
            help="NUMBER:HASH of an entry, as an earlier run printed it: only with it is it seen that the end"
            " of the log was cut off, or all of it written anew."
        ),
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Read the whole log and say whether each entry is as it was written; exit code 1 where one is not.

    Keep the head that it prints where whoever can write to the database cannot, and give it the next time.

    Example:
        stallwart audit verify
    """
    noted = _head(head)
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import audit
        from stallwart.store.database import reading

        with reading(engine) as connection:
            found = audit.verify(connection, noted)
    shown = f"{found.entries}:{found.head}" if found.entries else None
    if as_json:
        shared.print_json(
            {"whole": found.wrong is None, "entries": found.entries, "head": shown, "wrong": found.wrong,
             "what": found.what}
        )  # fmt: skip
    if found.wrong is not None:
        sound = (
            f"the {found.entries:,} before it are sound" if found.entries else "nothing before it is sound"
        )
        raise GateError(f"the audit log is broken: entry {found.wrong} {found.what}; {sound}")
    if not as_json:
        print(f"{found.entries:,} entries, all as they were written; head {shown or 'none yet'}")  # noqa: T201


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most entries.")] = 50,
    before: Annotated[
        int | None, typer.Option(min=1, help="Only entries with smaller numbers, to read on.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Only those of one person or program.")] = None,
    act: Annotated[str | None, typer.Option(help="Only acts that begin so, as `rollout.`.")] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only those about one rollout or bundle, by its id.")
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Show the newest entries; they are not verified.

    Example:
        stallwart audit list --act rollout. --json
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import audit
        from stallwart.store.database import reading

        with reading(engine) as connection:
            entries = audit.read(connection, before=before, who=who, act=act, subject=subject, limit=limit)
    if as_json:
        shared.print_json([_facts(one) for one in entries])
        return
    table = Table(Column("number", justify="right"), "at", "who", "act", "subject", "why")
    for one in entries:
        table.add_row(
            str(one.number), shortly(moment(one.at_ms)), one.who, one.act, one.subject[:40], one.why
        )
    shared.console().print(table if entries else "no entries")


def _head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise ConfigError(f"--head: {text!r} is no NUMBER:HASH; give what stallwart audit verify printed")
    return int(found[1]), found[2]


def _facts(entry: "Entry") -> dict[str, Any]:
    return {**asdict(entry), "at": moment(entry.at_ms)}

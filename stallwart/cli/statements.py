"""`stallwart statements`: statements of reasons, one by one and all of them as a table."""

import csv
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms

app = typer.Typer(
    name="statements",
    help="Statements of reasons: why each listing was blocked, as its seller is told (DSA, Article 17).",
    no_args_is_help=True,
)


@app.command()
def show(
    decision_id: Annotated[str, typer.Argument(help="Of a block; begins with d_.", show_default=False)],
    language: Annotated[
        str | None, typer.Option(help="As `de`; the listing's own if not given, English where there is none.")
    ] = None,
) -> None:
    """Print the statement of a block; it is stored when it is first given, and the same ever after.

    Example:
        stallwart statements show d_019ab2c0 --language de
    """
    settings = shared.read_settings()
    from stallwart.reasons.give import Statements

    statements = Statements(settings)
    with ready_database(settings) as engine:
        given = statements.give(engine, decision_id, wall_ms(), language)
    print(given.text, end="")  # noqa: T201


@app.command()
def export(
    out: Annotated[
        Path | None, typer.Option(help="File to write, whole or not at all; to stdout if not given.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="First day, as 2026-01-31, in UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="First day after, in UTC; now if not given.")] = None,
    columns: Annotated[
        str,
        typer.Option(help="all, or `dsa`: only those that the EU's transparency database takes."),
    ] = "all",
) -> None:
    """Write the statements of all blocks as CSV, the oldest first.

    The first columns have the names and values of the EU's transparency database; statements that were never
    given are given by this. Rows are read and written page by page.

    Example:
        stallwart statements export --since 2026-01-01 --out statements.csv
    """
    settings = shared.read_settings()
    from stallwart.core.errors import ConfigError
    from stallwart.reasons.give import Statements
    from stallwart.reasons.rows import COLUMNS, SENT, rows
    from stallwart.store.database import reading
    from stallwart.store.files import whole_file
    from stallwart.store.given import count_blocks

    if columns not in ("all", "dsa"):
        raise ConfigError(f"--columns: {columns!r} is neither all nor dsa")
    names = SENT if columns == "dsa" else COLUMNS
    from_ms = _ms(shared.day(since, "--since")) or 0
    now = wall_ms()
    until_ms = _ms(shared.day(until, "--until")) or now
    statements = Statements(settings)
    with ready_database(settings) as engine:
        with reading(engine) as connection:
            total = count_blocks(connection, from_ms, until_ms)
        found = shared.show_progress(
            rows(engine, statements, from_ms, until_ms, now), "writing statements", total
        )
        if out is None:
            written, gone = _write(found, names, sys.stdout)
        else:
            with whole_file(out) as part, part.open("w", newline="", encoding="utf-8") as file:
                written, gone = _write(found, names, file)
    erased = f"; {gone:,} of erased listings are left out" if gone else ""
    shared.say(f"{written:,} statements written{f' to {out}' if out else ''}{erased}")


def _write(found: Iterable[dict[str, str] | None], names: tuple[str, ...], file: TextIO) -> tuple[int, int]:
    writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    written = gone = 0
    for row in found:
        if row is None:
            gone += 1
        else:
            writer.writerow({name: _plain(value) for name, value in row.items()})
            written += 1
    return written, gone


def _plain(value: str) -> str:
    """Nothing that a spreadsheet would run: a seller may name a listing `=HYPERLINK(...)`."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1_000)

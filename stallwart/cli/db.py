"""`stallwart db`: the tables that a service keeps, and what it keeps in them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from stallwart.cli import shared
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

app = typer.Typer(
    name="db",
    help="The database of a service: SQLite in STALLWART_DATA_DIR, or what STALLWART_DATABASE_URL names.",
    no_args_is_help=True,
)


@contextmanager
def _database(settings: Settings) -> Iterator[Any]:
    try:
        from stallwart.store.database import database_url, open_database
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"{err.name} is not installed, and a database needs it; pip install 'stallwart[serve]'"
        ) from None
    engine = open_database(database_url(settings), settings)
    try:
        yield engine
    finally:
        engine.dispose()


@app.command()
def upgrade(as_json: shared.AsJson = False) -> None:
    """Make the tables, or bring them to what this version needs; all of it or nothing.

    Safe while other processes do the same. Take a copy first where the database is not empty.

    Example:
        stallwart db upgrade
    """
    with _database(shared.read_settings()) as engine:
        from stallwart.store.database import shown_url, upgrade

        before = upgrade(engine)
        facts = {"database": shown_url(engine.url), "before": before.current, "now": before.needed}
    if as_json:
        shared.print_json(facts)
    elif before.up_to_date:
        print(f"{facts['database']}: is up to date (schema {before.needed})")  # noqa: T201
    else:
        print(f"{facts['database']}: schema {before.current or 'none'} -> {before.needed}")  # noqa: T201


@app.command()
def status(as_json: shared.AsJson = False) -> None:
    """Which schema the database has, which one this version needs, and how many rows there are.

    Exit code 2 where they differ.

    Example:
        stallwart db status --json
    """
    with _database(shared.read_settings()) as engine:
        from stallwart.store.database import check_current, count_rows, shown_url, status

        found = status(engine)
        rows = count_rows(engine) if found.up_to_date else {}
        facts = {"database": shown_url(engine.url), "schema": found.current, "needed": found.needed}
        if as_json:
            shared.print_json({**facts, "rows": rows})
        else:
            print(f"{facts['database']}: schema {found.current or 'none'}, needed {found.needed}")  # noqa: T201
            for table, n in rows.items():
                print(f"{n:>14,}  {table}")  # noqa: T201
        check_current(engine)


@app.command()
def purge(
    days: Annotated[
        int | None,
        typer.Option(min=1, help="Age in days; STALLWART_RETENTION_DAYS if not given.", show_default=False),
    ] = None,
    strays: Annotated[
        bool,
        typer.Option(
            "--strays", help="Delete photos that no listing shows even where they are most of those kept."
        ),
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Delete the words and photos of listings stored longer ago than that; decisions stay, without evidence.

    A running service does this by itself. Also forgets request keys of that age, and deletes photos that were
    kept over a day ago for a decision that was then not stored.

    Example:
        stallwart db purge --days 90
    """
    settings = shared.read_settings()
    now_ms = time.time_ns() // 1_000_000
    older_than_ms = now_ms - timedelta(days=days or settings.retention_days) // timedelta(milliseconds=1)
    with _database(settings) as engine:
        from stallwart.store.database import check_current
        from stallwart.store.photos import PhotoStore
        from stallwart.store.retention import purge, sweep_photos

        check_current(engine)
        photos = PhotoStore(settings.photo_store or str(Path(settings.data_dir) / "photos"))
        done = purge(engine, photos.delete, older_than_ms, now_ms)
        stray = sweep_photos(engine, photos, now_ms, most=strays)
    if as_json:
        shared.print_json(
            {
                "revisions": done.revisions,
                "photos": len(done.photos),
                "strays": stray,
                "requests": done.requests,
            }
        )
    else:
        print(  # noqa: T201
            f"emptied {done.revisions:,} revisions, deleted {len(done.photos):,} photos"
            f" and {stray:,} that no listing showed, forgot {done.requests:,} request keys"
        )


@app.command()
def index(as_json: shared.AsJson = False) -> None:
    """Make old listings findable, and fingerprint them, until none is left; review does so slowly.

    Safe beside running programs, and goes on where it was stopped.

    Example:
        stallwart db index
    """
    settings = shared.read_settings()
    with _database(settings) as engine:
        from stallwart.cli.database import wall_ms
        from stallwart.index.findable import Findable
        from stallwart.index.fingerprinting import Fingerprinter
        from stallwart.store.database import check_current
        from stallwart.store.photos import PhotoStore

        check_current(engine)
        photos = PhotoStore(settings.photo_store or str(Path(settings.data_dir) / "photos"))
        counts = {}
        for name, worker in (
            ("findable", Findable(engine, wall_ms)),
            ("fingerprints", Fingerprinter(engine, photos, settings, wall_ms)),
        ):
            counts[name], more = 0, True
            while more:
                done, more = worker.step()
                counts[name] += done
                if more and counts[name] % 10_000 < 500:
                    shared.say(f"{name}: {counts[name]:,} done, about {worker.behind():,} to look at")
    if as_json:
        shared.print_json(counts)
    else:
        print(f"made {counts['findable']:,} listings findable, fingerprinted {counts['fingerprints']:,}")  # noqa: T201

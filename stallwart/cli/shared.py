"""Options that several commands share, and how progress is shown."""

import contextlib
import getpass
import json
import socket
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from stallwart.cli.erased import erased_by
from stallwart.core.errors import ConfigError, DataError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.model.material import Sources

T = TypeVar("T")

_LONGEST_LINE = 10_000

Listings = Annotated[
    list[Path],
    typer.Argument(help="Parquet, JSON Lines or CSV files, or folders of them.", show_default=False),
]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        "--labels", help="File with listing_id, label, labelled_at; a column of the listings if not given."
    ),
]
Policies = Annotated[
    Path, typer.Option("--policies", help="The rulebook: policies.toml.", show_default=False)
]
ColumnNames = Annotated[
    str, typer.Option("--columns", help="Your column names, as in title=headline,images=photo_paths.")
]
TrainUntil = Annotated[
    str | None,
    typer.Option(help="First day after the training part, as 2025-09-01; 70 % of the rows if not given."),
]
ValidateUntil = Annotated[
    str | None, typer.Option(help="First day after the validation part; 10 % of the rows if not given.")
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", help="Recipe to train by or to search from: default, reference, or a TOML file."
    ),
]
RejectsTo = Annotated[
    Path | None,
    typer.Option("--rejects-to", help="CSV file for every reject: file, row, kind, reason, detail."),
]
Replicates = Annotated[int, typer.Option(min=50, help="Bootstrap replicates behind each interval.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Who = Annotated[
    str | None, typer.Option("--who", help="Who does it, for the audit log; your login name if not given.")
]
Why = Annotated[str, typer.Option("--why", help="Why, for the audit log.", show_default=False)]
BundleFolder = Annotated[Path, typer.Argument(help="Folder of the bundle.", show_default=False)]


@contextlib.contextmanager
def train_extra() -> Iterator[None]:
    """For imports of what only training needs: torch takes seconds to load, and scoring runs without it.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"{err.name} is not installed, and training needs it; pip install 'stallwart[train]'"
        ) from None


def read_settings() -> Settings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable is unknown, of a wrong type or out of bounds.
    """
    try:
        return Settings()
    except ValidationError as err:
        first = err.errors()[0]
        name = "STALLWART_" + ".".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['msg']}") from None


def day(text: str | None, option: str) -> datetime | None:
    """The start of a day in UTC, from 2025-09-01.

    Raises:
        ConfigError: it is no date.
    """
    if text is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is no date; write it as 2025-09-01") from None


def operator(who: str | None) -> str:
    """Who gives the command: as said, or by login name and machine."""
    if who is not None:
        return who
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container without users
        raise ConfigError("--who: this machine has no name for you; say who you are") from None


def sources(
    listings: list[Path],
    labels: list[Path] | None,
    taxonomy: Taxonomy,
    columns: str,
    train_until: str | None = None,
    validate_until: str | None = None,
) -> Sources:
    """Sources from the options of a command.

    Raises:
        ConfigError: an option is wrong, or there is a database that cannot say what was erased.
        DataError: a file is not there.
    """
    for path in [*listings, *(labels or [])]:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
    if (train_until is None) != (validate_until is None):
        raise ConfigError("--train-until and --validate-until belong together; give both or neither")
    return Sources(
        listings=tuple(listings),
        labels=tuple(labels or ()),
        taxonomy=taxonomy,
        columns=Columns.parse(columns),
        train_until=day(train_until, "--train-until"),
        validate_until=day(validate_until, "--validate-until"),
        erased=erased_by(read_settings()),
    )


class _Whole(Console):
    """A console that cuts nothing: a cell goes on in the next line, and off a terminal no line ends early."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False)
        if not self.is_terminal:
            self.width = _LONGEST_LINE

    def print(self, *shown: Any, **options: Any) -> None:
        """Print what was made, tables with every letter of their cells."""
        for table in shown:
            for column in table.columns if isinstance(table, Table) else ():
                column.overflow = "fold"
        super().print(*shown, **options)


def console() -> Console:
    """Where results for people go: stdout."""
    return _Whole()


def show_progress(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """The items, with a bar on stderr that is gone when they are through."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def print_json(value: Any) -> None:
    """A result for machines, on stdout; numbers that are none become null."""
    print(json.dumps(_plain(value), indent=1, ensure_ascii=False, default=str))  # noqa: T201


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value

"""`stallwart send`: files of listings -> a running service, which decides about each."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stallwart.cli import shared
from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Listing
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import count_rows, listing_files

if TYPE_CHECKING:
    from stallwart.client import Client
    from stallwart.client.calls import Evidence

_BATCH = 8  # small enough to be answered well within its deadline on one core
_DEADLINE_MS = 30_000
_ROUNDS = 5  # of a batch whose rows the service was too busy for


def send(
    url: Annotated[str, typer.Argument(help="The service, as http://127.0.0.1:8000.", show_default=False)],
    listings: shared.Listings,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the API key (scope score); none for a service that asks for none."),
    ] = None,
    evidence: Annotated[
        str, typer.Option(help="Evidence to store with each decision: none, words or full.")
    ] = "none",
    columns: shared.ColumnNames = "",
    rejects_to: shared.RejectsTo = None,
    as_json: shared.AsJson = False,
) -> None:
    """Send listings to a running service, which stores them with a decision on each.

    For the listings that were there before the service was, and for trying it out. A listing that was sent
    before keeps its decision, so the same command goes on where it was stopped. A busy service is waited for.

    Example:

        stallwart send http://127.0.0.1:8000 listings/*.parquet --key-file shop.key
    """
    from stallwart.client import Client

    if evidence not in ("none", "words", "full"):
        raise ConfigError(f"--evidence {evidence}: it is none, words or full")
    settings, files = shared.read_settings(), listing_files(listings)
    counts, failed = Counter[str](), Counter[str]()
    with (
        Rejects.within(settings, rejects_to) as rejects,
        Client(url, key_in(key_file), _DEADLINE_MS) as client,
    ):
        stream = read_listings(files, Columns.parse(columns), settings, rejects, decode=False, to_rule=True)
        for batch in _batches(shared.show_progress(stream, "sending", count_rows(files))):
            decided, refused = _send(client, batch, evidence)  # type: ignore[arg-type]  # checked above
            counts.update(decided)
            failed.update(refused)
    left_out = {f"{kind}: {reason}": n for (kind, reason), n in rejects.counts.items()}
    if as_json:
        shared.print_json({"actions": counts, "failed": failed, "left_out": left_out})
    else:
        said = ", ".join(f"{counts[action]:,} {action}" for action in ("allow", "review", "block"))
        print(f"{sum(counts.values()):,} listings decided: {said}")  # noqa: T201
        for reason, count in (*left_out.items(), *failed.items()):
            shared.say(f"left out, {reason}: {count:,}")
    if failed:
        raise DataError(f"{sum(failed.values()):,} listings have no decision; send them again")


def key_in(file: Path | None) -> str | None:
    """The API key in a file; None without one.

    Raises:
        ConfigError: the file cannot be read.
    """
    if file is None:
        return None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"--key-file {file}: cannot be read ({err})") from None


def _batches(listings: Iterable[Listing]) -> Iterator[list[Listing]]:
    stream = iter(listings)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def _send(
    client: "Client", batch: Sequence[Listing], evidence: "Evidence"
) -> tuple[Counter[str], Counter[str]]:
    """How many got which action, and how many got none, by why; a row that comes too early is sent again."""
    from stallwart.client.errors import RefusedError, ServiceError

    decided, failed, waiting = Counter[str](), Counter[str](), list(batch)
    for last in (*[False] * (_ROUNDS - 1), True):
        answers = client.decide_batch(waiting, evidence=evidence, on_failure="error")
        again = []
        for listing, answer in zip(waiting, answers, strict=True):
            if not isinstance(answer, ServiceError):
                decided[answer.action] += 1
            elif last or isinstance(answer, RefusedError):
                failed[f"{answer.code}: {answer.message}"] += 1
            else:
                again.append(listing)
        if not again:
            break
        waiting = again
    return decided, failed

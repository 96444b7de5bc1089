"""Stored labels and the listings that they are about -> the files that training reads.

`labels.csv` and `listings-0000.parquet`, as any market's own files: `stallwart train` reads them with its
default column names. Written as it is read: memory holds some rows, and an id of each listing.
"""

import csv
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Engine

from stallwart.core.carrying import Moves
from stallwart.core.errors import NotFoundError
from stallwart.store.database import reading, store_errors
from stallwart.store.files import whole_folder
from stallwart.store.labels import KnownLabel, known_labels, single_label
from stallwart.store.photos import PhotoStore
from stallwart.store.verdicts import Source

LISTINGS = pa.schema(
    {
        "listing_id": pa.string(),
        "seller_id": pa.string(),
        "listed_at": pa.timestamp("ms", "UTC"),
        "title": pa.string(),
        "description": pa.string(),
        "price": pa.float64(),
        "language": pa.string(),
        "images": pa.list_(pa.binary()),
    }
)
LABELS = ("listing_id", "label", "labelled_at", "labelled_by", "weight", "source", "revision", "verdict_id")
"""Columns of `labels.csv`; training reads the first five."""
LEFT_OPEN = "a move of policies leaves open what is broken now; have somebody look again"
NOTHING_LEFT = "it spoke only of policies that are no more, and settles nothing of those there are"
_NONE = Moves()
_ROWS = 64  # of one group: each may bring a dozen photos of megabytes


@dataclass
class Written:
    """What was written, and what was not.

    Attributes:
        listings: rows of each of the two files.
        labels: rows by label.
        left_out: labels that were not written, by reason in plain words.
        photos_gone: photos that are not kept any more; their listings were written without them.
        carried: labels that were written as moves of the rulebook carried them.
        open: ids of listings of which such a move leaves open what they break.
    """

    listings: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    photos_gone: int = 0
    carried: int = 0
    open: set[str] = field(default_factory=set)


def write_training_files(
    folder: Path,
    engine: Engine,
    photos: PhotoStore,
    policies: Collection[str],
    until_ms: int | None = None,
    sources: Collection[Source] | None = None,
    moves: Moves = _NONE,
) -> Written:
    """What was written to a folder, in place of what was there: labels known at a moment, and listings.

    Of a listing that was judged in several states, the last one has the listing's id, and earlier ones have
    it with `@` and the beginning of their digest: they are examples of their own.

    Args:
        folder: is written whole or not at all.
        engine: the database.
        photos: those that are kept.
        policies: ids that training knows, without neutral.
        until_ms: milliseconds since 1970; what was said at or after it is not known. None is now.
        sources: why people were asked; None is for any reason.
        moves: of the rulebook, over which labels are carried.

    Raises:
        ConfigError: the folder cannot be written.
        StoreError: the database or the photo store fails.
    """
    told = Written()
    with store_errors("labels cannot be read"), reading(engine) as connection:

        def labels() -> Iterator[KnownLabel]:
            return known_labels(connection, until_ms, sources, moves)

        last = _last_revisions(labels())
        with whole_folder(folder) as place, _Files(place) as files:
            for label in labels():
                single, name = single_label(label, policies), _name(label, last)
                if reason := _left_out(label, single):
                    told.left_out[reason] += 1
                    if reason == LEFT_OPEN:
                        told.open.add(name)
                    continue
                assert single is not None
                content = _photos(label, photos.get, told)
                files.add(_listing(label, name, content), _label(label, name, single))
                told.listings += 1
                told.labels[single] += 1
                told.carried += label.carried
    return told


def _left_out(label: KnownLabel, single: str | None) -> str:
    """Why a label is not written; "" where it is."""
    if label.content.purged_at_ms is not None:
        return "its words and photos are not kept any more"
    if single is None and label.left_open:
        return LEFT_OPEN
    if single is None:
        return "what was said names none of these policies, and does not deny all of them"
    return ""


def _last_revisions(labels: Iterable[KnownLabel]) -> dict[str, tuple[int, str]]:
    """listing id -> when its last judged revision was decided about, and its digest."""
    last: dict[str, tuple[int, str]] = {}
    for label in labels:
        at = (label.decided_at_ms, label.revision)
        last[label.listing_id] = max(last.get(label.listing_id, at), at)
    return last


def _name(label: KnownLabel, last: dict[str, tuple[int, str]]) -> str:
    if last[label.listing_id][1] == label.revision:
        return label.listing_id
    return f"{label.listing_id}@{label.revision[:12]}"


def _photos(label: KnownLabel, get: Callable[[str], bytes], told: Written) -> list[bytes]:
    found = []
    for digest in label.content.photos:
        try:
            found.append(get(digest))
        except NotFoundError:
            told.photos_gone += 1
    return found


def _listing(label: KnownLabel, name: str, photos: list[bytes]) -> dict[str, Any]:
    one = label.content
    return {
        "listing_id": name,
        "seller_id": one.seller_id,
        # Training needs a time: where the market states none, the moment of the decision is the nearest
        "listed_at": label.decided_at_ms if one.listed_at_ms is None else one.listed_at_ms,
        "title": one.title,
        "description": one.description,
        "price": one.price,
        "language": one.language,
        "images": photos,
    }


def _label(label: KnownLabel, name: str, single: str) -> tuple[Any, ...]:
    at = datetime.fromtimestamp(label.at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    weight = f"{label.weight:.6g}"
    return (name, single, at, label.who, weight, label.source.value, label.revision, label.verdict_id)


class _Files:
    """The two files of a folder, written row by row."""

    def __init__(self, folder: Path):
        self._parquet = pq.ParquetWriter(folder / "listings-0000.parquet", LISTINGS)
        self._csv = (folder / "labels.csv").open("w", encoding="utf-8", newline="")
        self._rows: list[dict[str, Any]] = []
        self._labels = csv.writer(self._csv)
        self._labels.writerow(LABELS)

    def __enter__(self) -> "_Files":
        return self

    def add(self, listing: dict[str, Any], label: tuple[Any, ...]) -> None:
        self._rows.append(listing)
        self._labels.writerow(label)
        if len(self._rows) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, LISTINGS))
            self._rows = []

    def __exit__(self, *failed: object) -> None:
        try:
            if failed[0] is None:
                self._flush()
        finally:
            self._parquet.close()
            self._csv.close()

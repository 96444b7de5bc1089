"""Enforcement's files and stored verdicts, as known on a day -> the files that one retraining reads.

Listings keep their files; labels become two files in one folder: `train.csv`, without the listings that are
held back, and `all.csv`, with them. Which are held back is decided by a digest of the listing's id alone, so
that it is the same at every retraining, and no challenger has learned from them.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from stallwart.core.carrying import Moves, moves
from stallwart.core.errors import DataError
from stallwart.core.listing import Label
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.labels import read_labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.stored import write_training_files
from stallwart.dataset.tabular import listing_files
from stallwart.store import rulebooks
from stallwart.store.database import reading, store_errors
from stallwart.store.files import whole_folder
from stallwart.store.photos import PhotoStore

Erased = Callable[[str, str | None], bool]
"""Whether a listing, by its id and its seller's, was erased."""

TRAIN, ALL = "train.csv", "all.csv"
_STORED = "stored"
_LABELS = "labels.csv"
_MOVED = "moved.json"
_FIELDS = ("listing_id", "label", "labelled_at", "labelled_by", "weight")


@dataclass(frozen=True)
class Given:
    """What a retraining may read beside the store.

    Attributes:
        listings: files or folders of the market's own; none where all comes from the store.
        labels: files of enforcement's labels; the listings themselves where none is named.
        columns: names of the columns in these files.
        taxonomy: the rulebook.
    """

    listings: tuple[Path, ...]
    labels: tuple[Path, ...]
    columns: Columns
    taxonomy: Taxonomy


@dataclass(frozen=True)
class Gathered:
    """What was gathered.

    Attributes:
        listings: files and folders with the listings.
        train: labels to learn from.
        all: these, and those of the listings held back.
        labels: how many by label, held back or not.
        held_back: how many are.
        carried: how many are not as they were given, but as moves of the rulebook carried them.
        left_open: listings whose label such a move leaves open; they have none.
    """

    listings: tuple[Path, ...]
    train: Path
    all: Path
    labels: Counter[str]
    held_back: int
    carried: int
    left_open: int


def is_held_back(listing_id: str, one_in: int) -> bool:
    """Whether no retraining learns from this listing; a revision counts as its listing.

    Args:
        listing_id: as in the files; `id@revision` names an earlier state of `id`.
        one_in: one listing in so many is.
    """
    name = listing_id.split("@", 1)[0].encode(errors="surrogatepass")
    return int.from_bytes(hashlib.sha256(b"held back " + name).digest()[:8]) % one_in == 0


def gather_files(
    folder: Path,
    given: Given,
    engine: Engine,
    photos: PhotoStore,
    until: datetime,
    settings: Settings,
    erased: Erased | None,
) -> Gathered:
    """What is in `folder`: written now, or by an earlier attempt of the same retraining.

    Labels are carried over the moves of the rulebook that the given policies follow.

    Args:
        folder: is written whole or not at all.
        given: enforcement's own files.
        engine: the database.
        photos: those that are kept.
        until: labels given at or after it are not known.
        settings: limits.
        erased: says of a listing id and its seller whether it was erased, and has to stay out; None where
            nothing ever was.

    Raises:
        ConfigError: the folder cannot be written.
        DataError: a file cannot be read, or there is no label at all.
        StoreError: the database or the photo store fails.
    """
    if not folder.is_dir():
        with whole_folder(folder) as place:
            _write(place, given, engine, photos, until, settings, erased)
    counts: Counter[str] = Counter()
    held_back = 0
    with (folder / ALL).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            counts[row["label"]] += 1
            held_back += is_held_back(row["listing_id"], settings.retrain_held_back)
    stored = tuple((folder / _STORED).glob("listings-*.parquet"))
    moved = json.loads((folder / _MOVED).read_text(encoding="utf-8"))
    return Gathered((*given.listings, *stored), folder / TRAIN, folder / ALL, counts, held_back, **moved)


def _write(
    folder: Path,
    given: Given,
    engine: Engine,
    photos: PhotoStore,
    until: datetime,
    settings: Settings,
    erased: Erased | None,
) -> None:
    until_ms = int(until.timestamp() * 1_000)
    with store_errors("the rulebook cannot be read"), reading(engine) as connection:
        over = moves(rulebooks.history(connection), given.taxonomy)
    told = write_training_files(folder / _STORED, engine, photos, given.taxonomy.ids, until_ms, moves=over)
    known: dict[str, Label] = {}
    carried, left_open = 0, set(told.open)
    if given.listings:
        files = given.labels or given.listings
        before = _read(files, given.columns, given.taxonomy, until, settings, over.gone)
        known = _carried(before, over)
        carried = sum(known[name].label != before[name].label for name in known)
        left_open |= before.keys() - known.keys()
    if told.listings:
        # What a person said in this program is later than what a file brought along
        stored = (folder / _STORED / _LABELS,)
        known |= _read(stored, Columns(), given.taxonomy, until, settings)
    # ... also where it was carried to nothing: the file's word is older, and no longer what is known
    gone = told.open if erased is None else told.open | _gone(given, known, erased, settings)
    rows = [label for name, label in known.items() if name not in gone]
    if not rows:
        raise DataError(
            f"no label was known at {until:%Y-%m-%d}: nobody has given a verdict, and no file has a label;"
            " name files of enforcement's labels, or wait"
        )
    one_in = settings.retrain_held_back
    left = {"carried": carried + told.carried, "left_open": len(left_open - {one.listing_id for one in rows})}
    (folder / _MOVED).write_text(json.dumps(left) + "\n", encoding="utf-8")
    _write_labels(folder / ALL, rows)
    _write_labels(folder / TRAIN, [one for one in rows if not is_held_back(one.listing_id, one_in)])


def _gone(given: Given, known: Collection[str], erased: Erased, settings: Settings) -> set[str]:
    """Listings that were erased, or whose seller was; what the store held of them is gone already."""
    gone = {name for name in known if erased(name, None)}
    if given.listings:
        files = listing_files(given.listings, given.labels)
        stream = read_listings(files, given.columns, settings, Rejects.within(settings), decode=False)
        gone |= {one.listing_id for one in stream if erased(one.listing_id, one.seller_id)}
    return gone


def _read(
    files: tuple[Path, ...],
    columns: Columns,
    taxonomy: Taxonomy,
    until: datetime,
    settings: Settings,
    also: Collection[str] = (),
) -> dict[str, Label]:
    return read_labels(files, columns, taxonomy, Rejects.within(settings), also=also).as_of(until)


def _carried(known: dict[str, Label], over: Moves) -> dict[str, Label]:
    """The labels as the moves carried them, without those that a move leaves open."""
    found = {}
    for name, one in known.items():
        at_ms = None if one.labelled_at is None else int(one.labelled_at.timestamp() * 1_000)
        if (label := over.label(one.label, at_ms)) is not None:
            found[name] = replace(one, label=label)
    return found


def _write_labels(path: Path, labels: list[Label]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(_FIELDS)
        for one in labels:
            at = one.labelled_at
            said = "" if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")
            out.writerow((one.listing_id, one.label, said, one.labelled_by, f"{one.weight:.6g}"))

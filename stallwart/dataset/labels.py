"""What enforcement said, as of a day: the latest label that was known then."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stallwart.core.errors import DataError
from stallwart.core.listing import Label
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import Row, Unreadable, listing_files, read_rows
from stallwart.dataset.values import RejectError, as_id, as_number, as_text, as_time

_FIELDS = ("listing_id", "label", "labelled_at", "labelled_by", "weight")
_KNOWN_AT_ONCE = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Labels:
    """All labels ever given, in the order they became known; held in memory, a few hundred bytes each."""

    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def as_of(self, day: datetime | None = None) -> dict[str, Label]:
        """listing id -> the latest of its labels that was known at `day` (UTC); the latest of all if None.

        A label without a time was known at once. Of labels of the same time, the one read last holds.
        """
        if day is not None and day.tzinfo is None:
            day = day.replace(tzinfo=UTC)
        known = (label for label in self.labels if day is None or _time(label) <= day)
        return {label.listing_id: label for label in known}  # in order of time: the later one wins

    def conflicts(self) -> list[tuple[Label, ...]]:
        """The labels of each listing that was given different ones, in order of time; by listing id."""
        given: dict[str, list[Label]] = {}
        for label in self.labels:
            given.setdefault(label.listing_id, []).append(label)
        return [tuple(given[key]) for key in sorted(given) if len({label.label for label in given[key]}) > 1]


def read_labels(
    paths: Iterable[Path],
    columns: Columns,
    taxonomy: Taxonomy,
    rejects: Rejects,
    *,
    now: datetime | None = None,
    also: Collection[str] = (),
) -> Labels:
    """The labels in files of their own, or in a column of the listing files themselves.

    A row is rejected for a missing or wrong id, a label that is neither `neutral` nor a policy, a wrong type
    or a time that cannot be. A row without a label is counted and stays unlabelled.

    Args:
        paths: files of labels, or of listings with their labels.
        columns: their names in these files.
        taxonomy: the policies that a label may name.
        rejects: counts what is left out.
        now: what lies after it cannot be; the moment of the call if None.
        also: ids of policies that are no more, whose labels whoever calls carries over.

    Raises:
        DataError: a file cannot be read or lacks a column, no label is left, or too much is rejected.
    """
    now = now or datetime.now(UTC)
    files = listing_files(paths)
    needed = columns.model_copy(update={"label": columns.label})  # as if named: a file without it is an error
    known = (*taxonomy.labels, *also)
    labels: list[Label] = []
    for file in files:
        labels.extend(_labels(file, needed, known, rejects, now))
        rejects.check()
    if not labels:
        raise DataError(
            f"{files[0]}: holds no label; name the file with --labels or the column with --columns label=..."
        )
    return Labels(tuple(sorted(labels, key=_time)))  # stable: equal times stay in the order read


def _labels(
    file: Path, columns: Columns, known: tuple[str, ...], rejects: Rejects, now: datetime
) -> Iterator[Label]:
    for row in read_rows(file, columns, _FIELDS):
        rejects.rows += 1
        try:
            if (label := _label(row, known, now)) is not None:
                yield label
            else:
                rejects.add(str(file), row.number, "field", "no label")
        except RejectError as problem:
            rejects.add(str(file), row.number, "row", problem.reason, problem.detail)


def _label(row: Row, known: tuple[str, ...], now: datetime) -> Label | None:
    if row.problem:
        raise RejectError(row.problem)
    values = row.values
    for name, value in values.items():
        if isinstance(value, Unreadable):
            raise RejectError(f"{name} cannot be read", str(value))
    listing_id = as_id(values.get("listing_id"), "listing_id")
    if listing_id is None:
        raise RejectError("no listing_id")
    label = (as_text(values.get("label"), "label") or "").strip()
    if not label:
        return None
    if label not in known:
        raise RejectError("unknown label", f"{label[:64]!r}; there are: {', '.join(known)}")
    weight = as_number(values.get("weight"), "weight")
    if weight is not None and weight < 1:
        raise RejectError("weight below 1", f"{weight:g}")
    return Label(
        listing_id=listing_id,
        label=label,
        labelled_at=as_time(values.get("labelled_at"), "labelled_at", now),
        labelled_by=as_text(values.get("labelled_by"), "labelled_by") or "",
        weight=1.0 if weight is None else weight,
    )


def _time(label: Label) -> datetime:
    return label.labelled_at or _KNOWN_AT_ONCE

"""Rows -> train, validation and test by time, no near duplicate on two sides, and the check that it is so."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.scored import Rows

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which rows belong where; each array holds places in the rows, ascending, and no row stands in two.

    Attributes:
        train: listed before `train_until` and labelled by then.
        validation: listed from then and before `validate_until`, and labelled by then.
        test: listed from `validate_until` on.
        repeats: of the later parts, left out since a near duplicate stands in an earlier part.
        unknown: listed in the time of train or validation and labelled only after its end.
        train_until: first moment after the training part, datetime64[ms], UTC.
        validate_until: first moment after the validation part.
    """

    train: Places
    validation: Places
    test: Places
    repeats: Places
    unknown: Places
    train_until: np.datetime64
    validate_until: np.datetime64


def split_by_date(rows: Rows, train_until: datetime, validate_until: datetime) -> Split:
    """The rows split at two moments in UTC; times at a boundary belong to the later part.

    A group of near duplicates belongs to the part of its earliest member, also where that member's label came
    too late to be used; its members in later parts are `repeats`.

    Raises:
        ConfigError: `train_until` is not before `validate_until`.
        DataError: the training or validation part is empty; a test part may still lie in the future.
    """
    ends = np.array([_milliseconds(train_until), _milliseconds(validate_until)], dtype="datetime64[ms]")
    if ends[0] >= ends[1]:
        raise ConfigError(
            f"training ends {ends[0]}, not before validation does, {ends[1]}; swap the two dates"
        )
    part = np.searchsorted(ends, rows.listed_at.astype("datetime64[ms]"), side="right")  # (n,) 0, 1 or 2
    repeat = part > _earliest_part(rows.groups, part)
    late = (part < 2) & (rows.labelled_at > ends[np.minimum(part, 1)]) & ~repeat
    usable = ~repeat & ~late
    split = Split(
        train=np.flatnonzero(usable & (part == 0)),
        validation=np.flatnonzero(usable & (part == 1)),
        test=np.flatnonzero(usable & (part == 2)),
        repeats=np.flatnonzero(repeat),
        unknown=np.flatnonzero(late),
        train_until=ends[0],
        validate_until=ends[1],
    )
    for name in ("train", "validation"):
        if not len(getattr(split, name)):
            raise DataError(
                f"the {name} part is empty: {len(rows):,} rows from {rows.listed_at.min()} to "
                f"{rows.listed_at.max()}, training until {ends[0]}, validation until {ends[1]}; "
                "move the dates, or give the files of those months too"
            )
    return split


def split_by_shares(rows: Rows, train: float = 0.7, validation: float = 0.1) -> Split:
    """The rows split in order of time, the given shares of them first; whole days stay together.

    Raises:
        ConfigError: the shares are not positive or leave nothing to test on.
        DataError: a part is empty, for example where all listings are of one day.
    """
    if min(train, validation) <= 0 or train + validation >= 1:
        raise ConfigError(
            f"shares {train:g} and {validation:g} must be above 0 and leave some to test on; try 0.7 and 0.1"
        )
    if not len(rows):
        raise DataError("no rows to split; no listing has both a label and a date")
    days = np.sort(rows.listed_at.astype("datetime64[D]"))
    places = np.minimum([int(train * len(days)), int((train + validation) * len(days))], len(days) - 1)
    first, second = days[places]
    if first >= second:
        second = first + np.timedelta64(1, "D")
    return split_by_date(rows, first.astype(datetime), second.astype(datetime))


def leak_check(split: Split, rows: Rows) -> None:
    """Nothing, where no listing, group or late label crosses from a later part into an earlier one.

    Raises:
        DataError: something does; a bundle trained on this split would report figures that are not true.
    """
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    for name, where in parts.items():
        for other, there in parts.items():
            if name < other:
                _check_apart(rows.listing_ids, name, where, other, there, "listing")
                _check_apart(rows.groups, name, where, other, there, "group of near duplicates")
    _check_known(rows, "train", split.train, split.train_until)
    _check_known(rows, "validation", split.validation, split.validate_until)
    _check_after(rows, "validation", split.validation, split.train_until)
    _check_after(rows, "test", split.test, split.validate_until)


def _check_apart(
    keys: NDArray[np.generic], name: str, where: Places, other: str, there: Places, what: str
) -> None:
    shared = np.intersect1d(keys[where], keys[there])
    if len(shared):
        raise DataError(
            f"leak: {len(shared):,} {what}(s) stand in both {name} and {other}, for example {shared[0]}; "
            "split again with split_by_date, which keeps groups together"
        )


def _check_known(rows: Rows, name: str, places: Places, end: np.datetime64) -> None:
    late = places[(rows.labelled_at[places] > end) | (rows.listed_at[places] >= end)]
    if len(late):
        raise DataError(
            f"leak: {len(late):,} row(s) of {name} were listed or labelled after its end {end}, for example "
            f"{rows.listing_ids[late[0]]}; use labels as of that day"
        )


def _check_after(rows: Rows, name: str, places: Places, start: np.datetime64) -> None:
    early = places[rows.listed_at[places] < start]
    if len(early):
        raise DataError(
            f"leak: {len(early):,} row(s) of {name} were listed before its start {start}, for example "
            f"{rows.listing_ids[early[0]]}"
        )


def _earliest_part(groups: Places, part: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) the earliest part that each row's group has a member in."""
    _, group = np.unique(groups, return_inverse=True)
    earliest = np.full(group.max(initial=-1) + 1, 2, dtype=np.intp)
    np.minimum.at(earliest, group, part)
    return earliest[group]


def _milliseconds(time: datetime) -> np.datetime64:
    """A date or time, in UTC where it names no zone, as datetime64[ms]."""
    if getattr(time, "tzinfo", None) is not None:
        return np.datetime64(int(time.timestamp() * 1000), "ms")
    return np.datetime64(time, "ms")

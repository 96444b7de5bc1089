"""Files of rows -> dicts of plain values, one at a time: Parquet, JSON Lines and CSV alike.

Memory is bounded by one small batch (Parquet) or one line. Knows the columns that are asked for and nothing
of what they mean.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stallwart.core.errors import DataError
from stallwart.dataset.columns import Columns

_BATCH_ROWS = 64
# Longest line: twelve photos of 20 MB as base64, with room for words.
_MAX_LINE_BYTES = 400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its place from 1, its values by field name; or why it cannot be read.

    Attributes:
        number: the row of a Parquet file, the line of a text file.
        values: by field name, missing ones absent or None.
        problem: "" or the reason why the row is unreadable.
    """

    number: int
    values: Mapping[str, Any]
    problem: str = ""


class Unreadable(str):
    """A value that exists in the file but in no Python type, such as a date in the year 30000."""

    __slots__ = ()


def listing_files(paths: Iterable[Path], without: Iterable[Path] = ()) -> list[Path]:
    """The files that paths and folders stand for, in the order given; a folder's own in order of name.

    Args:
        paths: files, or folders whose readable files (at any depth, hidden ones apart) are meant.
        without: files in those folders that hold something else, such as the labels.

    Raises:
        DataError: a path does not exist, a folder holds nothing that can be read, or a kind is unknown.
    """
    apart = {path.resolve() for path in without}
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if _is_listing_file(file, path, apart)]
            if not inside:
                raise DataError(f"{path}: holds no {_kinds()} file; name the files themselves")
            files.extend(inside)
        elif not path.exists():
            raise DataError(f"{path}: there is no such file; check the path, and quote no wildcard")
        elif path.suffix.lower() not in _READERS:
            raise DataError(f"{path}: is of an unknown kind; listings and labels are read from {_kinds()}")
        else:
            files.append(path)
    if not files:
        raise DataError("no files given; name at least one file or folder of listings")
    if repeated := sorted({str(file) for file in files if files.count(file) > 1})[:1]:
        raise DataError(f"{repeated[0]}: is given twice; name each file once")
    return files


def read_rows(path: Path, columns: Columns, wanted: Sequence[str]) -> Iterator[Row]:
    """The rows of one file, in order, with those of the wanted fields that it has.

    Cells of CSV come as text, "" as None. Time stamps come as datetime in UTC.

    Raises:
        DataError: the file cannot be opened, is not of its kind, or has no column for the id or for a field
            that the user mapped.
    """
    try:
        yield from _READERS[path.suffix.lower()](path, columns, wanted)
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror or err})") from None


def count_rows(files: Iterable[Path]) -> int | None:
    """How many rows the files hold, where all of them say so in their footer; else None."""
    total = 0
    for file in files:
        if file.suffix.lower() not in (".parquet", ".pq"):
            return None
        try:
            total += pq.read_metadata(file).num_rows
        except (OSError, pa.ArrowException):
            return None
    return total


def _is_listing_file(file: Path, folder: Path, apart: set[Path]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.suffix.lower() in _READERS and file.is_file() and file.resolve() not in apart


def _kinds() -> str:
    return ", ".join(_READERS)


def _parquet(path: Path, columns: Columns, wanted: Sequence[str]) -> Iterator[Row]:
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            found = columns.present(wanted, file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(found.values())):
                values = {name: _values(batch.column(column)) for name, column in found.items()}
                for index in range(batch.num_rows):
                    number += 1
                    yield Row(number, {name: column[index] for name, column in values.items()})
    except (pa.ArrowException, ValueError) as err:
        said = str(err).splitlines()[0][:200]
        raise DataError(f"{path}: is no whole Parquet file, at row {number + 1}: {said}") from None


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        instants = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
        return [None if instant is None else _instant(instant) for instant in instants.to_pylist()]
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, UnicodeDecodeError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, UnicodeDecodeError) as err:
        return Unreadable(type(err).__name__)


def _instant(microseconds: int) -> datetime | Unreadable:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return Unreadable("a date outside the years 1 to 9999")


def _json_lines(path: Path, columns: Columns, wanted: Sequence[str]) -> Iterator[Row]:
    names = {name: getattr(columns, name) for name in wanted}
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                    pass
                yield Row(number, {}, f"line longer than {_MAX_LINE_BYTES:,} bytes")
            elif line.strip():
                yield _json_row(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, names)


def _json_row(number: int, line: bytes, names: Mapping[str, str]) -> Row:
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return Row(number, {}, "not UTF-8")
    except (ValueError, RecursionError):
        return Row(number, {}, "not valid JSON")
    if not isinstance(value, dict):
        return Row(number, {}, "no JSON object")
    return Row(number, {name: value[column] for name, column in names.items() if column in value})


def _csv(path: Path, columns: Columns, wanted: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE_BYTES))  # photos stand in cells as base64
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader)
        except StopIteration:
            raise DataError(f"{path}: is empty; a CSV file begins with the names of its columns") from None
        except csv.Error as err:
            raise DataError(f"{path}:1: the names of the columns cannot be read ({err})") from None
        found = columns.present(wanted, header, str(path))
        places = {name: header.index(column) for name, column in found.items()}
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield Row(number, {}, "not valid CSV")
                continue
            if cells:
                yield _csv_row(number, cells, len(header), places)


def _csv_row(number: int, cells: list[str], width: int, places: Mapping[str, int]) -> Row:
    if len(cells) != width:
        return Row(number, {}, "more or fewer cells than the header")
    values = {name: cells[place] or None for name, place in places.items()}
    if any(value is not None and not _is_utf8(value) for value in values.values()):
        return Row(number, {}, "not UTF-8")
    return Row(number, values)


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


_READERS: dict[str, Callable[[Path, Columns, Sequence[str]], Iterator[Row]]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
}

"""Files of listings -> checked listings, one at a time; whatever is left out is counted with its reason.

Memory does not grow with the rows, but for a hash of eight bytes for each id (about 70 with Python's
bookkeeping), to find repeated ones. It takes two different ids for one in fewer than one of ten million
runs over a million listings.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from stallwart.content.photo import PhotoError, PhotoTooLargeError, decode_photo, photo_size
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.rejects import Kind, Rejects
from stallwart.dataset.tabular import Row, Unreadable, listing_files, read_rows
from stallwart.dataset.values import RejectError, as_id, as_number, as_photo, as_text, as_time, photo_values

_FIELDS = ("listing_id", "title", "description", "images", "seller_id", "listed_at", "price", "language")


def read_listings(
    paths: Iterable[Path],
    columns: Columns,
    limits: Settings,
    rejects: Rejects,
    *,
    now: datetime | None = None,
    decode: bool = True,
    to_rule: bool = False,
) -> Iterator[Listing]:
    """The usable listings of files and folders, in order.

    A row is rejected for an unreadable line, a missing, wrong or repeated id (the first stays), a wrong type,
    a date before 1990 or over a day after `now`, or having neither words nor a usable photo. A photo that
    cannot be used is left out and its listing kept. A text over the limit is cut; a price, language or
    seller of a wrong type is taken as missing, since no model reads them. All of it is counted.

    Args:
        paths: files or folders; see `listing_files`.
        columns: names of the columns.
        limits: bounds on texts and photos.
        rejects: is told of everything left out.
        now: latest believable time; the clock's if None.
        decode: decode every photo once to see that it is whole; else only its header and bounds are checked.
        to_rule: the listings wait for a ruling, so none with an id of its own is lost for what it lacks: one
            with neither words nor a usable photo is handed out, a date that cannot be is taken as missing,
            and so is a title or description of a wrong type, which joins what is `unread`.

    Raises:
        DataError: a file cannot be read, lacks a column, or too much is rejected (checked after each file).
    """
    reader = _Reader(columns, limits, rejects, now or datetime.now(UTC), decode, to_rule)
    for file in listing_files(paths):
        yield from reader.read(file)
        rejects.check()


class _Reader:
    """What one run over all files shares: the limits and the ids met."""

    def __init__(
        self,
        columns: Columns,
        limits: Settings,
        rejects: Rejects,
        now: datetime,
        decode: bool,
        to_rule: bool,
    ) -> None:
        self._columns, self._limits, self._rejects = columns, limits, rejects
        self._now, self._decode = now if now.tzinfo else now.replace(tzinfo=UTC), decode
        self._to_rule = to_rule
        self._seen: set[int] = set()

    def read(self, file: Path) -> Iterator[Listing]:
        for row in read_rows(file, self._columns, _FIELDS):
            self._rejects.rows += 1
            try:
                yield self._listing(row, file)
            except RejectError as problem:
                self._add(file, row, "row", problem)

    def _add(self, file: Path, row: Row, kind: Kind, problem: RejectError) -> None:
        self._rejects.add(str(file), row.number, kind, problem.reason, problem.detail)

    def _listing(self, row: Row, file: Path) -> Listing:
        if row.problem:
            raise RejectError(row.problem)
        values = row.values
        for name, value in values.items():
            if isinstance(value, Unreadable):
                raise RejectError(f"{name} cannot be read", str(value))
        listing_id = as_id(values.get("listing_id"), "listing_id")
        if listing_id is None:
            raise RejectError("no listing_id")
        key = int.from_bytes(hashlib.blake2b(listing_id.encode(errors="replace"), digest_size=8).digest())
        if key in self._seen:
            raise RejectError("repeated listing_id", listing_id)
        unread: list[str] = []
        listing = Listing(
            listing_id=listing_id,
            title=self._text(row, file, "title", unread),
            description=self._text(row, file, "description", unread),
            listed_at=self._time(row, file),
            photos=self._photos(row, file, unread),
            unread=tuple(unread),
            seller_id=self._aside(row, file, "seller_id", as_id),
            price=self._aside(row, file, "price", as_number),
            language=self._aside(row, file, "language", as_id),
        )
        if not (listing.text or listing.photos or self._to_rule):
            raise RejectError("neither words nor a usable photo", listing_id)
        self._seen.add(key)
        return listing

    def _time(self, row: Row, file: Path) -> datetime | None:
        def read(value: Any, name: str) -> datetime | None:
            return as_time(value, name, self._now)

        if self._to_rule:
            return cast(datetime | None, self._aside(row, file, "listed_at", read))
        return read(row.values.get("listed_at"), "listed_at")

    def _text(self, row: Row, file: Path, name: str, unread: list[str]) -> str | None:
        try:
            text = as_text(row.values.get(name), name)
        except RejectError as problem:
            if not self._to_rule:
                raise
            self._add(file, row, "field", problem)
            unread.append(problem.reason)
            return None
        if text is None:
            return None
        if len(text) > self._limits.max_text_chars:
            self._add(
                file, row, "field", RejectError(f"{name} cut to the limit", f"{len(text):,} characters")
            )
            text = text[: self._limits.max_text_chars]
        if any("\ud800" <= char <= "\udfff" for char in text if char > "\ud7ff"):
            self._add(file, row, "field", RejectError(f"{name} has half characters, replaced"))
            text = text.encode(errors="replace").decode()
        return text

    def _aside(self, row: Row, file: Path, name: str, read: Any) -> Any:
        """A value that no model reads, None where it is wrong: no reason to lose the listing."""
        try:
            return read(row.values.get(name), name)
        except RejectError as problem:
            self._add(file, row, "field", problem)
            return None

    def _photos(self, row: Row, file: Path, unread: list[str]) -> tuple[bytes, ...]:
        """The photos that can be used; why each other one cannot is added to `unread`."""
        photos: list[bytes] = []
        for place, value in enumerate(photo_values(row.values.get("images"))):
            self._rejects.photos += 1
            try:
                if place >= self._limits.max_photos:
                    raise RejectError("photo beyond the number looked at", f"{self._limits.max_photos} are")
                photos.append(self._photo(value, file))
            except RejectError as problem:
                self._add(file, row, "photo", problem)
                unread.append(problem.reason)
        return tuple(photos)

    def _photo(self, value: bytes | str, file: Path) -> bytes:
        max_bytes, max_pixels = self._limits.max_photo_bytes, self._limits.max_photo_pixels
        photo = as_photo(value, file.parent, max_bytes)
        try:
            if self._decode:
                decode_photo(photo, max_bytes, max_pixels)
            else:
                photo_size(photo, max_bytes, max_pixels)
        except PhotoTooLargeError as err:
            raise RejectError("photo too large", str(err)) from None
        except PhotoError as err:
            raise RejectError("photo unreadable", str(err)) from None
        return photo

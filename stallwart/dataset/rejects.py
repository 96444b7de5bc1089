"""What could not be used: counted exactly, shown by a few examples, stopping a run when it is too much."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.settings import Settings

# A `row` is left out, a `photo` is left out and its listing kept, a `field` is cut or taken as missing. What
# was `erased` is left out and no fault of the files: it counts against no bound.
Kind = Literal["row", "photo", "field", "erased"]

_EXAMPLES = 10
_SHARE = 0.01  # tolerated whatever their number
_FEWEST = 20  # met, before a share of them says anything


@dataclass(frozen=True, slots=True)
class Reject:
    """One thing that was not used as it was.

    Attributes:
        file: where it stands.
        row: its place in the file, from 1; in CSV and JSON Lines the line it begins at.
        kind: what was left out.
        reason: one of a few fixed phrases, to be counted by.
        detail: what was found, shortened; never a listing's own text.
    """

    file: str
    row: int
    kind: Kind
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.row}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


@dataclass
class Rejects:
    """Counts of everything left out; a context manager where a `log` is given.

    Attributes:
        max_rejects: rejected rows, or photos, that are tolerated; above it at most 1 % of them may be.
        log: CSV file that gets every single reject, or None.
        max_share: share of rows, or photos, of which no more may be rejected however few they are.
        rows: rows met so far, used or not.
        photos: photos met so far, used or not.
        counts: how often each (kind, reason) occurred.
        examples: the first ten rejects of each (kind, reason).
    """

    max_rejects: int = 100
    log: Path | None = None
    max_share: float = 0.5
    rows: int = 0
    photos: int = 0
    counts: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    examples: dict[tuple[Kind, str], list[Reject]] = field(default_factory=dict)
    _file: IO[str] | None = None

    @classmethod
    def within(cls, limits: Settings, log: Path | None = None) -> Self:
        """None so far, under the limits of an installation."""
        return cls(limits.max_rejects, log, limits.max_reject_share)

    def __enter__(self) -> Self:
        if self.log is not None:
            try:
                self._file = self.log.open("w", newline="", encoding="utf-8", errors="replace")
            except OSError as err:
                raise ConfigError(f"{self.log}: cannot be written ({err.strerror})") from None
            csv.writer(self._file).writerow(["file", "row", "kind", "reason", "detail"])
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def beside(self) -> Self:
        """Counts of their own, for another kind of file, that write to the same log."""
        return type(self)(self.max_rejects, max_share=self.max_share, _file=self._file)

    def __iter__(self) -> Iterator[Reject]:
        """The kept examples, by kind and reason."""
        for key in sorted(self.examples):
            yield from self.examples[key]

    def add(self, file: str, row: int, kind: Kind, reason: str, detail: str = "") -> None:
        """Count one reject."""
        reject = Reject(file, row, kind, reason, detail[:300])
        self.counts[kind, reason] += 1
        examples = self.examples.setdefault((kind, reason), [])
        if len(examples) < _EXAMPLES:
            examples.append(reject)
        if self._file is not None:
            csv.writer(self._file).writerow([reject.file, reject.row, kind, reason, reject.detail])

    def total(self, kind: Kind) -> int:
        """How many rejects of one kind there were."""
        return sum(count for (which, _), count in self.counts.items() if which == kind)

    def check(self) -> None:
        """Nothing, while rejects are few.

        Raises:
            DataError: more rows, or photos, were rejected than `max_rejects` and than 1 % of those met; or,
                of at least 20, a larger share than `max_share`.
        """
        self._check("row", "rows", self.rows)
        self._check("photo", "photos", self.photos)

    def _check(self, kind: Kind, what: str, seen: int) -> None:
        rejected = self.total(kind)
        many = rejected > self.max_rejects and rejected > _SHARE * seen
        if not many and (seen < _FEWEST or rejected <= self.max_share * seen):
            return
        allow = "STALLWART_MAX_REJECTS" if many else "STALLWART_MAX_REJECT_SHARE"
        reasons = {reason: count for (which, reason), count in self.counts.most_common() if which == kind}
        said = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        first = self.examples[kind, next(iter(reasons))][0]
        raise DataError(
            f"{rejected:,} of {seen:,} {what} cannot be used: {said}; for example {first}. "
            "Mend the files or the --columns, see all of them with `stallwart check --rejects-to FILE`, "
            f"or allow more with {allow}"
        )

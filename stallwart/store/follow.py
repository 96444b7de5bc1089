"""Reads rows as they are written, each exactly once.

PostgreSQL gives out `seq` before a transaction commits: a row with a smaller one may be seen after a row with
a bigger one. So what was read lately is looked through again for such late rows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select

T = TypeVar("T")
_PAGE = 5_000
_AMONG = 500
# Longer than a transaction of this program lasts: each of its statements may take 10 s
_OVERLAP_MS = 30_000


class Follower(Generic[T]):
    """Yields each row that a query finds once, also where it becomes visible late.

    Begins at the first row there is, so that a process that was restarted comes to the same counts; or after
    a row up to which an earlier process was `settled`, which may yield again what came after it.

    Args:
        query: without order and limit; its rows have a `seq`.
        seq: the column that counts the rows up as they are written.
        make: a row -> what is yielded, or None where the row is not complete yet: it is asked for again at
            each poll until it is, or the query no longer finds it.
        now_ms: milliseconds by any one clock.
        overlap_ms: how long a transaction may take between its insert and its commit; later ones are missed.
        after: `seq` after which it begins.
    """

    def __init__(
        self,
        query: Select[Any],
        seq: ColumnElement[int],
        make: Callable[[Row[Any]], T | None],
        now_ms: Callable[[], int],
        overlap_ms: int = _OVERLAP_MS,
        after: int = 0,
    ):
        self._query, self._seq, self._make = query, seq, make
        self._now_ms, self._overlap_ms = now_ms, overlap_ms
        self._last = after  # the biggest seq that was read
        self._settled = after  # nothing can come any more up to this one
        self._seen: set[int] = set()  # those above it that were read
        self._read_at: deque[tuple[int, int]] = deque()  # when, and up to which seq
        self._incomplete: set[int] = set()

    @property
    def settled(self) -> int:
        """Up to this `seq` all there is was yielded, and nothing can come any more."""
        return min(self._settled, min(self._incomplete, default=self._settled + 1) - 1)

    def poll(self, connection: Connection) -> Iterator[T]:
        """All that is new, read page by page; take all of it.

        Where it raises, what it has not yielded comes at the next call.

        Args:
            connection: in a new transaction of `database.reading` for each call.
        """
        behind = True
        while behind:
            began = self._now_ms()
            fresh = connection.execute(
                self._query.where(self._seq > self._last).order_by(self._seq).limit(_PAGE)
            ).all()
            behind = len(fresh) == _PAGE
            again: list[Row[Any]] = []
            if not behind:  # that waits while there is much to catch up on
                again = self._among(connection, sorted({*self._late(connection), *self._incomplete}))
                self._incomplete = set()
            made = [(row.seq, self._make(row)) for row in (*again, *fresh)]
            self._incomplete.update(seq for seq, one in made if one is None)
            self._seen.update(seq for seq, _ in made if seq > self._settled)
            self._last = fresh[-1].seq if fresh else self._last
            if not behind:
                self._settle(began, self._now_ms())
            yield from (one for _, one in made if one is not None)

    def _late(self, connection: Connection) -> list[int]:
        """Rows that were not there when those after them were read."""
        if connection.dialect.name == "sqlite" or self._settled == self._last:
            return []  # SQLite writes one transaction after the other
        window = (self._seq > self._settled) & (self._seq <= self._last)
        rows = connection.execute(self._query.with_only_columns(self._seq).where(window)).scalars()
        return [seq for seq in rows if seq not in self._seen]

    def _among(self, connection: Connection, seqs: Sequence[int]) -> list[Row[Any]]:
        found: list[Row[Any]] = []
        for start in range(0, len(seqs), _AMONG):
            wanted = self._seq.in_(seqs[start : start + _AMONG])
            found += connection.execute(self._query.where(wanted).order_by(self._seq)).all()
        return found

    def _settle(self, began: int, now: int) -> None:
        """Forget what was read so long ago that nothing before it can come any more."""
        if not self._read_at or self._read_at[-1][1] < self._last:
            self._read_at.append((now, self._last))
        settled = self._settled
        # By when this poll began: what became visible since then may not have been looked for
        while self._read_at[0][0] + self._overlap_ms < began:
            settled = self._read_at.popleft()[1]
            if not self._read_at:
                break
        if settled > self._settled:
            self._settled = settled
            self._seen = {seq for seq in self._seen if seq > settled}


def once(items: Iterable[T], key: Callable[[T], Any], seen: set[Any]) -> Iterator[T]:
    """The items whose key is not in `seen`, which gets it."""
    for item in items:
        if key(item) not in seen:
            seen.add(key(item))
            yield item

"""How much is waiting, for pages: to count a hundred thousand tasks takes longer than a page may.

So a page shows what was counted some seconds ago, with the time of it, and has it counted again behind its
back. Only who comes when nobody has looked for long waits for the count.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, bindparam, func, select

from stallwart.core.errors import StoreError
from stallwart.store.database import reading, store_errors
from stallwart.store.tables import tasks
from stallwart.store.tasks import Count, counts


@dataclass(frozen=True, slots=True)
class Counted:
    """Open tasks by kind and policy, as they were at a moment in milliseconds since 1970."""

    counts: tuple[Count, ...]
    at_ms: int


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="stallwart-board", daemon=True).start()


class Board:
    """The last count; may be asked by many threads.

    Args:
        engine: the database.
        now_ms: milliseconds since 1970.
        fresh_ms: age up to which a count is shown as it is.
        stale_ms: age up to which it is shown while it is counted again.
        start: runs work while nobody waits.
    """

    def __init__(
        self,
        engine: Engine,
        now_ms: Callable[[], int],
        fresh_ms: int = 5_000,
        stale_ms: int = 60_000,
        start: Callable[[Callable[[], None]], None] = _in_a_thread,
    ):
        self._engine, self._now_ms, self._start = engine, now_ms, start
        self._fresh_ms, self._stale_ms = fresh_ms, stale_ms
        self._last: Counted | None = None
        self._counting = threading.Lock()

    def latest(self) -> Counted:
        """What is waiting, at most `stale_ms` old.

        Raises:
            StoreError: there is no such count, and the database fails.
        """
        last = self._last
        age_ms = None if last is None else self._now_ms() - last.at_ms
        if last is None or age_ms is None or age_ms > self._stale_ms:
            return self._count()
        if age_ms > self._fresh_ms and self._counting.acquire(blocking=False):
            try:
                self._start(self._count_behind)
            except BaseException:
                self._counting.release()
                raise
        return last

    def _count_behind(self) -> None:
        """Who asks next gets the new count; where it fails the last one stays until it is too old."""
        try:
            with contextlib.suppress(StoreError):
                self._count()
        finally:
            self._counting.release()

    def _count(self) -> Counted:
        now = self._now_ms()
        with store_errors("open tasks cannot be counted"), reading(self._engine) as connection:
            self._last = Counted(tuple(counts(connection, now)), now)
        return self._last


def finished_since(connection: Connection, user_ids: Iterable[str], since_ms: int) -> dict[str, int]:
    """How many tasks each of these people finished at or after a time; reads those of an index."""
    ids = list(user_ids)
    found = {
        row[0]: int(row[1]) for row in connection.execute(_FINISHED, {"whose": ids, "since_ms": since_ms})
    }
    return {user_id: found.get(user_id, 0) for user_id in ids}


_FINISHED = (
    select(tasks.c.ended_by, func.count())
    .where(
        tasks.c.ended_by.in_(bindparam("whose", expanding=True)), tasks.c.ended_at_ms >= bindparam("since_ms")
    )
    .group_by(tasks.c.ended_by)
)

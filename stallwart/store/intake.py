"""The intake: follows what happened and makes the tasks that are missing.

It reads decisions, feedback, audit draws and settled verdicts in the order in which they were written, from
where an earlier run has come to. Each task has a unique key, so that what is read twice, after a kill or by
two processes at once, makes one task. `followed` says what each row means.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import StoreError
from stallwart.core.settings import Settings
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.follow import Follower
from stallwart.store.followed import SOURCES, Rules, Source
from stallwart.store.ranking import ranking_of
from stallwart.store.tables import cursors, tasks
from stallwart.store.tasks import IS_OPEN, Kind, State, misplaced, rerank

_BATCH = 200
_LOCK = 0x57A13  # any number that all processes of this program agree on
_STALE_MS = 14 * 86_400_000
_SWEEP_MS = 600_000


class Intake:
    """Makes tasks, a step at a time; several may be at work on one database.

    Args:
        engine: the database.
        settings: shares, deadlines, harms.
        now_ms: milliseconds since 1970.

    Raises:
        ConfigError: harms or deadlines of single policies cannot be read.
    """

    def __init__(self, engine: Engine, settings: Settings, now_ms: Callable[[], int]):
        self._engine, self._now_ms = engine, now_ms
        self._rules = Rules(
            ranking=ranking_of(settings),
            second_share=settings.review_second_share,
            gold_share=settings.review_gold_share,
            settled_ms=int(settings.review_undo_minutes * 60_000),
            now_ms=now_ms,
        )
        self._followers: dict[str, Follower[Any]] = {}
        self._swept_at_ms: int | None = None

    def step(self) -> Counter[str]:
        """Read what is new and make its tasks; how many of each kind, and how many were `cancelled`.

        Raises:
            StoreError: the database fails; what was made until then stays, and the next step goes on.
        """
        made: Counter[str] = Counter()
        try:
            with store_errors("tasks could not be made; the next step goes on"):
                self._sweep(made)
                for source in SOURCES:
                    self._follow(source, made)
        except StoreError:
            self._followers.clear()  # they have yielded what was not written: begin at the stored cursors
            raise
        return made

    def _follow(self, source: Source, made: Counter[str]) -> None:
        follower = self._followers.get(source.name) or self._begin(source)
        with reading(self._engine) as connection:
            fresh = follower.poll(connection)
            for batch in _batches(fresh):
                with writing(self._engine) as to:
                    _one_at_a_time(to)
                    made.update(source.write(to, batch, self._rules))
        self._followers[source.name] = follower
        with reading(self._engine) as connection:
            before = _cursor(connection, source.name)
        if follower.settled > before:
            with writing(self._engine) as connection:
                _move_cursor(connection, source.name, follower.settled)

    def _begin(self, source: Source) -> Follower[Any]:
        with reading(self._engine) as connection:
            after = _cursor(connection, source.name)
        return Follower(
            source.query, source.seq, lambda row: source.make(row, self._rules), self._now_ms, after=after
        )

    def _sweep(self, made: Counter[str]) -> None:
        """First give tasks their place by these settings; then, now and then, end what nobody can read."""
        now = self._now_ms()
        if self._swept_at_ms is not None and now - self._swept_at_ms < _SWEEP_MS:
            return
        with reading(self._engine) as connection:
            moved = self._swept_at_ms is None and bool(misplaced(connection, self._rules.ranking))
        with writing(self._engine) as connection:
            _one_at_a_time(connection)
            if moved:
                rerank(connection, self._rules.ranking)
            # Nobody is left who may read them: they measure people and decide nothing, and would only pile up
            measuring = tasks.c.kind.in_([Kind.SECOND.value, Kind.GOLD.value])
            stale = update(tasks).where(IS_OPEN, measuring, tasks.c.due_at_ms < now - _STALE_MS)
            values = {"state": State.CANCELLED.value, "reason": "nobody read it in time", "ended_at_ms": now}
            made["cancelled"] += connection.execute(stale.values(**values)).rowcount
        self._swept_at_ms = now


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


def _one_at_a_time(connection: Connection) -> None:
    """Let no other intake write until this transaction ends; SQLite's transactions exclude each other."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _cursor(connection: Connection, name: str) -> int:
    return connection.execute(select(cursors.c.seq).where(cursors.c.name == name)).scalar() or 0


def _move_cursor(connection: Connection, name: str, seq: int) -> None:
    """Never back, where another intake has come further."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(cursors).values(name=name, seq=seq)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"seq": seq}, where=cursors.c.seq < seq)
    )

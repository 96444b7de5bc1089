"""Drafts in, stored decisions out: whatever waits is written in one transaction, without a waiting window.

One thread writes and one looks up, since on SQLite a look need not wait for a commit. Callers are coroutines;
a group wakes each event loop once. Where the database fails, all callers of the group get a StoreError,
nothing is half written, and the next group tries anew. Where only a row is at fault, the others of its group
are written without it.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as SQLTimeoutError

from stallwart.core.decision import Decision
from stallwart.core.errors import StoreError
from stallwart.core.settings import Settings
from stallwart.store.database import failure_of, reading, writing
from stallwart.store.decisions import Conflict, Draft, Wanted, find, write
from stallwart.store.webhooks import Webhook

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

# Another transaction was in the way, and is not any more: serialisation, deadlock, a unique column
_MET_ANOTHER = frozenset({"40001", "40P01", "23505"})
_ATTEMPTS = 5
_READ_ONLY = "25006"  # a server that was demoted
# Classes of SQLSTATE where it is the row: data, constraint, syntax, program limit, and too many locks at once
_ROW_AT_FAULT = ("22", "23", "42", "54", "53200")


class Committer:
    """Stores decisions and finds stored ones, for any number of coroutines.

    Args:
        engine: the database; each of the two threads takes one connection at a time.
        settings: `commit_rows` is the most that one transaction takes.
        now_ms: milliseconds since 1970.
        webhooks: those that are told now; asked once a group.
        observe_rows: is told the size of each group that was written; for the metrics.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        now_ms: Callable[[], int],
        webhooks: Callable[[], Sequence[Webhook]],
        observe_rows: Callable[[int], None] | None = None,
    ) -> None:
        self._engine, self._now_ms, self._webhooks = engine, now_ms, webhooks
        self._observe_rows = observe_rows
        self._writer: _Worker[Draft, Decision | Conflict] = _Worker(
            "stallwart-commit", self._write, settings.commit_rows
        )
        self._reader: _Worker[Wanted, Decision | Conflict | None] = _Worker(
            "stallwart-find", self._find, settings.commit_rows
        )

    def commit(self, draft: Draft) -> asyncio.Future[Decision | Conflict]:
        """The decision once it is on the disk: the draft's own, or the stored one that it repeats.

        To be called in a running event loop. A future that is cancelled before its group is begun is dropped,
        so that what nobody waits for does not pile up before a locked database; later it may be stored.

        Raises:
            StoreError: (by the future) it is not known to be stored; send the same again.
        """
        return self._writer.ask(draft)

    def find(
        self, request_key: str | None, revision: str, *, rescan: bool = False
    ) -> asyncio.Future[Decision | Conflict | None]:
        """What answers a request without a new decision; None where one has to be made.

        Args:
            request_key: as a draft's.
            revision: digest of the revision.
            rescan: look at the key only.

        Raises:
            StoreError: (by the future) the database does not answer.
        """
        return self._reader.ask(Wanted(request_key, revision, rescan))

    def close(self, timeout: float) -> bool:
        """Finish what was taken, and take no more; whether all of it was done within `timeout` seconds.

        What was not gets a StoreError.
        """
        until = time.monotonic() + timeout
        ended = [worker.close(until) for worker in (self._writer, self._reader)]
        return all(ended)

    def _find(self, wanted: Sequence[Wanted]) -> Sequence[Decision | Conflict | Exception | None]:
        try:
            with reading(self._engine) as connection:
                return find(connection, wanted)
        except SQLAlchemyError as err:
            self._drop_broken(err)
            return [StoreError(f"stored decisions cannot be read: {failure_of(err)}") for _ in wanted]

    def _write(self, drafts: Sequence[Draft]) -> Sequence[Decision | Conflict | Exception]:
        try:
            answers = self._store(drafts)
        except StoreError as err:
            return [StoreError(str(err)) for _ in drafts]
        except Exception as err:  # noqa: BLE001  # a row that cannot be stored must not take the others along
            if len(drafts) == 1:
                return [err]
            middle = len(drafts) // 2
            return [*self._write(drafts[:middle]), *self._write(drafts[middle:])]
        if self._observe_rows:
            self._observe_rows(len(drafts))
        return answers

    def _store(self, drafts: Sequence[Draft]) -> Sequence[Decision | Conflict]:
        webhooks = self._webhooks()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with writing(self._engine) as connection:
                    return write(connection, drafts, webhooks, self._now_ms())
            except SQLAlchemyError as err:
                if _state(err) in _MET_ANOTHER and attempt < _ATTEMPTS:
                    continue
                self._drop_broken(err)
                if len(drafts) > 1 and _is_row_at_fault(err):
                    raise
                raise StoreError(
                    f"the decision could not be stored: {failure_of(err)}; send it again"
                ) from None
        raise AssertionError("the last attempt returns or raises")

    def _drop_broken(self, err: SQLAlchemyError) -> None:
        """Forget pooled connections that end at a server which has gone or takes no writes any more."""
        if self._engine.dialect.name == "postgresql":
            state = _state(err)
            if state[:2] in ("", "08", "57") or state == _READ_ONLY:
                self._engine.dispose()


def _state(err: SQLAlchemyError) -> str:
    """The SQLSTATE that a PostgreSQL server gave; "" where none did."""
    return str(getattr(getattr(err, "orig", None), "sqlstate", None) or "")


def _is_row_at_fault(err: SQLAlchemyError) -> bool:
    if state := _state(err):
        return state.startswith(_ROW_AT_FAULT)
    # SQLite, or a driver that could not encode: what is operational hits all rows alike
    return not isinstance(err, OperationalError | SQLTimeoutError)


@dataclass(frozen=True, slots=True)
class _Call(Generic[_Asked]):
    """One caller: what it asks, and where it waits."""

    asked: _Asked
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class _Worker(Generic[_Asked, _Answer]):
    """A thread that takes all that waits at once, at most `limit`, and answers each caller.

    Args:
        name: of the thread.
        work: one answer, or the exception in its place, for each that is asked.
        limit: the most that one call of `work` gets.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[_Asked]], Sequence[_Answer | Exception]], limit: int
    ) -> None:
        self._work, self._limit = work, limit
        self._waiting: SimpleQueue[list[_Call[_Asked]] | None] = SimpleQueue()  # None ends the thread
        self._bursts: dict[asyncio.AbstractEventLoop, list[_Call[_Asked]]] = {}
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, asked: _Asked) -> "asyncio.Future[_Answer]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Answer] = loop.create_future()
        with self._closing:  # nothing may follow what ends the thread
            if self._closed:
                raise StoreError("the service is stopping; send it again")
            if loop not in self._bursts:  # one turn of the loop wakes the thread once: that takes time
                self._bursts[loop] = []
                loop.call_soon(self._hand_over, loop)
            self._bursts[loop].append(_Call(asked, loop, future))
        return future

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._closing:
            if burst := self._bursts.pop(loop, None):
                self._waiting.put(burst)

    def close(self, until: float) -> bool:
        with self._closing:
            if not self._closed:
                self._closed = True
                while self._bursts:
                    self._waiting.put(self._bursts.popitem()[1])
                self._waiting.put(None)
        self._thread.join(max(0.0, until - time.monotonic()))
        if not self._thread.is_alive():
            return True
        left, _ = self._take_rest([])
        _tell(left, [StoreError("the service stopped before this was stored; send it again")] * len(left))
        return False

    def _run(self) -> None:
        ended = False
        while not ended:
            first = self._waiting.get()
            if first is None:
                return
            calls, ended = self._take_rest(first)
            for start in range(0, len(calls), self._limit):
                self._answer(calls[start : start + self._limit])

    def _take_rest(self, calls: list[_Call[_Asked]]) -> tuple[list[_Call[_Asked]], bool]:
        """All that waits, and whether the end was among it."""
        try:
            while (burst := self._waiting.get_nowait()) is not None:
                calls += burst
        except Empty:
            return calls, False
        return calls, True

    def _answer(self, calls: Sequence[_Call[_Asked]]) -> None:
        answers: Sequence[_Answer | Exception]
        calls = [call for call in calls if not call.future.cancelled()]
        if not calls:
            return
        try:
            answers = self._work([call.asked for call in calls])
        except Exception as err:  # noqa: BLE001  # our own bug reaches the callers; the thread must live on
            answers = [err] * len(calls)
        _tell(calls, answers)


def _tell(calls: Sequence[_Call[Any]], answers: Sequence[Any]) -> None:
    """Resolve the callers' futures; each event loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
    for call, answer in zip(calls, answers, strict=True):
        by_loop[call.loop].append((call.future, answer))
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, pairs)
        except RuntimeError:
            continue  # the loop is closed, so nobody waits any more


def _resolve(pairs: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, answer in pairs:
        if future.done():  # its caller gave up
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

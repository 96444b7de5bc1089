"""A reviewer: opens the next task with what its page shows, thinks, answers it; and how long that took."""

import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Iterator

from sqlalchemy import Connection, Engine

from stallwart.core.settings import Settings
from stallwart.store import claims, sessions
from stallwart.store.board import Board
from stallwart.store.database import reading, writing
from stallwart.store.decisions import read_decision, read_revision
from stallwart.store.feedback import read_feedback
from stallwart.store.history import seller_history
from stallwart.store.passwords import Passwords
from stallwart.store.people import User
from stallwart.store.tasks import Task, tasks_of
from stallwart.store.verdicts import Answer, read_verdicts
from stallwart.store.views import View, add_views

LEASE_MS = 300_000
_QUICK = Passwords(time_cost=1, memory_kib=64, lanes=1)
_EACH = 10  # tasks between two looks at the queue page


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Reviewer:
    def __init__(self, engine: Engine, board: Board, user: User, chance: random.Random, pause: float):
        self.engine, self.board, self.user, self._chance, self._pause = (
            engine, board, user, chance, pause,
        )  # fmt: skip
        self.times: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.claimed: list[str] = []
        self.finished: list[str] = []
        self.failed: Exception | None = None
        self._settings = Settings()
        self._token = sessions.sign_in(
            engine, _QUICK, user.name, "brass lamps and oak tables", address="192.0.2.1",
            settings=self._settings, now_ms=now_ms(),
        ).token  # fmt: skip

    def work(self, until: float) -> None:
        try:
            time.sleep(self._chance.random() * self._pause)
            with self._timed("task page"):
                self._enter()
                task = self._next(None)
            while task is not None:
                time.sleep(self._pause * (0.5 + self._chance.random()))
                if len(self.finished) % _EACH == 0:
                    with self._timed("queue page"):
                        self._enter()
                        with self._timed("counts"):
                            self.board.latest()
                if time.monotonic() > until:
                    break
                with self._timed("verdict and next page"):
                    self._enter()
                    task = self._next(task)
            if task is not None:
                with writing(self.engine) as connection:
                    self._finish(connection, task)
        except Exception as err:  # noqa: BLE001  raised by the thread that waits
            self.failed = err

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began, busy = time.perf_counter(), time.thread_time()
        yield
        self.times[name].append((time.perf_counter() - began, time.thread_time() - busy))

    def _enter(self) -> None:
        with self._timed("session"), reading(self.engine) as connection:
            assert sessions.read_session(connection, self._token, self._settings, now_ms())

    def _finish(self, connection: Connection, task: Task) -> None:
        answers = {task.policy or "policy_0": self._chance.choice((Answer.YES, Answer.NO))}
        claims.finish(connection, self.user, task.task_id, answers, now_ms=now_ms())
        self.finished.append(task.task_id)

    def _next(self, before: Task | None) -> Task | None:
        """Answer a task, take the next one and note that it is seen, at once; then read its page."""
        with self._timed("write"), writing(self.engine) as connection:
            if before is not None:
                with self._timed("  finish"):
                    self._finish(connection, before)
            with self._timed("  claim"):
                task = claims.claim_next(connection, self.user, now_ms=now_ms(), lease_ms=LEASE_MS)
            if task is None:
                return None
            seen = View(self.user.user_id, task.listing_id, "task", now_ms(), task.decision_id, task.task_id)
            add_views(connection, [seen])
        self.claimed.append(task.task_id)
        with self._timed("read"):
            self._read(task)
        return task

    def _read(self, task: Task) -> None:
        with reading(self.engine) as connection:
            decision = read_decision(connection, task.decision_id)
            revision = read_revision(connection, task.revision)
            assert decision is not None
            assert revision is not None
            assert len(seller_history(connection, str(revision.seller_id))) > 1
            tasks_of(connection, task.decision_id)
            read_verdicts(connection, task.decision_id)
        read_feedback(self.engine, task.decision_id)

"""The watcher: runs its steps in rounds, while it holds the lease that lets one watcher work at a time.

A thread keeps the lease while a step takes its time. A step that fails is written down, spares the others and
is tried again in the next round; the third time in a row is an alert, which ends with the next success.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from stallwart.core.errors import StallwartError, StoreError
from stallwart.monitoring.step import Around, Step, Told
from stallwart.store.alerts import Severity, raise_alert, resolve_alert
from stallwart.store.database import failure_of, store_errors, writing
from stallwart.store.leases import hold, let_go
from stallwart.store.tables import watch_steps

LEASE = "watch"
_TRIES = 3  # failures in a row that are an alert
_BEATS = 4  # in the time of a lease
_LOG = logging.getLogger("stallwart.watch")


class Stopped(BaseException):  # no error: somebody asked for it
    """The watcher was told to stop, or lost its lease, while a step was at work."""


@dataclass(frozen=True, slots=True)
class StepState:
    """How the last run of a step went.

    Attributes:
        name: of the step.
        ran_at_ms: when it began.
        took_ms: how long it took.
        ok_at_ms: when it last went well, or None.
        failures: in a row; 0 where it went well.
        error: of the last run, or None.
        told: what it did, in numbers.
    """

    name: str
    ran_at_ms: int
    took_ms: int
    ok_at_ms: int | None
    failures: int
    error: str | None
    told: dict[str, float]


class Watcher:
    """Runs steps while it holds the lease.

    Args:
        around: database, settings and clock; its `alive` is replaced by the watcher's own.
        make: `Around` -> the steps, by name, in order.
        after: called after each round with what the steps did.
    """

    def __init__(
        self,
        around: Around,
        make: Callable[[Around], Mapping[str, Step]],
        after: Callable[[Mapping[str, StepState]], None] = lambda _states: None,
    ) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database, self._settings, self._now_ms = around.database, around.settings, around.now_ms
        self._steps = make(replace(around, alive=self._alive))
        self._after = after
        self._stopping = threading.Event()
        self._lost = threading.Event()

    def stop(self) -> None:
        """End after the transaction that is under way; from any thread or a signal's handler."""
        self._stopping.set()

    def run(self) -> None:
        """Rounds until somebody calls `stop`; while another watcher holds the lease it waits."""
        waiting = False
        while not self._stopping.is_set():
            try:
                worked = self.once()
            except StoreError as err:
                _LOG.warning("the database cannot be reached: %s", err)
                worked = True
            if not worked and not waiting:
                _LOG.info("another watcher is at work; this one waits")
            waiting = not worked
            self._stopping.wait(self._settings.watch_seconds if worked else self._beat_seconds)
        self.give_up()

    def once(self) -> bool:
        """Whether a round was made: not where another watcher holds the lease.

        Raises:
            StoreError: the database does not answer.
        """
        if not self._hold():
            return False
        done = threading.Event()
        self._lost.clear()
        beats = threading.Thread(target=self._beat, args=(done,), name="watch-lease", daemon=True)
        beats.start()
        try:
            states = {name: self._step(name, step) for name, step in self._steps.items()}
            with store_errors("the figures of a round cannot be read"):
                self._after(states)
        except Stopped:
            _LOG.info("stopped; the next round goes on where this one was")
        finally:
            done.set()
            beats.join()
        return True

    def give_up(self) -> None:
        """Let another watcher take over at once."""
        try:
            with writing(self._database) as connection:
                let_go(connection, LEASE, self.holder)
        except SQLAlchemyError as err:  # it runs out by itself
            _LOG.warning("the lease was not given up: %s", failure_of(err))

    @property
    def _beat_seconds(self) -> float:
        return self._settings.watch_lease_seconds / _BEATS

    def _hold(self) -> bool:
        lease_ms = int(self._settings.watch_lease_seconds * 1_000)
        with store_errors("the watcher's lease cannot be taken"), writing(self._database) as connection:
            return hold(connection, LEASE, self.holder, self._now_ms(), lease_ms)

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(self._beat_seconds):
            try:
                if not self._hold():
                    self._lost.set()
                    return
            except StoreError as err:  # tried again with the next beat
                _LOG.warning("the lease was not renewed: %s", err)

    def _alive(self) -> None:
        if self._stopping.is_set() or self._lost.is_set():
            raise Stopped

    def _step(self, name: str, step: Step) -> StepState:
        self._alive()
        began = self._now_ms()
        told: Told = {}
        error = None
        try:
            told = step.run()
        except StallwartError as err:
            error = str(err)
        except SQLAlchemyError as err:
            error = f"the database failed: {failure_of(err)}"
        except Exception as err:  # noqa: BLE001  # our bug in one step must not end the others
            _LOG.exception("the step %s failed", name)
            error = f"a defect: {type(err).__name__}; its traceback is in the log"
        return self._noted(name, began, error, told)

    def _noted(self, name: str, began: int, error: str | None, told: Told) -> StepState:
        now = self._now_ms()
        with store_errors("what a step did cannot be written"), writing(self._database) as connection:
            before = read_steps(connection).get(name)
            failures = 0 if error is None else 1 + (before.failures if before else 0)
            ok_at = now if error is None else before.ok_at_ms if before else None
            state = StepState(name, began, now - began, ok_at, failures, error, dict(told))
            _write(connection, state)
            if failures >= _TRIES:
                _raise_failing(connection, state, now)
            elif error is None and before is not None and before.failures:
                resolve_alert(
                    connection, _key(name), who="stallwart watch", why="it went well again", now_ms=now
                )
        if error is not None:
            _LOG.warning("the step %s failed: %s", name, error)
        return state


def read_steps(connection: Connection) -> dict[str, StepState]:
    """How the last run of each step went, by name."""
    rows = connection.execute(select(watch_steps).order_by(watch_steps.c.name))
    return {row.name: StepState(**row._mapping) for row in rows}


def _write(connection: Connection, state: StepState) -> None:
    values: dict[str, Any] = {name: getattr(state, name) for name in StepState.__slots__}
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    changed = {name: value for name, value in values.items() if name != "name"}
    connection.execute(
        insert(watch_steps).values(values).on_conflict_do_update(index_elements=["name"], set_=changed)
    )


def _key(name: str) -> str:
    return f"watch/{name}"


def _raise_failing(connection: Connection, state: StepState, now_ms: int) -> None:
    raise_alert(
        connection,
        key=_key(state.name),
        severity=Severity.TICKET,
        title=f"The watcher's step {state.name} fails",
        words=f"It failed {state.failures} times in a row: {state.error}",
        runbook="monitoring.md#a-step-fails",
        detail={"step": state.name, "failures": state.failures},
        now_ms=now_ms,
    )

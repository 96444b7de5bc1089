"""Delivers the outbox: decisions and alerts to webhooks, at least once and in order per listing.

It works in a thread with an event loop of its own, so the loop that answers requests never waits for it. Each
webhook has its own places for deliveries under way, so a slow one holds up nobody else. What must be
remembered is in the database: a process that dies loses a lease and nothing more.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from stallwart.core.decision import Decision
from stallwart.core.errors import StallwartError
from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.serving.post import Answer, post_signed, webhook_client
from stallwart.store.alerts import EVENT_PREFIX, read_event
from stallwart.store.database import failure_of, reading
from stallwart.store.decisions import read_decision
from stallwart.store.outbox import (
    DEAD,
    DELIVERED,
    WAITING,
    Delivery,
    Outcome,
    claim,
    due_webhooks,
    finish,
    release,
)
from stallwart.store.webhooks import REMOVED, Webhook, read_webhook

_AT_ONCE = 8  # deliveries under way to one webhook
_POLL_SECONDS = 1.0  # how often to look for retries, and for what other processes wrote
_MARGIN_MS = 30_000  # of a lease over the time of one attempt: to claim, and to write down what came of it
_GONE = 410

Beside = Callable[[Decision], Mapping[str, Any]]
Client = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass(frozen=True, slots=True)
class _Job:
    delivery: Delivery
    hook: Webhook
    body: bytes | None  # None where what is to be told is not there any more


class Deliverer:
    """Tells webhooks of decisions, in the background.

    Args:
        engine: the database with the outbox.
        settings: timeouts, attempts and pauses of webhooks.
        now_ms: milliseconds since 1970, UTC.
        client: makes what connects, inside the deliverer's own loop; `post.webhook_client` where None.
        jitter: a number in [0, 1) each time it is called; the share of the longest pause that is waited.
        counted: told `delivered`, `retry` or `dead` after each attempt, from the deliverer's thread.
        beside: what a receiver gets beside a decision, by name; called in a thread.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        now_ms: Callable[[], int],
        client: Client | None = None,
        jitter: Callable[[], float] = random.random,
        counted: Callable[[str], object] = lambda _result: None,
        beside: Beside | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._now_ms = now_ms
        self._client: Client = client or (lambda: webhook_client(settings))
        self._jitter = jitter
        self._counted = counted
        self._beside = beside
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._under_way: Counter[str] = Counter()  # by webhook; written by the loop only
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._stopping = threading.Event()
        self._grace_seconds = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread; once."""
        self._thread = threading.Thread(target=self._forever, name="deliverer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for deliveries now; from any thread, after the transaction that wrote them."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed in between
                loop.call_soon_threadsafe(self._changed.set)

    def stop(self, grace_seconds: float) -> None:
        """Finish what is under way, for so many seconds; the rest is left for the next process."""
        self._grace_seconds = grace_seconds
        self._stopping.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(grace_seconds + _POLL_SECONDS + 5)

    async def drain(self) -> None:
        """Deliver all that is due now, and return when nothing is due or under way."""
        self._begin()
        async with self._client() as client:
            while True:
                await self._step(client)
                if not self._tasks and not self._outcomes:
                    return
                await self._changed.wait()

    def _forever(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._run())
            except Exception:  # noqa: BLE001  # one bad delivery must not end all deliveries
                say("the delivery of webhooks failed and starts again", logging.ERROR, exc_info=True)
                self._stopping.wait(_POLL_SECONDS)

    async def _run(self) -> None:
        self._begin()
        async with self._client() as client:
            while not self._stopping.is_set():
                try:
                    await self._step(client)
                except SQLAlchemyError as err:
                    say("the outbox cannot be reached", logging.WARNING, reason=failure_of(err))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _POLL_SECONDS)
            await self._end()

    def _begin(self) -> None:
        self._tasks, self._under_way, self._changed = set(), Counter(), asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def _end(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace_seconds)
        for task in (late := set(self._tasks)):
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        try:
            await asyncio.to_thread(self._write)
            await asyncio.to_thread(release, self._engine, self._worker)
        except SQLAlchemyError as err:
            say("the outbox cannot be reached", logging.WARNING, reason=failure_of(err))

    async def _step(self, client: httpx.AsyncClient) -> None:
        """Write down what came of attempts, and begin as many as there are places for."""
        self._changed.clear()
        await asyncio.to_thread(self._write)
        for webhook_id in await asyncio.to_thread(due_webhooks, self._engine, self._now_ms()):
            for job in await asyncio.to_thread(self._claim, webhook_id):
                self._under_way[webhook_id] += 1
                task = asyncio.create_task(self._tell(client, job))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        # Nothing is expected here; the lease ends, and the delivery is tried again
        if not task.cancelled() and (err := task.exception()):
            say("a delivery failed", logging.ERROR, error=type(err).__name__)

    def _write(self) -> None:
        written = list(self._outcomes)
        finish(self._engine, self._worker, written, self._now_ms())
        del self._outcomes[: len(written)]  # kept where the database was away, and written the next time

    def _claim(self, webhook_id: str) -> list[_Job]:
        places = _AT_ONCE - self._under_way[webhook_id]
        if places < 1:
            return []
        lease_ms = self._settings.webhook_timeout_ms + _MARGIN_MS
        taken = claim(self._engine, webhook_id, self._worker, self._now_ms(), lease_ms, places)
        if not taken:
            return []
        hook = read_webhook(self._engine, webhook_id)
        return [_Job(one, hook, self._body(one.decision_id)) for one in taken]

    def _body(self, told: str) -> bytes | None:
        """What is told under the id of a decision, or of an event of an alert; None where it is gone."""
        with reading(self._engine) as connection:
            if told.startswith(EVENT_PREFIX):
                event = read_event(connection, told)
                return None if event is None else json.dumps(event).encode()
            decision = read_decision(connection, told)
        if decision is None or self._beside is None:
            return None if decision is None else decision.model_dump_json().encode()
        return json.dumps({**decision.model_dump(mode="json"), **self._more(decision)}).encode()

    def _more(self, decision: Decision) -> Mapping[str, Any]:
        """What goes beside a decision, which is never held back for want of it."""
        try:
            return self._beside(decision) if self._beside else {}
        except StallwartError as err:
            say("a delivery goes without what belongs beside it", logging.WARNING, error=str(err))
            return {}

    async def _tell(self, client: httpx.AsyncClient, job: _Job) -> None:
        try:
            outcome = await self._attempt(client, job)
        finally:
            self._under_way[job.hook.webhook_id] -= 1
        self._outcomes.append(outcome)
        result = "retry" if outcome.state == WAITING else outcome.state
        self._counted(result)
        if result == DEAD:
            say(
                "a delivery is a dead letter",
                logging.WARNING,
                webhook=job.hook.webhook_id,
                delivery=job.delivery.delivery_id,
                reason=outcome.error,
            )

    async def _attempt(self, client: httpx.AsyncClient, job: _Job) -> Outcome:
        delivery_id = job.delivery.delivery_id
        if job.hook.removed_at_ms is not None:
            return Outcome(delivery_id, DEAD, REMOVED)
        if job.body is None:
            return Outcome(delivery_id, DEAD, "its decision is not in the database any more")
        answer = await post_signed(client, job.hook, delivery_id, job.body, self._settings, self._now_ms)
        return self._outcome(job.delivery, answer)

    def _outcome(self, delivery: Delivery, answer: Answer) -> Outcome:
        if answer.took:
            return Outcome(delivery.delivery_id, DELIVERED)
        if answer.status == _GONE:
            return Outcome(delivery.delivery_id, DEAD, f"{answer.said}: it wants no more; remove the webhook")
        if delivery.attempts >= self._settings.webhook_attempts:
            return Outcome(
                delivery.delivery_id, DEAD, f"{answer.said}, the last of {delivery.attempts} attempts"
            )
        due = self._now_ms() + self._pause_ms(delivery.attempts, answer.retry_after_ms)
        return Outcome(delivery.delivery_id, WAITING, answer.said, due)

    def _pause_ms(self, attempts: int, asked_ms: int | None) -> int:
        """Exponential backoff with full jitter: uniform between none and the longest, which doubles."""
        longest = self._settings.webhook_max_backoff_ms
        grown = min(longest, self._settings.webhook_backoff_ms * 2 ** (attempts - 1))
        return max(int(self._jitter() * grown), min(asked_ms or 0, longest))

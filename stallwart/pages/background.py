"""Work behind the pages, again and again; what fails is logged, tried again, and shown on every page."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stallwart.core.errors import StallwartError
from stallwart.core.logs import say


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is done again and again.

    Attributes:
        name: what people call it, as "making tasks".
        seconds: between its end and its next begin.
        work: one step; runs in a thread.
        close: ends what it holds, after its last step.
    """

    name: str
    seconds: float
    work: Callable[[], Any]
    close: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Failing:
    """A job whose last step failed.

    Attributes:
        name: of the job.
        since_ms: when the first of its failed steps in a row ended, milliseconds since 1970.
        why: in one line.
    """

    name: str
    since_ms: int
    why: str


class Background:
    """Runs jobs, each after its own clock.

    Args:
        jobs: what there is to do.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, jobs: Sequence[Job], now_ms: Callable[[], int]):
        self._jobs, self._now_ms = jobs, now_ms
        self._failing: dict[str, Failing] = {}
        self._changing = threading.Lock()

    def failing(self) -> list[Failing]:
        """What does not work now."""
        with self._changing:
            return list(self._failing.values())

    def step(self, job: Job) -> None:
        """Do one job once; raises nothing."""
        try:
            job.work()
        except StallwartError as err:
            say("background", level=30, work=job.name, error=str(err))
            self._failed(job, str(err))
        except Exception as err:  # noqa: BLE001 - the pages go on without it, and say so
            say("background", level=40, exc_info=True, work=job.name)
            self._failed(job, f"a fault of the program ({type(err).__name__}); it is in the log")
        else:
            with self._changing:
                self._failing.pop(job.name, None)

    def _failed(self, job: Job, why: str) -> None:
        with self._changing:
            before = self._failing.get(job.name)
            self._failing[job.name] = Failing(job.name, before.since_ms if before else self._now_ms(), why)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Jobs run while this is entered; a step that has begun is waited for."""
        stopping = asyncio.Event()
        tasks = [asyncio.create_task(self._again(job, stopping)) for job in self._jobs]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*tasks)

    async def _again(self, job: Job, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await asyncio.to_thread(self.step, job)
            try:
                async with asyncio.timeout(job.seconds):
                    await stopping.wait()
            except TimeoutError:
                continue
        if job.close is not None:
            await asyncio.to_thread(job.close)

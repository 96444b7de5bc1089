"""Jobs in a process of their own, behind everything else: in the pages' they would share one interpreter.

Pages give up the interpreter with each statement and wait for it again: beside one busy job a page that takes
10 ms takes half a second.
"""

import asyncio
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import asdict
from multiprocessing.connection import Connection

from stallwart.core.logs import log_to_stderr, say
from stallwart.pages.background import Background, Failing, Job

_NICE = 5  # no more: on SQLite pages wait for what it writes
_LOOK_SECONDS, _AGAIN_SECONDS, _END_SECONDS = 0.5, 5.0, 30.0

Making = Callable[[], AbstractContextManager[Sequence[Job]]]


class Apart:
    """Keeps the process going: where it ends by itself, that is told and it is begun anew.

    Args:
        make: gives the jobs, in the process, and ends what they hold; a function of a module, or a `partial`.
        now_ms: milliseconds since 1970; a function of a module.
    """

    def __init__(self, make: Making, now_ms: Callable[[], int]):
        self._make, self._now_ms = make, now_ms
        self._failing: list[Failing] = []
        self._stopping = threading.Event()

    def failing(self) -> list[Failing]:
        """What does not work there now."""
        return self._failing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The process is there while this is entered; steps that have begun are waited for."""
        watch = threading.Thread(target=self._watch, name="apart")
        watch.start()
        try:
            yield
        finally:
            self._stopping.set()
            await asyncio.to_thread(watch.join)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._once()
            if not self._stopping.is_set():
                why = "its process ended and is begun anew; the log may say why"
                self._failing = [Failing("work behind the pages", self._now_ms(), why)]
                say("background", level=40, error="the process of what runs behind the pages ended")
                self._stopping.wait(_AGAIN_SECONDS)

    def _once(self) -> None:
        """From the begin of the process to its end."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=_work, args=(there, self._make, self._now_ms), name="apart", daemon=True
        )
        process.start()
        there.close()
        with here:
            while process.is_alive() and not self._stopping.is_set():
                self._hear(here)
        process.join(_END_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()

    def _hear(self, here: Connection) -> None:
        try:
            if here.poll(_LOOK_SECONDS):
                self._failing = [Failing(**one) for one in json.loads(here.recv_bytes())]
        except (EOFError, OSError):
            self._stopping.wait(_LOOK_SECONDS)  # it is about to end


def _work(there: Connection, make: Making, now_ms: Callable[[], int]) -> None:
    """The process: all jobs, until the other end of the pipe is closed."""
    for one in (signal.SIGINT, signal.SIGTERM):  # they reach the pages as well, which then end this
        signal.signal(one, signal.SIG_IGN)
    os.nice(_NICE)
    log_to_stderr()
    with make() as jobs:
        asyncio.run(_until_closed(there, Background(jobs, now_ms)))


async def _until_closed(there: Connection, background: Background) -> None:
    told: list[Failing] | None = None
    async with background.running():
        while not there.poll(0):  # nothing is ever sent here: it is the end
            failing = background.failing()
            if failing != told:
                try:
                    there.send_bytes(json.dumps([asdict(one) for one in failing]).encode())
                except OSError:
                    return
                told = failing
            await asyncio.sleep(_LOOK_SECONDS)

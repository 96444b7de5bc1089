"""Jobs in a process of their own: what fails there is told, and the process is begun anew where it ends."""

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from stallwart.core.errors import StoreError
from stallwart.pages.apart import Apart
from stallwart.pages.background import Job

_SECONDS = 60
pytestmark = pytest.mark.slow


def wall_ms():
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def jobs(folder: Path):
    def fail():
        raise StoreError("the disk is full")

    def note():
        (folder / "began").open("a").write(f"{os.getpid()} {os.nice(0)}\n")

    yield [Job("failing", 0.05, fail), Job("noting", 3_600.0, note)]
    (folder / "closed").touch()


async def until(condition):
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to it"
        await asyncio.sleep(0.05)


def began(folder):
    file = folder / "began"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_it_works_apart_tells_what_fails_and_ends_with_the_pages(tmp_path):
    apart = Apart(partial(jobs, tmp_path), wall_ms)

    async def run():
        async with apart.running():
            await until(apart.failing)
            await until(lambda: began(tmp_path))

    asyncio.run(run())
    assert [(one.name, one.why) for one in apart.failing()] == [("failing", "the disk is full")]
    ((process, nice),) = began(tmp_path)
    assert int(process) != os.getpid()
    assert int(nice) > os.nice(0)
    assert (tmp_path / "closed").exists(), "jobs end what they hold"
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_a_process_that_ended_is_told_and_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("stallwart.pages.apart._AGAIN_SECONDS", 0.5)
    apart = Apart(partial(jobs, tmp_path), wall_ms)

    async def run():
        async with apart.running():
            await until(lambda: len(began(tmp_path)) == 1)
            os.kill(int(began(tmp_path)[0][0]), signal.SIGKILL)
            await until(lambda: any("ended" in one.why for one in apart.failing()))
            await until(lambda: len(began(tmp_path)) == 2)
            await until(lambda: not any("ended" in one.why for one in apart.failing()))

    asyncio.run(run())

"""Is the next task there at once? A million decisions, a hundred thousand open tasks, ten reviewers.

    python bench/review_queue.py                        # SQLite and PostgreSQL, some minutes
    python bench/review_queue.py --kinds sqlite --decisions 100000 --tasks 10000 --seconds 10

Each reviewer is a thread that opens the next task with all that its page shows, waits (`--pause`), and
answers it. With `--pause 0` nobody waits: that is not how people work, and shows what gives first.

Figures are of the calls into `stallwart.store`, in one process, commits to the disk among them. `write`
answers a task, takes the next one and notes that it is seen; `read` is all that its page shows. CPU is that
of the thread (PostgreSQL's own is not in it): on a machine that does other work as well it says more than
the clock. The database is filled in a folder for temporary files, and is gone afterwards.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import Engine

from bench.queues.fill import fill
from bench.queues.work import LEASE_MS, Reviewer, now_ms
from stallwart.core.settings import Settings
from stallwart.store import claims
from stallwart.store.board import Board
from stallwart.store.database import open_database, upgrade, writing
from stallwart.store.passwords import Passwords
from stallwart.store.people import Role, add_user
from tests.databases import Postgres

KINDS = ("sqlite", "postgresql")
PAGES = ("task page", "verdict and next page", "queue page")


@contextlib.contextmanager
def database(kind: str) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="stallwart-queue-") as folder, contextlib.ExitStack() as after:
        url = f"sqlite:///{folder}/queue.sqlite"
        if kind == "postgresql":
            server = Postgres()
            after.callback(server.end)
            url = server.create()
        engine = open_database(url, Settings(threads=16))
        after.callback(engine.dispose)
        upgrade(engine)
        yield engine


def people(engine: Engine, count: int, policies: list[str]) -> list:
    """Half of them read everything, the others three policies each."""
    quick = Passwords(time_cost=1, memory_kib=64, lanes=1)
    return [
        add_user(
            engine, quick, f"reviewer {number}", "brass lamps and oak tables", Role.REVIEWER,
            skills=None if number % 2 else [policies[(number + step) % len(policies)] for step in range(3)],
            who="bench", why="bench", now_ms=now_ms(),
        )
        for number in range(count)
    ]  # fmt: skip


def work(engine: Engine, users: list, seconds: float, pause: float) -> list[Reviewer]:
    until = time.monotonic() + seconds
    board = Board(engine, now_ms)
    crew = [Reviewer(engine, board, user, random.Random(number), pause) for number, user in enumerate(users)]
    threads = [threading.Thread(target=one.work, args=(until,)) for one in crew]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in crew:
        if one.failed is not None:
            raise one.failed
    return crew


def report(crew: list[Reviewer], pause: float) -> None:
    times = defaultdict(list)
    for one in crew:
        for name, values in one.times.items():
            times[name] += values
    print(
        f"  pause {pause:g} s: {sum(len(one.finished) for one in crew):,} verdicts by {len(crew)} reviewers"
    )
    for name in ("session", "write", "  finish", "  claim", "read", "counts", *PAGES):
        values = np.array(times[name]) * 1000  # (n, 2): by the clock, and of this process's CPU
        (p50, busy50), (p95, busy95), (p99, _) = np.percentile(values, (50, 95, 99), axis=0)
        print(
            f"    {name:22} n {len(values):6,}  p50 {p50:7.2f}  p95 {p95:7.2f}  p99 {p99:7.2f} ms"
            f"   (CPU p50 {busy50:5.2f}  p95 {busy95:5.2f})"
        )


def check(engine: Engine, crews: list[list[Reviewer]]) -> None:
    """No task was finished twice, and none was given to two at a time."""
    finished = [task for crew in crews for one in crew for task in one.finished]
    claimed = [task for crew in crews for one in crew for task in one.claimed]
    print(f"  {len(claimed):,} claims of {len(set(claimed)):,} tasks, {len(finished):,} finished")
    if not len(finished) == len(set(finished)) == len(claimed) == len(set(claimed)):
        raise SystemExit("a task was given to two")
    with writing(engine) as connection:
        assert claims.held(connection, crews[0][0].user, now_ms() + LEASE_MS) == []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, default=100_000, help="open ones; as many again are done")
    parser.add_argument("--reviewers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each pause")
    parser.add_argument("--pause", type=float, nargs="+", default=[1.0, 0.0], help="seconds before an answer")
    given = parser.parse_args()
    for kind in given.kinds:
        with database(kind) as engine:
            began = time.monotonic()
            policies = fill(engine, given.decisions, given.tasks)
            print(
                f"{kind}: {given.decisions:,} decisions, {given.tasks:,} open tasks,"
                f" filled in {time.monotonic() - began:.0f} s"
            )
            users = people(engine, given.reviewers, policies)
            crews = []
            for pause in given.pause:
                crews.append(work(engine, users, given.seconds, pause))
                report(crews[-1], pause)
            check(engine, crews)


if __name__ == "__main__":
    main()

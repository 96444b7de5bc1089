"""Is the next task there at once? A million decisions, a hundred thousand open tasks, ten reviewers.

    python bench/review_queue.py                        # SQLite and PostgreSQL, some minutes
    python bench/review_queue.py --kinds sqlite --decisions 100000 --tasks 10000 --seconds 10

Each reviewer is a thread that opens the next task with all that its page shows, waits (`--pause`), and
answers it. With `--pause 0` nobody waits: that is not how people work, and shows what gives first.

Figures are of the calls into `stallwart.store`, in one process, commits to the disk among them. `write`
answers a task, takes the next one and notes that it is seen; `read` is all that its page shows. CPU is that
of the thread (PostgreSQL's own is not in it): on a machine that does other work as well it says more than
the clock. The database is filled in a folder for temporary files, and is gone afterwards; SQLite's can be
kept (`--keep`), and is used again where it has as many decisions and tasks.

With `--http` the real pages answer over HTTP, in a process of their own (`bench/queues/pages.py`): figures
are of the server from a request's first byte to its last, and its CPU over all requests.
"""

import argparse
import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alembic.script import ScriptDirectory
from sqlalchemy import Engine, delete, func, insert, select

from bench.queues.fill import POLICIES, fill
from bench.queues.pages import measure
from bench.queues.plans import scans
from bench.queues.work import LEASE_MS, Reviewer, now_ms
from stallwart.core.settings import Settings
from stallwart.store import claims
from stallwart.store.board import Board
from stallwart.store.database import open_database, upgrade, writing
from stallwart.store.followed import SOURCES
from stallwart.store.passwords import Passwords
from stallwart.store.people import Role, add_user
from stallwart.store.tables import cursors, decisions, verdicts
from tests.databases import Postgres

MIGRATIONS = Path(__file__).resolve().parents[1] / "stallwart" / "store" / "migrations"
KINDS = ("sqlite", "postgresql")
_SHARED = "1GB"  # of PostgreSQL; its default holds a twentieth of such a database
PAGES = ("task page", "verdict and next page", "queue page")


@contextlib.contextmanager
def database(kind: str, kept: Path | None = None) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="stallwart-queue-") as folder, contextlib.ExitStack() as after:
        url = f"sqlite:///{folder}/queue.sqlite"
        if kept is not None and kept.exists():
            shutil.copy(kept, Path(folder) / "queue.sqlite")
        if kind == "postgresql":
            server = Postgres()
            after.callback(server.end)
            server.configure(shared_buffers=_SHARED)
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


def over_http(engine: Engine, names: list[str], lead: str, seconds: float, pauses: list[float]) -> None:
    url = engine.url.render_as_string(hide_password=False)
    for pause in pauses:
        with tempfile.TemporaryDirectory(prefix="stallwart-pages-") as folder:
            told = measure(url, folder, names, lead, seconds, pause)
        print(
            f"  over HTTP, {0.5 * pause:g} to {1.5 * pause:g} s between requests:"
            f" {told['finished']:,} verdicts by {len(names)} reviewers,"
            f" CPU of the server {told['cpu_ms']:.1f} ms a request;"
            f" load of the machine {os.getloadavg()[0]:.1f}"
        )
        for name, took in sorted(told["took"].items()):
            p50, p95, p99 = np.percentile(np.array(took) * 1000, (50, 95, 99))
            print(f"    {name:28} n {len(took):6,}  p50 {p50:7.2f}  p95 {p95:7.2f}  p99 {p99:7.2f} ms")
        if told["twice"]:
            raise SystemExit("a task was given to two")


def caught_up(engine: Engine) -> None:
    """What runs behind the pages has been at work all the time: nothing is left to do."""
    followed = {source.name: source.seq for source in SOURCES}
    followed |= {"findable": decisions.c.seq, "fingerprints": decisions.c.seq, "known": verdicts.c.seq}
    with writing(engine) as connection:
        connection.execute(delete(cursors))
        for name, seq in followed.items():
            last = connection.execute(select(func.max(seq))).scalar() or 0
            connection.execute(insert(cursors).values(name=name, seq=last))


def lead(engine: Engine) -> str:
    """Name of a new lead."""
    quick, name = Passwords(time_cost=1, memory_kib=64, lanes=1), f"lead {now_ms()}"
    facts = {"who": "bench", "why": "bench", "now_ms": now_ms()}
    return add_user(engine, quick, name, "brass lamps and oak tables", Role.LEAD, **facts).name


def look_for_scans(engine: Engine) -> None:
    """The pages of a lead, each statement explained before it runs."""
    count, found = scans(engine, lead(engine))
    print(f"  {count} statements of the pages, {len(found)} of them read a whole table")
    for table, statement in found:
        print(f"    {table}: {' '.join(statement.split())[:1_000]}")


def needed() -> str:
    """The migration that this program needs: a database of another one is filled anew."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head() or ""


def keep(engine: Engine, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(str(engine.url.database))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(str(engine.url.database), kept)


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
    parser.add_argument("--plans", action="store_true", help="explain what the pages ask the database")
    parser.add_argument("--behind", action="store_true", help="what runs behind the pages has all to do yet")
    parser.add_argument("--keep", type=Path, help="folder in which SQLite's filled database is kept")
    parser.add_argument("--http", action="store_true", help="measure the real pages over HTTP")
    given = parser.parse_args()
    for kind in given.kinds:
        kept = None
        if given.keep is not None and kind == "sqlite":
            kept = given.keep / f"queue-{needed()}-{given.decisions}-{given.tasks}.sqlite"
        with database(kind, kept) as engine:
            began = time.monotonic()
            if kept is not None and kept.exists():
                policies = POLICIES
            else:
                policies = fill(engine, given.decisions, given.tasks)
                if kept is not None:
                    keep(engine, kept)
            print(
                f"{kind}: {given.decisions:,} decisions, {given.tasks:,} open tasks,"
                f" there after {time.monotonic() - began:.0f} s; load of the machine {os.getloadavg()[0]:.1f}"
                f" on {os.cpu_count()} cores"
            )
            if not given.behind:
                caught_up(engine)
            os.sync()  # else what is measured waits for the disk to take in the whole database
            users = people(engine, given.reviewers, policies)
            if given.plans:
                look_for_scans(engine)
            if given.http:
                over_http(engine, [user.name for user in users], lead(engine), given.seconds, given.pause)
                continue
            crews = []
            for pause in given.pause:
                crews.append(work(engine, users, given.seconds, pause))
                report(crews[-1], pause)
            check(engine, crews)


if __name__ == "__main__":
    main()

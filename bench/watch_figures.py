"""What the watcher's step `figures` takes: to catch up on many decisions, and a round where little is new.

    python bench/watch_figures.py --decisions 100000

On SQLite in a temporary folder, in processor seconds.
"""

import argparse
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert

from stallwart.core.settings import Settings
from stallwart.monitoring.figures import Figures
from stallwart.monitoring.online import online
from stallwart.monitoring.step import Around
from stallwart.store.database import open_database, reading, upgrade, writing
from stallwart.store.tables import decisions, revisions

NOW = 1_800_000_000_000
POLICIES = ("tobacco", "weapons", "alcohol", "drugs", "adult")


def fill(engine, count):
    """Decisions of a year: 80 % allow, 12 % review, 8 % block."""
    with writing(engine) as connection:
        connection.execute(
            insert(revisions).values(revision="r", listing_id="l", photos=[], unread=[], stored_at_ms=NOW)
        )
    for start in range(0, count, 20_000):
        rows = [
            {
                "decision_id": f"d_{n}", "listing_id": f"l{n}", "revision": "r", "first_of": None,
                "action": "allow" if n % 25 < 20 else "review" if n % 25 < 23 else "block",
                "policies": [] if n % 25 < 20 else [POLICIES[n % 5]], "reason": "",
                "scores": {"tobacco": 0.1}, "thresholds": {}, "evidence": None,
                "bundle": "b" * 64, "taxonomy": "t", "cause": "new",
                "supersedes": None, "decided_at_ms": NOW + n * 31_536,
            }
            for n in range(start, min(count, start + 20_000))
        ]  # fmt: skip
        with writing(engine) as connection:
            connection.execute(insert(decisions), rows)


def timed(what, work):
    began, wall = time.process_time(), time.perf_counter()
    work()
    print(
        f"{what}: {time.process_time() - began:.2f} s of processor, {time.perf_counter() - wall:.2f} s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decisions", type=int, default=100_000)
    count = parser.parse_args().decisions
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{Path(folder) / 'x.sqlite'}", Settings())
        upgrade(engine)
        fill(engine, count)
        end = NOW + count * 31_536
        step = Figures(Around(engine, Settings(), lambda: end + 3_600_000))
        timed(f"catching up on {count:,} decisions", step.run)
        timed("a round where nothing is new", step.run)

        def page():
            with reading(engine) as connection:
                online(connection, end, 720, 24)

        timed("the figures of a month, by day", page)
        engine.dispose()


if __name__ == "__main__":
    main()

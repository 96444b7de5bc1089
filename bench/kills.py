"""The service is killed with SIGKILL at random moments under load; what was answered must be there.

    python bench/kills.py --times 200 --database both
    python bench/kills.py --times 40 --database postgresql --kill database

Four processes: this one asks and checks, the service decides, a receiver takes webhooks, and PostgreSQL runs
where it is asked for. The service scores by a word in the title, everything else of it is real: keys, queue,
commit, outbox, deliveries.
`--fresh` starts each one afresh, and not as a fork of a process that has imported it (bench/serve/starts.py).

Whoever asks sends again what was not answered, as callers do. At the end each answer is compared with what
GET and the tables hold, and the deliveries that arrived with what had to be told.
"""

import argparse
import asyncio
import contextlib
import os
import random
import resource
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serve.callers import World, caller, until_ready
from bench.serve.checks import (
    Facts,
    check_answers,
    check_arrived,
    check_readable,
    check_stored,
    wait_delivered,
)
from bench.serve.processes import cores, free_port
from bench.serve.receiver import receiving
from bench.serve.starts import Starter
from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.serving.server import wall_ms
from stallwart.store.database import database_url, open_database, upgrade
from stallwart.store.keys import Scope, create_key
from stallwart.store.webhooks import add_webhook

LANES = 8  # callers, each with one request under way
TOLD = (Action.BLOCK, Action.REVIEW)  # actions that the webhook is told of
_AFTER_READY_S = 0.020, 0.400
_LEASE_S = 35  # of a delivery whose process was killed; see serving/deliver.py


def kill_service(starter: Starter) -> None:
    starter.kill()
    starter.start()


def kill_database(postgres: Any) -> None:
    """SIGKILL to the process that all others of PostgreSQL belong to, which end with it; then a new start."""
    data = postgres.folder / "data"
    noted = data / "postmaster.pid"
    first = int(noted.read_text().split()[0])
    family = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 30
    while any(map(_lives, family)):
        assert time.monotonic() < until, "processes of the killed PostgreSQL do not end"
        time.sleep(0.01)
    for left in (noted, *data.glob(".s.PGSQL.*")):  # its number counts as in use until its exit is noted
        left.unlink()
    postgres.start()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def _kill(world: World, starter: Starter, times: int, postgres: Any, secret: str) -> list[float]:
    starts: list[float] = []
    callers = [asyncio.create_task(caller(world, starter.port, secret)) for _ in range(LANES)]
    dice = random.Random(world.seed + 1)
    await until_ready(starter.port)
    for _ in range(times):
        await asyncio.sleep(dice.uniform(*_AFTER_READY_S))
        began = time.perf_counter()
        if postgres:
            await asyncio.to_thread(kill_database, postgres)
        else:
            await asyncio.to_thread(kill_service, starter)
        await until_ready(starter.port)
        starts.append(time.perf_counter() - began)
        if any(one.done() for one in callers):
            break
    await asyncio.sleep(1)
    world.stopped = True
    await asyncio.gather(*callers)
    world.close()
    return starts


def run(
    folder: Path, times: int, seed: int, url: str = "", postgres: Any = None, fresh: bool = False
) -> Facts:
    """Kill so many times and check.

    Args:
        folder: for databases and logs.
        times: kills.
        seed: of what is asked and when it is killed.
        url: of an empty database; SQLite in the folder if empty.
        postgres: the server to kill in place of the service.
        fresh: start each service from nothing.
    """
    settings = Settings(data_dir=folder / "data", cache_dir=folder / "cache", database_url=url)
    environment = {
        "STALLWART_DATA_DIR": str(settings.data_dir), "STALLWART_CACHE_DIR": str(settings.cache_dir),
        "STALLWART_DATABASE_URL": url, "STALLWART_WEBHOOK_PRIVATE": "1",
        "STALLWART_WEBHOOK_TIMEOUT_MS": "2000", "STALLWART_WEBHOOK_ATTEMPTS": "100",
        "STALLWART_WEBHOOK_BACKOFF_MS": "20",
        "STALLWART_WEBHOOK_MAX_BACKOFF_MS": "500", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    engine, facts = open_database(database_url(settings), settings), Facts()
    upgrade(engine)
    secret = create_key(engine, "kills", tuple(Scope), wall_ms()).secret
    receiver_port = free_port()
    hook = add_webhook(engine, f"http://127.0.0.1:{receiver_port}/hook", TOLD, wall_ms())
    engine.dispose()
    world = World(seed, folder / "answers.jsonl")
    starter = Starter(free_port(), environment, folder / "service.log", fresh)
    try:
        with receiving(folder, receiver_port, hook, seed) as arrived:
            starter.start()
            starts = asyncio.run(_kill(world, starter, times, postgres, secret))
            facts.kills, facts.start_s = len(starts), statistics.median(starts)
            facts.cut, facts.refused = world.cut, world.statuses[503]
            by_id = check_answers(facts, world.log)
            asyncio.run(check_readable(facts, by_id, starter.port, secret))
            wait_delivered(engine, 4 * _LEASE_S)
            due = check_stored(facts, engine, hook)
            check_arrived(facts, due, arrived)
    finally:
        starter.end()
        engine.dispose()
    log = (folder / "service.log").read_text(errors="replace")
    facts.faults += [f"the service's log: {line[:300]}" for line in log.splitlines() if _is_bad(line)]
    return facts


def _is_bad(line: str) -> bool:
    """A crash, or anything that Python wrote around the log."""
    return '"event": "crash"' in line or "Traceback" in line


def show(name: str, facts: Facts) -> bool:
    print(
        f"{name}: {facts.kills} kills, back after {facts.start_s:.2f} s (median);"
        f" {facts.answers:,} answers, {facts.distinct:,} decisions in them, {facts.refused:,} answers 503,"
        f" {facts.cut:,} requests cut off;"
        f" {facts.stored:,} decisions stored, {facts.edits:,} of them supersede another;"
        f" {facts.told:,} had to be told, {facts.arrived:,} deliveries arrived"
    )
    for fault in facts.faults[:10]:
        print(f"  {fault}")
    print(f"{'MISS' if facts.faults else 'ok  '} {name}: {len(facts.faults)} faults")
    return not facts.faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--kill", choices=("service", "database"), default="service")
    parser.add_argument("--fresh", action="store_true", help="start each service from nothing")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.kill == "database" and given.database != "postgresql":
        parser.error("only PostgreSQL is a process of its own; add --database postgresql")
    print(f"cores {cores()}, seed {given.seed}")
    good = True
    for kind in ("sqlite", "postgresql") if given.database == "both" else (given.database,):
        with (
            tempfile.TemporaryDirectory(prefix="stallwart-kills-") as folder,
            contextlib.ExitStack() as stack,
        ):
            url, postgres = "", None
            if kind == "postgresql":
                from tests.databases import Postgres

                postgres = Postgres()
                stack.callback(postgres.end)
                url = postgres.create()
            began = time.perf_counter()
            victim = postgres if given.kill == "database" else None
            facts = run(Path(folder), given.times, given.seed, url, victim, given.fresh)
            good &= show(f"{kind}, {given.kill} killed", facts)
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = time.perf_counter() - began
            print(f"     {seconds:.0f} s, {usage.ru_utime + usage.ru_stime:.0f} s of CPU in children so far")
    raise SystemExit(not good)


if __name__ == "__main__":
    main()

"""The service is killed with SIGKILL at random moments under load; what was answered must be there.

    python bench/kills.py --times 200 --database both
    python bench/kills.py --times 40 --database postgresql --kill database

Four processes: this one asks and checks, the service decides, a receiver takes webhooks, and PostgreSQL runs
where it is asked for. The service scores by a word in the title, everything else of it is real: keys, queue,
commit, outbox, deliveries. So that 200 starts do not cost 200 times the seconds that imports take, a process
that has imported the service and opened nothing forks it; each fork opens its own database, threads and
port, and is killed whole, as a process started afresh would be. `--fresh` starts each one afresh.

Whoever asks sends again what was not answered, as callers do. At the end each answer is compared with what
GET and the tables hold, and the deliveries that arrived with what had to be told.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import Engine, select

from bench.serve.client import Connection
from bench.serve.processes import ROOT, cores, free_port
from stallwart.client.webhooks import verify
from stallwart.core.decision import Action
from stallwart.core.errors import SignatureError
from stallwart.core.settings import Settings
from stallwart.serving.server import wall_ms
from stallwart.store.database import database_url, open_database, reading, upgrade
from stallwart.store.keys import Scope, create_key
from stallwart.store.tables import decisions, deliveries
from stallwart.store.webhooks import Webhook, add_webhook

LANES = 8  # callers, each with one request under way
TOLD = (Action.BLOCK, Action.REVIEW)  # actions that the webhook is told of
_AFTER_READY_S = 0.020, 0.400
_LEASE_S = 35  # of a delivery whose process was killed; see serving/deliver.py


# --- the service, forked ------------------------------------------------------------------------------------


def serve(port: int) -> None:
    """The service in this process, until it ends."""
    import uvicorn

    from bench.serve.words import Words
    from stallwart.serving.logs import log_to_stderr
    from stallwart.serving.server import create_service_of

    log_to_stderr()
    app = create_service_of(Words(), Settings())
    uvicorn.run(app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=5)


def fork_on_request(port: int) -> None:
    """For each line on stdin a new service, whose pid is printed; the one before was killed by then."""
    for name in ("uvicorn.protocols.http.httptools_impl", "uvloop", "psycopg", "bench.serve.words"):
        importlib.import_module(name)

    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            os.close(0)
            serve(port)
            os._exit(0)
        print(child, flush=True)
    if child:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Starter:
    """Starts services, one at a time, on one port."""

    def __init__(self, port: int, environment: dict[str, str], log: Path, fresh: bool):
        self.port, self.fresh = port, fresh
        self._env, self._log = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}, log.open("ab")
        self._process = None if fresh else self._run("fork", subprocess.PIPE)
        self.pid = 0

    def _run(self, role: str, pipe: int | None) -> subprocess.Popen:
        words = [sys.executable, "-m", "bench.kills", "--role", role, "--port", str(self.port)]
        return subprocess.Popen(words, env=self._env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=self._log)

    def start(self) -> None:
        if self.fresh:
            if self._process:
                self._process.wait()
            self._process = self._run("serve", None)
            self.pid = self._process.pid
            return
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self.pid = int(self._process.stdout.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        if self.fresh:
            self._process.kill()
            self._process.wait()
        else:
            self._process.communicate()
        self._log.close()


# --- the receiver of webhooks -------------------------------------------------------------------------------


def receive(port: int, log: Path, secret: str, seed: int) -> None:
    """Take deliveries, note each before it is answered, and refuse one in fifty to be sent it again."""
    dice, out = random.Random(seed), log.open("ab", buffering=0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told, signed = json.loads(body), True
            try:
                verify(secret, self.headers, body, time.time())
            except SignatureError:
                signed = False
            refused = dice.random() < 0.02
            if not refused:
                line = {"listing": told["listing_id"], "id": told["decision_id"], "signed": signed}
                out.write((json.dumps(line) + "\n").encode())  # one write is whole, also of several threads
            with contextlib.suppress(ConnectionError):
                self.send_response(503 if refused else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # whoever asked was killed
    server.serve_forever()


# --- whoever asks -------------------------------------------------------------------------------------------


@dataclass
class Ask:
    """One request, sent again until it is answered; `name` is the same for repeats."""

    name: str
    body: bytes
    key: str = ""


@dataclass
class World:
    """What was asked and answered so far; answers are logged as they come."""

    seed: int
    log: Path
    asked: list[Ask] = field(default_factory=list)  # those that were answered
    answers: int = 0
    cut: int = 0
    statuses: Counter = field(default_factory=Counter)
    revisions: list[int] = field(default_factory=list)  # of each listing, how many were sent
    stopped: bool = False

    def __post_init__(self) -> None:
        self._dice, self._out = random.Random(self.seed), self.log.open("ab", buffering=0)

    def next(self) -> Ask:
        """A new listing, an edit, a rescan with a key, or a repeat of any of these."""
        draw = self._dice.random()
        if draw < 0.2 and self.asked:
            return self._dice.choice(self.asked)
        if draw < 0.6 or not self.revisions:
            self.revisions.append(0)
            listing = len(self.revisions) - 1
        else:  # one of the last, so that several callers edit the same listing at once
            listing = self._dice.randrange(max(0, len(self.revisions) - 50), len(self.revisions))
        rescan = 0.6 <= draw < 0.65 and self.revisions[listing] > 0
        if not rescan:
            self.revisions[listing] += 1
        number = self.revisions[listing]
        dice = random.Random(f"{listing} {number}")
        told = {
            "listing_id": f"k{self.seed}-{listing}",
            "title": dice.choice(("plain", "plain", "review", "block")),
            "description": f"{number} " + " ".join(dice.choices(("brass", "lamp", "oak", "table"), k=40)),
        }
        name = f"{listing} {number}" + (f" rescan {self._dice.random()}" if rescan else "")
        body = json.dumps({"listing": told, "rescan": rescan}).encode()
        return Ask(name, body, name.replace(" ", "-") if rescan or draw > 0.95 else "")

    def close(self) -> None:
        self._out.close()

    def answered(self, ask: Ask, content: bytes) -> None:
        line = json.dumps({"name": ask.name, "keyed": bool(ask.key), "decision": json.loads(content)})
        self._out.write((line + "\n").encode())
        self.asked.append(ask)
        self.answers += 1


async def caller(world: World, port: int, secret: str) -> None:
    """One request after the other, each until it is answered."""
    connection = Connection("127.0.0.1", port)
    while not world.stopped:
        ask = world.next()
        head = _head("POST /v1/decisions", secret, ask.key)
        while not world.stopped:
            try:
                status, content = await connection.ask(head, ask.body)
            except (OSError, EOFError):
                world.cut += connection.writer is not None  # sent, and the connection ended without an answer
                connection.close()
                await asyncio.sleep(0.02)
                continue
            world.statuses[status] += 1
            if status == 200:
                world.answered(ask, content)
                break
            if status != 503:
                raise AssertionError(f"{status}: {content[:300]!r}")
            await asyncio.sleep(0.02)
    connection.close()


def _head(what: str, secret: str, key: str = "") -> bytes:
    lines = [f"{what} HTTP/1.1", "Host: here", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {secret}"] + ([f"Idempotency-Key: {key}"] if key else [])
    return ("\r\n".join(lines) + "\r\nContent-Length: %d\r\n\r\n").encode()


async def until_ready(port: int, seconds: float = 60) -> None:
    connection, until = Connection("127.0.0.1", port), time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError, EOFError):
            if (await connection.ask(_head("GET /readyz", "-"), b""))[0] == 200:
                connection.close()
                return
        connection.close()
        await asyncio.sleep(0.005)
    raise AssertionError("the service did not get ready")


# --- killing ------------------------------------------------------------------------------------------------


@dataclass
class Facts:
    """What happened, and what must not have: `faults` is empty where all held."""

    kills: int = 0
    answers: int = 0
    distinct: int = 0
    cut: int = 0
    refused: int = 0
    stored: int = 0
    edits: int = 0
    told: int = 0
    arrived: int = 0
    start_s: float = 0.0
    faults: list[str] = field(default_factory=list)


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


# --- checking -----------------------------------------------------------------------------------------------


def check_answers(facts: Facts, log: Path) -> dict[str, dict]:
    """Answers by decision id; the same request must have had the same answer each time."""
    by_name: dict[str, str] = {}
    by_id: dict[str, dict] = {}
    for line in log.read_text().splitlines():
        told = json.loads(line)
        name, decision = told["name"], told["decision"]
        facts.answers += 1
        # A rescan supersedes, and from then on its revision is answered with it
        superseded = decision["cause"] == "rescan" and "rescan" not in name and not told["keyed"]
        known = name if not superseded else f"{name} {decision['decision_id']}"
        if by_name.setdefault(known, decision["decision_id"]) != decision["decision_id"]:
            facts.faults.append(f"{name} was answered twice differently")
        if by_id.setdefault(decision["decision_id"], decision) != decision:
            facts.faults.append(f"{decision['decision_id']} was answered in two ways")
    facts.distinct = len(by_id)
    return by_id


async def check_readable(facts: Facts, by_id: dict[str, dict], port: int, secret: str) -> None:
    connection = Connection("127.0.0.1", port)
    for decision_id, decision in by_id.items():
        status, content = await connection.ask(_head(f"GET /v1/decisions/{decision_id}", secret), b"")
        if status != 200 or json.loads(content) != decision:
            facts.faults.append(f"{decision_id} was answered, and now GET says {status} {content[:200]!r}")
    connection.close()


def check_stored(facts: Facts, engine: Engine, hook: Webhook) -> dict[str, list[str]]:
    """Of each listing the decisions that had to be told, in order; chains must be whole."""
    with reading(engine) as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.seq)).all()
        told = set(connection.execute(select(deliveries.c.decision_id)).scalars())
    chains: dict[str, list[Any]] = defaultdict(list)
    made: Counter = Counter()
    for row in rows:
        chains[row.listing_id].append(row)
        if row.cause != "rescan":
            made[row.revision] += 1
    facts.stored, facts.edits = len(rows), sum(row.supersedes is not None for row in rows)
    facts.faults += [f"revision {one} was decided {n} times" for one, n in made.items() if n > 1]
    for chain in chains.values():
        before = None
        for row in chain:
            if row.supersedes != before:
                facts.faults.append(f"{row.decision_id} supersedes {row.supersedes} and follows {before}")
            before = row.decision_id
            if (row.action in hook.actions) != (row.decision_id in told):
                facts.faults.append(f"{row.decision_id} ({row.action}) is wrong in the outbox")
    return {
        name: [row.decision_id for row in chain if row.action in hook.actions]
        for name, chain in chains.items()
    }


def check_arrived(facts: Facts, due: dict[str, list[str]], log: Path) -> None:
    arrived: dict[str, list[str]] = defaultdict(list)
    for line in log.read_text().splitlines():
        came = json.loads(line)
        facts.arrived += 1
        arrived[came["listing"]].append(came["id"])
        if not came["signed"]:
            facts.faults.append(f"{came['id']} arrived with a wrong signature")
    facts.told = sum(map(len, due.values()))
    for name, wanted in due.items():
        if list(dict.fromkeys(arrived[name])) != wanted:
            facts.faults.append(f"{name}: {wanted} had to arrive in this order, and {arrived[name]} did")


def wait_delivered(engine: Engine, seconds: float) -> None:
    """Until nothing waits in the outbox; a killed process's lease has to end first."""
    until = time.monotonic() + seconds
    waiting = select(deliveries.c.seq).where(deliveries.c.state == "waiting").limit(1)
    while time.monotonic() < until:
        with reading(engine) as connection:
            if connection.execute(waiting).first() is None:
                return
        time.sleep(0.2)


# --- a run --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def receiving(folder: Path, port: int, hook: Webhook, seed: int) -> Iterator[Path]:
    log = folder / "arrived.jsonl"
    log.touch()
    words = [sys.executable, "-m", "bench.kills", "--role", "receive", "--port", str(port)]
    words += ["--log", str(log), "--seed", str(seed)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE)
    process.stdin.write(hook.secret.encode() + b"\n")
    process.stdin.flush()
    try:
        yield log
    finally:
        process.kill()
        process.communicate()


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
    parser.add_argument("--role", choices=("serve", "fork", "receive"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "serve":
        return serve(given.port)
    if given.role == "fork":
        return fork_on_request(given.port)
    if given.role == "receive":
        return receive(given.port, given.log, sys.stdin.readline().strip(), given.seed)
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

"""What was answered, against what is stored, and what arrived, against what had to be told."""

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from bench.serve.callers import request_head
from bench.serve.client import Connection
from stallwart.store.database import reading
from stallwart.store.tables import decisions, deliveries
from stallwart.store.webhooks import Webhook


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
        status, content = await connection.ask(request_head(f"GET /v1/decisions/{decision_id}", secret), b"")
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

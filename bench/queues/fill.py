"""A database as a service leaves it after a year: decisions, their listings, and tasks open and done."""

import json
import random
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, Table, text

from bench.queues.work import now_ms
from stallwart.core.settings import Settings
from stallwart.store.ranking import ranking_of
from stallwart.store.tables import audit_draws, decisions, revisions, tasks, verdicts
from stallwart.store.tasks import BLIND, Kind, lane_of

POLICIES = [f"policy_{number}" for number in range(12)]
_LANGUAGES = ("de", "en", "fr", "it", None)
_WORDS = "brass lamp oak table vintage glass unused silver chair blue wool coat with box and paper".split()  # noqa: SIM905
_THRESHOLDS = json.dumps({policy: {"block": 0.93, "review": 0.21} for policy in POLICIES})
_KINDS = (*[Kind.REVIEW] * 16, Kind.AUDIT, Kind.AUDIT, Kind.APPEAL, Kind.REPORT)
_HOUR_MS = 3_600_000
_RANKING = ranking_of(Settings())
_LISTINGS = 20  # of a seller
_TEXTS = [" ".join(random.Random(one).choices(_WORDS, k=40)) for one in range(500)]
_PAGE = 20_000


def fill(engine: Engine, decided: int, open_tasks: int) -> list[str]:
    """The policies; every `decided / (2 open_tasks)`th decision has a task, half of them done."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA synchronous=OFF")
            driver.execute("PRAGMA cache_size=-200000")
        else:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.commit()
        chance = random.Random(20261)
        now = now_ms()
        every = max(1, decided // (2 * open_tasks))
        for start in range(0, decided, _PAGE):
            numbers = range(start, min(start + _PAGE, decided))
            asked = [number for number in numbers if number % every == 0 and number // every < 2 * open_tasks]
            _insert(
                connection,
                revisions,
                (_revision(number, decided // _LISTINGS, chance, now) for number in numbers),
            )
            _insert(
                connection,
                decisions,
                (_decision(number, number % every == 0, chance, now) for number in numbers),
            )
            made = [_task(number, number // every % 2 == 0, chance, now) for number in asked]
            _insert(connection, tasks, made)
            _insert(connection, verdicts, (_verdict(row) for row in made if row["state"] == "done"))
            _insert(connection, audit_draws, (_draw(row) for row in made if row["kind"] == Kind.AUDIT))
            connection.commit()  # SQLite's; COPY commits by itself
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET statement_timeout = 0")
        connection.execute(text("VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"))
    engine.dispose()  # SQLite's connection of above does not wait for the disk
    return POLICIES


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Through COPY on PostgreSQL; rows have the same keys in the same order."""
    found = list(rows)
    if not found:
        return
    names = list(found[0])
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy,
        ):
            for row in found:
                copy.write_row(tuple(row.values()))
        driver.commit()
        return
    marks = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
    connection.exec_driver_sql(statement, [tuple(row.values()) for row in found])


def _at(number: int, now: int) -> int:
    """Decisions come in the order of their numbers, the last one now, one each 30 s."""
    return now - (10_000_000 - number) * 3_000


def _revision(number: int, sellers: int, chance: random.Random, now: int) -> dict[str, Any]:
    return {
        "revision": f"{number:064x}",
        "listing_id": f"listing-{number}",
        "title": chance.choice(_TEXTS)[:40],
        "description": chance.choice(_TEXTS),
        "photos": json.dumps([f"{number:064x}"]),
        "unread": "[]",
        "seller_id": f"seller-{number * 7919 % sellers}",
        "price": 12.5,
        "language": chance.choice(_LANGUAGES),
        "listed_at_ms": _at(number, now),
        "stored_at_ms": _at(number, now),
    }


def _decision(number: int, asked: bool, chance: random.Random, now: int) -> dict[str, Any]:
    scores = {policy: round(chance.random() ** 6, 4) for policy in POLICIES}
    return {
        "decision_id": f"d_{number:020x}",
        "listing_id": f"listing-{number}",
        "revision": f"{number:064x}",
        "first_of": f"{number:064x}",
        "action": "review" if asked else chance.choice(("allow",) * 30 + ("block",)),
        "policies": json.dumps([POLICIES[number % len(POLICIES)]] if asked else []),
        "reason": "a score reaches its review threshold" if asked else "no policy reaches its threshold",
        "scores": json.dumps(scores),
        "thresholds": _THRESHOLDS,
        "bundle": "b" * 64,
        "taxonomy": "t" * 64,
        "cause": "new",
        "decided_at_ms": _at(number, now),
    }


def _task(number: int, is_open: bool, chance: random.Random, now: int) -> dict[str, Any]:
    kind = chance.choice(_KINDS)
    policy = None if kind == Kind.AUDIT else POLICIES[int(len(POLICIES) * chance.random() ** 2)]
    language = chance.choice(_LANGUAGES)
    asked_at = now - int(chance.random() * 72 * _HOUR_MS)
    probability = None if kind != Kind.REVIEW else round(chance.random(), 4)
    place = _RANKING.of(policy, probability, asked_at)
    return {
        "task_id": f"t_{number:020x}",
        "kind": kind.value,
        "decision_id": f"d_{number:020x}",
        "reading": 0,
        "assigned_to": "",
        "listing_id": f"listing-{number}",
        "revision": f"{number:064x}",
        "policy": policy,
        "language": language,
        "blind": int(kind in BLIND),
        "lane": lane_of("", None, policy, language),
        "rank": place.rank,
        "harm": place.harm,
        "probability": place.probability,
        "due_at_ms": place.due_at_ms,
        "state": "open" if is_open else "done",
        "leased_until_ms": 0,
        "verdict_id": None if is_open else f"v_{number:020x}",
        "asked_at_ms": asked_at,
        "ended_at_ms": None if is_open else asked_at + _HOUR_MS,
        "ended_by": None if is_open else f"u_{number % 10}",
    }


def _verdict(task: dict[str, Any]) -> dict[str, Any]:
    return {
        "verdict_id": task["verdict_id"],
        "decision_id": task["decision_id"],
        "revision": task["revision"],
        "answers": json.dumps({task["policy"] or POLICIES[0]: "no"}),
        "who": f"reviewer {task['ended_by'][2:]}",
        "source": task["kind"],
        "created_at_ms": task["ended_at_ms"],
        "task_id": task["task_id"],
    }


def _draw(task: dict[str, Any]) -> dict[str, Any]:
    return {
        "decision_id": task["decision_id"],
        "probability": 0.01,
        "stratum": "allow",
        "drawn_at_ms": task["asked_at_ms"],
    }

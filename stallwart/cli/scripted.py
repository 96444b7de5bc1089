"""The readers of the demonstration: a script that answers by the labels of the generated market.

They say what nobody has looked at: each of their verdicts has a note that it is a script's. What they leave
is for whoever tries the pages.
"""

import csv
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stallwart.cli.database import wall_ms
from stallwart.core.errors import ConflictError
from stallwart.core.taxonomy import read_taxonomy

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.store.people import User
    from stallwart.store.tasks import Task
    from stallwart.store.verdicts import Answer

NOTE = "Answered by the demonstration's script, from the label of the generated listing."
_NAMES = ("script-one", "script-two")  # two, since a second reading is never by who read first
_OF_THE_QUEUE = 0.25  # share of the tasks of the queue that they answer
_QUIET, _SECONDS, _MOST_SECONDS = 3, 1.5, 180.0  # rounds with nothing to do until the script ends
_LEASE_MS = 600_000


def read_by_script(engine: "Engine", market: Path) -> int:
    """How many tasks the script answered: every sample, and some of the queue."""
    ids = read_taxonomy(market / "policies.toml").ids
    with (market / "labels.csv").open(newline="") as file:
        labels = {row["listing_id"]: row["label"] for row in csv.DictReader(file)}
    readers, answered, quiet = [_reader(engine, name) for name in _NAMES], 0, 0
    until = time.monotonic() + _MOST_SECONDS
    # Second readings, and reviews that samples call for, come some seconds after what they follow from
    while time.monotonic() < until and (quiet < _QUIET or _samples_come(engine)):
        before = answered
        for reader in readers:
            for task in _taken(engine, reader):
                if task.listing_id in labels and _is_scripted(task):
                    answered += _finished(engine, reader, task, _truth(labels[task.listing_id], ids))
        quiet = quiet + 1 if answered == before else 0
        time.sleep(_SECONDS)
    for reader in readers:  # held until now, so that no round meets them again
        _give_back(engine, reader)
    return answered


def _samples_come(engine: "Engine") -> bool:
    """Whether something was drawn that is no task yet."""
    from sqlalchemy import select

    from stallwart.store.database import reading
    from stallwart.store.tables import audit_draws, tasks
    from stallwart.store.tasks import Kind

    asked = select(tasks.c.decision_id).where(tasks.c.kind == Kind.AUDIT.value)
    missing = select(audit_draws.c.decision_id).where(audit_draws.c.decision_id.not_in(asked)).limit(1)
    with reading(engine) as connection:
        return connection.execute(missing).first() is not None


def _taken(engine: "Engine", reader: "User") -> "list[Task]":
    """All that this reader may have, now theirs."""
    from stallwart.store import claims
    from stallwart.store.database import writing

    taken: list[Task] = []
    while True:
        with writing(engine) as connection:
            task = claims.claim_next(connection, reader, now_ms=wall_ms(), lease_ms=_LEASE_MS)
        if task is None:
            return taken
        taken.append(task)


def _give_back(engine: "Engine", reader: "User") -> None:
    from stallwart.store import claims
    from stallwart.store.database import writing

    with writing(engine) as connection:
        for task in claims.held(connection, reader, wall_ms()):
            claims.release(connection, reader, task.task_id)


def _finished(engine: "Engine", reader: "User", task: "Task", answers: "Mapping[str, Answer]") -> bool:
    from stallwart.store import claims
    from stallwart.store.database import writing

    try:
        with writing(engine) as connection:
            claims.finish(connection, reader, task.task_id, answers, now_ms=wall_ms(), note=NOTE)
    except ConflictError:  # cancelled meanwhile: another verdict has settled it
        return False
    return True


def _truth(label: str, ids: tuple[str, ...]) -> "dict[str, Answer]":
    from stallwart.store.verdicts import Answer

    return {name: Answer.YES if name == label else Answer.NO for name in ids}


def _is_scripted(task: "Task") -> bool:
    """Every sample; of the queue a share that is the same in every run of the same market."""
    import hashlib

    from stallwart.store.tasks import BLIND

    place = int.from_bytes(hashlib.sha256(task.listing_id.encode()).digest()[:4]) / 2**32
    return task.kind in BLIND or place < _OF_THE_QUEUE


def _reader(engine: "Engine", name: str) -> "User":
    from stallwart.store.database import reading
    from stallwart.store.passwords import Passwords
    from stallwart.store.people import Role, add_user, find_user

    try:
        return add_user(
            engine, Passwords(), name, secrets.token_hex(16), Role.REVIEWER,
            who="demo", why="reads for the demonstration", now_ms=wall_ms(),
        )  # fmt: skip
    except ConflictError:
        with reading(engine) as connection:
            return find_user(connection, name)

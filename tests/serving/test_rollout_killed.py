"""A service killed at random moments while it moves rollouts: one consistent stage, a log that verifies."""

import contextlib
import os
import random
import signal
import threading
import time

import httpx
import pytest
from sqlalchemy import func, select

from stallwart.core.rollout import Stage
from stallwart.core.settings import Settings
from stallwart.store.audit import read as read_audit
from stallwart.store.audit import verify
from stallwart.store.database import open_database, reading, upgrade, writing
from stallwart.store.registry import Alias, alias, champion, register, set_champion
from stallwart.store.rollouts import current, history
from stallwart.store.tables import exposures
from tests.serving.processes import Service, wait_until

pytestmark = pytest.mark.slow

OLD, NEW = "b" * 64, "d" * 64
KILLS = 8
PLAN = {
    "audit": {"block": 1.0, "review": 1.0, "allow": 1.0},
    "guards": {"cpu": 100, "slow_ms": 60_000},
    "steps": [
        {"stage": "shadow", "shadow_share": 1.0, "min_units": 3},
        {"stage": "canary", "share": 0.2, "min_units": 1},
        {"stage": "ramp", "share": 0.5, "min_units": 3},
        {"stage": "ab", "share": 0.5, "min_units": 3, "max_hours": 0.0002},
    ],
}


@pytest.fixture
def service(database, tmp_path):
    url = database.url.render_as_string(hide_password=False)
    settings = Settings(
        database_url=url, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", rollout_seconds=0.02
    )
    engine = open_database(url, settings)
    upgrade(engine)
    with writing(engine) as connection:
        for digest in (OLD, NEW):
            register(connection, digest=digest, place="/nowhere", card={}, who="test", now_ms=1)
        set_champion(connection, OLD, who="test", why="first", now_ms=1)
    engine.dispose()
    made = Service(settings).start()
    yield made
    for client in made.clients:
        client.close()
    made.process.kill()
    made.process.join(20)


class Caller:
    """Sends listings, and starts a rollout whenever none runs; refused connections are part of it."""

    def __init__(self, service):
        self.service, self.stopped, self.answered = service, threading.Event(), {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        number = 0
        while not self.stopped.is_set():
            with contextlib.suppress(httpx.HTTPError), self.service.client() as client:
                while not self.stopped.is_set():
                    number += 1
                    listing = {"listing_id": f"L{number}", "title": f"a lamp {number}"}
                    answer = client.post("/v1/decisions", json={"listing": listing})
                    if answer.status_code == 200:
                        self.answered[answer.json()["decision_id"]] = answer.json()["bundle"]
                    if number % 5 == 0:
                        start = {"challenger": NEW, "why": "a test", "plan": PLAN}
                        client.post("/v1/rollout", json=start)
            time.sleep(0.02)

    def stop(self):
        self.stopped.set()
        self.thread.join(60)


def check(database):
    """One consistent state, whatever was going on when it was killed."""
    with reading(database) as connection:
        verified = verify(connection)
        assert verified.wrong is None, verified.what
        rollouts = history(connection, 1_000)
        running = [one for one in rollouts if not one.stage.ended]
        now = current(connection)
        assert running == ([now] if now else [])
        assert (alias(connection, Alias.CHALLENGER) is not None) == (now is not None)
        promoted = [one for one in rollouts if one.stage is Stage.PROMOTED]
        assert champion(connection) == (NEW if promoted else OLD)
        for one in rollouts:
            moves = read_audit(connection, subject=one.rollout_id, limit=100)
            assert len(moves) == one.version, "a move without its entry, or an entry without its move"
        twice = (
            select(func.count())
            .select_from(exposures)
            .group_by(exposures.c.decision_id)
            .having(func.count() > 1)
        )
        assert connection.execute(twice).first() is None
    return len(rollouts), sum(one.version for one in rollouts)


def went_on(database, before):
    """Whether rollouts moved since, and more than one was begun: a slow machine may still be at its first."""
    with reading(database) as connection:
        rollouts = history(connection, 1_000)
    return len(rollouts) > 1 and sum(one.version for one in rollouts) > before[1] + 2


def test_killed_at_any_moment_a_rollout_is_in_one_stage_and_the_log_verifies(service, database):
    dice, caller = random.Random(5), Caller(service)
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.2, 2.5))
        os.kill(service.pid, signal.SIGKILL)
        service.process.join(20)
        check(database)
        service.process.close()
        service.start()
    before = check(database)
    wait_until(lambda: went_on(database, before), 180)  # it goes on by itself
    caller.stop()
    os.kill(service.pid, signal.SIGKILL)  # what is looked at by several queries stands still
    service.process.join(20)
    rollouts, moves = check(database)
    assert moves > rollouts > 1, "it was not killed while rollouts moved"
    assert len(caller.answered) > 10 * KILLS

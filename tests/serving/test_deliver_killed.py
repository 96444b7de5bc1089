"""Deliverers that are killed at random moments lose no decision and keep each listing's order."""

import random
import subprocess
import sys
import time

import pytest
from sqlalchemy import select

from stallwart.core.decision import Action
from stallwart.store.tables import deliveries
from stallwart.store.webhooks import add_webhook
from tests.serving.receiver import Receiver, Reply
from tests.store.outgoing import NOW, decide

pytestmark = pytest.mark.slow

# Its clock runs 200 times as fast, so that the leases of the killed end within the test
DELIVER = """
import sys, time
import stallwart.serving.deliver as deliver
from stallwart.core.settings import Settings
from stallwart.store.database import open_database
url, begun = sys.argv[1], float(sys.argv[2])
settings = Settings(webhook_private=True, webhook_timeout_ms=20_000, webhook_attempts=100,
                    webhook_backoff_ms=1_000, webhook_max_backoff_ms=4_000)
deliver._POLL_SECONDS = 0.02
deliverer = deliver.Deliverer(
    open_database(url, settings), settings, lambda: 1_800_000_000_000 + int((time.time() - begun) * 200_000)
)
deliverer.start()
print("up", flush=True)
time.sleep(600)
"""
LISTINGS, KILLS = 12, 8  # and as many decisions of each listing as kills


def start(url, begun):
    process = subprocess.Popen(
        [sys.executable, "-c", DELIVER, url, str(begun)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    return process


def kill(process):
    process.kill()
    process.wait()
    process.stdout.close()


def left(database):
    with database.connect() as connection:
        return len(connection.execute(select(deliveries.c.seq).where(deliveries.c.state == "waiting")).all())


def test_killed_deliverers_deliver_everything_in_order(database, database_url):
    seed = random.Random(7)
    accepted = []

    def answer(came):
        if seed.random() < 0.2:
            return Reply(500)
        accepted.append(came.told)  # one append is atomic
        time.sleep(seed.random() * 0.02)  # so that a kill falls between its answer and the note of it
        return Reply()

    receiver = Receiver(answer)
    hook = add_webhook(database, receiver.url, [Action.BLOCK], NOW)
    told = [(f"l{place}", number) for number in range(KILLS) for place in range(LISTINGS)]
    begun = time.time()
    running = [start(database_url, begun) for _ in range(2)]
    for turn in range(KILLS):
        decide(database, [hook], *told[turn * LISTINGS : (turn + 1) * LISTINGS])
        seen = len(receiver.came)
        receiver.wait_for(lambda came, seen=seen: len(came) >= seen + seed.randrange(1, 12), 5)
        kill(running[turn % 2])
        running[turn % 2] = start(database_url, begun)
    until = time.monotonic() + 60
    while left(database) and time.monotonic() < until:
        seen = len(receiver.came)
        receiver.wait_for(lambda came, seen=seen: len(came) > seen, 0.2)
    for process in running:
        kill(process)
    receiver.close()

    assert left(database) == 0
    for place in range(LISTINGS):
        arrived = [one for one in accepted if one.startswith(f"d-l{place}-")]
        assert list(dict.fromkeys(arrived)) == [f"d-l{place}-{number:04d}" for number in range(KILLS)]

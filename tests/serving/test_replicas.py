"""Three processes of `stallwart serve` on one PostgreSQL: two workers behind one port, and a replica."""

import asyncio
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from bench.serve.client import Connection
from tests.serving.commands import Command, make_key
from tests.serving.processes import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tiny_bundles, postgres, tmp_path_factory):
    """Two replicas, the first of two workers, that serve what a link leads to."""
    folder = tmp_path_factory.mktemp("replicas")
    link = folder / "live"
    link.symlink_to(tiny_bundles[0])
    settings = {
        "database_url": postgres.create(), "data_dir": folder / "data", "cache_dir": folder / "cache",
        "reload_seconds": 0.2, "key_cache_seconds": 1, "threads": 1,
    }  # fmt: skip
    key = make_key(settings)
    both = [Command(link, settings, folder / f"{workers}.log", workers) for workers in (2, 1)]
    for one in both:
        one.key = key
        one.start()
    for one in both:
        one.wait()
    yield both
    for one in both:
        one.stop()


def post(one, listing_id, key=None, **more):
    headers = {"Authorization": f"Bearer {key or one.key}"}
    body = {"listing": {"listing_id": listing_id, "title": f"whisky {listing_id}"}, **more}
    return httpx.post(f"{one.url}/v1/decisions", json=body, headers=headers, timeout=30)


def both_ask(pair, ask, n):
    """Answers of n calls at each replica, all at once, each on a connection of its own."""
    with ThreadPoolExecutor(2 * n) as pool:
        return list(pool.map(ask, pair * n))


def test_concurrent_repeats_at_all_processes_are_answered_with_one_decision(pair):
    for number in range(5):
        answers = both_ask(pair, lambda one, number=number: post(one, f"same {number}"), 8)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["decision_id"] for answer in answers}) == 1


def test_concurrent_edits_at_all_processes_make_one_chain(pair):
    numbers = iter(range(100))
    answers = both_ask(pair, lambda one: post(one, "edited", rescan=bool(next(numbers) + 1)), 8)
    decisions = [answer.json() for answer in answers]
    before = {decision["supersedes"] for decision in decisions}
    assert len(before) == len(decisions) == 16, "no two follow the same"
    assert before - {decision["decision_id"] for decision in decisions} == {None}


def test_a_quota_holds_over_all_processes(pair):
    settings, allowed = pair[0].settings, 30
    key = make_key(settings, per_minute=allowed)
    if time.time() % 60 > 35:
        time.sleep(61 - time.time() % 60)
    began = int(time.time() // 60)
    statuses = [answer.status_code for answer in both_ask(pair, lambda one: post(one, "quota", key), 40)]
    assert int(time.time() // 60) == began, "the machine is too slow for this test"
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == allowed


def figure(one, name):
    headers = {"Authorization": f"Bearer {one.key}"}
    text = httpx.get(f"{one.url}/metrics", headers=headers).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_metrics_add_up_over_workers(pair):
    first = pair[0]
    name = 'stallwart_requests_total{route="/v1/decisions",status="200"}'
    before = figure(first, name)
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(lambda number: post(first, f"counted {number}").is_success, range(50)))
    assert [figure(first, name) for _ in range(8)] == [before + 50] * 8, "whichever worker is asked"


class Load:
    """Lanes that ask both replicas without a pause, over connections that stay open."""

    def __init__(self, pair, lanes=6):
        self.pair, self.lanes, self.ended = pair, lanes, False
        self.answered, self.lost = [], []  # (sent at, status, decision), (sent at, why)

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._lane(lane)) for lane in range(self.lanes)]
        await self.more(30)
        return self

    async def __aexit__(self, *_):
        self.ended = True
        await asyncio.gather(*self._tasks)

    async def more(self, n, seconds=60):
        """Until so many more were answered."""
        seen, until = len(self.answered), time.monotonic() + seconds
        while len(self.answered) < seen + n:
            assert time.monotonic() < until, "no answers any more"
            await asyncio.sleep(0.01)

    async def _lane(self, lane):
        one = self.pair[lane % len(self.pair)]
        connection, number = Connection("127.0.0.1", one.port), 0
        head = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {one.key}\r\n"
        head += "Content-Type: application/json\r\n"
        while not self.ended:
            number += 1
            listing = {"listing_id": f"{id(self)} {lane} {number}", "title": f"vodka {number}"}
            sent = time.monotonic()
            try:
                body = json.dumps({"listing": listing}).encode()
                status, content = await connection.ask(head.encode() + b"Content-Length: %d\r\n\r\n", body)
                self.answered.append((sent, status, json.loads(content)))
            except (OSError, EOFError) as err:
                self.lost.append((sent, repr(err)))
                connection.close()
                return
        connection.close()


def move(link, bundle):
    """As an operator does: a new link over the old one, in one step."""
    new = link.with_name("new")
    new.symlink_to(bundle)
    new.replace(link)


def test_a_bundle_is_exchanged_under_load_without_a_failed_request(pair, tiny_bundles):
    link = pair[0].bundle
    digests = [json.loads((one / "bundle.json").read_bytes())["digest"] for one in tiny_bundles]

    def settled(digest):
        """Every process has loaded it last."""

        def held():
            loads = [
                [line["bundle"] for line in one.events if line["event"] == "bundle loaded"][-one.workers :]
                for one in pair
            ]
            return loads == [[digest] * one.workers for one in pair]

        wait_until(held, 60)

    async def exchange():
        async with Load(pair) as load:
            for turn in (1, 0, 1):
                move(link, tiny_bundles[turn])
                await asyncio.to_thread(settled, digests[turn])
                await load.more(30)
        return load

    load = asyncio.run(exchange())
    assert load.lost == []
    assert {status for _, status, _ in load.answered} == {200}
    assert {decision["bundle"] for *_, decision in load.answered} == set(digests)
    assert {post(one, f"settled {n}").json()["bundle"] for one in pair for n in range(20)} == {digests[1]}


def test_a_worker_that_is_killed_is_replaced(pair):
    first = pair[0]
    before, ready = first.workers_now(), first.said("ready")
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: first.said("ready") > ready, 120)
    after = first.workers_now()
    assert len(after) == 2
    assert len(before & after) == 1
    held = httpx.get(f"{first.url}/metrics", headers={"Authorization": f"Bearer {first.key}"}).text
    assert len(re.findall(r"^stallwart_resident_bytes", held, re.MULTILINE)) == 2, "the dead hold nothing"
    assert all(post(first, f"repaired {number}").status_code == 200 for number in range(20))


def test_sigterm_under_load_answers_every_request_that_was_sent(pair):
    first, second = pair

    async def stop():
        async with Load([first], lanes=8) as load:
            asked = time.monotonic()
            first.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(first.process.wait, 60)
        return load, asked, code

    load, asked, code = asyncio.run(stop())
    assert code == 0
    assert [why for sent, why in load.lost if sent < asked] == []
    assert {status for _, status, _ in load.answered} == {200}
    for _, _, decision in load.answered:  # the other replica has what this one answered
        headers = {"Authorization": f"Bearer {second.key}"}
        stored = httpx.get(f"{second.url}/v1/decisions/{decision['decision_id']}", headers=headers)
        assert stored.json() == decision
    assert first.said("stopped") >= 2
    assert not any(line["event"] == "crash" for one in pair for line in one.events)

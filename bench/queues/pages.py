"""The real pages over HTTP: the program in a process of its own, reviewers as clients, time of the server.

Run as a module it is the server: it times each request from its first byte to its last, and tells what it
took when it is asked for /timings. A request's own CPU cannot be told in a pool of threads; that of the whole
process, over all requests, is.
"""

import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

import httpx

from bench.queues.fill import POLICIES

WORDS = "brass lamps and oak tables"
_POLICY = """[policies.{0}]
title = "What {0} forbids"
covers = "Brass lamps, oak tables and coats of wool that are sold without their box, or in place of others."
precision = 0.9
prevalence = 0.01
"""
_EACH = 10  # tasks between two loads of the whole page
_SETTLE_SECONDS = 10.0
_NEAR = re.compile(r'hx-get="(/tasks/[^"]+/nearest)"')
TASK = re.compile(r'data-task="([^"]+)"')
JUDGED = re.compile(r'name="judged" value="([^"]+)"')
CSRF = re.compile(r'name="csrf" (?:content|value)="([^"]*)"')


class Timed:
    """An application whose requests are timed by method and kind of path."""

    def __init__(self, app):
        self._app, self.took = app, defaultdict(list)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/timings":
            told = {"took": self.took, "cpu": time.process_time()}
            body = json.dumps(told).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        began = time.perf_counter()
        await self._app(scope, receive, send)
        path = re.sub(r"/(t_[0-9a-f]+|d[-_][^/]+)", "/…", scope["path"])
        self.took[f"{scope['method']} {path}"].append(time.perf_counter() - began)


def rulebook(folder: Path) -> Path:
    """A policy file with the policies of `fill`."""
    file = folder / "policies.toml"
    file.write_text("".join(_POLICY.format(policy) for policy in POLICIES))
    return file


def serve(url: str, folder: str, port: int) -> None:
    import uvicorn

    from stallwart.cli.behind import behind
    from stallwart.cli.database import wall_ms
    from stallwart.cli.review import compose
    from stallwart.core.settings import Settings
    from stallwart.pages.apart import Apart
    from stallwart.pages.app import Parts, create_site
    from stallwart.store.database import open_database
    from stallwart.store.passwords import Passwords

    settings = Settings(threads=4, data_dir=Path(folder), review_explain_seconds=0)
    engine = open_database(url, settings)
    quick = Passwords(time_cost=1, memory_kib=64, lanes=1)
    sections, jobs = compose(engine, settings, quick, wall_ms, None, rulebook(Path(folder)))
    apart = Apart(partial(behind, settings, url, None), wall_ms)
    app = Timed(create_site(sections, Parts(engine, settings, quick, wall_ms, jobs=jobs, apart=apart)))
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def measure(url: str, folder: str, names: list[str], lead: str, seconds: float, pause: float) -> dict:
    """What the server took, by page, its CPU over all requests, and how many tasks were given to two.

    Measured from some seconds after its start on.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bench.queues.pages", url, folder, str(port)]
    server = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
    try:
        base = f"http://127.0.0.1:{port}"
        _until_up(base, server)
        crew = [_Reviewer(base, name, random.Random(name)) for name in names]
        time.sleep(_SETTLE_SECONDS)  # what runs behind the pages begins, which takes a core for seconds
        before = httpx.get(f"{base}/timings").json()
        until = time.monotonic() + seconds
        everybody = [*crew, _Lead(base, lead, random.Random(lead))]
        threads = [threading.Thread(target=one.work, args=(until, pause)) for one in everybody]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = httpx.get(f"{base}/timings", timeout=30).json()
    finally:
        server.terminate()
        server.wait(60)
    for one in everybody:
        if one.failed is not None:
            raise one.failed
    took = {name: times[len(before["took"].get(name, ())) :] for name, times in after["took"].items()}
    had = [task for one in crew for task in one.finished]
    return {
        "took": {name: times for name, times in took.items() if times},
        "cpu_ms": 1e3 * (after["cpu"] - before["cpu"]) / max(1, sum(map(len, took.values()))),
        "finished": len(had),
        "twice": len(had) - len(set(had)),
    }


def _until_up(base: str, server: subprocess.Popen) -> None:
    until = time.monotonic() + 300
    while True:
        try:
            httpx.get(f"{base}/healthz")
            return
        except httpx.TransportError:
            if time.monotonic() > until or server.poll() is not None:
                raise
            time.sleep(0.2)


class _Person:
    """Somebody who is signed in."""

    def __init__(self, base: str, name: str, chance: random.Random):
        self._client = httpx.Client(base_url=base, timeout=60)
        self._chance, self.failed = chance, None
        token = CSRF.findall(self._client.get("/sign-in").text)[-1]
        form = {"csrf": token, "name": name, "password": WORDS, "next": ""}
        assert self._client.post("/sign-in", data=form).status_code == 303

    def work(self, until: float, pause: float) -> None:
        try:
            time.sleep(pause * self._chance.random())
            while time.monotonic() < until:
                self._turn(pause)
        except Exception as err:  # noqa: BLE001  raised by the thread that waits
            self.failed = err

    def _get(self, path: str) -> str:
        answer = self._client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        return answer.text

    def _think(self, pause: float) -> None:
        time.sleep(pause * (0.5 + self._chance.random()))

    def _turn(self, pause: float) -> None:
        raise NotImplementedError


class _Lead(_Person):
    """Looks at the pages of a lead, one after the other."""

    def _turn(self, pause: float) -> None:
        for path in ("/queue", "/views", "/statements"):
            self._get(path)
            self._think(pause)


class _Reviewer(_Person):
    """Somebody whose browser holds the next task beside the one that it shows, and loads anew at times."""

    def __init__(self, base: str, name: str, chance: random.Random):
        super().__init__(base, name, chance)
        self.finished: list[str] = []
        self._cards: list[str] = []

    def _turn(self, pause: float) -> None:
        if len(self.finished) % _EACH == 0:
            for name in ("x-csrf-token", "hx-request"):
                self._client.headers.pop(name, None)
            self._cards = [self._get("/tasks")]
            token = CSRF.findall(self._cards[0])[0]
            self._client.headers.update({"x-csrf-token": token, "hx-request": "true"})
            self._near()
        if len(self._cards) < 2:
            self._take("/tasks/take")
        self._think(pause)
        card = self._cards.pop(0)
        (task,) = self._ids([card])
        self._take(f"/tasks/{task}/verdict", allow="1", judged=JUDGED.findall(card))
        self.finished.append(task)

    def _take(self, path: str, **form: object) -> None:
        answer = self._client.post(path, data={**form, "have": self._ids(self._cards)})
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        self._cards.append(answer.text)
        self._near()

    def _near(self) -> None:
        """The part of a card that comes after it."""
        for path in _NEAR.findall(self._cards[-1]):
            self._get(path)

    def _ids(self, cards: list[str]) -> list[str]:
        return [TASK.findall(card)[0] for card in cards]


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))

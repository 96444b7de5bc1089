"""Services as processes of their own, forked from one that has imported everything and opened nothing."""

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field

import httpx

from bench.serve.processes import free_port
from stallwart.core.settings import Settings
from stallwart.serving.server import wall_ms
from stallwart.store.database import database_url, open_database, upgrade
from stallwart.store.keys import Scope, create_key

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.serving.processes",
        "tests.serving.fakes",
        "uvloop",
        "uvicorn.protocols.http.httptools_impl",
        "psycopg",
    ]
)


def serve_fake(settings, port):
    """A service that scores by words ("drug" blocks, "gun" asks), until it is told to stop."""
    import uvicorn

    from stallwart.serving.server import create_service_of
    from tests.serving.fakes import FakeRuntime

    app = create_service_of(FakeRuntime(), settings, load=lambda digest, *_: FakeRuntime(digest=digest))
    uvicorn.run(app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=5)


@dataclass
class Service:
    """One that runs, with a key of all scopes."""

    settings: Settings
    port: int = field(default_factory=free_port)
    clients: list[httpx.Client] = field(default_factory=list)

    def start(self):
        engine = open_database(database_url(self.settings), self.settings)
        upgrade(engine)
        self.key = create_key(engine, "test", tuple(Scope), wall_ms()).secret
        engine.dispose()
        self.process = FORKS.Process(target=serve_fake, args=(self.settings, self.port), daemon=True)
        self.process.start()
        wait_until(lambda: self.ready().status_code == 200, 60)
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        return httpx.get(f"{self.url}/readyz", timeout=20)

    def client(self):
        made = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=40)
        self.clients.append(made)
        return made

    def stop(self):
        for client in self.clients:
            client.close()
        os.kill(self.pid, signal.SIGTERM)
        self.process.join(20)
        stopped = self.process.exitcode is not None
        self.process.kill()
        self.process.join()
        self.process.close()
        assert stopped, "SIGTERM did not end the service"


def wait_until(held, seconds=20.0):
    """Nothing once `held()` is true; what it raises of connections counts as not yet."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if held():
                return
        assert time.monotonic() < until, f"not within {seconds} seconds"
        time.sleep(0.02)

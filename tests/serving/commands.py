"""`stallwart serve` as a user starts it: a process of its own, with its log in a file."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.serve.processes import ROOT, STALLWART, free_port
from stallwart.core.settings import Settings
from stallwart.serving.server import wall_ms
from stallwart.store.database import database_url, open_database, upgrade
from stallwart.store.keys import Scope, create_key
from tests.serving.processes import wait_until


def environment_of(**settings) -> dict[str, str]:
    named = {f"STALLWART_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, "OMP_NUM_THREADS": "1", **named}


def make_key(settings: dict, **more) -> str:
    """An API key of all scopes, and the database where it is not there yet."""
    whole = Settings(**settings)
    engine = open_database(database_url(whole), whole)
    upgrade(engine)
    secret = create_key(engine, "test", tuple(Scope), wall_ms(), **more).secret
    engine.dispose()
    return secret


@dataclass
class Command:
    """A service that was started by its command; `settings` are those of the environment."""

    bundle: Path
    settings: dict
    log: Path
    workers: int = 1
    port: int = field(default_factory=free_port)

    def start(self):
        words = [STALLWART, "serve", self.bundle, "--port", self.port, "--workers", self.workers]
        environment = environment_of(**self.settings)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(list(map(str, words)), env=environment, cwd=ROOT, stderr=log)
        return self

    def wait(self):
        """Until each of its processes has said that it is ready."""
        wait_until(lambda: self.said("ready") >= self.workers or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.log.read_text()
        wait_until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, event: str) -> int:
        return sum(line["event"] == event for line in self.events)

    def workers_now(self) -> set[int]:
        """Pids of the processes that serve; of the one where there is but one."""
        if self.workers == 1:
            return {self.process.pid}
        pid = self.process.pid
        children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
        return {child for child, command in commands.items() if b"spawn_main" in command}

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()

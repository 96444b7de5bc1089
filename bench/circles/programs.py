"""The programs of one installation, under a clock that is moved, and a look at what they stored."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.circles.clock import Clock
from bench.serve.processes import ROOT, free_port

_LONGEST = 900.0  # seconds that anything may take on a busy machine before it is called broken


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


class House:
    """One installation in a folder.

    Args:
        folder: for its data, its clock and what its programs say.
        settings: `STALLWART_...` beside those of the folder.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        self.folder, self.clock = folder, Clock(folder / "clock")
        self.data = folder / "data"
        named = {f"STALLWART_{name.upper()}": str(value) for name, value in settings.items()}
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
        self._environment = {
            **os.environ, "PYTHONPATH": path, "STALLWART_DATA_DIR": str(self.data), "COLUMNS": "200", **named
        }  # fmt: skip

    def run(self, *arguments: object, given: str | None = None, codes: tuple[int, ...] = (0,)) -> Ran:
        """A command, waited for.

        Raises:
            RuntimeError: it ended with another code than these.
        """
        done = subprocess.run(
            self._command(*arguments), env=self._environment, cwd=ROOT, input=given, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode not in codes:
            raise RuntimeError(
                f"stallwart {arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}"
            )
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def program(self, *arguments: object, ready: str | None = None) -> Iterator[str]:
        """A program at work while the block lasts, and its URL; what it says is in a file of its name."""
        port, log = free_port(), self.folder / f"{arguments[0]}.log"
        if ready is not None:
            arguments = (*arguments, "--port", port)
        with log.open("ab") as to:
            process = subprocess.Popen(
                self._command(*arguments), env=self._environment, cwd=ROOT, stdout=to, stderr=to
            )
        url = f"http://127.0.0.1:{port}"
        try:
            if ready is not None:
                wait_for(lambda: _answers(process, url + ready, log), f"{arguments[0]} to get ready")
            yield url
            if process.poll() is not None:
                raise RuntimeError(f"stallwart {arguments[0]} ended with {process.returncode}; see {log}")
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the database says, JSON read."""
        with contextlib.closing(sqlite3.connect(self.data / "stallwart.sqlite", timeout=60)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, values)]

    def value(self, query: str, *values: object) -> Any:
        """The only value that a query gives, or None."""
        found = self.rows(query, *values)
        return next(iter(found[0].values())) if found else None

    def _command(self, *arguments: object) -> list[str]:
        program = [sys.executable, "-m", "bench.circles.clock", str(self.folder / "clock")]
        return [*program, *map(str, arguments)]


def wait_for(true: Callable[[], object], what: str, seconds: float = _LONGEST) -> None:
    """Until something is true.

    Raises:
        RuntimeError: it did not come to it.
    """
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"it ended with {process.returncode}: {log.read_text()[-2000:]}")
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == 200
    return False

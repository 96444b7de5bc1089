"""Servers and clients as processes of their own, and what they cost."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).resolve().parents[2]
SERVER_CORES, CLIENT_CORES = "BENCH_SERVER_CORES", "BENCH_CLIENT_CORES"  # as taskset takes them; all if unset
STALLWART = Path(sys.executable).with_name("stallwart")


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen
    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def pids(self) -> list[int]:
        """The process and its children."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def resident_bytes(self) -> int:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in self.pids())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def serving(
    command: list[str], port: int, environment: dict[str, str], key: str = "", log: Any = None
) -> Iterator[Server]:
    """A server, once it answers, until the block ends; what it says goes to `log`, or to stderr."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(on_cores(SERVER_CORES) + command, env=env, cwd=ROOT, stderr=log)
    server = Server(process, f"http://127.0.0.1:{port}", key)
    try:
        wait_ready(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_ready(server: Server, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise SystemExit(f"the server ended with {server.process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.url}/readyz", timeout=2).status_code in (200, 404):  # a bare one has none
                return
        time.sleep(0.1)
    raise SystemExit("the server did not get ready")


def stallwart(*arguments: str, environment: dict[str, str]) -> str:
    """What a command prints."""
    done = subprocess.run(
        [str(STALLWART), *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(
            f"stallwart {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout


def make_key(environment: dict[str, str]) -> str:
    """An API key with all scopes."""
    scopes = [part for scope in ("score", "read", "feedback", "admin") for part in ("--scope", scope)]
    return json.loads(stallwart("keys", "create", "bench", *scopes, "--json", environment=environment))[
        "secret"
    ]


def ask(server: Server, bodies: Path, **options: Any) -> dict[str, Any]:
    """What the client process saw; options as its command line names them."""
    words = [
        sys.executable,
        "-m",
        "bench.serve.client",
        f"{server.url}/v1/decisions",
        "--bodies",
        str(bodies),
    ]
    for name, value in server.headers.items():
        words += ["--header", f"{name}={value}"]
    for name, value in options.items():
        if name == "header":
            words += [part for one in value for part in ("--header", one)]
        elif value is True:
            words.append(f"--{name}")
        else:
            words += [f"--{name}", str(value)]
    done = subprocess.run(
        on_cores(CLIENT_CORES) + words, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def on_cores(whose: str) -> list[str]:
    """What keeps a command to the cores in an environment variable."""
    return ["taskset", "-c", os.environ[whose]] if whose in os.environ else []


def keep_apart() -> None:
    """Give the client the last core, and the servers the others: a load generator is no part of the load."""
    *servers, client = map(str, sorted(os.sched_getaffinity(0)))
    os.environ[SERVER_CORES], os.environ[CLIENT_CORES] = ",".join(servers), client
    os.environ["STALLWART_THREADS"] = str(len(servers))


def server_cores() -> set[int]:
    """The cores that servers run on."""
    if SERVER_CORES in os.environ:
        return {int(core) for core in os.environ[SERVER_CORES].split(",")}
    return os.sched_getaffinity(0)


def cores() -> str:
    """Which cores this run uses, and for what."""
    if SERVER_CORES in os.environ:
        return f"{os.environ[SERVER_CORES]} for the server, {os.environ[CLIENT_CORES]} for the client"
    return ", ".join(map(str, sorted(os.sched_getaffinity(0)))) + ", shared by server and client"

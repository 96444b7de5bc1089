"""Services that are killed and started again: forked from a process that has imported them, or afresh.

So that 200 starts do not cost 200 times the seconds of imports, a process that has imported the service
and opened nothing forks it; each fork opens its own database, threads and port, and is killed whole, as a
process started afresh would be.

    python -m bench.serve.starts serve|fork --port PORT
"""

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from bench.serve.processes import ROOT
from stallwart.core.settings import Settings


def serve(port: int) -> None:
    """The service in this process, until it ends."""
    import uvicorn

    from bench.serve.words import Words
    from stallwart.core.logs import log_to_stderr
    from stallwart.serving.server import create_service_of

    log_to_stderr()
    app = create_service_of(Words(), Settings())
    uvicorn.run(app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=5)


def fork_on_request(port: int) -> None:
    """For each line on stdin a new service, whose pid is printed; the one before was killed by then."""
    for name in ("uvicorn.protocols.http.httptools_impl", "uvloop", "psycopg", "bench.serve.words"):
        importlib.import_module(name)

    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            os.close(0)
            serve(port)
            os._exit(0)
        print(child, flush=True)
    if child:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Starter:
    """Starts services, one at a time, on one port."""

    def __init__(self, port: int, environment: dict[str, str], log: Path, fresh: bool):
        self.port, self.fresh = port, fresh
        self._env, self._log = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}, log.open("ab")
        self._process = None if fresh else self._run("fork", subprocess.PIPE)
        self.pid = 0

    def _run(self, role: str, pipe: int | None) -> subprocess.Popen:
        words = [sys.executable, "-m", "bench.serve.starts", role, "--port", str(self.port)]
        return subprocess.Popen(words, env=self._env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=self._log)

    def start(self) -> None:
        if self.fresh:
            if self._process:
                self._process.wait()
            self._process = self._run("serve", None)
            self.pid = self._process.pid
            return
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self.pid = int(self._process.stdout.readline())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        if self.fresh:
            self._process.kill()
            self._process.wait()
        else:
            self._process.communicate()
        self._log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=("serve", "fork"))
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    {"serve": serve, "fork": fork_on_request}[given.role](given.port)


if __name__ == "__main__":
    main()

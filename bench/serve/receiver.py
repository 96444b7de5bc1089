"""A receiver of webhooks as a process of its own; the secret comes on stdin.

python -m bench.serve.receiver --port PORT --log FILE --seed N
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.serve.processes import ROOT
from stallwart.client.webhooks import verify
from stallwart.core.errors import SignatureError
from stallwart.store.webhooks import Webhook


def receive(port: int, log: Path, secret: str, seed: int) -> None:
    """Take deliveries, note each before it is answered, and refuse one in fifty to be sent it again."""
    dice, out = random.Random(seed), log.open("ab", buffering=0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told, signed = json.loads(body), True
            try:
                verify(secret, self.headers, body, time.time())
            except SignatureError:
                signed = False
            refused = dice.random() < 0.02
            if not refused:
                line = {"listing": told["listing_id"], "id": told["decision_id"], "signed": signed}
                out.write((json.dumps(line) + "\n").encode())  # one write is whole, also of several threads
            with contextlib.suppress(ConnectionError):
                self.send_response(503 if refused else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # whoever asked was killed
    server.serve_forever()


@contextlib.contextmanager
def receiving(folder: Path, port: int, hook: Webhook, seed: int) -> Iterator[Path]:
    """A receiver in the folder, until the block ends; gives the file in which it notes what arrives."""
    log = folder / "arrived.jsonl"
    log.touch()
    words = [sys.executable, "-m", "bench.serve.receiver", "--port", str(port)]
    words += ["--log", str(log), "--seed", str(seed)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE)
    process.stdin.write(hook.secret.encode() + b"\n")
    process.stdin.flush()
    try:
        yield log
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    receive(given.port, given.log, sys.stdin.readline().strip(), given.seed)


if __name__ == "__main__":
    main()

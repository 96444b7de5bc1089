"""A client that costs little: raw HTTP/1.1 over asyncio, closed loop or at a steady rate; runs as a process.

    python -m bench.serve.client URL --bodies listings.bin ... prints one JSON object

Every latency is kept. At a steady rate, a request's time begins when it was due, not when it was sent, so
that a server that stalls cannot hide behind its own stall (coordinated omission).
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

# In a body, what is replaced by a number of its own in every request
PLACE = b"@@@@@@@@@@"


@dataclass
class Seen:
    """What came back."""

    seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    statuses: Counter = field(default_factory=Counter)
    ended: list[float] = field(default_factory=list)
    lost: int = 0

    def summary(self, elapsed: float) -> dict:
        good = np.array(self.seconds or [np.nan])
        refused = np.array(self.refused_seconds or [np.nan])
        return {
            "elapsed_s": elapsed,
            "answered": len(self.seconds),
            "refused": len(self.refused_seconds),
            "lost": self.lost,
            "per_second": len(self.seconds) / elapsed,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            **{f"p{q}_ms": float(np.percentile(good, q)) * 1e3 for q in (50, 90, 95, 99)},
            "refused_p99_ms": float(np.percentile(refused, 99)) * 1e3,
            "refused_max_ms": float(refused.max()) * 1e3,
        }


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, host: str, port: int):
        self.host, self.port, self.reader, self.writer = host, port, None, None

    async def ask(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
        self.writer.write(head % len(body) + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        status, length = int(answer[9:12]), 0
        for line in answer.split(b"\r\n")[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        content = await self.reader.readexactly(length) if length else b""
        if b"connection: close" in answer.lower():
            self.close()
        return status, content

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None


async def run(
    url: str,
    bodies: list[bytes],
    *,
    connections: int,
    seconds: float,
    rate: float = 0.0,
    headers: dict[str, str] | None = None,
    start: int = 0,
    repeat: bool = False,
) -> dict:
    """Ask for so long; with a rate, requests are due at random (Poisson) times whatever comes back."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = (
        ("\r\n".join(lines) + "\r\nContent-Length: %d\r\n\r\n")
        .replace("%d", "@d")
        .replace("%", "%%")
        .encode()
    )
    head = head.replace(b"@d", b"%d")
    seen, numbers, pool = (
        Seen(),
        iter(range(start, 10**9)),
        [Connection(parts.hostname, parts.port) for _ in range(connections)],
    )

    async def one(connection: Connection, due: float) -> None:
        number = next(numbers)
        body = bodies[number % len(bodies)]
        if not repeat:
            body = body.replace(PLACE, b"%010d" % number)
        try:
            status, _ = await connection.ask(head, body)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            seen.lost += 1
            connection.close()
            return
        now = time.perf_counter()
        seen.statuses[status] += 1
        (seen.seconds if status == 200 else seen.refused_seconds).append(now - due)

    began = time.perf_counter()
    until = began + seconds
    if not rate:

        async def loop(connection: Connection) -> None:
            while time.perf_counter() < until:
                await one(connection, time.perf_counter())

        await asyncio.gather(*(loop(connection) for connection in pool))
    else:
        due_times: asyncio.Queue = asyncio.Queue()

        async def serve(connection: Connection) -> None:
            while (due := await due_times.get()) is not None:
                await one(connection, due)

        tasks = [asyncio.create_task(serve(connection)) for connection in pool]
        due, dice = began, random.Random(start)
        while due < until:
            due += dice.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due_times.put_nowait(due)
        for _ in pool:
            due_times.put_nowait(None)
        await asyncio.gather(*tasks)
    elapsed = time.perf_counter() - began
    for connection in pool:
        connection.close()
    return seen.summary(elapsed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--bodies", required=True, help="file of JSON lines, one request body each")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--repeat", action="store_true", help="send the same listings again and again")
    parser.add_argument("--header", action="append", default=[], help="Name=value")
    given = parser.parse_args()
    bodies = Path(given.bodies).read_bytes().splitlines()
    headers = dict(one.split("=", 1) for one in given.header)
    result = asyncio.run(
        run(
            given.url,
            bodies,
            connections=given.connections,
            seconds=given.seconds,
            rate=given.rate,
            headers=headers,
            start=given.start,
            repeat=given.repeat,
        )
    )
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()

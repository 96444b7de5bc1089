"""Callers that send again what was not answered, and note each answer as it comes."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.serve.client import Connection


@dataclass
class Ask:
    """One request, sent again until it is answered; `name` is the same for repeats."""

    name: str
    body: bytes
    key: str = ""


@dataclass
class World:
    """What was asked and answered so far; answers are logged as they come."""

    seed: int
    log: Path
    asked: list[Ask] = field(default_factory=list)  # those that were answered
    answers: int = 0
    cut: int = 0
    statuses: Counter = field(default_factory=Counter)
    revisions: list[int] = field(default_factory=list)  # of each listing, how many were sent
    stopped: bool = False

    def __post_init__(self) -> None:
        self._dice, self._out = random.Random(self.seed), self.log.open("ab", buffering=0)

    def next(self) -> Ask:
        """A new listing, an edit, a rescan with a key, or a repeat of any of these."""
        draw = self._dice.random()
        if draw < 0.2 and self.asked:
            return self._dice.choice(self.asked)
        if draw < 0.6 or not self.revisions:
            self.revisions.append(0)
            listing = len(self.revisions) - 1
        else:  # one of the last, so that several callers edit the same listing at once
            listing = self._dice.randrange(max(0, len(self.revisions) - 50), len(self.revisions))
        rescan = 0.6 <= draw < 0.65 and self.revisions[listing] > 0
        if not rescan:
            self.revisions[listing] += 1
        number = self.revisions[listing]
        dice = random.Random(f"{listing} {number}")
        told = {
            "listing_id": f"k{self.seed}-{listing}",
            "title": dice.choice(("plain", "plain", "review", "block")),
            "description": f"{number} " + " ".join(dice.choices(("brass", "lamp", "oak", "table"), k=40)),
        }
        name = f"{listing} {number}" + (f" rescan {self._dice.random()}" if rescan else "")
        body = json.dumps({"listing": told, "rescan": rescan}).encode()
        return Ask(name, body, name.replace(" ", "-") if rescan or draw > 0.95 else "")

    def close(self) -> None:
        self._out.close()

    def answered(self, ask: Ask, content: bytes) -> None:
        line = json.dumps({"name": ask.name, "keyed": bool(ask.key), "decision": json.loads(content)})
        self._out.write((line + "\n").encode())
        self.asked.append(ask)
        self.answers += 1


async def caller(world: World, port: int, secret: str) -> None:
    """One request after the other, each until it is answered."""
    connection = Connection("127.0.0.1", port)
    while not world.stopped:
        ask = world.next()
        head = request_head("POST /v1/decisions", secret, ask.key)
        while not world.stopped:
            try:
                status, content = await connection.ask(head, ask.body)
            except (OSError, EOFError):
                world.cut += connection.writer is not None  # sent, and the connection ended without an answer
                connection.close()
                await asyncio.sleep(0.02)
                continue
            world.statuses[status] += 1
            if status == 200:
                world.answered(ask, content)
                break
            if status != 503:
                raise AssertionError(f"{status}: {content[:300]!r}")
            await asyncio.sleep(0.02)
    connection.close()


def request_head(what: str, secret: str, key: str = "") -> bytes:
    """The head of a request, with a place for the length of its body."""
    lines = [f"{what} HTTP/1.1", "Host: here", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {secret}"] + ([f"Idempotency-Key: {key}"] if key else [])
    return ("\r\n".join(lines) + "\r\nContent-Length: %d\r\n\r\n").encode()


async def until_ready(port: int, seconds: float = 60) -> None:
    connection, until = Connection("127.0.0.1", port), time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError, EOFError):
            if (await connection.ask(request_head("GET /readyz", "-"), b""))[0] == 200:
                connection.close()
                return
        connection.close()
        await asyncio.sleep(0.005)
    raise AssertionError("the service did not get ready")

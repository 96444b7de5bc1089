"""Memory of the service over many requests and reloads: it must be flat.

    python bench/soak.py --requests 50000 --reloads 200
    python bench/soak.py --bundle bundles/first --bundle bundles/second

The requests go to a runtime that costs nothing, with keys, queue, commit, metrics and deliveries on; one in
four repeats a listing, one in eight brings a photo. Between them the service loads a bundle, warms it up and
scores two listings with it, in turns with the next one. Without --bundle two tiny ones are trained first.

Flat is a straight line through the most that it held in each tenth of the run, after the third, that
rises by less than 3 % of it over the whole run, as far as its 95 % interval goes. What is bounded fills up
first: digests of photos, SQLite's pages, the allocator's pools. The most, and not the median, since what it
holds swings by a tenth within seconds, as the collector and the allocator give back.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import stats

from bench.serve.client import Connection
from bench.serve.listings import jpeg
from bench.serve.listings import listing as words_of
from bench.serve.processes import ROOT, Server, cores, free_port, make_key, serving, stallwart

LANES = 8
TENTHS = 10
_SETTLING = 3  # tenths that fill what is bounded
_MAX_RISE = 0.03


def app():
    """For uvicorn's --factory: nothing scores, and a reload loads what the link leads to."""
    from bench.serve.nothing import Nothing
    from stallwart.core.listing import Listing
    from stallwart.core.settings import Settings
    from stallwart.serving import bundles, server

    class Folder(bundles.BundleFolder):
        """Loads a real bundle and scores with it, and goes on with the runtime that costs nothing."""

        def __init__(self, folder: Path, settings: Settings):
            super().__init__(folder, settings)
            self.loads = 0

        def load(self):
            loaded, self.loads = super().load(), self.loads + 1
            for number in range(2):
                listing = Listing(f"s{number}", f"whisky {self.loads}", photos=(jpeg(number),))
                parts = loaded.parts(listing)
                loaded.rule(parts, {key: job() for key, job in parts.jobs.items()})
            return self._changed(loaded)

        @staticmethod
        def _changed(loaded):
            fresh = Nothing()
            fresh.digest, fresh.bundle = loaded.digest, loaded
            return fresh

    settings = Settings(reload_seconds=0)
    folder = Folder(Path(os.environ["SOAK_BUNDLE"]), settings)
    return server.create_service_of(Nothing(), settings, folder=folder)


class Load:
    """Requests from several lanes; each takes the next number until a limit that the run moves on."""

    def __init__(self, server: Server):
        self.server, self.number, self.statuses = server, 0, {}
        self.port = int(server.url.rpartition(":")[2])
        self.photos = [base64.b64encode(jpeg(seed)).decode() for seed in range(64)]
        self.bodies = [words_of(seed, photo=False) for seed in range(200)]

    def head(self, path: str) -> bytes:
        key = self.server.key
        lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        lines += "Content-Type: application/json\r\n"
        return lines.encode() + b"Content-Length: %d\r\n\r\n"

    def body(self, number: int) -> bytes:
        named = number if number % 4 else max(0, number - 1_000)  # a repeat, of one that is long gone
        listing = {**self.bodies[named % 200], "listing_id": f"L{named}", "photos": []}
        if number % 8 == 1:
            listing["photos"] = [{"base64": self.photos[number // 8 % 64]}]
        return json.dumps({"listing": listing}).encode()

    async def until(self, limit: int) -> None:
        async def lane() -> None:
            connection, head = Connection("127.0.0.1", self.port), self.head("/v1/decisions")
            while self.number < limit:
                self.number += 1
                status, _ = await connection.ask(head, self.body(self.number))
                self.statuses[status] = self.statuses.get(status, 0) + 1
            connection.close()

        await asyncio.gather(*(lane() for _ in range(LANES)))

    async def reload(self) -> str:
        connection = Connection("127.0.0.1", self.port)
        status, content = await connection.ask(self.head("/v1/admin/reload"), b"")
        connection.close()
        assert status == 200, content
        return json.loads(content)["bundle"]


def rise(held: list[int]) -> tuple[float, float]:
    """The line's rise over the whole run as a share of its middle, and half its 95 % interval."""
    settled = held[_SETTLING:]
    line = stats.linregress(np.arange(len(settled)), settled)
    share = TENTHS / float(np.mean(settled))
    return line.slope * share, line.stderr * stats.t.ppf(0.975, len(settled) - 2) * share


def train_tiny(folder: Path) -> list[Path]:
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny.market import RECIPE, tiny_train

    from stallwart.dataset.sample import write_sample

    write_sample(folder / "market", listings=240, seed=7)
    for seed in (0, 1):
        recipe = RECIPE.model_copy(update={"seed": seed})
        tiny_train(folder / "market", folder / f"tiny-{seed}", folder / "training", recipe)
    return [folder / "tiny-0", folder / "tiny-1"]


def soak(folder: Path, bundles: list[Path], requests: int, reloads: int) -> bool:
    link = folder / "live"
    link.symlink_to(bundles[0].absolute())
    environment = {
        "STALLWART_DATA_DIR": str(folder / "data"), "STALLWART_CACHE_DIR": str(folder / "cache"),
        "STALLWART_MEMORY_CACHE_MB": "8", "SOAK_BUNDLE": str(link), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    stallwart("db", "upgrade", environment=environment)
    key, port = make_key(environment), free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.soak:app", "--factory", "--port", str(port)]
    command += ["--log-level", "error", "--no-access-log"]
    with serving(command, port, environment, key) as server:
        load = Load(server)
        asyncio.run(load.until(requests // 100))
        print(f"after warm-up: {server.resident_bytes() / 1e6:.1f} MB")
        held, seen, loaded, began = [], [], set(), time.monotonic()
        steps = max(reloads, TENTHS)
        for step in range(1, steps + 1):
            asyncio.run(load.until(requests // 100 + requests * step // steps))
            if step <= reloads:
                new = link.with_name("new")
                new.symlink_to(bundles[step % len(bundles)].absolute())
                new.replace(link)
                loaded.add(asyncio.run(load.reload()))
            seen.append(server.resident_bytes())
            if step * TENTHS // steps > len(held):
                held.append(max(seen))
                middle = float(np.median(seen))
                seen.clear()
                print(
                    f"{len(held)}/{TENTHS}: {load.number:,} requests, {min(step, reloads)} reloads,"
                    f" {held[-1] / 1e6:.1f} MB at most (median {middle / 1e6:.1f}),"
                    f" {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    print(f"answers by status: {load.statuses}; {len(loaded)} different bundles were loaded")
    value, within = rise(held)
    good = value + within < _MAX_RISE and set(load.statuses) == {200}
    print(
        f"{'ok  ' if good else 'MISS'} rise over the run: {value:+.2%} ± {within:.2%} (95 %) of"
        f" {np.mean(held[_SETTLING:]) / 1e6:.1f} MB (below {_MAX_RISE:.0%}); cores {cores()}"
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="several are loaded in turns"
    )
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stallwart-soak-")))
        bundles = given.bundle or train_tiny(folder)
        raise SystemExit(not soak(folder, bundles, given.requests, given.reloads))


if __name__ == "__main__":
    main()

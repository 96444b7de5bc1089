"""What the service costs, measured on the real server and a real client, each a process of its own.

    python bench/serving.py overhead            the service around a runtime that does nothing
    python bench/serving.py real BUNDLE         one listing at low load, 70 % and 300 % of capacity, repeats
    python bench/serving.py all BUNDLE --seconds 60

Every ratio comes from one run on one machine: the absolute times of another mean nothing here. The client
shares the cores with the server, unless --apart gives it one of its own.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.serve.listings import listing, write_bodies
from bench.serve.processes import (
    STALLWART,
    Server,
    ask,
    cores,
    free_port,
    keep_apart,
    make_key,
    server_cores,
    serving,
    stallwart,
)

_ROUNDS = 3


def verdict(name: str, value: float, limit: float, at_least: bool) -> None:
    met = value >= limit if at_least else value <= limit
    print(
        f"{'ok  ' if met else 'MISS'} {name}: {value:.3f} ({'at least' if at_least else 'at most'} {limit:g})"
    )


def uvicorn(app: str, port: int, *more: str) -> list[str]:
    options = ["--port", str(port), "--log-level", "error", "--no-access-log", "--no-server-header"]
    return [sys.executable, "-m", "uvicorn", app, *options, *more]


@contextlib.contextmanager
def service(
    folder: Path, command: list[str] | None = None, bundle: Path | None = None, **settings: str
) -> Iterator[Server]:
    """The service with keys on, on a database of its own."""
    environment = {
        "STALLWART_DATA_DIR": str(folder / "data"),
        "STALLWART_CACHE_DIR": str(folder / "cache"),
        **{f"STALLWART_{name.upper()}": value for name, value in settings.items()},
    }
    stallwart("db", "upgrade", environment=environment)
    key, port = make_key(environment), free_port()
    if bundle is not None:
        command = [str(STALLWART), "serve", str(bundle), "--port", str(port)]
    else:
        command = uvicorn("bench.serve.nothing:app", port, "--factory")
    with serving(command, port, environment, key) as server:
        yield server


def overhead(folder: Path, seconds: float) -> dict[str, float]:
    """Requests per second beside a bare FastAPI handler, in turns; and the CPU of one request."""
    bodies = write_bodies(folder / "words.jsonl", 200, photo=False)
    port, rates, cpu = free_port(), {"service": [], "bare": []}, {"service": [], "bare": []}
    with service(folder) as ours, serving(uvicorn("bench.serve.bare:app", port), port, {}) as bare:
        for number in range(_ROUNDS + 1):
            for name, server in (("service", ours), ("bare", bare)):
                before = server.cpu_seconds()
                seen = ask(server, bodies, connections=128, seconds=seconds, start=number * 10**7)
                assert set(seen["statuses"]) == {"200"}, seen
                if number:  # the first round warms up
                    rates[name].append(seen["per_second"])
                    cpu[name].append((server.cpu_seconds() - before) / seen["answered"])
    ratios = [ours / peer for ours, peer in zip(rates["service"], rates["bare"], strict=True)]
    for name in rates:
        rate, cost = statistics.median(rates[name]), statistics.median(cpu[name]) * 1e3
        print(f"{name}: {rate:.0f} requests per second, {cost:.3f} ms of CPU each")
    verdict("requests per second over bare FastAPI", statistics.median(ratios), 1.0, at_least=True)
    return {"ratio": statistics.median(ratios), "cpu_ms": statistics.median(cpu["service"]) * 1e3}


def real(folder: Path, bundle: Path, seconds: float) -> dict[str, Any]:
    """A real listing at low load, at 70 % and at 300 % of capacity, and the same listings again."""
    bodies = write_bodies(folder / "photos.jsonl", 40, photo=True)
    errors = write_bodies(folder / "errors.jsonl", 40, photo=True, on_failure="error")
    bare = in_process(bundle, folder)
    figures: dict[str, Any] = {"in_process_p50_ms": bare}
    with service(folder, bundle=bundle) as server:
        ask(server, bodies, connections=2, seconds=3, start=9 * 10**8)  # warms up
        low = ask(server, bodies, connections=1, seconds=seconds / 3, start=10**8)
        print(
            f"in process p50 {bare:.1f} ms; low load p50 {low['p50_ms']:.1f} ms, p99 {low['p99_ms']:.1f} ms"
        )
        verdict("low load: p50 over in process", low["p50_ms"] / bare, 1.15, at_least=False)
        verdict("low load: p99 over p50", low["p99_ms"] / low["p50_ms"], 2.0, at_least=False)
        before = server.cpu_seconds()
        peak = ask(server, bodies, connections=8, seconds=seconds / 3, start=2 * 10**8)
        figures["cpu_ms"] = (server.cpu_seconds() - before) / peak["answered"] * 1e3
        capacity = peak["per_second"]
        print(f"capacity {capacity:.1f}/s, {figures['cpu_ms']:.1f} ms of CPU a listing")
        busy = ask(server, bodies, connections=64, seconds=seconds, rate=0.7 * capacity, start=3 * 10**8)
        print(f"70 %: p50 {busy['p50_ms']:.1f} ms, p99 {busy['p99_ms']:.1f} ms, {busy['statuses']}")
        verdict("70 % load: p99 over p50", busy["p99_ms"] / busy["p50_ms"], 4.0, at_least=False)
        verdict("70 % load: errors", busy["lost"] + busy["refused"], 0, at_least=False)
        memory = server.resident_bytes()
        flood = ask(
            server, errors, connections=256, seconds=seconds / 2, rate=3 * capacity, start=4 * 10**8,
            header=["Stallwart-Deadline-Ms=1000", "Stallwart-On-Failure=error"],
        )  # fmt: skip
        print(f"300 %: {flood['per_second']:.1f}/s answered, {flood['statuses']}, lost {flood['lost']}")
        verdict("300 % load: throughput over peak", flood["per_second"] / capacity, 0.9, at_least=True)
        verdict("300 % load: refusal p99 in ms", flood["refused_p99_ms"], 50, at_least=False)
        verdict("300 % load: memory over before", server.resident_bytes() / memory, 1.5, at_least=False)
        time.sleep(5)
        after = ask(server, bodies, connections=1, seconds=5, start=5 * 10**8)
        verdict("5 s later: p50 over low load", after["p50_ms"] / low["p50_ms"], 1.5, at_least=False)
        figures["again"] = again(server, bodies, figures["cpu_ms"])
        verdict("unchanged listing again: times cheaper in CPU", figures["again"], 20, at_least=True)
    return figures


def again(server: Server, bodies: Path, first_ms: float) -> float:
    """CPU of a listing's first decision over that of asking again."""
    ask(server, bodies, connections=2, seconds=5, repeat=True)  # the first time of each
    before = server.cpu_seconds()
    seen = ask(server, bodies, connections=2, seconds=5, repeat=True)
    return first_ms / ((server.cpu_seconds() - before) / seen["answered"] * 1e3)


def in_process(bundle: Path, folder: Path) -> float:
    """Milliseconds that the same bundle takes for the same listings without a service, p50."""
    import base64

    from stallwart.core.listing import Listing
    from stallwart.core.settings import Settings
    from stallwart.model.bundle import read_bundle
    from stallwart.model.runtime import Scorer

    as_before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, server_cores())
    scorer = Scorer(read_bundle(bundle), Settings(cache_dir=folder / "bare"), None)
    seconds = []
    for number in range(60):
        one = listing(number % 40, photo=True)
        photo = base64.b64decode(one["photos"][0]["base64"])
        told = Listing(f"L{number}", one["title"], f"{number} {one['description']}", (photo,))
        started = time.perf_counter()
        list(scorer.score([told]))
        seconds.append(time.perf_counter() - started)
    os.sched_setaffinity(0, as_before)
    return statistics.median(seconds[10:]) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("overhead", "real", "all"))
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=None, help="of the longest part")
    parser.add_argument("--apart", action="store_true", help="a core for the client alone")
    given = parser.parse_args()
    if given.apart:
        keep_apart()
    if given.what != "overhead" and given.bundle is None:
        parser.error("name a bundle")
    print(f"cores: {cores()}")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        figures: dict[str, Any] = {}
        if given.what != "real":
            figures["overhead"] = overhead(Path(one), given.seconds or 6)
        if given.what != "overhead":
            figures["real"] = real(Path(two), given.bundle.absolute(), given.seconds or 60)
        if given.what == "all":
            share = figures["overhead"]["cpu_ms"] / figures["real"]["cpu_ms"]
            verdict("overhead's share of a real listing's CPU", share, 0.05, at_least=False)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

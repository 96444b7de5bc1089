"""Whole rollouts with real bundles, a real service and a real client, each a process of its own.

    python bench/rollout_live.py promote CHAMPION CHALLENGER --listings 'market/*.parquet' --labels labels.csv
    python bench/rollout_live.py broken CHAMPION --listings ... --labels ...
    python bench/rollout_live.py shadow CHAMPION CHALLENGER --seconds 30

promote  from shadow over canary and ramp to A/B and, if the verdicts allow it, promotion; then every stored
         decision is replayed by the bundle that made it, and the audit log is verified
broken   a challenger that blocks everything begins at the canary: how many listings it touched
shadow   the champion's p99 at half load, with a challenger in shadow on all traffic and without, in turns;
         and at three times its capacity, what was shed

Listings are sent again and again with ids of their own, so that each is a new unit and what they show is
embedded once. Verdicts are the labels.
"""

import argparse
import base64
import contextlib
import csv
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
import pyarrow.parquet as pq

from bench.serve.listings import write_bodies
from bench.serve.processes import STALLWART, Server, ask, cores, free_port, make_key, serving, stallwart

_LANES = 3
_AUDIT = "[audit]\nblock = 0.5\nreview = 0.1\nallow = 0.02\n"
_STEPS = (
    ("shadow", 0.0, 1.0, 300),
    ("canary", 0.01, 0.0, 5),
    ("ramp", 0.05, 0.0, 20),
    ("ramp", 0.25, 0.0, 100),
    ("ramp", 0.5, 0.0, 300),
    ("ab", 0.5, 0.0, 500),
)


def plan_of(steps: tuple[tuple[str, float, float, int], ...], hours: float = 0.0) -> str:
    """The default plan with no hours to wait, smaller numbers, and more of the traffic audited."""
    parts = [
        f'[[steps]]\nstage = "{stage}"\nshare = {share}\nshadow_share = {shadow}\nmin_units = {units}\n'
        f"min_hours = {hours}\n"
        for stage, share, shadow, units in steps
    ]
    return "\n".join([*parts, _AUDIT])


@contextlib.contextmanager
def service(folder: Path, bundle: Path, *more: str) -> Iterator[tuple[Server, dict[str, str]]]:
    environment = {
        "STALLWART_DATA_DIR": str(folder / "data"),
        "STALLWART_CACHE_DIR": str(folder / "cache"),
    }
    stallwart("db", "upgrade", environment=environment)
    key, port = make_key(environment), free_port()
    command = [str(STALLWART), "serve", str(bundle), "--port", str(port), *more]
    with (
        (folder / "service.log").open("w") as log,
        serving(command, port, environment, key, log=log) as server,
    ):
        yield server, environment


class Market:
    """Listings with their labels, drawn at random."""

    def __init__(self, listings: list[Path], labels: Path, seed: int, limit: int = 600):
        with labels.open(newline="", encoding="utf-8") as file:
            self.labels = {row["listing_id"]: row["label"] for row in csv.DictReader(file)}
        dice, rows = random.Random(seed), []
        for path in listings:
            rows += [(path.parent, row) for row in pq.read_table(path).to_pylist()]
        self.rows = dice.sample(rows, min(limit, len(rows)))
        self.dice, self.numbers = dice, itertools.count()

    def next(self) -> tuple[dict[str, Any], str]:
        """A request body, and the label of what it shows."""
        folder, row = self.dice.choice(self.rows)
        number = next(self.numbers)
        photos = [_bytes(folder, photo) for photo in (row.get("images") or [])[:1]]
        listing = {
            "listing_id": f"N{number}",
            "title": row["title"],
            "description": row["description"],
            "revision": str(number),
            "photos": [{"base64": base64.b64encode(photo).decode()} for photo in photos if photo],
        }
        return {"listing": listing}, self.labels.get(row["listing_id"], "")


def _bytes(folder: Path, photo: Any) -> bytes:
    """A photo as the file has it: bytes, a struct with them, or a path."""
    if isinstance(photo, dict):
        photo = photo["bytes"] or photo["path"]
    if isinstance(photo, bytes):
        return photo
    return (folder / photo).read_bytes() if (folder / photo).exists() else b""


class Traffic:
    """Lanes that ask one request after the other, and a reviewer who answers what is drawn."""

    def __init__(self, server: Server, market: Market, policies: list[str]):
        self.server, self.market, self.policies = server, market, policies
        self.decided: dict[str, tuple[str, str, str]] = {}  # id -> bundle, action, label
        self.statuses, self.verdicts, self.stopped = Counter(), 0, threading.Event()
        self.drawing = threading.Lock()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(_LANES)]
        self.threads.append(threading.Thread(target=self._judge, daemon=True))
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(base_url=self.server.url, headers=self.server.headers, timeout=30) as client:
            while not self.stopped.is_set():
                with self.drawing:
                    body, label = self.market.next()
                answer = client.post("/v1/decisions", json=body)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    told = answer.json()
                    self.decided[told["decision_id"]] = told["bundle"], told["action"], label

    def _judge(self) -> None:
        after = 0
        with httpx.Client(base_url=self.server.url, headers=self.server.headers, timeout=30) as client:
            while not self.stopped.is_set():
                for draw in client.get("/v1/audit/draws", params={"after": after}).json()["draws"]:
                    after, waited = draw["seq"], 0
                    while draw["decision_id"] not in self.decided and waited < 20:
                        time.sleep(0.1)  # its answer is still on its way
                        waited += 1
                    if draw["decision_id"] not in self.decided:
                        continue  # stored, but its caller was told 503: it came too late
                    label = self.decided[draw["decision_id"]][2]
                    said = {policy: "yes" if policy == label else "no" for policy in self.policies}
                    body = {"decision_id": draw["decision_id"], "answers": said, "who": "labels"}
                    assert client.post("/v1/audit/verdicts", json=body).status_code == 201
                    self.verdicts += 1
                time.sleep(0.2)

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)


def begin(folder: Path, environment: dict[str, str], challenger: Path, plan: str) -> str:
    (folder / "plan.toml").write_text(plan)
    digest = stallwart("bundles", "add", str(challenger), environment=environment).strip()
    stallwart(
        "rollout", "start", digest, "--plan", str(folder / "plan.toml"), "--why", "bench",
        environment=environment,
    )  # fmt: skip
    return digest


def look(server: Server) -> dict[str, Any]:
    return httpx.get(f"{server.url}/v1/rollout", headers=server.headers, timeout=30).json()


def follow(server: Server, traffic: Traffic, seconds: float) -> dict[str, Any]:
    """The status at the end; each stage is printed with what it had seen when it was left."""
    until, stage, told = time.monotonic() + seconds, None, look(server)
    while time.monotonic() < until:
        told = look(server)
        now = told["rollout"]["stage"], told["rollout"]["share"]
        if now != stage:
            stage = now
            print(
                f"  {stage[0]:<11} {100 * stage[1]:>3g} %  after {len(traffic.decided):>6,} decisions,"
                f" {traffic.verdicts:>5,} verdicts: {told['rollout']['reason']}",
                flush=True,
            )
        if told["rollout"]["ended_at_ms"]:
            break
        if not all(thread.is_alive() for thread in traffic.threads):
            raise SystemExit("a lane of the client ended")
        time.sleep(0.2)
    return told


def policies_of(bundle: Path) -> list[str]:
    from stallwart.model.bundle import read_bundle

    return list(read_bundle(bundle).taxonomy.ids)


def promote(folder: Path, given: argparse.Namespace) -> bool:
    market = Market(given.listings, given.labels, given.seed)
    with service(folder, given.champion) as (server, environment):
        digest = begin(folder, environment, given.challenger, plan_of(_STEPS))
        traffic = Traffic(server, market, policies_of(given.champion))
        told = follow(server, traffic, given.seconds)
        time.sleep(3)
        traffic.stop()
        print(f"  answers {dict(traffic.statuses)}; {told['look']['next']}")
        comparison = told["look"]["comparison"]
        for name in ("precision", "coverage"):
            one = comparison[name]
            print(
                f"  {name}: {100 * (one['value'] or 0):+.1f} points ({100 * one['lower']:+.1f} to"
                f" {100 * one['upper']:+.1f}), {one['answer']}, from {one['rows']:,} verdicts"
            )
        last = httpx.get(f"{server.url}/v1/rollout", headers=server.headers, timeout=30).json()
        by_bundle = Counter(bundle[:12] for bundle, *_ in traffic.decided.values())
        print(f"  decisions by bundle: {dict(by_bundle)}; the challenger is {digest[:12]}")
    same = True
    for bundle in (given.champion, given.challenger):
        done = subprocess.run(
            [str(STALLWART), "replay", str(bundle), "--verify", "--all"],
            env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(f"  replay of {bundle.name}: exit {done.returncode}: {' '.join(done.stdout.split())[:300]}")
        same = same and done.returncode == 0
    print(f"  {stallwart('audit', 'verify', environment=environment).strip()}")
    return same and last["rollout"]["stage"] == "promoted"


def broken(folder: Path, given: argparse.Namespace) -> bool:
    bad = folder / "bad"
    shutil.copytree(given.champion, bad)
    calibration = json.loads((bad / "calibration.json").read_text())
    calibration["intercepts"] = [100.0] * len(calibration["intercepts"])
    (bad / "calibration.json").write_text(json.dumps(calibration))
    from stallwart.model.bundle import seal

    seal(bad)
    market = Market(given.listings, given.labels, given.seed)
    with service(folder, given.champion) as (server, environment):
        digest = begin(folder, environment, bad, plan_of(_STEPS[1:], hours=1))
        traffic = Traffic(server, market, policies_of(given.champion))
        told = follow(server, traffic, given.seconds)
        time.sleep(2)
        traffic.stop()
    touched = sum(bundle == digest for bundle, *_ in traffic.decided.values())
    met = told["rollout"]["stage"] == "rolled_back" and touched < 300
    print(
        f"{'ok  ' if met else 'MISS'} blocks everything: touched {touched} of {len(traffic.decided)} listings"
    )
    return met


def shadow(folder: Path, given: argparse.Namespace) -> bool:
    bodies = write_bodies(folder / "photos.jsonl", 40, photo=True)
    starts = itertools.count(1)
    with service(folder, given.champion) as (server, environment):

        def load(seconds: float, **options: Any) -> dict[str, Any]:
            return ask(server, bodies, seconds=seconds, start=next(starts) * 10**7, **options)

        def scored() -> Counter:
            text = httpx.get(f"{server.url}/metrics", headers=server.headers, timeout=30).text
            found = [line for line in text.splitlines() if line.startswith("stallwart_shadow_total")]
            return Counter({line.split('"')[1]: int(float(line.split()[-1])) for line in found})

        load(5, connections=2)
        capacity = load(given.seconds / 2, connections=8)["per_second"]
        plan = plan_of(_STEPS, hours=1)
        ratios = []
        for number in range(given.rounds):
            alone = load(given.seconds, connections=64, rate=capacity / 2)["p99_ms"]
            begin(folder, environment, given.challenger, plan)
            time.sleep(5)
            load(3, connections=8, rate=capacity / 4)
            before = scored()
            beside = load(given.seconds, connections=64, rate=capacity / 2)["p99_ms"]
            told = dict(scored() - before)
            print(
                f"  half load ({capacity / 2:.1f}/s): p99 {alone:.0f} ms alone, {beside:.0f} ms beside"
                f" shadow, which came to {told}"
            )
            ratios.append(beside / alone)
            if number:
                stallwart("rollout", "abort", "--why", "bench", environment=environment)
                time.sleep(3)
                continue
            before = scored()
            flood = load(given.seconds / 2, connections=256, rate=3 * capacity)
            told = dict(scored() - before)
            stallwart("rollout", "abort", "--why", "bench", environment=environment)
            time.sleep(5)
            calm = load(given.seconds / 2, connections=256, rate=3 * capacity)
            print(
                f"  three times capacity: {flood['per_second'] / calm['per_second']:.2f} of the answers"
                f" without shadow, which came to {told}"
            )
    ratio = statistics.median(ratios)
    print(
        f"{'ok  ' if ratio < 1.1 else 'MISS'} p99 beside shadow over alone: {ratio:.3f} (below 1.1),"
        f" median of {len(ratios)}: {[round(one, 2) for one in ratios]}"
    )
    return ratio < 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("promote", "broken", "shadow"))
    parser.add_argument("champion", type=Path)
    parser.add_argument("challenger", type=Path, nargs="?")
    parser.add_argument("--listings", type=Path, nargs="+", default=[])
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"cores: {cores()}, seed {given.seed}")
    with tempfile.TemporaryDirectory() as folder:
        met = {"promote": promote, "broken": broken, "shadow": shadow}[given.what](Path(folder), given)
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()

"""How quickly are listings found among a million decisions? By words, seller, policy, score, time, likeness.

    python bench/search.py --keep FOLDER                # SQLite and PostgreSQL; fills them the first time
    python bench/search.py --kinds sqlite --decisions 100000

Times are of the calls into `stallwart.store`, in one process; a search that is given up says so. With
`--keep` the file of SQLite stays in a folder and is used again. Fingerprints are random: 13 buckets a
listing, as of one with a photo.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import Engine, select, text

from bench.queues.fill import fill
from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.index import findable as findable_module
from stallwart.index.findable import Findable
from stallwart.index.fingerprint import coarse_of, photo_keys, photo_probes
from stallwart.index.search import Filters, count, search
from stallwart.store.database import open_database, reading, upgrade, writing
from stallwart.store.fingerprints import Fingerprint, add_fingerprints, read_fingerprint, sharing
from stallwart.store.tables import findable, fingerprints
from tests.databases import Postgres

KINDS = ("sqlite", "postgresql")
_TIMES = 40


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[Engine]:
    with contextlib.ExitStack() as after:
        if kind == "postgresql":
            server = Postgres()
            after.callback(server.end)
            url = server.create()
        else:
            url = f"sqlite:///{folder}/search.sqlite"
        engine = open_database(url, Settings(threads=4))
        after.callback(engine.dispose)
        upgrade(engine)
        yield engine


def prepare(engine: Engine, decided: int) -> None:
    began = time.monotonic()
    with reading(engine) as connection:
        done = connection.execute(select(findable.c.seq).limit(1)).first() is not None
    if not done:
        fill(engine, decided, max(1, decided // 10))
        print(f"  filled in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        findable_module._BATCH = 5_000  # a first filling need not let others write in between
        worker = Findable(engine, lambda: time.time_ns() // 1_000_000 + 120_000)
        while worker.step()[1]:
            pass
        print(f"  made findable in {time.monotonic() - began:.0f} s")
    began, chance = time.monotonic(), random.Random(7)
    with reading(engine) as connection:
        have = connection.execute(text("SELECT coalesce(max(seq), 0) FROM fingerprints")).scalar_one()
    for start in range(have, decided, 10_000):
        made = [_fingerprint(number, chance) for number in range(start, min(start + 10_000, decided))]
        with writing(engine) as connection:
            add_fingerprints(connection, made)
    if have < decided:
        print(f"  fingerprints in {time.monotonic() - began:.0f} s")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.execute(text("VACUUM ANALYZE"))
            connection.invalidate()
        else:
            connection.execute(text("ANALYZE"))


def _fingerprint(number: int, chance: random.Random) -> Fingerprint:
    coarse = chance.getrandbits(64)
    words = [chance.getrandbits(63) for _ in range(9)]
    photo = coarse.to_bytes(8, "big") + chance.randbytes(32)
    keys = (*words, *photo_keys(coarse))
    return Fingerprint(f"{number:064x}", f"listing-{number}", chance.randbytes(95), (photo,), keys)


def near(engine: Engine, chance: random.Random, decided: int) -> int:
    with reading(engine) as connection:
        one = read_fingerprint(connection, f"{chance.randrange(decided):064x}")
        found = sharing(
            connection, [p for photo in one.photos for p in photo_probes(coarse_of(photo))], 256, 2_400
        )
        return len(found) + len(sharing(connection, one.keys[:9], 256, 300))


def measure(engine: Engine, decided: int) -> None:
    chance = random.Random(1)
    now = time.time_ns() // 1_000_000
    with reading(engine) as connection:
        last = connection.execute(
            select(findable.c.decided_at_ms).order_by(findable.c.seq.desc()).limit(1)
        ).scalar()
    sellers = decided // 20

    def seller() -> str:
        return f"seller-{chance.randrange(sellers)}"

    def day() -> int:
        return (last or now) - chance.randrange(1, 30) * 86_400_000 // 30

    asked = {
        "one seller": lambda: Filters(seller_id=seller()),
        "one seller, a word": lambda: Filters(seller_id=seller(), words="lamp"),
        "a policy": lambda: Filters(policy=f"policy_{chance.randrange(12)}"),
        "a policy, a narrow score": lambda: Filters(
            policy=f"policy_{chance.randrange(12)}", score_from=0.62, score_to=0.621
        ),
        "a narrow score": lambda: Filters(score_from=0.62, score_to=0.6201),
        "blocked, a policy": lambda: Filters(action=Action.BLOCK, policy=f"policy_{chance.randrange(12)}"),
        "an hour": lambda: Filters(since_ms=(at := day()), until_ms=at + 3_600_000),
        "an hour, in review": lambda: Filters(
            since_ms=(at := day()), until_ms=at + 3_600_000, action=Action.REVIEW
        ),
        "a word of every listing": lambda: Filters(words="lamp"),
        "a phrase": lambda: Filters(words='"brass lamp oak"'),
        "a word that is not there": lambda: Filters(words="nowhere"),
        "words, blocked": lambda: Filters(words="brass lamp", action=Action.BLOCK),
        "words, a narrow score": lambda: Filters(words="brass lamp", score_from=0.62, score_to=0.6201),
        "twenty listings": lambda: Filters(
            listings=tuple(f"listing-{chance.randrange(decided)}" for _ in range(20))
        ),
        "everything": lambda: Filters(),
    }
    for name, make in asked.items():
        times, rows, given_up = [], 0, 0
        for _ in range(_TIMES):
            filters = make()
            began = time.perf_counter()
            hits = search(engine, filters, 24)
            times.append(time.perf_counter() - began)
            rows, given_up = rows + len(hits.rows), given_up + hits.given_up
        _say(name, times, f"{rows / _TIMES:5.1f} rows" + (f", {given_up} given up" if given_up else ""))
    times, pages, before = [], 0, None
    for _ in range(_TIMES):
        began = time.perf_counter()
        hits = search(engine, Filters(words="lamp"), 24, before)
        times.append(time.perf_counter() - began)
        before, pages = hits.rows[-1].seq, pages + 1
    _say("a word, page after page", times, f"{pages} pages")
    times = []
    for _ in range(10):
        began = time.perf_counter()
        count(engine, Filters(policy="policy_3"), 10_000)
        times.append(time.perf_counter() - began)
    _say("counting a policy up to 10,000", times, "")
    with reading(engine) as connection:
        if connection.execute(select(fingerprints.c.seq).limit(1)).first() is None:
            return
    times, found = [], 0
    for _ in range(_TIMES):
        began = time.perf_counter()
        found += near(engine, chance, decided)
        times.append(time.perf_counter() - began)
    _say("buckets of a listing with a photo", times, f"{found / _TIMES:.0f} candidates")


def _say(name: str, times: list[float], what: str) -> None:
    p50, p95, worst = np.percentile(np.array(times) * 1_000, (50, 95, 100))
    print(
        f"    {name:34} n {len(times):3}  p50 {p50:7.2f}  p95 {p95:7.2f}  max {worst:7.2f} ms   {what}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="folder of the SQLite file, to be used again")
    given = parser.parse_args()
    for kind in given.kinds:
        with tempfile.TemporaryDirectory(prefix="stallwart-search-") as aside:
            folder = given.keep or Path(aside)
            folder.mkdir(parents=True, exist_ok=True)
            with database(kind, folder) as engine:
                print(f"{kind}: {given.decisions:,} decisions", flush=True)
                prepare(engine, given.decisions)
                measure(engine, given.decisions)


if __name__ == "__main__":
    main()

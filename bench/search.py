"""How quickly are listings found among a million decisions? By words, seller, policy, score, time, likeness.

    python bench/search.py --keep FOLDER                # SQLite and PostgreSQL
    python bench/search.py --kinds sqlite --decisions 100000

Times are of the calls into `stallwart.store`, in one process; a search that is given up says so. With
`--keep` the file of SQLite stays in a folder and is used again. Rows are as the workers of review
make them; fingerprints are random, with 13 buckets a listing, as of one with a photo.
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

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.index.search import Filters, count, search
from stallwart.index.words import as_vector
from stallwart.store.database import open_database, reading, upgrade
from stallwart.store.fingerprints import sharing
from stallwart.store.tables import findable, fingerprints
from tests.databases import Postgres

KINDS = ("sqlite", "postgresql")
_TIMES = 40
_BEGAN = 1_760_000_000_000
_WORDS = "brass lamp oak table vintage glass unused silver chair blue wool coat with box and paper".split()  # noqa: SIM905


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
    """Rows as the workers of review make them, made by the database itself."""
    with reading(engine) as connection:
        if connection.execute(select(findable.c.seq).limit(1)).first() is not None:
            return
    began = time.monotonic()
    lite = engine.dialect.name == "sqlite"
    chance = random.Random(7)
    texts = [" ".join([*chance.choices(_WORDS, k=40), *_rarer(chance, 12)]) for _ in range(5_000)]
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {decided})"
        if lite
        else f"WITH n AS (SELECT i FROM generate_series(1::bigint, {decided}) AS i)"
    )
    uniform = "((i * 7919) % 1000003) / 1000003.0"
    key = "random()" if lite else "(random() * 9e18)::bigint"
    near = "(abs(random()) % 65536) * 4" if lite else "floor(random() * 65536)::bigint * 4"
    blob = "randomblob({})" if lite else "decode(repeat('ab', {}), 'hex')"
    words = "findable_words (rowid, words)" if lite else "findable_words (seq, words)"
    statements = [
        f"INSERT INTO findable (seq, listing_id, decision_id, revision, action, policy, score, seller_id,"
        f" decided_at_ms) {numbers} SELECT i, 'listing-' || i, 'd_' || i, 'r' || i,"
        f" CASE WHEN i % 10 = 0 THEN 'review' WHEN i % 31 = 1 THEN 'block' ELSE 'allow' END,"
        f" 'policy_' || (i % 12), {uniform} * {uniform} * {uniform},"
        f" 'seller-' || (i * 7919 % {decided // 20}), {_BEGAN} + i * 3000 FROM n",
        f"INSERT INTO {words} {numbers} SELECT i, words FROM n JOIN texts ON texts.id = (i * 31) % 5000",
        f"INSERT INTO fingerprints (seq, revision, listing_id, words, photos, keys) {numbers}"
        f" SELECT i, 'r' || i,"
        f" 'listing-' || i, {blob.format(95)}, {blob.format(40)}, {blob.format(104)} FROM n",
        f"INSERT INTO fingerprint_keys (key, seq) {numbers} SELECT k, i FROM"
        f" (SELECT {key} AS k, i FROM n, nine"
        f" UNION ALL SELECT {near} + id % 4, i FROM n, nine WHERE id < 4) AS made ORDER BY k",
    ]
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 0" if not lite else "PRAGMA cache_size = -300000"))
        connection.execute(
            text(f"CREATE TEMP TABLE texts (id INTEGER PRIMARY KEY, words {'TEXT' if lite else 'TSVECTOR'})")
        )
        connection.execute(text("CREATE TEMP TABLE nine (id INTEGER)"))
        connection.execute(text("INSERT INTO nine VALUES (:id)"), [{"id": place} for place in range(9)])
        kept = [
            {"id": place, "words": one if lite else as_vector(one.split())} for place, one in enumerate(texts)
        ]
        value = ":words" if lite else "CAST(:words AS tsvector)"
        connection.execute(text(f"INSERT INTO texts VALUES (:id, {value})"), kept)
        for statement in statements:
            connection.exec_driver_sql(statement if lite else statement.replace("%", "%%"))
            connection.commit()
        connection.invalidate()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not lite:
            connection.exec_driver_sql("SET statement_timeout = 0")
        connection.execute(text("ANALYZE" if lite else "VACUUM ANALYZE"))
        connection.invalidate()
    print(f"  filled in {time.monotonic() - began:.0f} s", flush=True)


def _rarer(chance: random.Random, count: int) -> list[str]:
    """Words by Zipf's law: the nth of 20,000 is n times rarer than the first."""
    return [f"word{int(20_000 ** chance.random())}" for _ in range(count)]


def near(engine: Engine, chance: random.Random) -> int:
    """What a listing with a photo looks up: 68 buckets of photos, 9 of words."""
    with reading(engine) as connection:
        probes = [chance.randrange(65_536) * 4 + quarter for quarter in range(4) for _ in range(17)]
        words = [chance.getrandbits(62) for _ in range(9)]
        return len(sharing(connection, probes, 256, 2_400)) + len(sharing(connection, words, 256, 300))


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
        "a rare word": lambda: Filters(words=f"word{chance.randrange(10_000, 20_000)}"),
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
        found += near(engine, chance)
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

"""Known-bad matching at a million entries: time of a look, memory, additions, restart.

    python bench/known_bad.py                      # a million entries, 384 values of meaning each
    python bench/known_bad.py --entries 100000 --d 0

Entries are random: 95 minima, one photo, 13 buckets, a vector of length 1. Listings asked about are near an
entry in half of the cases (some minima and photo bits changed) and near none in the others. Times are of one
look on one thread, without hashing and embedding the listing; `--rows` also reads that many from SQLite.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stallwart.content.photoprint import PhotoPrint
from stallwart.content.wordprint import WordPrint
from stallwart.core.settings import Settings
from stallwart.index.fingerprint import photo_bytes, photo_keys, signature, word_keys
from stallwart.index.known import Known, KnownIndex
from stallwart.serving.known import KnownBad
from stallwart.store.database import open_database, upgrade, writing
from stallwart.store.tables import known_bad

_CHUNK = 20_000


def noise(numbers: np.ndarray, n: int) -> np.ndarray:
    """(m, n) uint64 of m numbers, the same for the same number (the finalizer of splitmix64)."""
    mixed = numbers.astype(np.uint64)[:, None] * np.uint64(1_000) + np.arange(1, n + 1, dtype=np.uint64)
    mixed = mixed * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def words_of(number: int, minima: np.ndarray) -> WordPrint:
    none = np.zeros(0, np.uint32)
    return WordPrint(number.to_bytes(12, "big"), none, none, none, minima)


def prints(numbers: np.ndarray) -> list[tuple[WordPrint, PhotoPrint]]:
    """Words and a photo of each number."""
    values = noise(numbers, 100)
    minima = (values[:, :95] >> np.uint64(32)).astype(np.uint32)
    return [
        (words_of(number, own), PhotoPrint(row[95:99].tobytes(), int(row[99])))
        for number, own, row in zip(numbers.tolist(), minima, values, strict=True)
    ]


def entries(first: int, vectors: np.ndarray | list[None]) -> list[Known]:
    made = prints(np.arange(first, first + len(vectors)))
    return [entry(first + i, words, photo, vectors[i]) for i, (words, photo) in enumerate(made)]


def entry(number: int, words: WordPrint, photo: PhotoPrint, vector: np.ndarray | None = None) -> Known:
    keys = (*word_keys(words), *photo_keys(photo.coarse))
    return Known(
        number, f"k_{number:012x}aaaaaa", "weapons", f"v_{number:032x}", signature(words),
        (photo_bytes(photo),), keys, vector,
    )  # fmt: skip


def vectors_of(first: int, count: int, d: int) -> np.ndarray:
    return np.random.default_rng(first).normal(size=(count, d)).astype(np.float32)


def resident_mb() -> float:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def listing(number: int, vector: np.ndarray | None, near: bool) -> tuple:
    chance = np.random.default_rng(number + 5)
    ((words, photo),) = prints(np.array([number if near else number + 10**8]))
    if not near:
        return words, [photo], vector
    minima = words.minima.copy()
    minima[chance.integers(0, 95, 9)] = 7
    changed = WordPrint(b"other", words.shingles, words.words, words.title, minima)
    coarse = photo.coarse
    for bit in chance.integers(0, 64, 5):
        coarse ^= 1 << int(bit)
    return changed, [PhotoPrint(photo.fine, coarse)], vector


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=384, help="values of a vector; 0 compares no meaning")
    parser.add_argument("--looks", type=int, default=2_000)
    parser.add_argument(
        "--rows", type=int, default=0, help="entries of a SQLite database that is read as well"
    )
    parser.add_argument("--keep", type=Path, help="folder in which the graph is kept for the next run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stallwart-known-") as folder:
        kept = (given.keep or Path(folder)) / "known.usearch"
        before, began = resident_mb(), time.monotonic()
        index = KnownIndex(given.d, kept)
        for start in range(0, given.entries, _CHUNK):
            count = min(_CHUNK, given.entries - start)
            rows = vectors_of(start, count, given.d) if given.d else [None] * count
            index.add(entries(start + 1, rows))
        print(
            f"{given.entries:,} entries made in {time.monotonic() - began:.0f} s,"
            f" {resident_mb() - before:,.0f} MB", flush=True,
        )  # fmt: skip
        looks(index, given)
        began = time.monotonic()
        index.save()
        print(f"graph of vectors saved in {time.monotonic() - began:.1f} s", flush=True)
        restart(given, kept)
        if given.rows:
            follow(Path(folder), given)


def looks(index: KnownIndex, given: argparse.Namespace) -> None:
    chance, times, cpu, found, right = np.random.default_rng(9), [], [], 0, 0
    for look in range(given.looks):
        number, near = int(chance.integers(1, given.entries)), look % 2 == 0
        vector = None
        if given.d:
            start = (number - 1) // _CHUNK * _CHUNK
            vector = np.random.default_rng(look).normal(size=given.d).astype(np.float32)
            if near and look % 200 == 0:
                count = min(_CHUNK, given.entries - start)
                vector = vectors_of(start, count, given.d)[number - 1 - start] + 0.1 * vector
        asked = listing(number, vector, near)
        began, busy = time.perf_counter(), time.thread_time()
        matches = index.nearest(*asked)
        times.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - busy)
        found += bool(matches)
        right += any(one.seq == number for one in matches) if near else not matches
    for name, values in (("a look", times), ("its CPU", cpu)):
        p50, p95, p99, worst = np.percentile(np.array(values) * 1_000, (50, 95, 99, 100))
        print(
            f"{name:8} p50 {p50:.2f}  p95 {p95:.2f}  p99 {p99:.2f}  max {worst:.2f} ms  (n {len(values):,})"
        )
    print(f"{found:,} of {given.looks:,} matched, {right:,} as they should", flush=True)
    began = time.monotonic()
    (added,) = entries(given.entries + 1, vectors_of(1, 1, given.d) if given.d else [None])
    index.add([added])
    assert index.nearest(prints(np.array([added.seq]))[0][0], [], None)
    print(f"one addition is found after {1_000 * (time.monotonic() - began):.1f} ms", flush=True)


def restart(given: argparse.Namespace, kept: Path) -> None:
    """Arrays are made again from what a database gives; the graph of vectors is read from its file."""
    began = time.monotonic()
    again = KnownIndex(given.d, kept)
    print(f"restart: the graph of vectors is read in {time.monotonic() - began:.1f} s", flush=True)
    batches = []
    for start in range(0, min(given.entries, 10 * _CHUNK), _CHUNK):
        count = min(_CHUNK, given.entries - start)
        batches.append(entries(start + 1, [None] * count))
    began = time.monotonic()
    for batch in batches:
        again.add(batch)
    taken = time.monotonic() - began
    print(f"restart: {sum(map(len, batches)):,} entries taken in in {taken:.1f} s", flush=True)


def follow(folder: Path, given: argparse.Namespace) -> None:
    """What a service does at its start, and when one entry is added."""
    engine = open_database(f"sqlite:///{folder}/known.sqlite", Settings())
    upgrade(engine)
    now = time.time_ns() // 1_000_000
    for start in range(0, given.rows, _CHUNK):
        made = entries(start + 1, [None] * min(_CHUNK, given.rows - start))
        with writing(engine) as connection:
            connection.execute(known_bad.insert(), [_row(one, now - 10**7) for one in made])
    service = KnownBad(engine, Settings(), lambda: now, time.monotonic, lambda: ("", 0), dict)
    began, busy, before = time.monotonic(), time.process_time(), resident_mb()
    service.follow()
    print(
        f"a service has read {len(service):,} entries from SQLite in {time.monotonic() - began:.1f} s"
        f" ({time.process_time() - busy:.1f} s of CPU, {resident_mb() - before:,.0f} MB)"
    )
    with writing(engine) as connection:
        connection.execute(known_bad.insert(), [_row(entries(given.rows + 1, [None])[0], now)])
    began = time.monotonic()
    service.follow()
    print(
        f"one addition is read in {1_000 * (time.monotonic() - began):.0f} ms, of {len(service):,}",
        flush=True,
    )
    engine.dispose()


def _row(one: Known, at_ms: int) -> dict:
    return {
        "entry_id": one.entry_id, "listing_id": f"L{one.seq}", "revision": f"{one.seq:064x}",
        "policy": one.policy, "verdict_id": one.verdict_id, "who": "bench", "why": "bench",
        "words": one.words,
        "photos": b"".join(one.photos), "keys": np.array(one.keys, "<i8").tobytes(), "added_at_ms": at_ms,
        "changed_at_ms": at_ms,
    }  # fmt: skip


if __name__ == "__main__":
    main()

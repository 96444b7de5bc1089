"""Known-bad things in memory, a million of them: which are near a listing, within a few milliseconds.

Words and photos meet in the buckets of their fingerprints, kept as sorted arrays with a small dictionary for
what came since; embeddings in an HNSW graph. Every candidate of a bucket is compared. One thread writes; any
number read: a reader sees an entry whole or not at all.
"""

import contextlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stallwart.content.photoprint import PhotoPrint
from stallwart.content.wordprint import MINIMA, WordPrint
from stallwart.index.fingerprint import photo_bytes, photo_probes, signature, word_keys
from stallwart.index.vectors import Vectors
from stallwart.store.fingerprints import PHOTO_BYTES
from stallwart.store.known import Match

LIMITS = {"photo": 28.0, "text": 0.25, "meaning": 0.2}
"""Largest distances of a match: up to them a near duplicate of a violation is nearly always one."""
COMPARED = 4
"""Photos of a listing that are compared: hashing one takes milliseconds."""
_PER_BUCKET = 512  # latest members of a bucket that are compared: bounds the cost of a template
_MERGE = 20_000  # keys that came since, from which they are sorted into the others
_PHOTOS = 8  # of an entry
_SAVE = 1_000  # vectors that came since the last time
_NEAREST = 8


@dataclass(frozen=True, slots=True)
class Known:
    """One entry to compare with.

    Attributes:
        seq: its number.
        entry_id: its name.
        policy: that it breaks.
        verdict_id: its reason, or None.
        words: signature, or None.
        photos: 40 bytes of each photo.
        keys: buckets; that of all its words is the first where it has words.
        vector: (d,) of its words, or None.
    """

    seq: int
    entry_id: str
    policy: str
    verdict_id: str | None
    words: bytes | None
    photos: tuple[bytes, ...]
    keys: tuple[int, ...]
    vector: NDArray[np.float32] | None = None


class KnownIndex:
    """Finds known entries near a listing.

    Args:
        d: values of a vector of words; 0 compares no meaning.
        kept: file that the graph of vectors is read from and saved to, since it takes minutes to make; None
            keeps none. Vectors in it are those of their numbers: an entry's content never changes.
    """

    def __init__(self, d: int, kept: Path | None = None):
        self._vectors = Vectors(d) if d else None
        self._kept = kept
        if self._vectors is not None and kept is not None:
            self._vectors.load(kept)
        self._unsaved = 0
        self._rows: dict[int, int] = {}  # number of an entry -> its row
        self._seq = _Column((), np.int64)
        self._live = _Column((), np.bool_)
        self._names = _Column((), "S40")
        self._reasons = _Column((), "S40")
        self._policy = _Column((), np.int16)
        self._words = _Column((MINIMA,), np.uint8)
        self._has_words = _Column((), np.bool_)
        self._photo_start = _Column((), np.int64)
        self._photo_count = _Column((), np.int8)
        self._photos = _Column((PHOTO_BYTES,), np.uint8)
        self._policies: list[str] = []
        self._buckets = _Buckets()
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_photos(self) -> bool:
        """Whether any entry has a photo, so that those of a listing are worth hashing."""
        return self._photos.n > 0

    def add(self, entries: Sequence[Known]) -> None:
        """Take entries in; one whose number is there takes its place."""
        with self._writing:
            self._drop([one.seq for one in entries if one.seq in self._rows])
            rows = self._append(entries)
            counts = [len(one.keys) for one in entries]
            self._buckets.add([key for one in entries for key in one.keys], np.repeat(rows, counts))
            if self._vectors is not None:
                with_vector = [
                    one for one in entries if one.vector is not None and one.seq not in self._vectors
                ]
                self._unsaved += len(with_vector)
                if with_vector:
                    stacked = np.stack([one.vector for one in with_vector if one.vector is not None])
                    self._vectors.add([one.seq for one in with_vector], stacked)

    def has(self, one: Known) -> bool:
        """Whether an entry is there as it is."""
        vector_missing = one.vector is not None and self._vectors is not None and one.seq not in self._vectors
        return one.seq in self._rows and not vector_missing

    def save(self) -> None:
        """Save the graph of vectors where enough came since; one that fails costs a slow start, no more."""
        if self._kept is None or self._vectors is None or self._unsaved < _SAVE:
            return
        self._vectors.remove(
            [number for number in self._vectors.numbers().tolist() if number not in self._rows]
        )
        with contextlib.suppress(OSError):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._vectors.save(self._kept)
        self._unsaved = 0

    def remove(self, numbers: Iterable[int]) -> None:
        """Let entries go."""
        with self._writing:
            gone = [number for number in numbers if number in self._rows]
            self._unsaved += _SAVE * bool(gone)  # what was erased is not to stay in a file
            self._drop(gone)
            if self._vectors is not None:
                self._vectors.remove(gone)

    def nearest(
        self, words: WordPrint | None, photos: Sequence[PhotoPrint], vector: NDArray[np.float32] | None
    ) -> list[Match]:
        """The nearest entry of each policy and kind within `LIMITS`, the nearest of each kind first.

        Args:
            words: of the listing.
            photos: of the listing.
            vector: (d,) embedding of its words.
        """
        found = [*self._by_words(words), *self._by_photos(photos), *self._by_meaning(vector)]
        best: dict[tuple[str, str], Match] = {}
        for one in sorted(found, key=lambda one: (one.distance / LIMITS[one.kind], one.seq)):
            best.setdefault((one.policy, one.kind), one)
        return list(best.values())

    def _by_words(self, words: WordPrint | None) -> Iterable[Match]:
        keys = word_keys(words)
        if not keys:
            return
        for row in self._alive(self._buckets.rows(keys[:1])):
            yield self._match(int(row), "text", 0.0)
        mine = signature(words)
        rows = self._alive(self._buckets.rows(keys[1:]))
        if mine is None or not len(rows):
            return
        rows = rows[self._has_words.values[rows]]
        same = (self._words.values[rows] == np.frombuffer(mine, np.uint8)).mean(axis=1)
        distance = 1 - np.maximum(0, (same - 1 / 256) / (1 - 1 / 256))
        for row, apart in zip(rows, distance, strict=True):
            if apart <= LIMITS["text"]:
                yield self._match(int(row), "text", round(float(apart), 4))

    def _by_photos(self, photos: Sequence[PhotoPrint]) -> Iterable[Match]:
        for photo in photos:
            rows = self._alive(self._buckets.rows(photo_probes(photo.coarse)))
            rows = rows[self._photo_count.values[rows] > 0]
            if not len(rows):
                continue
            counts = self._photo_count.values[rows].astype(np.int64)
            owners = np.repeat(rows, counts)
            first = np.repeat(np.cumsum(counts) - counts, counts)
            places = np.repeat(self._photo_start.values[rows], counts) + np.arange(counts.sum()) - first
            mine = np.frombuffer(photo_bytes(photo), np.uint8)
            apart = np.bitwise_count(self._photos.values[places][:, 8:] ^ mine[8:]).sum(axis=1)
            for row, bits in zip(owners, apart, strict=True):
                if bits <= LIMITS["photo"]:
                    yield self._match(int(row), "photo", float(bits))

    def _by_meaning(self, vector: NDArray[np.float32] | None) -> Iterable[Match]:
        if self._vectors is None or vector is None:
            return
        for seq, cosine in self._vectors.nearest(vector, _NEAREST):
            row = self._rows.get(seq)
            if row is not None and 1 - cosine <= LIMITS["meaning"]:
                yield self._match(row, "meaning", round(max(0.0, 1 - cosine), 4))

    def _match(self, row: int, kind: str, distance: float) -> Match:
        reason = self._reasons.values[row].decode()
        return Match(
            seq=int(self._seq.values[row]),
            entry_id=self._names.values[row].decode(),
            policy=self._policies[self._policy.values[row]],
            verdict_id=reason or None,
            kind=kind,
            distance=distance,
        )

    def _alive(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(rows[self._live.values[rows]])

    def _append(self, entries: Sequence[Known]) -> NDArray[np.int32]:
        """Their rows. Readers find them only once they are in the buckets or among the numbers."""
        for one in entries:
            if one.policy not in self._policies:
                self._policies.append(one.policy)
        codes = {policy: code for code, policy in enumerate(self._policies)}
        counts = np.array([len(one.photos[:_PHOTOS]) for one in entries], np.int64)
        self._photo_start.extend(self._photos.n + np.cumsum(counts) - counts)
        self._photo_count.extend(counts)
        self._photos.extend(_bytes([photo for one in entries for photo in one.photos[:_PHOTOS]], PHOTO_BYTES))
        self._seq.extend([one.seq for one in entries])
        self._names.extend([one.entry_id.encode() for one in entries])
        self._reasons.extend([(one.verdict_id or "").encode() for one in entries])
        self._policy.extend([codes[one.policy] for one in entries])
        self._words.extend(_bytes([one.words or bytes(MINIMA) for one in entries], MINIMA))
        self._has_words.extend([one.words is not None for one in entries])
        first = self._live.n
        self._live.extend([True] * len(entries))
        rows = np.arange(first, first + len(entries), dtype=np.int32)
        self._rows.update(zip([one.seq for one in entries], rows.tolist(), strict=True))
        return rows

    def _drop(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            row = self._rows.pop(number, None)
            if row is not None:
                self._live.values[row] = False


class _Column:
    """A numpy array that grows; who reads `values` keeps a whole one."""

    def __init__(self, shape: tuple[int, ...], dtype: Any):
        self.values: NDArray[Any] = np.zeros((64, *shape), dtype=dtype)
        self.n = 0

    def extend(self, values: ArrayLike) -> None:
        """Take in (n, *shape) more."""
        more = np.asarray(values, self.values.dtype)
        end = self.n + len(more)
        if end > len(self.values):
            wider = np.zeros((max(end, 2 * len(self.values)), *self.values.shape[1:]), self.values.dtype)
            wider[: self.n] = self.values[: self.n]
            self.values = wider
        self.values[self.n : end] = more
        self.n = end


def _bytes(rows: Sequence[bytes], width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)


class _Buckets:
    """Rows by key: a few sorted runs, each at least twice as long as the next, and what came since."""

    def __init__(self) -> None:
        self._runs: tuple[_Run, ...] = ()
        self._since: dict[int, list[int]] = {}
        self._count = 0

    def add(self, keys: Sequence[int], rows: NDArray[np.int32]) -> None:
        if len(keys) > _MERGE:
            self._sort_in(np.array(keys, np.int64), rows)
            return
        for key, row in zip(keys, rows.tolist(), strict=True):
            self._since.setdefault(key, []).append(row)
        self._count += len(keys)
        if self._count > _MERGE:
            since = self._since
            late = np.fromiter((key for key, some in since.items() for _ in some), np.int64, self._count)
            theirs = np.fromiter((row for some in since.values() for row in some), np.int32, self._count)
            self._sort_in(late, theirs)
            self._since, self._count = {}, 0

    def rows(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """Rows that have one of the keys, each once; the latest of a bucket that has very many."""
        since = self._since  # before the runs: what moves between the two meanwhile is seen twice, not never
        parts = [np.array([row for key in keys for row in since.get(key, ())[-_PER_BUCKET:]], np.int32)]
        wanted = np.array(keys, np.int64)
        for known, rows in self._runs:
            end = np.searchsorted(known, wanted, "right")
            first = np.maximum(np.searchsorted(known, wanted, "left"), end - _PER_BUCKET)
            parts += [rows[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True) if a < b]
        return np.unique(np.concatenate(parts).astype(np.int64))

    def _sort_in(self, keys: NDArray[np.int64], rows: NDArray[np.int32]) -> None:
        runs = [*self._runs, _sorted(keys, rows)]
        while len(runs) > 1 and 2 * len(runs[-1][0]) > len(runs[-2][0]):
            late, before = runs.pop(), runs.pop()
            runs.append(_sorted(np.concatenate([before[0], late[0]]), np.concatenate([before[1], late[1]])))
        self._runs = tuple(runs)


_Run = tuple[NDArray[np.int64], NDArray[np.int32]]


def _sorted(keys: NDArray[np.int64], rows: NDArray[np.int32]) -> _Run:
    order = np.argsort(keys, kind="stable")  # keeps the latest of a bucket last
    return keys[order], rows[order]

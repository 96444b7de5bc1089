"""Vectors by number, and which of them one is nearest to: HNSW by usearch, saved to a file and read again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # noqa: F401 - before usearch: imported after it, onnxruntime 1.32 ends the process
from numpy.typing import NDArray
from usearch.index import Index

from stallwart.index.nearest import unit_rows

Rows = NDArray[np.float32]


class Vectors:
    """Vectors of one length with the numbers that name them; kept in 8 bits for each value.

    Safe to search from several threads while one adds or removes.

    Args:
        d: values of a vector.
    """

    def __init__(self, d: int):
        self.d = d
        self._index = Index(ndim=d, metric="cos", dtype="i8")

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, number: int) -> bool:
        return bool(self._index.contains(number))

    def add(self, numbers: Sequence[int], rows: Rows, threads: int = 1) -> None:
        """Keep rows, (n, d), by their numbers; a number that is there gets the new one."""
        if not len(numbers):
            return
        keys = np.asarray(numbers, dtype=np.uint64)
        known = keys[self._index.contains(keys)]
        if len(known):
            self._index.remove(known)
        self._index.add(keys, unit_rows(np.atleast_2d(rows)), threads=threads)

    def remove(self, numbers: Sequence[int]) -> None:
        """Let go of what has one of these numbers; one that is not there is no matter."""
        keys = np.asarray(numbers, dtype=np.uint64)
        known = keys[self._index.contains(keys)] if len(keys) else keys
        if len(known):
            self._index.remove(known)

    def numbers(self) -> NDArray[np.uint64]:
        """All numbers there are, in no order."""
        return np.asarray(self._index.keys, dtype=np.uint64).reshape(-1)

    def nearest(self, row: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
        """Numbers and cosines of the nearest, the nearest first; (d,) asks.

        Approximate: among many some of the nearest may be missing.
        """
        if not len(self):
            return []
        found = self._index.search(unit_rows(row[None])[0], min(count, len(self)))
        return [
            (int(number), round(1.0 - float(distance), 4))
            for number, distance in zip(found.keys, found.distances, strict=True)
        ]

    def save(self, path: Path) -> None:
        """Write all to a file, whole or not at all."""
        aside = path.with_suffix(f".{id(self):x}.part")
        self._index.save(str(aside))
        aside.replace(path)

    def load(self, path: Path) -> bool:
        """Whether all was read from a file that `save` wrote; nothing changes where it was not."""
        try:
            read = Index.restore(str(path))
        except Exception:  # noqa: BLE001 - a file that is cut off or foreign is built anew, whatever is said of it
            return False
        if read is None or read.ndim != self.d:
            return False
        self._index = read
        return True

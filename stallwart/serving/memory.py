"""Embeddings that one process has at hand: the last ones in memory, the rest in the cache on disk."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import OrderedDict
from collections.abc import Sequence

from stallwart.core.errors import ConfigError
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.graphs import Embedding

_WRITE_BEHIND = 4_096  # embeddings that wait for the disk; more are only kept in memory
_BUSY_SECONDS = 0.05  # that a look waits for what is being written; computing takes about as long


class Embeddings:
    """A bounded memory over the disk cache; safe to use from several threads.

    What is computed is at hand at once and reaches the disk a moment later: losing it costs time, never
    truth. A disk that fails is forgotten until the process starts again, and said once through `failed`.

    Args:
        disk: what `stallwart score` fills too, or None.
        max_bytes: of embeddings in memory.
    """

    def __init__(self, disk: EmbeddingCache | None, max_bytes: int):
        self._disk, self._max_bytes, self._bytes = disk, max_bytes, 0
        self._memory: OrderedDict[bytes, Embedding] = OrderedDict()
        self._lock, self._disk_lock = threading.Lock(), threading.Lock()
        self._waiting: queue.Queue[tuple[bytes, Embedding] | None] = queue.Queue(_WRITE_BEHIND)
        self.failed: str | None = None
        self._writer = threading.Thread(target=self._write_behind, name="embeddings", daemon=True)
        self._writer.start()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Embedding]:
        """Those of `keys` that are known, each (d,) float32."""
        found: dict[bytes, Embedding] = {}
        with self._lock:
            for key in keys:
                if (embedding := self._memory.get(key)) is not None:
                    self._memory.move_to_end(key)
                    found[key] = embedding
        missing = [key for key in keys if key not in found]
        if missing and (read := self._read(missing)):
            self._keep(read)
            found.update(read)
        return found

    def put(self, key: bytes, embedding: Embedding) -> None:
        """Keep one embedding."""
        self._keep({key: embedding})
        if self._disk and not self.failed:
            with contextlib.suppress(queue.Full):  # then it will be computed again one day
                self._waiting.put_nowait((key, embedding))

    def close(self) -> None:
        """Bring what waits to the disk."""
        self._waiting.put(None)
        self._writer.join()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Embedding]:
        """What the disk has of `keys`; nothing where it is broken, or another process keeps it busy."""
        if not self._disk or self.failed or not self._disk_lock.acquire(timeout=_BUSY_SECONDS):
            return {}
        try:
            return self._disk.get(keys)
        except ConfigError as err:
            self.failed = str(err)
            return {}
        finally:
            self._disk_lock.release()

    def _keep(self, embeddings: dict[bytes, Embedding]) -> None:
        with self._lock:
            for key, embedding in embeddings.items():
                if key not in self._memory:
                    self._memory[key] = embedding
                    self._bytes += embedding.nbytes + len(key)
            while self._bytes > self._max_bytes and self._memory:
                key, old = self._memory.popitem(last=False)
                self._bytes -= old.nbytes + len(key)

    def _write_behind(self) -> None:
        while (first := self._waiting.get()) is not None:
            rows, last = [first], False
            while not last and len(rows) < 256:
                try:
                    row = self._waiting.get_nowait()
                except queue.Empty:
                    break
                last = row is None
                if row is not None:
                    rows.append(row)
            if self._disk and not self.failed:
                try:
                    with self._disk_lock:
                        self._disk.put(rows)
                except ConfigError as err:
                    self.failed = str(err)
            if last:
                return

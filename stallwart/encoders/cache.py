"""Embeddings that were computed before, by encoder and content, on disk.

One SQLite file in write-ahead mode: safe under several processes and a kill at any moment, where thousands
of small files would not be and one large file could not grow. Losing it costs time, never truth.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stallwart.core.errors import ConfigError
from stallwart.encoders.graphs import Embedding
from stallwart.encoders.spec import EncoderSpec

_MAX_VARIABLES = 500  # keys in one query; SQLite's oldest limit is 999


def content_key(spec: EncoderSpec, content: bytes) -> bytes:
    """32 bytes that name the embedding of `content` (a photo's bytes, or text as UTF-8) by `spec`."""
    return hashlib.sha256(spec.digest + content).digest()


class EmbeddingCache:
    """A folder's embeddings by key.

    Raises:
        ConfigError: the folder or the file in it cannot be used.
    """

    def __init__(self, folder: Path):
        self.path = folder / "embeddings.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS embedding"
                " (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError) as err:
            raise self._unusable(err) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Embedding]:
        """Those of `keys` that are known, each (d,) float32."""
        found: dict[bytes, Embedding] = {}
        try:
            for start in range(0, len(keys), _MAX_VARIABLES):
                some = keys[start : start + _MAX_VARIABLES]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT key, value FROM embedding WHERE key IN ({marks})", some
                )
                found.update((key, np.frombuffer(value, dtype="<f4")) for key, value in rows)
        except sqlite3.Error as err:
            raise self._unusable(err) from None
        return found

    def put(self, embeddings: Iterable[tuple[bytes, Embedding]]) -> None:
        """Store embeddings, all of them or none; a key that is known keeps its value."""
        rows = [(key, value.astype("<f4").tobytes()) for key, value in embeddings]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR IGNORE INTO embedding VALUES (?, ?)", rows)
        except sqlite3.Error as err:
            raise self._unusable(err) from None

    def drop(self, keys: Sequence[bytes]) -> int:
        """How many of these were known; none is any more, nor can be read from the file's free pages."""
        gone = 0
        try:
            self._connection.execute("PRAGMA secure_delete=ON")
            with self._connection:
                for key in keys:
                    gone += self._connection.execute("DELETE FROM embedding WHERE key = ?", (key,)).rowcount
        except sqlite3.Error as err:
            raise self._unusable(err) from None
        return gone

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _unusable(self, err: Exception) -> ConfigError:
        return ConfigError(
            f"{self.path}: the embedding cache cannot be used ({err}); make room, delete the file,"
            " or point STALLWART_CACHE_DIR elsewhere"
        )

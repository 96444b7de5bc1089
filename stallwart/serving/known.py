"""What is known to be bad, beside the engine: followed from the database, asked about each listing.

A first reading fills it before the service is ready. Then additions and removals are read every few seconds.
What fails, or was not read for minutes, says so of each listing: that is never an allow, and never an error.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.decide.known import blocking_distance
from stallwart.encoders.embed import Embedded
from stallwart.index.fingerprint import prints_of
from stallwart.index.known import COMPARED, Known, KnownIndex
from stallwart.index.proven import Proven, read_proven
from stallwart.serving.runtime import BundleRuntime, Runtime
from stallwart.store.database import reading, store_errors
from stallwart.store.fingerprints import PHOTO_BYTES
from stallwart.store.known import Match, changed_known, judged_matches

_PAGE = 20_000
_OVERLAP_MS = 300_000  # clocks of processes differ, and transactions take their time
_STALE_SECONDS = 120.0
_CERTIFY_EVERY = 15  # readings


def words_encoder(runtime: Runtime) -> tuple[str, int]:
    """Digest of a runtime's encoder of words and the length of its vectors; ("", 0) where it has none."""
    return runtime.words_encoder if isinstance(runtime, BundleRuntime) else ("", 0)


def targets(runtime: Runtime) -> dict[str, float]:
    """Precision that each policy of a runtime wants before it may act alone."""
    return runtime.targets if isinstance(runtime, BundleRuntime) else {}


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing one listing.

    Attributes:
        near: matches, the nearest first.
        failed: whether it could not be compared.
        certified: by policy and kind the distance up to which a match may block alone.
    """

    near: tuple[Match, ...] = ()
    failed: bool = False
    certified: Mapping[tuple[str, str], float] = field(default_factory=dict)


class KnownBad:
    """Compares listings with known entries; safe to ask from several threads.

    Args:
        database: that has the entries.
        settings: bounds on photos and words.
        now_ms: milliseconds since 1970.
        clock: seconds, monotonic.
        encoder: digest and length of vectors of the words' encoder that decides now; ("", 0) without one.
        targets: precision that each policy wants before it may act alone.
        folder: where the graph of vectors is kept between starts; None keeps none.

    Raises:
        ConfigError: the file of certified distances that the settings name is none.
    """

    def __init__(
        self,
        database: Engine,
        settings: Settings,
        now_ms: Callable[[], int],
        clock: Callable[[], float],
        encoder: Callable[[], tuple[str, int]],
        targets: Callable[[], dict[str, float]],
        folder: Path | None = None,
    ):
        self._database, self._settings, self._now_ms, self._clock = database, settings, now_ms, clock
        self._encoder, self._targets, self._folder = encoder, targets, folder
        self._reading = threading.Lock()
        self._index: KnownIndex | None = None
        self._made_for, self._read_ms, self._read_at, self._readings = ("", 0), 0, 0.0, 0
        self.certified: dict[tuple[str, str], float] = {}
        self._proven: dict[tuple[str, str], Proven] = {}
        self._proven_by = ""
        if settings.known_certified is not None:
            file = read_proven(settings.known_certified)
            self._proven, self._proven_by = {(o.policy, o.kind): o for o in file.distances}, file.encoder

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)

    def follow(self) -> None:
        """Take in what changed. A change of the encoder reads all anew.

        Raises:
            StoreError: the database fails; what is known stays, and grows old.
        """
        with self._reading, store_errors("what is known to be bad cannot be read"):
            encoder, began_ms = self._encoder(), self._now_ms()
            index = self._index
            if index is None or encoder != self._made_for:
                index = KnownIndex(encoder[1], self._kept(encoder))
                self._read_ms = 0
            self._take(index, encoder[0])
            if self._readings % _CERTIFY_EVERY == 0:
                self._certify()
            self._readings += 1
            index.save()
            self._index, self._made_for, self._read_ms, self._read_at = (
                index,
                encoder,
                began_ms,
                self._clock(),
            )

    def compare(self, embedded: Embedded, runtime: Runtime) -> Compared:
        """What is known of a listing; never raises.

        Args:
            embedded: the listing.
            runtime: whose embeddings they are; another encoder's meaning is not compared.
        """
        index = self._index
        if index is None or self._clock() - self._read_at > _STALE_SECONDS:
            return Compared(failed=True)
        if not len(index):
            return Compared()
        try:
            listing, limits = embedded.listing, self._settings
            shown = listing.photos[:COMPARED] if index.has_photos else ()
            vector = embedded.text if words_encoder(runtime) == self._made_for else None
            words, photos = prints_of(replace(listing, photos=shown), limits)
            return Compared(tuple(index.nearest(words, photos, vector)), certified=self.certified)
        except Exception as err:  # noqa: BLE001 - no failure here may cost an answer
            say("known-bad", level=40, error=type(err).__name__)
            return Compared(failed=True)

    def _take(self, index: KnownIndex, encoder: str) -> None:
        after = 0
        while True:
            with reading(self._database) as connection:
                rows = changed_known(connection, max(0, self._read_ms - _OVERLAP_MS), after, _PAGE)
            # What is there already is not made again each time: most rows of the overlap are
            index.remove([row.seq for row in rows if row.removed_at_ms is not None])
            index.add([one for one in _entries(rows, encoder) if not index.has(one)])
            if len(rows) < _PAGE:
                return
            after = rows[-1].seq

    def _certify(self) -> None:
        with reading(self._database) as connection:
            judged = judged_matches(connection)
        targets = self._targets()
        proven = {
            key: blocking_distance(key[1], judged.get(key, ()), targets[key[0]], self._offline(key, targets))
            for key in {*judged, *self._proven}
            if key[0] in targets
        }
        self.certified = {key: distance for key, distance in proven.items() if distance is not None}

    def _offline(self, key: tuple[str, str], targets: dict[str, float]) -> float | None:
        """What labelled listings proved, of the target that holds now and the encoder that is compared."""
        one = self._proven.get(key)
        if one is None or one.target < targets[key[0]]:
            return None
        return one.distance if one.kind != "meaning" or self._encoder()[0] == self._proven_by else None

    def _kept(self, encoder: tuple[str, int]) -> Path | None:
        return (
            None
            if self._folder is None or not encoder[1]
            else self._folder / f"known-{encoder[0][:16]}.usearch"
        )


def _entries(rows: Sequence[Any], encoder: str) -> list[Known]:
    return [
        Known(
            seq=row.seq,
            entry_id=row.entry_id,
            policy=row.policy,
            verdict_id=row.verdict_id,
            words=None if row.words is None else bytes(row.words),
            photos=tuple(
                bytes(row.photos[at : at + PHOTO_BYTES]) for at in range(0, len(row.photos), PHOTO_BYTES)
            ),
            keys=tuple(np.frombuffer(row.keys, "<i8").tolist()),
            vector=np.frombuffer(row.vector, "<f2").astype(np.float32)
            if row.vector is not None and row.encoder == encoder
            else None,
        )
        for row in rows
        if row.removed_at_ms is None
    ]

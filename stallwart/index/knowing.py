"""Keeps what is known to be bad in step with verdicts: behind the pages, and never on the service's path.

A confirmed violation becomes an entry at once; where the verdict that holds says something else later, as
after an undo or on appeal, the entry goes. What a person removed stays removed for that verdict.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, select

from stallwart.core.errors import ConflictError
from stallwart.core.settings import Settings
from stallwart.encoders.cache import content_key
from stallwart.encoders.embed import Embedder
from stallwart.index.content import listing_with_photos, read_revisions
from stallwart.index.fingerprint import fingerprint_of
from stallwart.store import known
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import Revision, listing_of
from stallwart.store.tables import known_bad, verdicts
from stallwart.store.trail import Trail
from stallwart.store.verdicts import Answer, valid_verdict

_VERDICTS, _VECTORS = 2_000, 50
_PROGRAM = "stallwart review"
_FAILED = "what is known to be bad could not be kept in step; the next step goes on"


class Knowing:
    """Makes and removes entries, a step at a time; several may be at work on one database.

    Args:
        engine: the database.
        photos: where photos are.
        settings: bounds, and whether verdicts make entries.
        now_ms: milliseconds since 1970.
        encoders: those of what decides now; None where there are none, and entries get no vector.
    """

    def __init__(
        self,
        engine: Engine,
        photos: PhotoStore,
        settings: Settings,
        now_ms: Callable[[], int],
        encoders: Callable[[], Embedder | None],
    ):
        self._engine, self._photos, self._settings, self._now_ms = engine, photos, settings, now_ms
        self._encoders = encoders
        self._settled: set[int] = set()
        query = select(verdicts.c.seq, verdicts.c.created_at_ms, verdicts.c.decision_id)
        self._trail = Trail("known", query, now_ms, verdicts.c.seq, verdicts.c.created_at_ms)

    def step(self) -> int:
        """How many entries were made, removed or given their vector.

        Raises:
            StoreError: the database or the photo store fails; the next step does the same again.
        """
        with store_errors(_FAILED):
            changed = self._follow() if self._settings.known_from_verdicts else 0
            return changed + self._give_vectors()

    def _follow(self) -> int:
        with reading(self._engine) as connection:
            rows = self._trail.missing(connection, _VERDICTS)
        changed = 0
        fresh = [row for row in rows if row.seq not in self._settled]
        for decision_id in dict.fromkeys(row.decision_id for row in fresh):
            changed += self._settle(decision_id)
        self._settled = {row.seq for row in rows}  # those of the last minute are read again
        if fresh or len(rows) == _VERDICTS:
            with writing(self._engine) as connection:
                self._trail.done(connection, rows, _VERDICTS)
        return changed

    def _settle(self, decision_id: str) -> int:
        with reading(self._engine) as connection:
            verdict = valid_verdict(connection, decision_id)
            if verdict is None:
                return 0
            entries = known.entries_of(connection, [verdict.revision])
            content = read_revisions(connection, [verdict.revision]).get(verdict.revision)
        broken = {policy for policy, answer in verdict.answers.items() if answer == Answer.YES}
        live = {one.policy: one for one in entries if one.removed_at_ms is None}
        before = {one.policy for one in entries if one.verdict_id == verdict.verdict_id}
        gone = [one for policy, one in live.items() if policy not in broken and one.verdict_id is not None]
        with writing(self._engine) as connection:
            for one in gone:
                why = "the verdict that holds does not confirm it any more"
                known.remove_known(connection, one.entry_id, who=_PROGRAM, why=why, now_ms=self._now_ms())
        new = [policy for policy in sorted(broken) if policy not in live and policy not in before]
        if content is None or content.purged_at_ms is not None or not new:
            return len(gone)
        made = fingerprint_of(content.revision, listing_with_photos(content, self._photos), self._settings)
        for policy in new:
            with writing(self._engine) as connection:
                try:
                    known.add_known(
                        connection, made, policy, who=_PROGRAM, why=f"confirmed by {verdict.who}",
                        verdict_id=verdict.verdict_id, now_ms=self._now_ms(),
                    )  # fmt: skip
                except ConflictError:  # another process was first
                    continue
        return len(gone) + len(new)

    def _give_vectors(self) -> int:
        embedder = self._encoders()
        if embedder is None:
            return 0
        encoder = embedder.text.spec.digest.hex()
        with reading(self._engine) as connection:
            rows = _without_vector(connection, encoder)
            content = read_revisions(connection, [row.revision for row in rows])
        given = 0
        for row in rows:
            made = _vector(embedder, content.get(row.revision))
            with writing(self._engine) as connection:
                known.set_vector(connection, row.seq, made, encoder, self._now_ms())
            given += 1
        return given


def _without_vector(connection: Connection, encoder: str) -> Any:
    other = known_bad.c.encoder.is_(None) | (known_bad.c.encoder != encoder)
    query = select(known_bad.c.seq, known_bad.c.revision).where(known_bad.c.removed_at_ms.is_(None), other)
    return connection.execute(query.order_by(known_bad.c.seq.desc()).limit(_VECTORS)).all()


def _vector(embedder: Embedder, content: Revision | None) -> bytes | None:
    """Float16 of its words; None where there are none, or not any more."""
    if content is None or content.purged_at_ms is not None:
        return None
    text = listing_of(content, ()).text[: embedder.settings.max_text_chars]
    if not text:
        return None
    key = content_key(embedder.text.spec, text.encode("utf-8", "surrogatepass"))
    found = embedder.cache.get([key]) if embedder.cache else {}
    made = found.get(key)
    return (embedder.text.encode(text) if made is None else made).astype("<f2").tobytes()

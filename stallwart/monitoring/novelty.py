"""The step `novelty`: groups of live listings that are unlike what the champion was trained on."""

import secrets
from collections import Counter
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, select

from stallwart.index.sketch import Seen
from stallwart.model.shelf import from_shelf
from stallwart.monitoring.drift import sample_of
from stallwart.monitoring.groups import Group, far_from, grouped, same_as, telling_words
from stallwart.monitoring.sample import Sample
from stallwart.monitoring.step import Around, Told
from stallwart.store.alerts import Severity, raise_alert
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.novelties import (
    Made,
    Novelty,
    drop_novelties,
    drop_open_but,
    read_novelties,
    write_novelty,
)
from stallwart.store.registry import champion, read_bundle_row
from stallwart.store.sketches import SketchRow, read_sketches
from stallwart.store.tables import decisions, revisions

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_BACK_MS = 8 * _WEEK_MS
_EVERY_MS = 6 * 3_600_000
_MOST = 4_000  # far listings that are grouped, the latest: distances of all pairs are held
_OTHERS = 600  # listings whose words a group's are compared with
_READ = 60  # members whose words name a group


class Novelties:
    """Looks for groups every six hours, and after a promotion."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._seen: tuple[str, float] | None = None  # a bundle, and from which distance a listing is far
        self._looked_ms: int | None = None

    def run(self) -> Told:
        """Group what is far, name it, and say so where a group is new.

        Raises:
            StoreError: the database fails; the next round goes on.
            BundleError: the champion's bundle cannot be read.
        """
        now = self._around.now_ms()
        with store_errors("novelties cannot be looked for"):
            with reading(self._around.database) as connection:
                digest = champion(connection)
                place = None if digest is None else read_bundle_row(connection, digest).place
            if digest is None or place is None:
                return {"far": 0}
            promoted = self._seen is None or self._seen[0] != digest
            if not promoted and self._looked_ms is not None and now - self._looked_ms < _EVERY_MS:
                return {"far": 0, "waiting": 1}
            if promoted:
                seen: Seen | None = from_shelf(Path(place), digest).seen
                self._seen = (digest, float("inf") if seen is None else far_from(seen))
            assert self._seen is not None
            told = self._look(digest, self._seen[1], now)
            self._looked_ms = now
            return told

    def _look(self, digest: str, far: float, now: int) -> Told:
        with reading(self._around.database) as connection:
            rows = list(read_sketches(connection, now - _BACK_MS))
            chosen = [one for one in rows if one.unlike is not None and one.unlike > far][-_MOST:]
            known = read_novelties(connection, tuple(Made))
            sample = sample_of(chosen)
            self._around.alive()
            groups = grouped(sample)
            others = _texts(connection, [one.decision_id for one in rows[:: max(1, len(rows) // _OTHERS)]])
            named = [
                telling_words(_texts(connection, sample.decision_ids[one.rows[:_READ]].tolist()), others)
                for one in groups
            ]
        unlike = {one.decision_id: one for one in chosen}
        new = self._write(digest, sample, list(zip(groups, named, strict=True)), known, unlike, now)
        return {"far": len(chosen), "read": len(rows), "groups": len(groups), "new": new}

    def _write(
        self,
        digest: str,
        sample: Sample,
        groups: list[tuple[Group, tuple[str, ...]]],
        known: list[Novelty],
        unlike: dict[str, SketchRow],
        now: int,
    ) -> int:
        centres = [np.frombuffer(one.centre, "<f2").astype(np.float32) for one in known]
        kept, new = [], 0
        with writing(self._around.database) as connection:
            for group, words in groups:
                place = same_as(group.centre, centres)
                if place is not None and known[place].state != Made.OPEN:
                    continue  # somebody has dealt with it; it ends with the next training
                novelty_id = f"nv_{secrets.token_hex(8)}" if place is None else known[place].novelty_id
                if novelty_id in kept:
                    continue
                kept.append(novelty_id)
                one = _novelty(novelty_id, digest, sample, group, words, unlike)
                members = zip(
                    sample.decision_ids[group.rows].tolist(), sample.at_ms[group.rows].tolist(),
                    group.distances.tolist(), strict=True,
                )  # fmt: skip
                write_novelty(connection, one, list(members))
                if place is None:
                    new += 1
                    _raise(connection, one, now)
            drop_open_but(connection, kept)
            drop_novelties(connection, now - self._around.settings.watch_sketch_days * _DAY_MS)
        return new


def _novelty(
    novelty_id: str,
    digest: str,
    sample: Sample,
    group: Group,
    words: tuple[str, ...],
    unlike: dict[str, SketchRow],
) -> Novelty:
    mine = sample[group.rows]
    weeks: Counter[str] = Counter()
    for at, stands_for in zip(mine.at_ms.tolist(), mine.stands_for.tolist(), strict=True):
        weeks[str(at // _WEEK_MS)] += stands_for
    far = [unlike[str(one)].unlike or 0.0 for one in mine.decision_ids]
    actions = Counter(str(unlike[str(one)].facts["action"]) for one in mine.decision_ids)
    return Novelty(
        novelty_id=novelty_id,
        bundle=digest,
        words=words,
        weeks=dict(weeks),
        size=len(group.rows),
        stands_for=float(mine.stands_for.sum()),
        centre=group.centre.astype("<f2").tobytes(),
        first_at_ms=int(mine.at_ms.min()),
        last_at_ms=int(mine.at_ms.max()),
        state=Made.OPEN,
        acted_by=None,
        acted_at_ms=None,
        detail={"unlike": round(float(np.mean(far)), 4), "actions": dict(actions)},
    )


def _texts(connection: Connection, decision_ids: list[str]) -> list[str]:
    found = []
    for start in range(0, len(decision_ids), 500):
        query = (
            select(revisions.c.title, revisions.c.description)
            .join_from(decisions, revisions, revisions.c.revision == decisions.c.revision)
            .where(decisions.c.decision_id.in_(decision_ids[start : start + 500]))
        )
        found += [f"{row.title or ''} {(row.description or '')[:2_000]}" for row in connection.execute(query)]
    return found


def _raise(connection: Connection, one: Novelty, now_ms: int) -> None:
    raise_alert(
        connection,
        key=f"novelty/{one.novelty_id}",
        severity=Severity.NOTE,
        title="New: listings unlike the training set",
        words=f"{one.size} sketched listings, for about {one.stands_for:,.0f} in all, belong together and are"
        " unlike what the model was trained on. Look at them on the page Novelty.",
        runbook="monitoring.md#novelty",
        detail={"novelty_id": one.novelty_id, "size": one.size},
        now_ms=now_ms,
    )

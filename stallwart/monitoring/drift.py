"""The step `drift`: looks at what was sketched since the champion decides, and raises what moved.

The reference is the first sketched listings after the promotion (`drift_reference_rows` of them, over at
least `drift_reference_days`): what a model met when people agreed that it decides. The training set is none:
it holds far more violations than live traffic, and every test would call that a drift.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.index.sketch import WIDTH
from stallwart.monitoring.detect import WINDOWS, Detectors, Finding
from stallwart.monitoring.sample import UNIT_PER_DAY, Sample
from stallwart.monitoring.step import Around, Told
from stallwart.store.alerts import DRIFT, Severity, open_alerts, raise_alert, resolve_alert
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.registry import Alias
from stallwart.store.sketches import SketchRow, last_sketches, read_sketches
from stallwart.store.tables import aliases, drift_looks

_DAY_MS = 86_400_000
_BETWEEN = 50  # new listings that make a look worth while
_QUIET_MS = 14 * _DAY_MS
_QUIET_P = 0.01
_RUNBOOK = "monitoring.md#drift"
# Those of `verdict_drift` look at other times
_OWN = drift_looks.c.detector.not_like("calibration/%") & (drift_looks.c.detector != "labels")


@dataclass
class _Reference:
    bundle: str
    since_ms: int
    ends_ms: int
    detectors: Detectors


class Drift:
    """Looks for drift where there is enough that is new."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._reference: _Reference | None = None

    def run(self) -> Told:
        """Look, write down how each detector stands, and raise or resolve alerts.

        Raises:
            StoreError: the database fails; the next round goes on.
        """
        with store_errors("drift cannot be looked for"):
            reference = self._current()
            if reference is None:
                return {"looked": 0}
            with reading(self._around.database) as connection:
                rows = [
                    one for one in last_sketches(connection, 4 * WINDOWS[-1]) if one.at_ms > reference.ends_ms
                ]
                looked = connection.execute(select(func.max(drift_looks.c.at_ms)).where(_OWN)).scalar() or 0
            later = sample_of(rows, reference.bundle)[-WINDOWS[-1] :]
            if not len(later):
                return {"looked": 0}
            now = int(later.at_ms[-1])
            since = now - max(looked, reference.ends_ms)
            fresh = int((later.at_ms > max(looked, reference.ends_ms)).sum())
            if fresh < _BETWEEN and since < _DAY_MS:
                return {"looked": 0, "waiting": fresh}
            return self._look(reference, later, now, since)

    def _look(self, reference: _Reference, later: Sample, now: int, since: int) -> Told:
        findings = reference.detectors.look(later, since)
        self._around.alive()
        with writing(self._around.database) as connection:
            write_findings(connection, findings, now)
            for one in findings:
                if one.is_alarm:
                    raise_finding(connection, one, reference.bundle, self._around.now_ms())
            resolved = _resolve_quiet(connection, findings, self._around.now_ms())
            connection.execute(
                delete(drift_looks).where(
                    drift_looks.c.at_ms < now - self._around.settings.watch_sketch_days * _DAY_MS
                )
            )
        return {"looked": 1, "alarms": sum(one.is_alarm for one in findings), "resolved": resolved}

    def _current(self) -> _Reference | None:
        """The reference of the champion; made where it changed, None while there is not enough yet."""
        with reading(self._around.database) as connection:
            query = select(aliases.c.digest, aliases.c.since_ms).where(
                aliases.c.alias == Alias.CHAMPION.value
            )
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            known = self._reference
            if known is not None and (known.bundle, known.since_ms) == (row.digest, row.since_ms):
                return known
            rows = self._first(connection, row.since_ms)
        if rows is None:
            return None
        if known is not None:
            self._forget(row.digest)
        sample = sample_of(rows, row.digest)
        detectors = Detectors(sample, self._around.settings.drift_false_alarms)
        self._reference = _Reference(row.digest, row.since_ms, int(sample.at_ms[-1]), detectors)
        return self._reference

    def _first(self, connection: Connection, since_ms: int) -> list[SketchRow] | None:
        """The first sketches since a promotion, once they are enough and span enough days."""
        settings = self._around.settings
        rows: list[SketchRow] = []
        days = settings.drift_reference_days * _DAY_MS
        for one in read_sketches(connection, since_ms):
            rows.append(one)
            if len(rows) >= settings.drift_reference_rows and one.at_ms - rows[0].at_ms >= days:
                return _thinned(rows, 4 * settings.drift_reference_rows)
        return None

    def _forget(self, bundle: str) -> None:
        """Another champion: what moved before it was compared with another time."""
        with writing(self._around.database) as connection:
            for alert in open_alerts(connection, DRIFT):
                resolve_alert(
                    connection, alert.alert_key, who="stallwart watch",
                    why=f"bundle {bundle[:12]} decides since, and is compared with its own first listings",
                    now_ms=self._around.now_ms(),
                )  # fmt: skip


def sample_of(rows: list[SketchRow], bundle: str | None = None) -> Sample:
    """Sketches as columns, at most `UNIT_PER_DAY` of one seller and day; of several spaces only the last.

    Args:
        rows: in any order.
        bundle: only its scores are taken: during a rollout another one decides about a part. None takes all.
    """
    space = rows[-1].facts["space"] if rows else ""
    kept, taken = [], dict[tuple[str, int], int]()
    for one in sorted(rows, key=lambda row: (row.at_ms, row.decision_seq)):
        key = (one.facts["seller"], one.at_ms // _DAY_MS)
        taken[key] = taken.get(key, 0) + 1
        if one.facts["space"] == space and (not key[0] or taken[key] <= UNIT_PER_DAY):
            kept.append(one)
    policies = tuple(sorted({name for one in kept for name in one.facts["scores"] or ()}))
    vectors = np.array([np.frombuffer(one.vector, "<f2") for one in kept], dtype=np.float32)
    vectors = vectors.reshape(len(kept), 2 * WIDTH)
    told = [(one.facts["scores"] or {}) if bundle in (None, one.bundle) else {} for one in kept]
    scores = [[one.get(name, np.nan) for name in policies] for one in told]
    facts = [one.facts for one in kept]
    return Sample(
        decision_ids=np.array([one.decision_id for one in kept], dtype=np.str_),
        at_ms=np.array([one.at_ms for one in kept], dtype=np.int64),
        text=vectors[:, :WIDTH],
        photo=vectors[:, WIDTH:],
        language=np.array([one["language"] for one in facts], dtype=np.str_),
        parts=np.array([one["parts"] for one in facts], dtype=np.str_),
        size=np.array([one["size"] for one in facts], dtype=np.str_),
        colour=np.array([np.nan if one["colour"] is None else one["colour"] for one in facts], dtype=float),
        scores=np.array(scores, dtype=np.float64).reshape(len(kept), len(policies)),
        stands_for=np.array([1 / one["share"] for one in facts], dtype=np.float64),
        policies=policies,
    )


def _thinned(rows: list[SketchRow], most: int) -> list[SketchRow]:
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    return [rows[place] for place in places]


def write_findings(connection: Connection, findings: list[Finding], now_ms: int) -> None:
    """Write down how detectors stood at a look, in the caller's transaction."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    rows = [
        {
            "detector": one.detector, "at_ms": now_ms, "evidence": float(-np.log10(one.p)),
            "limit": float(-np.log10(one.level)), "detail": _detail(one),
        }
        for one in findings
    ]  # fmt: skip
    if rows:
        connection.execute(insert(drift_looks).on_conflict_do_nothing(), rows)


def _detail(one: Finding) -> dict[str, Any]:
    return {
        "words": one.words, "rows": one.rows, "from": one.from_, "to": one.to, "p": one.p,
        "level": one.level, "decisions": list(one.decision_ids),
    }  # fmt: skip


def raise_finding(connection: Connection, one: Finding, bundle: str, now_ms: int) -> None:
    """Raise what a detector found, in the caller's transaction."""
    raise_alert(
        connection,
        key=DRIFT + one.detector,
        severity=Severity.TICKET,
        title=f"Drift: {one.detector.replace('/', ' of ')}",
        words=one.words,
        runbook=_RUNBOOK,
        detail={**_detail(one), "bundle": bundle},
        now_ms=now_ms,
    )


def _resolve_quiet(connection: Connection, findings: list[Finding], now_ms: int) -> int:
    """How many alerts ended because their detector has seen nothing for a fortnight."""
    quiet = {DRIFT + one.detector for one in findings if one.p > _QUIET_P}
    resolved = 0
    for alert in open_alerts(connection, DRIFT):
        if alert.alert_key in quiet and now_ms - alert.last_at_ms >= _QUIET_MS:
            why = "what moved is back where it was"
            resolved += bool(
                resolve_alert(connection, alert.alert_key, who="stallwart watch", why=why, now_ms=now_ms)
            )
    return resolved

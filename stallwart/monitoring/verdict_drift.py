"""The step `verdicts`: drift that only people's verdicts show: of calibration, and of what is found.

It reads all verdicts on the champion's decisions anew each time, which makes it forget nothing and count
nothing twice; a hundred thousand of them take a second, so it looks once an hour.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from stallwart.estimate.calibration import detector
from stallwart.estimate.rhythm import UsualShares
from stallwart.monitoring.detect import LONGEST_MS, SHARES, YEAR_MS, Finding
from stallwart.monitoring.drift import raise_finding, write_findings
from stallwart.monitoring.step import Around, Told
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.registry import Alias
from stallwart.store.tables import aliases, audit_draws, decisions, verdicts
from stallwart.store.verdicts import Answer, Source

_EVERY_MS = 3_600_000
_MOST = 200_000  # verdicts that are read, the first since the promotion
_FEWEST = 30  # verdicts before anything is said of a policy
_REFERENCE = 200  # audited verdicts that labels are compared with
_WINDOWS = (100, 200, 400)
_SHOWN = 12
_DAY_MS = 86_400_000
_ASKED = (Source.AUDIT, Source.REVIEW)
"""Who appeals or reports does so because of what a listing is: that says nothing of calibration."""


class VerdictDrift:
    """Looks at the verdicts on the champion's decisions, once an hour."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._looked_ms: int | None = None

    def run(self) -> Told:
        """Look, write down how each detector stands, and raise what moved.

        Raises:
            StoreError: the database fails; the next round goes on.
        """
        now = self._around.now_ms()
        since = LONGEST_MS if self._looked_ms is None else now - self._looked_ms
        if since < _EVERY_MS:
            return {"looked": 0}
        per_year = self._around.settings.drift_false_alarms
        with store_errors("verdicts cannot be looked at"):
            with reading(self._around.database) as connection:
                bundle, rows = _read(connection)
            findings = [*_calibrations(rows, per_year), *_labels(rows, per_year, since)]
            with writing(self._around.database) as connection:
                write_findings(connection, findings, now)
                for one in findings:
                    if one.is_alarm:
                        raise_finding(connection, one, bundle, now)
        self._looked_ms = now
        return {"looked": 1, "verdicts": len(rows), "alarms": sum(one.is_alarm for one in findings)}


def _read(connection: Connection) -> tuple[str, list[Row[Any]]]:
    """The champion, and what people said of its decisions since it is, the last word on each."""
    alias = connection.execute(
        select(aliases.c.digest, aliases.c.since_ms).where(aliases.c.alias == Alias.CHAMPION.value)
    ).one_or_none()
    if alias is None:
        return "", []
    query = (
        select(
            verdicts.c.seq,
            verdicts.c.decision_id,
            verdicts.c.answers,
            decisions.c.scores,
            decisions.c.decided_at_ms,
            audit_draws.c.seq.label("drawn"),
        )
        .join_from(verdicts, decisions, decisions.c.decision_id == verdicts.c.decision_id)
        .outerjoin(audit_draws, audit_draws.c.decision_id == verdicts.c.decision_id)
        .where(
            decisions.c.bundle == alias.digest,
            decisions.c.decided_at_ms >= alias.since_ms,
            verdicts.c.source.in_([one.value for one in _ASKED]),
        )
        .order_by(verdicts.c.seq)
        .limit(_MOST)
    )
    last: dict[str, Any] = {}
    for row in connection.execute(query).all():
        last[row.decision_id] = row
    return str(alias.digest), sorted(last.values(), key=lambda row: int(row.seq))


def _calibrations(rows: Sequence[Row[Any]], per_year: float) -> list[Finding]:
    """What each policy's detector says after the last verdict."""
    policies = sorted({name for row in rows for name in row.scores or ()})
    if not rows:
        return []
    days = max(30.0, (rows[-1].decided_at_ms - rows[0].decided_at_ms) / _DAY_MS)
    findings = []
    for policy in policies:
        said = [row for row in rows if policy in (row.scores or ()) and row.answers.get(policy) in _SURE]
        if len(said) < _FEWEST:
            continue
        # Crossings of a limit are at least limit / 2 verdicts apart: so many verdicts may pass for each alarm
        share = SHARES["calibration"] / len(policies)
        limit = 2 * len(said) / days * 365.25 / (per_year * share)
        findings.append(_calibration(policy, said, limit))
    return findings


_SURE = (Answer.YES.value, Answer.NO.value)


def _calibration(policy: str, said: Sequence[Row[Any]], limit: float) -> Finding:
    stated = np.array([row.scores[policy] for row in said], dtype=np.float64)
    broken = np.array([row.answers[policy] == Answer.YES.value for row in said])
    more, fewer = detector(stated, broken)
    up = bool(more[-1] >= fewer[-1])
    recent = slice(-200, None)
    expected, seen = float(stated[recent].mean()), float(broken[recent].mean())
    wrong = np.where(broken, 1 - stated, 0.0) if up else np.where(broken, 0.0, stated)
    order = np.argsort(-wrong[recent])[:_SHOWN]
    ids = [said[max(0, len(said) - 200) + int(place)].decision_id for place in order]
    words = (
        f"Verdicts on {policy} find {'more' if up else 'fewer'} violations than its scores say: of the last "
        f"{min(len(said), 200)} that people judged {seen:.1%} break it, and {expected:.1%} were expected."
    )
    p = 1 / max(float(more[-1]), float(fewer[-1]), 1.0)
    return Finding(f"calibration/{policy}", p, 1 / limit, len(said), words, expected, seen, tuple(ids))


def _labels(rows: Sequence[Row[Any]], per_year: float, since_ms: float) -> list[Finding]:
    """Whether audited listings break other policies than they used to."""
    drawn = sorted((row for row in rows if row.drawn is not None), key=lambda row: int(row.decided_at_ms))
    if len(drawn) < _REFERENCE + _WINDOWS[0]:
        return []
    kinds = np.array([_kind(row.answers) for row in drawn])
    at_ms = np.array([row.decided_at_ms for row in drawn], dtype=np.int64)
    usual = UsualShares(kinds[:_REFERENCE], at_ms[:_REFERENCE])
    windows = [size for size in _WINDOWS if len(drawn) >= _REFERENCE + size]
    told = [usual.test(kinds[-size:], at_ms[-size:]) for size in windows]
    best = min(told, key=lambda one: one.p)
    words = (
        f"Labels: {best.name} has {best.seen:.1%} of the last {best.rows} audited listings; "
        f"{best.expected:.1%} is usual."
    )
    level = per_year * SHARES["labels"] * min(since_ms, LONGEST_MS) / YEAR_MS
    of_it = np.flatnonzero(usual.belongs(kinds[-best.rows :], best.name))[-_SHOWN:] + len(kinds) - best.rows
    ids = tuple(str(drawn[int(place)].decision_id) for place in of_it)
    p = min(1.0, best.p * len(told))
    return [Finding("labels", p, level, best.rows, words, best.expected, best.seen, ids)]


def _kind(answers: dict[str, str]) -> str:
    """The first policy that it breaks, or none."""
    return min((policy for policy, answer in answers.items() if answer == Answer.YES.value), default="none")

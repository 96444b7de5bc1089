"""What was drawn of the traffic of some days, what people said of it, and how much traffic there was."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from stallwart.core.decision import Action
from stallwart.estimate.audit_cells import Cell, Drawn, Sample, sample_of
from stallwart.store.audit_counts import DAY_MS, read_counts
from stallwart.store.tables import audit_draws, decisions, verdicts
from stallwart.store.verdicts import Source

SETTLING = (Source.AUDIT, Source.TIEBREAK)
"""Readings that estimates rest on: the audit's, and that of the third who settles a disagreement on it.
Whoever reads for another reason (an appeal, a report, the queue) was sent there by what was decided."""


def read_sample(connection: Connection, from_day: int, until_day: int) -> Sample:
    """Draws and counts of the days from one up to and without another, since 1970 in UTC.

    A draw is judged once the audit has read it; then its last such verdict holds, or that of the third who
    settled a disagreement.

    Args:
        connection: in a transaction of `database.reading`.
        from_day: first day.
        until_day: the day after the last.
    """
    counts = {
        Cell(one.day, one.bundle, one.stratum, one.action, one.policies, one.probability): one.decisions
        for one in read_counts(connection, from_day, until_day)
    }
    of = audit_draws.c
    settling = and_(
        verdicts.c.decision_id == of.decision_id, verdicts.c.source.in_([one.value for one in SETTLING])
    )
    query = (
        select(
            of.decision_id,
            of.probability,
            of.stratum,
            decisions.c.decided_at_ms,
            decisions.c.bundle,
            decisions.c.action,
            decisions.c.policies,
            verdicts.c.seq,
            verdicts.c.source,
            verdicts.c.answers,
        )
        .join_from(audit_draws, decisions, decisions.c.decision_id == of.decision_id)
        .outerjoin(verdicts, settling)
        .where(of.drawn_at_ms >= from_day * DAY_MS, of.drawn_at_ms < until_day * DAY_MS)
    )
    return sample_of(counts, _last(connection.execute(query)))


def _last(rows: Iterable[Row[Any]]) -> list[Drawn]:
    """Each draw with its last verdict: what replaces one comes after it."""
    found: dict[str, Row[Any]] = {}
    read: set[str] = set()  # by the audit: a third reading alone followed something else
    for row in rows:
        if row.source == Source.AUDIT:
            read.add(row.decision_id)
        before = found.get(row.decision_id)
        if before is None or (before.seq or 0) < (row.seq or 0):
            found[row.decision_id] = row
    return [
        Drawn(
            Cell(
                day=row.decided_at_ms // DAY_MS,
                bundle=row.bundle,
                stratum=row.stratum,
                action=Action(row.action),
                policies=tuple(row.policies),
                probability=row.probability,
            ),
            row.answers if row.decision_id in read else None,
        )
        for row in found.values()
    ]

"""The step `figures`: decisions, feedback and verdicts into sums by the hour."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.monitoring.step import Around, Told
from stallwart.store.database import store_errors, writing
from stallwart.store.feedback import Kind
from stallwart.store.hourly import HOUR_MS, Cell, Source, follow
from stallwart.store.tables import audit_draws, decisions, feedback, rollouts, verdicts
from stallwart.store.verdicts import MEASURING, Answer

_AMONG = 500


class Figures:
    """Counts what is new since the last round."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def run(self) -> Told:
        """Read the tables from their cursors on, a page in each transaction.

        Raises:
            StoreError: the database fails; what was counted stays, and the next round goes on.
        """
        told: Counter[str] = Counter()
        with store_errors("figures cannot be counted"):
            for source in SOURCES:
                more = True
                while more:
                    self._around.alive()
                    with writing(self._around.database) as connection:
                        counted, more = follow(connection, source, self._around.now_ms())
                    told[source.name.removeprefix("hourly ")] += counted
        return dict(told)


class _Arms:
    """Which bundle was a challenger when."""

    def __init__(self, connection: Connection) -> None:
        columns = (rollouts.c.challenger, rollouts.c.started_at_ms, rollouts.c.ended_at_ms)
        self._times = [tuple(row) for row in connection.execute(select(*columns))]

    def of(self, bundle: str, at_ms: int) -> str:
        """The arm that decided."""
        for challenger, started, ended in self._times:
            if challenger == bundle and started <= at_ms and (ended is None or at_ms <= ended):
                return Arm.CHALLENGER.value
        return Arm.CHAMPION.value


def _cells(row: Row[Any], arms: _Arms, figure: str, policies: Sequence[str]) -> list[Cell]:
    arm = arms.of(row.bundle, row.decided_at_ms)
    hour = row.decided_at_ms // HOUR_MS
    return [Cell(hour, figure, policy, row.bundle, arm) for policy in policies]


def _decided(connection: Connection, rows: Sequence[Row[Any]]) -> Counter[Cell]:
    arms, sums = _Arms(connection), Counter[Cell]()
    for row in rows:
        sums.update(_cells(row, arms, row.action, ("", *row.policies)))
        if row.unscored:
            sums.update(_cells(row, arms, "unscored", ("",)))
    return sums


def _said(connection: Connection, rows: Sequence[Row[Any]]) -> Counter[Cell]:
    arms, sums = _Arms(connection), Counter[Cell]()
    for row in rows:
        named = [row.policy] if row.policy else row.policies
        sums.update(_cells(row, arms, row.kind, ("", *named)))
    return sums


def _judged(connection: Connection, rows: Sequence[Row[Any]]) -> Counter[Cell]:
    """What each verdict adds, less what the one before it of the same decision had added."""
    arms, sums = _Arms(connection), Counter[Cell]()
    before = _before(connection, rows)
    for row in rows:
        for answers, sign in ((row.answers, 1), (before.get(row.seq), -1)):
            for figure, policies in [] if answers is None else _meaning(row, answers):
                for cell in _cells(row, arms, figure, policies):
                    sums[cell] += sign
    return sums


def _meaning(row: Row[Any], answers: dict[str, str]) -> list[tuple[str, list[str]]]:
    """The figures that a verdict counts in, each with the policies, and "" where it counts in all."""
    yes = [policy for policy, answer in answers.items() if answer == Answer.YES]
    no = [policy for policy, answer in answers.items() if answer == Answer.NO]
    called = list(row.policies)
    right, wrong = [one for one in called if one in yes], [one for one in called if one in no]
    meant: list[tuple[str, list[str]]] = []
    if row.drawn is not None:
        meant.append(("drawn", ["", *called]))
        if row.action == Action.BLOCK:
            # Right where any policy that called for it was; wrong where all of them were not
            meant.append(("right", ["", *right] if right else []))
            meant.append(("wrong", ["", *wrong] if wrong and len(wrong) == len(called) else wrong))
        else:
            meant.append(("missed", ["", *yes] if yes else []))
    elif row.action == Action.REVIEW:
        meant.append(("found", ["", *yes] if yes else []))
        meant.append(("cleared", ["", *wrong] if no and not yes else []))
    return meant


def _before(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, dict[str, str]]:
    """For each verdict, by `seq`, the answers of the one that held until then."""
    wanted = sorted({row.decision_id for row in rows})
    columns = (verdicts.c.seq, verdicts.c.decision_id, verdicts.c.answers)
    history: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for start in range(0, len(wanted), _AMONG):
        query = select(*columns).where(verdicts.c.decision_id.in_(wanted[start : start + _AMONG]), _COUNTS)
        for seq, decision_id, answers in connection.execute(query.order_by(verdicts.c.seq)):
            history.setdefault(decision_id, []).append((seq, answers))
    found = {}
    for row in rows:
        earlier = [answers for seq, answers in history.get(row.decision_id, ()) if seq < row.seq]
        if earlier:
            found[row.seq] = earlier[-1]
    return found


_COUNTS = verdicts.c.source.not_in([one.value for one in MEASURING])
_BY = (decisions.c.bundle, decisions.c.decided_at_ms, decisions.c.policies, decisions.c.action)
_TOLD = (Kind.APPEAL, Kind.UPHELD, Kind.OVERTURNED, Kind.REPORT)

SOURCES = (
    Source(
        "hourly decisions",
        select(decisions.c.seq, *_BY, decisions.c.scores.is_(None).label("unscored")),
        decisions.c.seq,
        "decided_at_ms",
        _decided,
    ),
    Source(
        "hourly feedback",
        select(feedback.c.seq, feedback.c.kind, feedback.c.policy, feedback.c.created_at_ms, *_BY)
        .join_from(feedback, decisions, decisions.c.decision_id == feedback.c.decision_id)
        .where(feedback.c.kind.in_([one.value for one in _TOLD])),
        feedback.c.seq,
        "created_at_ms",
        _said,
    ),
    Source(
        "hourly verdicts",
        select(
            verdicts.c.seq,
            verdicts.c.decision_id,
            verdicts.c.answers,
            verdicts.c.created_at_ms,
            audit_draws.c.seq.label("drawn"),
            *_BY,
        )
        .join_from(verdicts, decisions, decisions.c.decision_id == verdicts.c.decision_id)
        .outerjoin(audit_draws, audit_draws.c.decision_id == verdicts.c.decision_id)
        .where(_COUNTS),
        verdicts.c.seq,
        "created_at_ms",
        _judged,
    ),
)

"""Verdicts from outside: taken once each, however often a file is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select

from stallwart.core.errors import DataError
from stallwart.store.decisions import read_decision
from stallwart.store.erased import ERASED
from stallwart.store.revisions import storable
from stallwart.store.tables import audit_draws
from stallwart.store.verdicts import MEASURING, Answer, Source, Verdict, add_verdict, read_verdicts


class Taken(StrEnum):
    """What became of a verdict."""

    NEW = "new"
    CHANGED = "changed"
    THERE = "already there"


@dataclass(frozen=True, slots=True)
class Outside:
    """A verdict from outside.

    Attributes:
        decision_id: what it is about.
        answers: of policies that are named.
        others: the answer to the policies that the decision knows and `answers` does not name; None for none.
        who: said it.
        severity: how bad it is, or None.
    """

    decision_id: str
    answers: Mapping[str, Answer]
    others: Answer | None
    who: str
    severity: int | None = None


def take_verdict(connection: Connection, given: Outside, source: Source, now_ms: int) -> Taken:
    """What became of it, in the caller's transaction.

    The same answer of the same person is not stored again; another answer of theirs replaces it. It is known
    from now on, whenever it was said: what a model could have known before does not change.

    Args:
        connection: in a transaction of `database.writing`.
        given: the verdict.
        source: `import`, or `audit` for what was read of the audit's draws outside.
        now_ms: milliseconds since 1970.

    Raises:
        NotFoundError: there is no such decision.
        DataError: it names no policy or nobody, a policy that the decision does not know, the audit did not
            draw the decision, or its listing was erased.
    """
    answers = _answers(connection, given)
    if source == Source.AUDIT and not _is_drawn(connection, given.decision_id):
        raise DataError("the audit did not draw it")
    standing = _standing(connection, given)
    for one in standing:
        same = (one.answers, one.severity) == (answers, given.severity)
        if same and source in (one.source, Source.IMPORT):
            return Taken.THERE
    before = next((one for one in reversed(standing) if one.source == source), None)
    add_verdict(
        connection,
        decision_id=given.decision_id,
        answers=answers,
        who=given.who,
        source=source,
        now_ms=now_ms,
        severity=given.severity,
        replaces=before.verdict_id if before else None,
    )
    return Taken.CHANGED if before else Taken.NEW


def _answers(connection: Connection, given: Outside) -> dict[str, Answer]:
    decision = (
        read_decision(connection, given.decision_id)
        if storable(given.decision_id) == given.decision_id
        else None
    )
    if decision is not None and decision.listing_id.startswith(ERASED):
        raise DataError("its listing was erased, and nothing is kept of it again")
    known = set(decision.thresholds) if decision else set()
    if known and not set(given.answers) <= known:
        raise DataError("it names a policy that the decision does not know")
    rest = {} if given.others is None else dict.fromkeys(sorted(known - set(given.answers)), given.others)
    return {**given.answers, **rest}


def _is_drawn(connection: Connection, decision_id: str) -> bool:
    drawn = select(audit_draws.c.seq).where(audit_draws.c.decision_id == decision_id)
    return connection.execute(drawn).first() is not None


def _standing(connection: Connection, given: Outside) -> list[Verdict]:
    """What this person said of it before, and nothing has replaced."""
    if storable(given.decision_id) != given.decision_id:
        return []
    said = read_verdicts(connection, given.decision_id)
    replaced = {one.replaces for one in said}
    return [
        one
        for one in said
        if one.who == storable(given.who) and one.verdict_id not in replaced and one.source not in MEASURING
    ]

"""Verdicts: what a person said of a listing as it was decided. Append-only: a later one replaces another."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.store.revisions import storable
from stallwart.store.tables import decisions, verdicts

_LONGEST_NOTE = 10_000
_LONGEST_NAME = 200


class Answer(StrEnum):
    """Whether a listing breaks one policy."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Why a person was asked."""

    AUDIT = "audit"
    REVIEW = "review"
    APPEAL = "appeal"
    REPORT = "report"
    NOVELTY = "novelty"
    SECOND = "second"
    GOLD = "gold"
    TIEBREAK = "tiebreak"
    IMPORT = "import"


MEASURING = (Source.SECOND, Source.GOLD)
"""Readings that measure the reader: what was said before holds until a third decides."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person said.

    Attributes:
        seq: counts verdicts up as they are written.
        verdict_id: `v_` and hexadecimal characters that sort by time.
        decision_id: the decision that was looked at.
        revision: digest of the content that it was about.
        answers: of the policies that were judged; the others are unknown.
        severity: how bad it is, or None.
        note: in words, or None; it goes with the words that it quotes.
        who: the reviewer.
        source: why they were asked.
        replaces: id of the verdict that it takes the place of, or None.
        created_at_ms: milliseconds since 1970.
        task_id: the review task that it answers, or None.
    """

    seq: int
    verdict_id: str
    decision_id: str
    revision: str
    answers: dict[str, Answer]
    severity: int | None
    note: str | None
    who: str
    source: Source
    replaces: str | None
    created_at_ms: int
    task_id: str | None


def add_verdict(
    connection: Connection,
    *,
    decision_id: str,
    answers: Mapping[str, Answer],
    who: str,
    source: Source,
    now_ms: int,
    severity: int | None = None,
    note: str | None = None,
    replaces: str | None = None,
    task_id: str | None = None,
    revision: str | None = None,
) -> Verdict:
    """The verdict, stored in the caller's transaction.

    Args:
        connection: in a transaction of `database.writing`.
        decision_id: the decision that was looked at.
        answers: of at least one policy; those that are not named are unknown.
        who: the reviewer.
        source: why they were asked.
        now_ms: milliseconds since 1970.
        severity: how bad it is.
        note: in words.
        replaces: id of the verdict of this decision that is valid until now.
        task_id: the review task that it answers.
        revision: of the decision, where the caller has read it; looked up if None.

    Raises:
        NotFoundError: there is no such decision, or none of its verdicts has the id in `replaces`.
        ConflictError: somebody replaced that verdict meanwhile.
        DataError: no answers, no reviewer, or a note that is too long.
    """
    _check(answers, who, note)
    revision = revision or _revision(connection, decision_id)
    if replaces is not None:
        _check_replaced(connection, decision_id, replaces)
    row = {
        "verdict_id": f"v_{now_ms:012x}{secrets.token_hex(10)}",
        "decision_id": decision_id,
        "revision": revision,
        "answers": {policy: Answer(answer).value for policy, answer in answers.items()},
        "severity": severity,
        "note": storable(note),
        "who": storable(who),
        "source": source.value,
        "replaces": replaces,
        "created_at_ms": now_ms,
        "task_id": task_id,
    }
    if replaces is None:
        return _verdict(connection.execute(_INSERT, row).one())
    try:
        with connection.begin_nested():
            return _verdict(connection.execute(_INSERT, row).one())
    except IntegrityError:
        raise _replaced(replaces) from None


def valid_verdict(connection: Connection, decision_id: str) -> Verdict | None:
    """What holds of a decision: its last verdict but those that measure; None where nobody said anything.

    What replaces a verdict is written after it, so the last one is never replaced.
    """
    said = [one for one in read_verdicts(connection, decision_id) if one.source not in MEASURING]
    return said[-1] if said else None


def read_verdicts(connection: Connection, decision_id: str) -> list[Verdict]:
    """All that was said of a decision, in the order in which it was."""
    return [_verdict(row) for row in connection.execute(_OF_DECISION, {"decision": decision_id})]


# Made once: to make a statement costs as much as to run it
_INSERT = insert(verdicts).returning(verdicts)
_REVISION = select(decisions.c.revision).where(decisions.c.decision_id == bindparam("decision"))
_OF_DECISION = (
    select(verdicts).where(verdicts.c.decision_id == bindparam("decision")).order_by(verdicts.c.seq)
)


def _check(answers: Mapping[str, Answer], who: str, note: str | None) -> None:
    if not answers:
        raise DataError("a verdict needs an answer to at least one policy: yes, no or unknown")
    if not who.strip() or len(who) > _LONGEST_NAME:
        raise DataError(f"a verdict needs a reviewer, named in 1 to {_LONGEST_NAME} characters")
    if note is not None and len(note) > _LONGEST_NOTE:
        raise DataError(f"the note has {len(note):,} characters, and {_LONGEST_NOTE:,} are the most")


def _revision(connection: Connection, decision_id: str) -> str:
    # No id that was given out holds what a database would not take as text
    known = storable(decision_id) == decision_id
    revision = connection.execute(_REVISION, {"decision": decision_id}).scalar() if known else None
    if revision is None:
        raise NotFoundError("there is no such decision; ids begin with d_ and come with each answer")
    return str(revision)


def _check_replaced(connection: Connection, decision_id: str, replaces: str) -> None:
    said = {one.verdict_id: one for one in read_verdicts(connection, decision_id)}
    if replaces not in said:
        raise NotFoundError("there is no such verdict of this decision; read them and try again")
    if any(one.replaces == replaces for one in said.values()):
        raise _replaced(replaces)


def _replaced(replaces: str | None) -> ConflictError:
    return ConflictError(f"somebody replaced verdict {replaces} meanwhile; look at the new one first")


def _verdict(row: Row[Any]) -> Verdict:
    fields = dict(row._mapping)
    answers = {policy: Answer(answer) for policy, answer in fields["answers"].items()}
    return Verdict(**{**fields, "answers": answers, "source": Source(fields["source"])})

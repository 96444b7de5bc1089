"""What people said of the same decision: blind second readings, and what a third has settled."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, select

from stallwart.store.followed import disagree
from stallwart.store.tables import verdicts
from stallwart.store.verdicts import MEASURING, Answer, Source


@dataclass(frozen=True, slots=True)
class Twice:
    """A decision that two people read, the second one blind.

    Attributes:
        decision_id: about what.
        first_who: who read it first.
        second_who: who read it again.
        first: what they said.
        second: what they said.
        at_ms: of the second reading, milliseconds since 1970.
        settled: whether a third has decided.
    """

    decision_id: str
    first_who: str
    second_who: str
    first: dict[str, Answer]
    second: dict[str, Answer]
    at_ms: int
    settled: bool

    @property
    def differs(self) -> bool:
        """Whether they said that different policies are broken."""
        return disagree(self.first, self.second)


def read_twice(connection: Connection, since_ms: int) -> list[Twice]:
    """Decisions with a second reading since a moment, in the order of their ids.

    Args:
        connection: in a transaction of `database.reading`.
        since_ms: milliseconds since 1970.
    """
    again = select(verdicts.c.decision_id).where(
        verdicts.c.source == Source.SECOND.value, verdicts.c.created_at_ms >= since_ms
    )
    query = (
        select(verdicts)
        .where(verdicts.c.decision_id.in_(again))
        .order_by(verdicts.c.decision_id, verdicts.c.seq)
    )
    return list(_pairs(connection.execute(query)))


def _pairs(rows: Iterable[Row[Any]]) -> Iterator[Twice]:
    for decision_id, group in groupby(rows, key=lambda row: str(row.decision_id)):
        said = list(group)
        replaced = {row.replaces for row in said}
        live = [row for row in said if row.verdict_id not in replaced]
        seconds = [row for row in live if row.source == Source.SECOND]
        if not seconds:
            continue
        second = seconds[-1]
        measuring = {*(one.value for one in MEASURING), Source.TIEBREAK.value}
        firsts = [row for row in live if row.source not in measuring and row.seq < second.seq]
        if firsts:
            yield Twice(
                decision_id,
                firsts[-1].who,
                second.who,
                _answers(firsts[-1]),
                _answers(second),
                second.created_at_ms,
                any(row.source == Source.TIEBREAK for row in live),
            )


def _answers(row: Row[Any]) -> dict[str, Answer]:
    return {policy: Answer(answer) for policy, answer in row.answers.items()}

"""Evidence that was made after a decision, for those who review it; it goes with the content that it is of.

It holds places of words, no words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.store.tables import explanations, tasks
from stallwart.store.tasks import IS_OPEN


@dataclass(frozen=True, slots=True)
class Explained:
    """Evidence on one decision.

    Attributes:
        decision_id: which decision.
        revision: the content that it is of.
        bundle: digest of what explained it.
        evidence: `policy`, `words`, `regions`, `nearest`; None where it could not be made.
        failed: why it could not, or None.
        made_at_ms: milliseconds since 1970.
    """

    decision_id: str
    revision: str
    bundle: str
    evidence: dict[str, Any] | None
    failed: str | None
    made_at_ms: int


def explains(evidence: Mapping[str, Any] | None, policy: str | None = None) -> bool:
    """Whether evidence says what spoke for a policy, and for this one where one is named."""
    about = None if evidence is None else evidence.get("policy")
    return about is not None and policy in (None, about)


_READ = select(explanations).where(explanations.c.decision_id == bindparam("decision"))
_UNEXPLAINED = (
    select(tasks.c.decision_id, tasks.c.policy)
    .where(
        IS_OPEN,
        tasks.c.lane == bindparam("lane"),
        tasks.c.blind == 0,
        ~select(explanations.c.decision_id).where(explanations.c.decision_id == tasks.c.decision_id).exists(),
    )
    .order_by(tasks.c.rank.desc(), tasks.c.seq.desc())
    .limit(bindparam("most"))
)


def keep_explanation(connection: Connection, made: Explained) -> None:
    """Keep it instead of what was kept of this decision, in the caller's transaction."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {name: getattr(made, name) for name in Explained.__slots__}
    statement = insert(explanations).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["decision_id"], set_=values))


def read_explanation(connection: Connection, decision_id: str) -> Explained | None:
    """What is kept of a decision; None where nothing is."""
    row = connection.execute(_READ, {"decision": decision_id}).mappings().first()
    return None if row is None else Explained(**row)


def unexplained(connection: Connection, lanes: Sequence[str], most: int) -> dict[str, str | None]:
    """Unblind decisions of the first tasks of each lane that nothing is kept of, and what is asked about.

    Args:
        connection: in any transaction.
        lanes: of open tasks.
        most: of each lane.
    """
    found: dict[str, str | None] = {}
    for lane in lanes:
        for row in connection.execute(_UNEXPLAINED, {"lane": lane, "most": most}):
            found.setdefault(row.decision_id, row.policy)
    return found


def forget_explanations(connection: Connection, revisions: Sequence[str]) -> int:
    """Delete what is kept of the decisions on these revisions; how many there were."""
    done = connection.execute(delete(explanations).where(explanations.c.revision.in_(list(revisions))))
    return int(done.rowcount)

"""Examples of a policy: what people said breaks it, and what they said only looks like it."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from stallwart.store.tables import decisions, gold, revisions, tasks, verdicts
from stallwart.store.tasks import State
from stallwart.store.verdicts import MEASURING, Answer

_LATEST = 5_000  # verdicts that are looked through
_EARLIER = verdicts.alias("earlier")


@dataclass(frozen=True, slots=True)
class Example:
    """A listing that shows what a policy means.

    Attributes:
        listing_id: which.
        revision: its content when it was judged.
        breaks: whether it breaks the policy; else it only looked like it.
    """

    listing_id: str
    revision: str
    breaks: bool


def examples_of(
    connection: Connection, policy: str, *, but: str, until_ms: int, most: int = 3
) -> list[Example]:
    """The latest that break a policy, then the latest that only looked like it; one of each listing.

    Left out is what was replaced or can be undone still, what somebody is being asked about, and what is
    gold: they would give an answer away.

    Args:
        connection: in any transaction.
        policy: which.
        but: id of the listing that they are shown beside.
        until_ms: verdicts of before, milliseconds since 1970.
        most: of each.
    """
    answer = verdicts.c.answers[policy].as_string()
    called = cast(decisions.c.policies, Text).contains(f'"{policy}"', autoescape=True)
    yes = _latest(connection, answer == Answer.YES.value, but, until_ms, most)
    no = _latest(connection, (answer == Answer.NO.value) & called, but, until_ms, most)
    return [Example(*one, breaks=True) for one in yes] + [Example(*one, breaks=False) for one in no]


def _latest(
    connection: Connection, said: ColumnElement[bool], but: str, until_ms: int, most: int
) -> list[tuple[str, str]]:
    last = connection.execute(select(func.max(verdicts.c.seq))).scalar() or 0
    mine = verdicts.c.decision_id
    asked = select(tasks.c.seq).where(
        tasks.c.decision_id == mine, tasks.c.state.in_((State.OPEN.value, State.CLAIMED.value))
    )
    measured = select(gold.c.decision_id).where(gold.c.decision_id == mine, gold.c.retired_at_ms.is_(None))
    replaced = select(_EARLIER.c.seq).where(_EARLIER.c.replaces == verdicts.c.verdict_id)
    query = (
        select(decisions.c.listing_id, decisions.c.revision)
        .join_from(verdicts, decisions, decisions.c.decision_id == mine)
        .join(revisions, revisions.c.revision == decisions.c.revision)
        .where(
            verdicts.c.seq > last - _LATEST,
            verdicts.c.created_at_ms < until_ms,
            verdicts.c.source.not_in([one.value for one in MEASURING]),
            said,
            decisions.c.listing_id != but,
            revisions.c.purged_at_ms.is_(None),
            ~asked.exists(),
            ~measured.exists(),
            ~replaced.exists(),
        )
        .order_by(verdicts.c.seq.desc())
        .limit(4 * most)
    )
    found: dict[str, str] = {}
    for row in connection.execute(query):
        found.setdefault(row.listing_id, row.revision)
    return list(found.items())[:most]

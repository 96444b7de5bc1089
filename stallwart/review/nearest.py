"""The nearest known violations of a task, apart from its page, since they take longer to find."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from stallwart.core.errors import NotFoundError
from stallwart.index.violations import Violations
from stallwart.pages.roles import JUDGES
from stallwart.pages.site import Ask, Page, Route
from stallwart.review.looking import Looking
from stallwart.review.policies import Policies
from stallwart.store.claims import held
from stallwart.store.database import reading, store_errors
from stallwart.store.decisions import read_decision
from stallwart.store.explanations import explains, read_explanation
from stallwart.store.tables import decisions, revisions
from stallwart.store.tasks import read_task

_MOST = 3
_EXCERPT = 240


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A known violation beside the listing of a task.

    Attributes:
        listing_id: whose.
        policies: what it broke.
        likeness: in [0, 1].
        by: which part is alike: text, photo or meaning.
        source: whether it is of the model's training or was confirmed here.
        title: of the listing, or None where its content is not here.
        excerpt: how its description begins, or None.
        decision_id: whose photos can be shown, or None.
        photos: how many it has.
    """

    listing_id: str
    policies: tuple[str, ...]
    likeness: float
    by: str
    source: str
    title: str | None = None
    excerpt: str | None = None
    decision_id: str | None = None
    photos: int = 0


class NearestSection:
    """A part of the task page.

    Args:
        violations: finds confirmed ones.
        policies: the rulebook.
        looking: keeps who looked at what.
    """

    title = "Tasks"

    def __init__(self, violations: Violations, policies: Policies, looking: Looking):
        self._violations, self._policies, self._looking = violations, policies, looking

    def routes(self) -> Sequence[Route]:
        """The part."""
        return (Route("/tasks/{task_id}/nearest", "GET", self.nearest, JUDGES),)

    def nearest(self, ask: Ask) -> Page:
        """Violations near the listing of a task that this person has; nothing of a blind one.

        Raises:
            NotFoundError: this person does not have the task.
        """
        with store_errors("the task cannot be read"), reading(ask.database) as connection:
            task = read_task(connection, ask.path["task_id"])
            mine = {one.task_id for one in held(connection, ask.user, ask.now_ms)}
            if task.task_id not in mine or task.blind:
                raise NotFoundError("this is no task of yours")
            found = self._of_training(connection, task.decision_id)
        found += self._confirmed(ask, task.revision)
        known: dict[str, Neighbour] = {}
        for one in found:
            known.setdefault(one.listing_id, one)
        shown = sorted(known.values(), key=lambda one: -one.likeness)[: 2 * _MOST]
        for one in shown:
            if one.decision_id is not None:
                self._looking.note(
                    ask.database, ask.user.user_id, one.listing_id, "nearest", ask.now_ms, one.decision_id
                )
        return Page("nearest.html", {"found": shown, "policies": self._policies}, fragment=True)

    def _of_training(self, connection: Connection, decision_id: str) -> list[Neighbour]:
        decision, kept = read_decision(connection, decision_id), read_explanation(connection, decision_id)
        own = decision.evidence if decision else None
        evidence: dict[str, Any] = (own if explains(own) else kept.evidence if kept else None) or {}
        return [
            with_content(
                connection,
                Neighbour(one["listing_id"], (one["policy"],), one["similarity"], one["by"], "training"),
            )
            for one in evidence.get("nearest", ())[:_MOST]
        ]

    def _confirmed(self, ask: Ask, revision: str) -> list[Neighbour]:
        near = self._violations.nearest(revision, _MOST)
        with reading(ask.database) as connection:
            return [
                with_content(
                    connection,
                    Neighbour(one.listing_id, one.policies, one.likeness, one.by, "confirmed"),
                    one.revision,
                )
                for one in near
            ]


def with_content(connection: Connection, one: Neighbour, revision: str | None = None) -> Neighbour:
    """The neighbour with what the store still has of its listing."""
    query = select(
        revisions.c.title, revisions.c.description, revisions.c.photos, decisions.c.decision_id
    ).join_from(decisions, revisions, revisions.c.revision == decisions.c.revision)
    query = query.where(decisions.c.listing_id == one.listing_id, revisions.c.purged_at_ms.is_(None))
    if revision is not None:
        query = query.where(revisions.c.revision == revision)
    row = connection.execute(query.order_by(decisions.c.seq.desc()).limit(1)).first()
    if row is None:
        return one
    return Neighbour(
        one.listing_id, one.policies, one.likeness, one.by, one.source, row.title or "",
        (row.description or "")[:_EXCERPT], row.decision_id, len(row.photos),
    )  # fmt: skip

"""What the page of a task shows: all of it for most, and of a blind one the listing alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from stallwart.core.decision import RULINGS, Cause, Decision
from stallwart.core.errors import NotFoundError
from stallwart.review.marking import Marked, marked_listing
from stallwart.review.policies import Policies
from stallwart.store.decisions import read_decision, read_revision
from stallwart.store.explanations import explains, read_explanation
from stallwart.store.history import Published, seller_history
from stallwart.store.people import User
from stallwart.store.revisions import Revision
from stallwart.store.tables import feedback
from stallwart.store.tasks import OF_THE_QUEUE, Kind, State, Task, explain
from stallwart.store.verdicts import Verdict, read_verdicts

_HISTORY = 8
_KEYS = "1234567890"
_SCALE = 100  # width of a bar
_OTHERS_SEEN = (*OF_THE_QUEUE, Kind.APPEAL)  # whoever settles a disagreement hears nobody before


@dataclass(frozen=True, slots=True)
class Choice:
    """A policy that can be said to be broken.

    Attributes:
        policy: its id.
        title: what people call it.
        covers: its text, or "".
        key: the digit that marks it, or "".
        score: probability in [0, 1]; None where it is not to be seen or there is none.
        block: score from which the model blocks alone, or None.
        review: score from which a person is asked, or None.
        called: whether the decision was made for it.
    """

    policy: str
    title: str
    covers: str
    key: str
    score: float | None
    block: float | None
    review: float | None
    called: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A patch of a photo that spoke for the policy, in hundredths of its edges."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A task with all that its reader may see now.

    Attributes:
        task: which.
        blind: whether the model's opinion is hidden.
        decision: None where it is hidden.
        revision: the listing.
        title, body: its text in pieces.
        read: words in the photos for which it was decided again; "" where it was not, or that is hidden.
        photos: how many there are.
        regions: by number of the photo.
        choices: the policies that this person may judge.
        explained: the policy that the marks speak for, or None.
        lacking: why there are no marks, or None.
        history: of the seller, or None where it is hidden.
        others: what others said of it, so far as it may be seen.
        pleas: what the seller or reporters wrote.
        why: why it is here, in sentences.
        given: what this person answered, where they took it back or it is over; or None.
    """

    task: Task
    blind: bool
    decision: Decision | None
    revision: Revision
    title: Marked
    body: Marked
    read: str
    photos: int
    regions: Mapping[int, Region]
    choices: Sequence[Choice]
    explained: str | None
    lacking: str | None
    history: Sequence[Published] | None
    others: Sequence[Verdict]
    pleas: Sequence[str]
    why: Sequence[str]
    given: Verdict | None

    @property
    def is_wordless(self) -> bool:
        """Whether there is nothing to read, so that whoever judges has to see the photos."""
        return self.title.is_empty and self.body.is_empty

    @property
    def has_marks(self) -> bool:
        """Whether a word is marked."""
        parts = (self.title.first, self.title.rest, self.body.first, self.body.rest)
        return any(piece.strength for part in parts for piece in part)

    @property
    def decided_by(self) -> str:
        """Whose word the decision is; what was given back by an undo is the model's again."""
        cause = None if self.decision is None else self.decision.cause
        if cause in RULINGS:
            return "a person"
        return "known-bad matching" if cause == Cause.KNOWN_BAD else "the model"


def shown_task(
    connection: Connection, task: Task, user: User, policies: Policies, now_ms: int, *, reveal: bool = False
) -> Shown:
    """What a person sees of a task.

    Args:
        connection: in any transaction.
        task: which.
        user: who looks; they judge the policies that they read.
        policies: the rulebook.
        now_ms: milliseconds since 1970.
        reveal: whether a blind task is over, so that it may show everything.

    Raises:
        NotFoundError: its decision is not there.
    """
    decision = read_decision(connection, task.decision_id)
    revision = read_revision(connection, task.revision)
    if decision is None or revision is None:
        raise NotFoundError("the decision of this task is not there any more")
    blind = task.blind and not reveal
    evidence, lacking = (None, None) if blind else _evidence(connection, decision, task, policies)
    words, read = (evidence or {}).get("words", ()), "" if blind else decision.read
    title, body = marked_listing(revision.title, revision.description, words, read)
    return Shown(
        task=task,
        blind=blind,
        decision=None if blind else decision,
        revision=revision,
        title=title,
        body=body,
        read=read,
        photos=len(revision.photos),
        regions=_regions(evidence or {}),
        choices=_choices(decision, user, policies, blind),
        explained=None if evidence is None else policies.title(evidence["policy"]),
        lacking=lacking,
        history=None if blind else _history(connection, revision),
        others=() if blind else _others(connection, task, user),
        pleas=() if blind else _pleas(connection, task),
        why=explain(task, now_ms) if not reveal else (),
        given=_given(connection, task, user),
    )


def _given(connection: Connection, task: Task, user: User) -> Verdict | None:
    """What this person said in the task before they took it back, or what ended it."""
    if task.verdict_id is None:
        return None
    said = {one.verdict_id: one for one in read_verdicts(connection, task.decision_id)}
    last = said.get(task.verdict_id)
    if last is not None and task.state != State.DONE:
        last = said.get(last.replaces or "")
    return last if last is not None and last.who == user.name else None


def _evidence(
    connection: Connection, decision: Decision, task: Task, policies: Policies
) -> tuple[dict[str, Any] | None, str | None]:
    """The evidence for the policy that is asked about, or why there is none."""
    if explains(decision.evidence, task.policy):
        return decision.evidence, None
    kept = read_explanation(connection, decision.decision_id)
    if kept is None:
        return None, "not made yet"
    if kept.evidence is None or explains(kept.evidence, task.policy):
        return kept.evidence, kept.failed
    return None, f"none can be shown for {policies.title(task.policy or '')}"


def _regions(evidence: Mapping[str, Any]) -> dict[int, Region]:
    return {
        one["photo"]: Region(
            100 * one["left"],
            100 * one["top"],
            100 * (one["right"] - one["left"]),
            100 * (one["bottom"] - one["top"]),
        )
        for one in evidence.get("regions", ())
        if one["weight"] > 0
    }


def _choices(decision: Decision, user: User, policies: Policies, blind: bool) -> list[Choice]:
    """In the order of the rulebook, always: who knows that 3 is tobacco need not look."""
    known = dict.fromkeys([*policies.ids, *decision.thresholds, *decision.policies])
    mine = [one for one in known if user.skills is None or one in user.skills]
    choices = []
    for place, policy in enumerate(mine):
        limits = decision.thresholds.get(policy)
        text = policies.get(policy)
        score = None if blind or decision.scores is None else decision.scores.get(policy)
        choices.append(
            Choice(
                policy=policy,
                title=policies.title(policy),
                covers=text.covers if text else "",
                key=_KEYS[place] if place < len(_KEYS) else "",
                score=score,
                block=None if score is None or limits is None else limits.block,
                review=None if score is None or limits is None else limits.review,
                called=not blind and policy in decision.policies,
            )
        )
    return choices


def _history(connection: Connection, revision: Revision) -> list[Published]:
    if revision.seller_id is None:
        return []
    found = seller_history(connection, revision.seller_id, _HISTORY + 1)
    return [one for one in found if one.listing_id != revision.listing_id][:_HISTORY]


def _others(connection: Connection, task: Task, user: User) -> list[Verdict]:
    if task.kind not in _OTHERS_SEEN:
        return []
    said = read_verdicts(connection, task.decision_id)
    replaced = {one.replaces for one in said}
    return [one for one in said if one.verdict_id not in replaced and one.who != user.name]


def _pleas(connection: Connection, task: Task) -> list[str]:
    if task.kind not in (Kind.APPEAL, Kind.REPORT):
        return []
    query = select(feedback.c.note).where(
        feedback.c.decision_id == task.decision_id,
        feedback.c.kind == task.kind.value,
        feedback.c.note.is_not(None),
    )
    return list(connection.execute(query.order_by(feedback.c.seq).limit(5)).scalars())

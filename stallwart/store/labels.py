"""Labels: what holds of each revision that people judged, with weight and provenance, as of any moment.

Read one after the other in the order of their revisions' digests, so that memory does not grow with them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, not_, or_, select

from stallwart.core.carrying import Moves
from stallwart.core.decision import Action
from stallwart.store.erased import is_erased
from stallwart.store.revisions import Revision
from stallwart.store.tables import audit_draws, decisions, revisions, tasks, verdicts
from stallwart.store.tasks import FOUND_BY_SAMPLE
from stallwart.store.verdicts import MEASURING, Answer, Source

_PAGE = 1_000
_OF_THE_AUDIT = frozenset({Source.AUDIT, Source.TIEBREAK})
NEUTRAL = "neutral"
_NONE = Moves()


@dataclass(frozen=True, slots=True)
class KnownLabel:
    """What was known of one revision at a moment.

    Attributes:
        verdict_id: the verdict that holds.
        decision_id: the decision that it is about.
        listing_id: whose revision it is.
        revision: digest of the content that was judged.
        answers: policy -> yes, no or unknown, as moves of the rulebook carried them; policies that are not
            named are unknown.
        severity: how bad it is, or None.
        who: the reviewer.
        source: why they were asked.
        at_ms: when it was said, milliseconds since 1970.
        decided_at_ms: when the listing was decided about.
        action: what the decision was.
        policies: that called for it.
        scores: of the decision, or None.
        bundle: digest of the bundle that decided.
        probability: with which the audit drew the decision; None where it did not.
        weight: >= 1, how many decisions it stands for among all: 1 / probability where only the audit asked,
            1 where somebody would have been asked anyway.
        content: the revision, whose words and photos retention may have emptied (`purged_at_ms`).
        carried: whether a move of the rulebook changed the answers.
        left_open: policies that somebody found broken, of which a move leaves open what is broken now.
        added: policies that were added later, so that nobody could have said anything of them.
    """

    verdict_id: str
    decision_id: str
    listing_id: str
    revision: str
    answers: dict[str, Answer]
    severity: int | None
    who: str
    source: Source
    at_ms: int
    decided_at_ms: int
    action: Action
    policies: tuple[str, ...]
    scores: dict[str, float] | None
    bundle: str
    probability: float | None
    weight: float
    content: Revision
    carried: bool = False
    left_open: tuple[str, ...] = ()
    added: frozenset[str] = frozenset()

    @property
    def broken(self) -> tuple[str, ...]:
        """Policies that it breaks, the one that the model held most likely first."""
        said = [policy for policy, answer in self.answers.items() if answer == Answer.YES]
        scores = self.scores or {}
        return tuple(sorted(said, key=lambda policy: (-scores.get(policy, -1.0), policy)))

    @property
    def tells(self) -> bool:
        """Whether it says yes or no to anything, which a move of the rulebook can take away."""
        return _tells(self.answers)


def single_label(label: KnownLabel, policies: Collection[str]) -> str | None:
    """The label as training reads one: a policy, `neutral`, or None where what was said settles neither.

    Args:
        label: what was said.
        policies: ids of those that training knows. One that breaks only others is left out; to be neutral
            all of them must have been denied, but for those that were added later: whoever adds a policy
            gives examples of it.
    """
    known = [policy for policy in label.broken if policy in policies]
    if known:
        return known[0]
    asked = [policy for policy in policies if policy not in label.added]
    denied = bool(asked) and all(label.answers.get(policy) == Answer.NO for policy in asked)
    return NEUTRAL if denied and not label.broken and not label.left_open else None


def known_labels(
    connection: Connection,
    until_ms: int | None = None,
    sources: Collection[Source] | None = None,
    moves: Moves = _NONE,
) -> Iterator[KnownLabel]:
    """What was known at a moment of each revision on which anybody said yes or no.

    Of several verdicts the last one holds that says yes or no and was not replaced by then. Blind readings
    that measure people (`second`, `gold`) are no labels; a third reading that settles them is. A label of
    which the moves leave nothing comes too, with neither yes nor no, so that it can be counted.

    Args:
        connection: in a transaction of `database.reading`, open until the last was taken.
        until_ms: milliseconds since 1970; what was said at or after it is not known. None is now.
        sources: why people were asked; None is for any reason.
        moves: of the rulebook, over which answers are carried.
    """
    for _, said in groupby(_rows(connection, until_ms), key=lambda row: str(row.revision)):
        label = _holding(list(said))
        if label is not None and (sources is None or label.source in sources):
            yield _moved(label, moves)


def _moved(label: KnownLabel, moves: Moves) -> KnownLabel:
    answers = moves.answers(label.answers, label.at_ms, Answer.YES, Answer.NO)
    return replace(
        label,
        answers=answers,
        carried=answers != label.answers,
        left_open=tuple(one for one in label.broken if moves.label(one, label.at_ms) is None),
        added=moves.added_after(label.at_ms),
    )


def _rows(connection: Connection, until_ms: int | None) -> Iterator[Row[Any]]:
    """Verdicts with what they are about, by revision and time, read page by page."""
    query = _QUERY if until_ms is None else _QUERY.where(verdicts.c.created_at_ms < until_ms)
    after = ("", 0)
    while True:
        beyond = and_(
            verdicts.c.revision >= after[0], or_(verdicts.c.revision > after[0], verdicts.c.seq > after[1])
        )
        page = connection.execute(query.where(beyond).limit(_PAGE)).all()
        yield from page
        if len(page) < _PAGE:
            return
        after = (page[-1].revision, page[-1].seq)


_VERDICT = (
    "seq",
    "verdict_id",
    "decision_id",
    "revision",
    "answers",
    "severity",
    "who",
    "source",
    "replaces",
)
_DECISION = ("listing_id", "action", "policies", "scores", "bundle", "decided_at_ms")
_CONTENT = tuple(column.name for column in revisions.c if column.name not in ("revision", "listing_id"))


def _query() -> Select[Any]:
    return (
        select(
            *(verdicts.c[name] for name in _VERDICT),
            verdicts.c.created_at_ms.label("at_ms"),
            *(decisions.c[name] for name in _DECISION),
            *(revisions.c[name] for name in _CONTENT),
            audit_draws.c.probability,
            tasks.c.reading,
        )
        .join_from(verdicts, decisions, decisions.c.decision_id == verdicts.c.decision_id)
        .join(revisions, revisions.c.revision == verdicts.c.revision)
        .outerjoin(audit_draws, audit_draws.c.decision_id == verdicts.c.decision_id)
        .outerjoin(tasks, tasks.c.task_id == verdicts.c.task_id)
        .where(
            verdicts.c.source.not_in([one.value for one in MEASURING]),
            not_(is_erased(verdicts.c.revision)),  # nothing is left that a model could learn from
        )
        .order_by(verdicts.c.revision, verdicts.c.seq)
    )


_QUERY = _query()


def _holding(said: list[Row[Any]]) -> KnownLabel | None:
    """The label of one revision, from all that was said of it; None where nothing says yes or no."""
    replaced = {row.replaces for row in said}
    telling = [row for row in said if row.verdict_id not in replaced and _tells(row.answers)]
    if not telling:
        return None
    row = telling[-1]
    return KnownLabel(
        verdict_id=row.verdict_id,
        decision_id=row.decision_id,
        listing_id=row.listing_id,
        revision=row.revision,
        answers={policy: Answer(answer) for policy, answer in row.answers.items()},
        severity=row.severity,
        who=row.who,
        source=Source(row.source),
        at_ms=row.at_ms,
        decided_at_ms=row.decided_at_ms,
        action=Action(row.action),
        policies=tuple(row.policies),
        scores=row.scores,
        bundle=row.bundle,
        probability=row.probability,
        weight=_weight(row, telling),
        content=_content(row),
    )


def _tells(answers: Mapping[str, str]) -> bool:
    return any(answer != Answer.UNKNOWN for answer in answers.values())


def _weight(row: Row[Any], telling: Iterable[Row[Any]]) -> float:
    """1 / probability where the label would not be there without the draw, else 1."""
    anyway = row.action == Action.REVIEW or any(not _since_drawn(one) for one in telling)
    return 1.0 if row.probability is None or anyway else 1 / float(row.probability)


def _since_drawn(one: Row[Any]) -> bool:
    """Whether nobody would have been asked without the draw."""
    return one.source in _OF_THE_AUDIT or (one.source == Source.REVIEW and one.reading == FOUND_BY_SAMPLE)


def _content(row: Row[Any]) -> Revision:
    fields = {name: row._mapping[name] for name in _CONTENT}
    fields |= {name: tuple(fields[name]) for name in ("photos", "unread")}
    return Revision(revision=row.revision, listing_id=row.listing_id, **fields)

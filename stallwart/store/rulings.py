"""Rulings: what a person decided about a listing becomes its decision, with its webhooks, once.

Several are written in one transaction: it takes the locks of their listings, looks at the last decision of
each and writes after it, or says why not. A ruling is about a revision: where the listing was edited since,
there is none. A person's later word outranks an earlier one, whenever each is written; a model's word on the
same revision never does (see `decisions.find`).
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from stallwart.core.decision import PEOPLE, RULINGS, Action, Cause, Decision
from stallwart.core.errors import DataError
from stallwart.store.decisions import add_rulings, last_decisions, lock, read_decisions
from stallwart.store.revisions import storable
from stallwart.store.tables import rulings
from stallwart.store.verdicts import Answer
from stallwart.store.webhooks import webhooks_of

_AMONG = 500


class Outcome(StrEnum):
    """What became of a ruling that was asked for."""

    RULED = "ruled"
    REPEATED = "repeated"
    UNDECIDED = "undecided"
    EDITED = "edited"
    OUTRANKED = "outranked"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Asked:
    """A ruling that is to be written.

    Attributes:
        key: what it comes from, as `bulk b_12 L1`; whatever is asked again under it is written once.
        about: id of the decision that the person looked at.
        cause: one of `decision.RULINGS`.
        who: name of the person.
        said_at_ms: when they said so, milliseconds since 1970.
        kind: of the task that was answered, or `bulk`; what a statement of reasons says of how it came.
        action: what it is to be; None where `answers` say.
        policies: that call for the action; none for allow.
        answers: of a verdict, by policy; where they leave in doubt whether it may be allowed, nothing is.
        policy: that the person was asked about, beside those of the decision.
        verdict_id: the verdict that it comes from.
    """

    key: str
    about: str
    cause: Cause
    who: str
    said_at_ms: int
    kind: str
    action: Action | None = None
    policies: tuple[str, ...] = ()
    answers: Mapping[str, Answer] | None = None
    policy: str | None = None
    verdict_id: str | None = None

    def __post_init__(self) -> None:
        if self.cause not in RULINGS or (self.action is None) == (self.answers is None):
            raise ValueError("a ruling has a person's cause, and either an action or answers")
        if self.action in (Action.ALLOW, Action.REVIEW) and self.policies:
            raise DataError("only a block is for policies; allow and review name none")
        if self.action == Action.BLOCK and not self.policies:
            raise DataError("a block is for at least one policy: name which")


@dataclass(frozen=True, slots=True)
class Ruled:
    """What became of one.

    Attributes:
        outcome: ruled; repeated (the key ruled before); undecided (the answers leave the policies in doubt);
            edited (the listing's last decision is about another revision); outranked (somebody said something
            later, or decided meanwhile for policies that this person was not asked about); missing (no such
            decision).
        decision: the new one, or the earlier one of the same key; None for the others.
    """

    outcome: Outcome
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """Where a person's decision came from.

    Attributes:
        ruling_key: what it came from.
        decision_id: the decision that it made.
        about: the decision that was looked at.
        listing_id: whose.
        revision: digest of the content that it is about.
        who: name of the person; not for callers of the service.
        kind: of the task that was answered, or `bulk`, or `undo`.
        verdict_id: the verdict, or None.
        said_at_ms: milliseconds since 1970.
    """

    ruling_key: str
    decision_id: str
    about: str
    listing_id: str
    revision: str
    who: str
    kind: str
    verdict_id: str | None
    said_at_ms: int


def rule(connection: Connection, asked: Sequence[Asked], now_ms: int) -> list[Ruled]:
    """What became of each, in their order; decisions and deliveries in the caller's transaction.

    The caller has locked no listing before: all are locked here, in one order. Some hundreds at once are
    fine; for more use several transactions, so that the service never waits for long.

    Args:
        connection: in a transaction of `database.writing`.
        asked: any number; several may be about one listing, and a later one sees what an earlier one wrote.
        now_ms: milliseconds since 1970.
    """
    about = read_decisions(connection, {one.about for one in asked})
    work = _Work.begin(connection, {one.listing_id for one in about.values()}, [one.key for one in asked])
    made = [work.take(one, about.get(one.about), now_ms) for one in asked]
    work.write(connection, now_ms)
    return made


def undo(
    connection: Connection, keys: Mapping[str, str], *, who: str, now_ms: int, kind: str = "undo"
) -> list[Ruled]:
    """Give listings back what they had before rulings; as `rule`, one for each ruling, in their order.

    The new decision says what the superseded one said. Where that was a model's, so that its word counts
    again, the cause is `undo`; where it was a person's, the cause is that one's. What is no longer the
    listing's last decision is `edited` or `outranked`.

    Args:
        connection: in a transaction of `database.writing`.
        keys: of rulings -> of what undoes them.
        who: name of the person.
        now_ms: milliseconds since 1970.
        kind: kept with them.
    """
    before = _by_keys(connection, list(keys))
    made = read_decisions(connection, {one.decision_id for one in before.values()})
    work = _Work.begin(connection, {one.listing_id for one in made.values()}, list(keys.values()))
    earlier = read_decisions(connection, {one.supersedes for one in made.values() if one.supersedes})
    found = []
    for key, new_key in keys.items():
        ruling = before.get(key)
        decision = made.get(ruling.decision_id) if ruling else None
        back = earlier.get(decision.supersedes or "") if decision else None
        found.append(work.give_back(new_key, decision, back, who, kind, now_ms))
    work.write(connection, now_ms)
    return found


def read_rulings(connection: Connection, decision_ids: Sequence[str]) -> dict[str, Ruling]:
    """Where those of the decisions that a person made came from, by decision."""
    found: dict[str, Ruling] = {}
    for start in range(0, len(decision_ids), _AMONG):
        rows = connection.execute(_BY_DECISION, {"wanted": list(decision_ids[start : start + _AMONG])})
        found.update((row.decision_id, Ruling(**row._mapping)) for row in rows)
    return found


def said(
    answers: Mapping[str, Answer], decision: Decision, policy: str | None = None
) -> tuple[Action, tuple[str, ...]] | None:
    """The action and policies that a verdict calls for; None where it leaves the listing in doubt.

    A policy that was answered yes blocks. To allow, nothing may be unknown that is known to be open: every
    policy that called for the decision, and the one that was asked about, has to be answered no; where a
    model could say nothing, every policy has to be. Pure.

    Args:
        answers: of the verdict; policies that are not named are unknown.
        decision: what is to be superseded.
        policy: that the person was asked about.
    """
    broken = tuple(name for name, answer in answers.items() if answer == Answer.YES)
    if broken:
        return Action.BLOCK, broken
    if Answer.UNKNOWN in answers.values() or Answer.NO not in answers.values():
        return None
    open_ = {*decision.policies, *([policy] if policy else [])}
    if decision.scores is None and decision.automatic:
        open_.update(decision.thresholds)
    return (Action.ALLOW, ()) if open_ <= set(answers) else None


@dataclass(slots=True)
class _Work:
    """What is known of listings under their locks, and what is added to it."""

    last: dict[str, Decision]  # by listing
    said_at_ms: dict[str, int]  # of those of them that a person made, by decision
    known: dict[str, Ruling]  # by key
    stored: dict[str, Decision]  # what the keys that ruled before made
    new: list[tuple[dict[str, Any], Decision]]

    @classmethod
    def begin(cls, connection: Connection, listings: set[str], keys: Sequence[str]) -> "_Work":
        lock(connection, listings)
        last = last_decisions(connection, listings)
        people = [one.decision_id for one in last.values() if one.cause in PEOPLE]
        said_at = {name: one.said_at_ms for name, one in read_rulings(connection, people).items()}
        known = _by_keys(connection, keys)
        stored = read_decisions(connection, {one.decision_id for one in known.values()})
        return cls(last, said_at, known, stored, [])

    def take(self, one: Asked, about: Decision | None, now_ms: int) -> Ruled:
        if one.key in self.known:
            return Ruled(Outcome.REPEATED, self.stored.get(self.known[one.key].decision_id))
        if about is None:
            return Ruled(Outcome.MISSING)
        before = self.last[about.listing_id]
        if before.revision != about.revision:
            return Ruled(Outcome.EDITED)
        if self.said_at_ms.get(before.decision_id, 0) > one.said_at_ms:
            return Ruled(Outcome.OUTRANKED)
        if one.answers is not None and said(one.answers, about, one.policy) is None:
            return Ruled(Outcome.UNDECIDED)
        called = _called_for(one, about, before)
        if called is None:
            return Ruled(Outcome.OUTRANKED)
        decision = _decision(before, *called, one.cause, _reason(one.cause, called[1]), now_ms)
        return self._add(one.key, decision, one.about, one.who, one.kind, one.verdict_id, one.said_at_ms)

    def give_back(
        self, key: str, ruled: Decision | None, back: Decision | None, who: str, kind: str, now_ms: int
    ) -> Ruled:
        if key in self.known:
            return Ruled(Outcome.REPEATED, self.stored.get(self.known[key].decision_id))
        if ruled is None or back is None:
            return Ruled(Outcome.MISSING)
        before = self.last[ruled.listing_id]
        if before.decision_id != ruled.decision_id:
            return Ruled(Outcome.EDITED if before.revision != ruled.revision else Outcome.OUTRANKED)
        cause = back.cause if back.cause in RULINGS else Cause.UNDO
        reason = f"what a person had decided was taken back; before that: {back.reason}"
        decision = _decision(before, back.action, back.policies, cause, reason, now_ms)
        return self._add(key, decision, ruled.decision_id, who, kind, None, now_ms)

    def _add(
        self, key: str, decision: Decision, about: str, who: str, kind: str, verdict: str | None, at_ms: int
    ) -> Ruled:
        row: dict[str, Any] = {
            "ruling_key": key,
            "decision_id": decision.decision_id,
            "about": about,
            "listing_id": decision.listing_id,
            "revision": decision.revision,
            "who": storable(who),
            "kind": kind,
            "verdict_id": verdict,
            "said_at_ms": at_ms,
        }
        self.new.append((row, decision))
        self.last[decision.listing_id] = decision
        self.said_at_ms[decision.decision_id] = at_ms
        self.known[key] = Ruling(**row)
        self.stored[decision.decision_id] = decision
        return Ruled(Outcome.RULED, decision)

    def write(self, connection: Connection, now_ms: int) -> None:
        if not self.new:
            return
        add_rulings(connection, [one for _, one in self.new], webhooks_of(connection), now_ms)
        connection.execute(insert(rulings), [row for row, _ in self.new])


def _called_for(one: Asked, about: Decision, before: Decision) -> tuple[Action, tuple[str, ...]] | None:
    """What is to be decided; what others decided meanwhile, unseen by this person, is not swept away."""
    if one.action is not None:
        return one.action, one.policies
    answers = one.answers or {}
    # Whoever looked at another decision of this revision has not answered for what is open in the last one
    called = said(answers, before, one.policy)
    if called is None or before.decision_id == about.decision_id or called[0] != Action.BLOCK:
        return called
    kept = before.policies if before.action == Action.BLOCK else ()
    unseen = [name for name in kept if name not in called[1] and answers.get(name) != Answer.NO]
    return Action.BLOCK, (*called[1], *unseen)


def _decision(
    before: Decision, action: Action, policies: tuple[str, ...], cause: Cause, reason: str, now_ms: int
) -> Decision:
    """A person's decision; what the model said of the revision stays beside it, without what quotes words."""
    return before.model_copy(
        update={
            "decision_id": f"d_{now_ms:012x}{secrets.token_hex(10)}",
            "action": action,
            "policies": policies,
            "reason": reason,
            "evidence": None,
            "cause": cause,
            "automatic": False,
            "supersedes": before.decision_id,
            "decided_at_ms": now_ms,
        }
    )


def _reason(cause: Cause, policies: Sequence[str]) -> str:
    """In plain words, without the listing's content and without a name."""
    if cause == Cause.BULK:
        return "a person decided about several listings at once" + (
            f": {', '.join(policies)}" if policies else ""
        )
    who = "on appeal another person" if cause == Cause.APPEAL else "a person"
    return f"{who} found that it breaks {', '.join(policies) or 'no policy'}"


def _by_keys(connection: Connection, keys: Sequence[str]) -> dict[str, Ruling]:
    found: dict[str, Ruling] = {}
    for start in range(0, len(keys), _AMONG):
        rows = connection.execute(_BY_KEY, {"wanted": list(keys[start : start + _AMONG])})
        found.update((row.ruling_key, Ruling(**row._mapping)) for row in rows)
    return found


_BY_KEY = select(rulings).where(rulings.c.ruling_key.in_(bindparam("wanted", expanding=True)))
_BY_DECISION = select(rulings).where(rulings.c.decision_id.in_(bindparam("wanted", expanding=True)))

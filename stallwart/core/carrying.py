"""What a label still proves after the rulebook moved: carried from move to move, and never guessed.

Labels of policies that are no more keep coming: a policy that was split or merged goes on until a bundle
knows what took its place, and an id is never used again. So those moves hold for labels of any time. A policy
that was narrowed has the same id as before: there the time says which text a label was given under.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from stallwart.core.rulebook import Move, Rulebook, Step
from stallwart.core.taxonomy import NEUTRAL, Taxonomy

T = TypeVar("T")


@dataclass(frozen=True)
class Moves:
    """Moves that labels are carried over, the oldest first.

    Attributes:
        made: each with when it was made, in milliseconds since 1970.
    """

    made: tuple[tuple[Step, int], ...] = ()

    @property
    def gone(self) -> frozenset[str]:
        """Ids that a label may name although no training knows them any more."""
        return frozenset(name for step, _ in self.made for name in step.old)

    def label(self, label: str, at_ms: int | None) -> str | None:
        """What a label that names one policy has become; None where only a person could say.

        Args:
            label: `neutral` or the id of a policy.
            at_ms: when it was given, in milliseconds since 1970; None is before every move.
        """
        now: str | None = label
        for step in self._over(at_ms):
            now = None if now is None else carried(now, step)
        return now

    def answers(self, answers: Mapping[str, T], at_ms: int, yes: T, no: T) -> dict[str, T]:
        """What a verdict's answers have become; a policy of which nothing is known is not among them.

        Args:
            answers: by policy.
            at_ms: when they were given, in milliseconds since 1970.
            yes, no: what says that a policy is or is not broken; any other answer is unknown.
        """
        now = dict(answers)
        for step in self._over(at_ms):
            now = carried_answers(now, step, yes, no)
        return now

    def added_after(self, at_ms: int) -> frozenset[str]:
        """Policies that nobody could have been asked about at a time, in milliseconds since 1970."""
        later = (step for step, made_ms in self.made if step.move is Move.ADD and made_ms > at_ms)
        return frozenset(name for step in later for name in step.new)

    def _over(self, at_ms: int | None) -> Iterable[Step]:
        for step, made_ms in self.made:
            if step.move is not Move.NARROW or at_ms is None or at_ms < made_ms:
                yield step


def moves(history: Iterable[tuple[Rulebook, int]], taxonomy: Taxonomy | None = None) -> Moves:
    """The moves of a rulebook that a training's policies have followed.

    One that still names a policy that was split, merged or retired, or has the text of one from before it
    was narrowed, is a training under the rulebook of that day.

    Args:
        history: versions with when each was made, the oldest first.
        taxonomy: what the training knows; None follows every move.
    """
    made, before = [], None
    for book, at_ms in history:
        if taxonomy is None or before is None or _follows(taxonomy, before, book.step):
            made.append((book.step, at_ms))
        before = book
    return Moves(tuple(made))


def _follows(taxonomy: Taxonomy, before: Rulebook, step: Step) -> bool:
    if step.move is Move.NARROW:
        (name,) = step.old
        return not any(
            one.id == name and one.covers == before[name].policy.covers for one in taxonomy.policies
        )
    return not set(step.old).intersection(taxonomy.ids)


def carried(label: str, step: Step) -> str | None:
    """What a label that names one policy becomes by a move; None where only a person could say.

    - add: a neutral label says nothing of the new policy, yet stays: whoever adds a policy gives examples.
    - split: a label of the old policy may belong to either part.
    - merge: a label of any of the merged ones is one of the whole.
    - retire: what broke the policy is allowed now.
    - narrow: a label of the policy may lie outside of what it covers now.
    """
    if label not in step.old:
        return label
    if step.move is Move.MERGE:
        return step.new[0]
    return NEUTRAL if step.move is Move.RETIRE else None


def carried_answers(answers: Mapping[str, T], step: Step, yes: T, no: T) -> dict[str, T]:
    """What a verdict's answers become by a move; a policy of which nothing is known is not among them.

    What was said of the new policies themselves holds against what follows from the old ones.

    Args:
        answers: by policy.
        step: the move.
        yes, no: what says that a policy is or is not broken; any other answer is unknown.
    """
    kept = {policy: answer for policy, answer in answers.items() if policy not in step.old}
    said = [answers.get(policy) for policy in step.old]
    follows = {}
    if step.move is Move.MERGE and yes in said:
        follows = {step.new[0]: yes}
    # What does not break the whole breaks none of its parts, and nothing narrower
    elif step.move in (Move.MERGE, Move.SPLIT, Move.NARROW) and all(one == no for one in said):
        follows = dict.fromkeys(step.new, no)
    told = {policy: answer for policy, answer in kept.items() if answer in (yes, no)}
    return {**kept, **follows, **told}

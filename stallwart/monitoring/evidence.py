"""Which verdicts speak for or against a right, in the order in which their decisions were drawn.

Of what one seller has on one day the first counts: copies err together. For a policy that acts these are its
blocks, and one that nobody has judged yet is passed over. For one that earns these are its would-be blocks up
to the first that waits for its verdict, since what is read first is no fair draw; one that waited too long,
or that nobody could judge, counts as wrong.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from stallwart.core.decision import Action
from stallwart.store.drawn import Drawn, DrawnDecisions
from stallwart.store.rights import Right

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS


@dataclass
class Seen:
    """Verdicts in the order of their draws.

    Attributes:
        at_ms: when each was drawn.
        right: whether each was right.
        weights: in (0, 1].
        scores: of the policy.
        waiting: draws that nobody has judged yet.
        unknown: verdicts that say neither yes nor no.
    """

    at_ms: list[int] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    waiting: int = 0
    unknown: int = 0

    def add(self, one: Drawn, right: bool, weight: float, score: float) -> None:
        """One more verdict."""
        self.at_ms.append(one.drawn_at_ms)
        self.right.append(right)
        self.weights.append(weight)
        self.scores.append(score)


def called(right: Right, drawn: DrawnDecisions) -> Seen:
    """Verdicts on the drawn blocks of a policy since it has its right."""
    # A bundle that decided before its rights were written down had them all the time
    since = right.since_ms if right.version > 1 else 0
    blocks = (
        one
        for one in drawn.draws
        if one.drawn_at_ms >= since and one.action is Action.BLOCK and right.policy in one.policies
    )
    seen = Seen()
    for one, weight in _first_of_each_day(blocks):
        answer = drawn.answer(one.decision_id, right.policy)
        seen.waiting += answer is None
        seen.unknown += answer == "unknown"
        if answer in ("yes", "no"):
            seen.add(one, answer == "yes", weight, one.scores.get(right.policy, 0.0))
    return seen


def would_be(right: Right, drawn: DrawnDecisions, now_ms: int, patience_ms: int) -> Seen:
    """Verdicts on drawn would-be blocks of a policy since its attempt began, up to the first that waits."""
    laxest = min(right.tried)
    wanted = (
        one
        for one in drawn.draws
        if one.drawn_at_ms >= right.since_ms and one.scores.get(right.policy, -1.0) >= laxest
    )
    seen, ended = Seen(), False
    for one, weight in _first_of_each_day(wanted):
        answer = drawn.answer(one.decision_id, right.policy)
        seen.waiting += answer is None
        ended = ended or (answer is None and one.drawn_at_ms > now_ms - patience_ms)
        if not ended:
            seen.unknown += answer != "yes" and answer != "no"
            seen.add(one, answer == "yes", weight, one.scores[right.policy])
    return seen


def _first_of_each_day(draws: Iterator[Drawn]) -> Iterator[tuple[Drawn, float]]:
    """The first draw of each seller on each day, with its weight.

    A weight is the smallest probability among the policy's draws of the week before, over its own: what is
    drawn more often counts less, and the bet stays bounded.
    """
    taken: set[tuple[str, int]] = set()
    week: deque[tuple[int, float]] = deque()  # times, and probabilities that grow from left to right
    for one in draws:
        while week and week[0][0] <= one.drawn_at_ms - _WEEK_MS:
            week.popleft()
        while week and week[-1][1] >= one.probability:
            week.pop()
        week.append((one.drawn_at_ms, one.probability))
        key = (one.seller, one.drawn_at_ms // _DAY_MS)
        if key in taken:
            continue
        taken.add(key)
        yield one, week[0][1] / one.probability

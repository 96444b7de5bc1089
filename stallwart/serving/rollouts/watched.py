"""What a rollout has gathered, folded from the tables as they grow; anew after a restart."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import Engine as Database

from stallwart.core.rollout import Arm
from stallwart.rollout.compare import Judged
from stallwart.rollout.plan import Plan
from stallwart.rollout.tally import Tally
from stallwart.store.audited import Audited, follow_audited
from stallwart.store.counterparts import follow_pairs
from stallwart.store.database import reading, store_errors
from stallwart.store.exposures import Overturns, follow_exposures

T = TypeVar("T")
_PAGE = 1_000  # fewer than a follower gives where there is more


class Watched:
    """The counts and verdicts of one rollout.

    Args:
        rollout_id: which.
        plan: of it.
        now_ms: milliseconds since 1970, UTC.
        aside: policies whose blocks and reviews do not count: their right was moved while it ran.
    """

    def __init__(
        self, rollout_id: str, plan: Plan, now_ms: Callable[[], int], aside: frozenset[str] = frozenset()
    ):
        self.rollout_id, self.aside, self.tally = rollout_id, aside, Tally(plan, aside)
        self._exposures, self._pairs = follow_exposures(rollout_id, now_ms), follow_pairs(rollout_id, now_ms)
        self._overturns, self._audited = Overturns(rollout_id, now_ms), follow_audited(rollout_id, now_ms)
        self._judged: dict[str, tuple[int, Judged]] = {}

    @property
    def judged(self) -> Iterable[Judged]:
        """Audited listings with their last verdict."""
        return (one for _, one in self._judged.values())

    def read(self, database: Database) -> None:
        """Fold what is new.

        Raises:
            StoreError: the database cannot be read; nothing is counted twice.
        """
        with store_errors("what a rollout counts cannot be read"):
            _drain(database, self._exposures.poll, self.tally.add_exposures)
            _drain(database, self._pairs.poll, self.tally.add_pairs)
            _drain(database, self._audited.poll, self._judge)
            _drain(
                database,
                self._overturns.poll,
                lambda rows: self.tally.add_overturned(one.exposure for one in rows),
            )

    def _judge(self, rows: Iterable[Audited]) -> None:
        for row in rows:
            before = self._judged.get(row.decision_id)
            if before is None or before[0] < row.seq:  # a later verdict takes the place of an earlier one
                self._judged[row.decision_id] = (row.seq, _judged(row))


def _drain(
    database: Database, poll: Callable[[Connection], Iterable[T]], fold: Callable[[list[T]], None]
) -> None:
    while True:
        found = _read(database, poll)
        fold(found)
        if len(found) < _PAGE:  # traffic goes on meanwhile: until there is nothing more would be for ever
            return


def _read(database: Database, poll: Callable[[Connection], Iterable[T]]) -> list[T]:
    with reading(database) as connection:
        return list(poll(connection))


def _judged(row: Audited) -> Judged:
    decided, other = (row.decided_action, row.decided_policies), (row.action, row.policies)
    champion, challenger = (decided, other) if row.arm is Arm.CHAMPION else (other, decided)
    answers = {policy: answer.value for policy, answer in row.answers.items()}
    return Judged(row.step, row.unit, row.arm, *champion, *challenger, answers)

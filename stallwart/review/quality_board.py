"""How far people agree and how often they are right, worked out behind the pages."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from stallwart.estimate.agreement import Accuracy, Agreement, Drift, accuracy, agreement, cross, drifts
from stallwart.store.audit_counts import DAY_MS
from stallwart.store.database import reading, store_errors
from stallwart.store.followed import disagree
from stallwart.store.gold import GoldReading, gold_readings
from stallwart.store.quality import Twice, read_twice
from stallwart.store.verdicts import Answer

DAYS, LATELY_DAYS = 180, 28
_PAGE = 1_000


@dataclass(frozen=True)
class Told:
    """Label quality as it was at a moment.

    Attributes:
        at_ms: that moment, milliseconds since 1970.
        policies: agreement on each policy, of the last `DAYS` days.
        pairs: agreement of two people on whether anything is broken; their names in order.
        people: how often each gave gold's answer, of the last `DAYS` days.
        drifts: each person's gold of the last `LATELY_DAYS` days against that of before.
        open: pairs that differ and that no third has settled, the newest first.
    """

    at_ms: int
    policies: Sequence[tuple[str, Agreement]]
    pairs: Sequence[tuple[tuple[str, str], Agreement]]
    people: Sequence[tuple[str, Accuracy]]
    drifts: Sequence[Drift]
    open: Sequence[Twice]


class QualityBoard:
    """What was worked out last.

    Args:
        database: the site's.
        now_ms: milliseconds since 1970.
    """

    def __init__(self, database: Engine, now_ms: Callable[[], int]):
        self._database, self._now_ms = database, now_ms
        self.latest: Told | None = None

    def step(self) -> None:
        """Work it out again.

        Raises:
            StoreError: the database fails; what was before stays.
        """
        now = self._now_ms()
        since = now - DAYS * DAY_MS
        with store_errors("label quality cannot be worked out"), reading(self._database) as connection:
            twice = read_twice(connection, since)
            gold: list[GoldReading] = []
            after = 0
            while page := gold_readings(connection, after, _PAGE):
                gold += [one for one in page if one.at_ms >= since]
                after = page[-1].seq
        self.latest = Told(
            at_ms=now,
            policies=_by_policy(twice),
            pairs=_by_pair(twice),
            people=_people(gold),
            drifts=_drifts(gold, now - LATELY_DAYS * DAY_MS),
            open=sorted(
                (one for one in twice if one.differs and not one.settled), key=lambda one: -one.at_ms
            ),
        )


def _by_policy(twice: Iterable[Twice]) -> list[tuple[str, Agreement]]:
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for one in twice:
        for policy in set(one.first) & set(one.second):
            said = (one.first[policy], one.second[policy])
            if Answer.UNKNOWN not in said:
                found[policy].append((said[0] == Answer.YES, said[1] == Answer.YES))
    return [(policy, agreement(*cross(pairs))) for policy, pairs in sorted(found.items())]


def _by_pair(twice: Iterable[Twice]) -> list[tuple[tuple[str, str], Agreement]]:
    found: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    for one in twice:
        first, second = Answer.YES in one.first.values(), Answer.YES in one.second.values()
        if one.first_who <= one.second_who:
            found[one.first_who, one.second_who].append((first, second))
        else:
            found[one.second_who, one.first_who].append((second, first))
    return [(names, agreement(*cross(pairs))) for names, pairs in sorted(found.items())]


def _is_open(one: Twice) -> bool:
    return one.differs and not one.settled


def _is_right(one: GoldReading) -> bool:
    return not disagree(one.given, one.known)


def _people(gold: Iterable[GoldReading]) -> list[tuple[str, Accuracy]]:
    found: dict[str, list[bool]] = defaultdict(list)
    for one in gold:
        found[one.who].append(_is_right(one))
    return [(who, accuracy(sum(right), len(right))) for who, right in sorted(found.items())]


def _drifts(gold: Iterable[GoldReading], lately_ms: int) -> list[Drift]:
    counts: dict[str, tuple[list[bool], list[bool]]] = defaultdict(lambda: ([], []))
    for one in gold:
        counts[one.who][one.at_ms >= lately_ms].append(_is_right(one))
    return drifts(
        {
            who: ((sum(before), len(before)), (sum(lately), len(lately)))
            for who, (before, lately) in counts.items()
            if before and lately
        }
    )

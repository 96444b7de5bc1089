"""Online figures out of the sums by the hour: shares and precision with intervals, by policy and bundle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from stallwart.estimate.bounds import Interval, rate_interval
from stallwart.store.hourly import HOUR_MS, Cell, read
from stallwart.store.tables import tasks, vitals
from stallwart.store.tasks import IS_OPEN

Sums = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with what is behind it.

    Attributes:
        value: hits over of; None where there is nothing.
        interval: exact (Clopper-Pearson), 95 %; None where there is nothing.
        hits: how many.
        of: out of how many.
    """

    value: float | None
    interval: Interval | None
    hits: int
    of: int


def rate(hits: float, of: float) -> Rate:
    """A share with its interval."""
    h, n = round(hits), round(of)
    return Rate(h / n, rate_interval(h, n, 0.95), h, n) if n > 0 else Rate(None, None, h, 0)


@dataclass(frozen=True)
class Standing:
    """Figures of one policy, one bundle and arm, or all.

    Attributes:
        name: of the policy, or of the bundle and arm; empty for all.
        sums: amounts by figure.
    """

    name: str
    sums: Sums

    @property
    def decided(self) -> int:
        """Decisions, of whatever action."""
        return round(sum(self.sums.get(action, 0) for action in ("allow", "review", "block")))

    @property
    def blocked(self) -> Rate:
        """Share of decisions that block."""
        return rate(self.sums.get("block", 0), self.decided)

    @property
    def reviewed(self) -> Rate:
        """Share of decisions that ask a person."""
        return rate(self.sums.get("review", 0), self.decided)

    @property
    def precision(self) -> Rate:
        """Share of right ones among the blocks that were drawn for the audit and judged."""
        right, wrong = self.sums.get("right", 0), self.sums.get("wrong", 0)
        return rate(right, right + wrong)

    def count(self, figure: str) -> int:
        """The amount of a figure."""
        return round(self.sums.get(figure, 0))


@dataclass(frozen=True)
class Online:
    """All figures of a span of time.

    Attributes:
        moments: milliseconds since 1970 of each period's begin.
        periods: all together, for each period.
        total: all together.
        policies: by policy, those with the most blocks and reviews first.
        bundles: by bundle and arm.
    """

    moments: list[int]
    periods: list[Standing]
    total: Standing
    policies: list[Standing]
    bundles: list[Standing]


def online(connection: Connection, now_ms: int, hours: int, by_hours: int, policy: str = "") -> Online:
    """Figures of the last hours.

    Args:
        connection: in any transaction.
        now_ms: milliseconds since 1970.
        hours: how many, a multiple of `by_hours`; the hour that runs is among them.
        by_hours: length of a period.
        policy: whose periods; empty for all.
    """
    ends = (now_ms // HOUR_MS // by_hours + 1) * by_hours
    starts = list(range(ends - hours, ends, by_hours))
    cells = read(connection, starts[0], ends, by_hours)
    periods = [
        Standing("", _of(cells, lambda cell, hour=hour: cell.hour == hour and cell.policy == policy))
        for hour in starts
    ]
    names = sorted({cell.policy for cell in cells} - {""})
    policies = [Standing(name, _of(cells, lambda cell, name=name: cell.policy == name)) for name in names]
    busiest = sorted(policies, key=lambda one: (-one.count("block") - one.count("review"), one.name))
    pairs = sorted({(cell.bundle, cell.arm) for cell in cells})
    bundles = [
        Standing(
            f"{bundle[:12]}, {arm}",
            _of(cells, lambda cell, b=bundle, a=arm: not cell.policy and (cell.bundle, cell.arm) == (b, a)),
        )
        for bundle, arm in pairs
    ]
    total = Standing("", _of(cells, lambda cell: not cell.policy))
    return Online([hour * HOUR_MS for hour in starts], periods, total, busiest, bundles)


def _of(cells: Mapping[Cell, float], wanted: object) -> Counter[str]:
    sums: Counter[str] = Counter()
    for cell, amount in cells.items():
        if wanted(cell):  # type: ignore[operator]  # a lambda with its loop's values bound
            sums[cell.figure] += amount  # type: ignore[assignment]  # they are floats
    return sums


@dataclass(frozen=True, slots=True)
class Vital:
    """How all serving processes were in one period.

    Attributes:
        answered: requests for decisions.
        p50_ms: the median of the processes' medians; None without requests.
        p99_ms: the worst of their p99.
        queue_age_s: the oldest wait.
        cores: processor seconds per second.
        resident_bytes: memory of all processes at their latest.
    """

    answered: int
    p50_ms: float | None
    p99_ms: float | None
    queue_age_s: float
    cores: float
    resident_bytes: float


def read_vitals(connection: Connection, moments: Sequence[int], period_ms: int) -> list[Vital | None]:
    """How serving was in each period; None where no process said anything."""
    if not moments:
        return []
    place = ((vitals.c.at_ms - moments[0]) // period_ms).label("place")
    columns = (
        vitals.c.process,
        func.sum(vitals.c.answered),
        func.avg(vitals.c.p50_ms),
        func.max(vitals.c.p99_ms),
        func.max(vitals.c.queue_age_s),
        func.sum(vitals.c.cpu_s),
        func.max(vitals.c.resident_bytes),
    )
    query = (
        select(place, *columns)
        .where(vitals.c.at_ms >= moments[0], vitals.c.at_ms < moments[-1] + period_ms)
        .group_by(place, vitals.c.process)
    )
    found: dict[int, list[tuple[float, ...]]] = {}
    for row in connection.execute(query):
        found.setdefault(int(row[0]), []).append(tuple(row[2:]))
    return [_vital(found.get(number), period_ms) for number in range(len(moments))]


def _vital(rows: list[tuple[float, ...]] | None, period_ms: int) -> Vital | None:
    if not rows:
        return None
    medians = sorted(row[1] for row in rows if row[1] is not None)
    tails = [row[2] for row in rows if row[2] is not None]
    return Vital(
        answered=round(sum(row[0] for row in rows)),
        p50_ms=medians[len(medians) // 2] if medians else None,
        p99_ms=max(tails, default=None),
        queue_age_s=max(row[3] for row in rows),
        cores=sum(row[4] for row in rows) / (period_ms / 1_000),
        resident_bytes=float(sum(row[5] for row in rows)),
    )


def oldest_task_ms(connection: Connection, now_ms: int) -> int | None:
    """How long the open task that waits longest has waited; None where none is open."""
    asked = connection.execute(select(func.min(tasks.c.asked_at_ms)).where(IS_OPEN)).scalar()
    return None if asked is None else max(0, now_ms - int(asked))

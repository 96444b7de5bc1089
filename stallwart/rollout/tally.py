"""What was counted so far in a rollout, folded from its rows; in any order it comes to the same.

Where units are listings, only a unit's first exposure with two arms counts, and its first pair in shadow: a
listing that comes back is judged as before, and one that moved to the challenger since is judged anew, so
that later exposures would count against the challenger alone. Where units are sellers, who come back with
other listings, a seller counts once for each kind of event, at the first that has it: under equal arms, who
has an event when says nothing about where the hash put them.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.rollout.plan import Plan

if TYPE_CHECKING:  # rows as the store reads them; counting them needs no database
    from stallwart.store.counterparts import Pair
    from stallwart.store.exposures import Exposure

T = TypeVar("T")
Ints = NDArray[np.int64]
Rows = NDArray[Any]  # of one of the kinds below

# Upper edges of buckets in microseconds: 10 µs to 1,000 s, each 5 % above the last
EDGES_US: NDArray[np.float64] = np.append(np.geomspace(10, 1e9, 379), np.inf)
BASELINE = 300  # the champion's first exposures say what is slow or dear for those that come after them
_CODES = {Action.ALLOW: 0, Action.REVIEW: 1, Action.BLOCK: 2}
_EXPOSED = np.dtype(
    [
        ("seq", "i8"),
        ("unit", "i8"),
        ("step", "i2"),
        ("challenger", "?"),
        ("action", "i1"),
        ("failed", "?"),
        ("latency", "i2"),
        ("cpu", "i2"),
    ]
)
_NAMED = np.dtype([("seq", "i8"), ("unit", "i8"), ("step", "i2"), ("challenger", "?"), ("event", "i4")])
_PAIRED = np.dtype([("seq", "i8"), ("unit", "i8"), ("event", "i4"), ("kind", "i1")])
BOTH, CHALLENGER_ONLY, CHAMPION_ONLY = 0, 1, 2
_ANY, _NONE = -1, -2  # an entry for every pair, whatever it has; an event that never was


class Tally:
    """Counts of one rollout by step, arm and event.

    Events are `error`, `block`, `review`, `block:POLICY`, `review:POLICY`, `slow`, `cpu` and `overturned`.

    Args:
        plan: of the rollout; its steps say what is shadow.
    """

    def __init__(self, plan: Plan, aside: frozenset[str] = frozenset()):
        self.plan, self._aside = plan, aside
        self._by_seller = plan.unit == "seller"
        self.shares = np.array([step.share for step in plan.steps])
        self._exposed = _Rows(_EXPOSED)
        self._named = _Rows(_NAMED)
        self._overturned = _Rows(_NAMED)
        self._paired = _Rows(_PAIRED)
        self._pairs = np.zeros(len(plan.steps), dtype=np.int64)
        self._codes: dict[str, int] = {}
        self._cache: dict[str, Any] = {}

    def add_exposures(self, rows: "Iterable[Exposure]") -> None:
        """Count exposures, each row once."""
        exposed, named = [], []
        for row in rows:
            unit, challenger = _unit(row.unit), row.arm is Arm.CHALLENGER
            action, policies = self._counted(row.action, row.policies)
            exposed.append(
                (
                    row.seq,
                    unit,
                    row.step,
                    challenger,
                    _CODES[action],
                    row.failed,
                    row.latency_us,
                    row.cpu_us,
                )
            )
            if action is not Action.ALLOW:
                for policy in policies:
                    event = self._code(f"{action.value}:{policy}")
                    named.append((row.seq, unit, row.step, challenger, event))
        if not exposed:
            return
        columns = [np.array(column) for column in zip(*exposed, strict=True)]
        added = np.empty(len(exposed), dtype=_EXPOSED)
        for name, column in zip(_EXPOSED.names or (), columns, strict=True):
            added[name] = buckets(column) if name in ("latency", "cpu") else column
        self._exposed.add(added)
        self._named.add(np.array(named, dtype=_NAMED))
        self._cache.clear()

    def add_pairs(self, rows: "Iterable[Pair]") -> None:
        """Count what both models say of a listing, each row once.

        Only exposures in shadow count: later a counterpart is scored for audited decisions only, and those
        are drawn by what was decided.
        """
        paired = []
        for row in rows:
            if row.unit is None or self.shares[row.step] > 0:
                continue
            self._pairs[row.step] += 1
            paired.append((row.seq, _unit(row.unit), _ANY, BOTH))
            champion = _events(*self._counted(row.decided_action, row.decided_policies), row.decided_failed)
            challenger = _events(*self._counted(row.action, row.policies), row.failed)
            for event in champion | challenger:
                kind = BOTH if event in champion & challenger else CHALLENGER_ONLY
                kind = CHAMPION_ONLY if event not in challenger else kind
                paired.append((row.seq, _unit(row.unit), self._code(event), kind))
        self._paired.add(np.array(paired, dtype=_PAIRED))
        self._cache.clear()

    def add_overturned(self, rows: "Iterable[Exposure]") -> None:
        """Count exposures whose block was overturned on appeal."""
        code = self._code("overturned")
        added = [(one.seq, _unit(one.unit), one.step, one.arm is Arm.CHALLENGER, code) for one in rows]
        self._overturned.add(np.array(added, dtype=_NAMED))
        self._cache.clear()

    def exposures(self) -> Ints:
        """(steps, 2) exposures of champion and challenger by step; in shadow all are the champion's."""
        return self._cached("exposures", lambda: self._count(self._exposed.all))

    def units(self) -> Ints:
        """(steps, 2) units, each at its first exposure in a step that has both arms."""
        return self._cached("units", lambda: self._count(self._first_live()))

    def pairs(self) -> Ints:
        """(steps,) listings that both models scored in shadow."""
        return self._pairs.copy()

    def events(self, event: str) -> Ints:
        """(steps, 2) units of champion and challenger with an event; 0 in shadow."""
        return self._cached(event, lambda: self._count(_first(self._with(event))))

    def paired(self, event: str) -> Ints:
        """(3,) units in shadow of which both, only the challenger, only the champion have an event."""
        return self._cached(f"paired {event}", lambda: self._count_pairs(event))

    def policies(self, action: str) -> list[str]:
        """Policies that called for an action so far, by name."""
        return sorted(name.split(":", 1)[1] for name in self._codes if name.startswith(f"{action}:"))

    def limit_us(self, what: str) -> float | None:
        """From which `latency` is slow or `cpu` is dear: the champion's p99 or p90 over its first exposures.

        It is fixed before what is counted by it, so that the count stays a fair bet. None while the champion
        has too few exposures.
        """
        if what == "latency" and self.plan.guards.slow_ms is not None:
            return self.plan.guards.slow_ms * 1_000
        bucket, _ = self._baseline(what)
        return float(EDGES_US[bucket]) if bucket < len(EDGES_US) else None

    def histogram(self, what: str) -> Ints:
        """(2, len(EDGES_US)) exposures of champion and challenger by bucket of `latency` or `cpu`."""
        return self._cached(f"histogram {what}", lambda: self._histogram(what))

    def costs(self) -> tuple[Ints, NDArray[np.float64]]:
        """(steps, 2, b) units at their first exposure by arm and cost, and (b,) what each of the costs is."""
        return self._cached("costs", self._costs)

    def _counted(self, action: Action, policies: tuple[str, ...]) -> tuple[Action, tuple[str, ...]]:
        """Action and policies without those set aside; as if allowed where nothing else called for it."""
        left = tuple(one for one in policies if one not in self._aside)
        return (Action.ALLOW if policies and not left else action), left

    def _with(self, event: str) -> Rows:
        live = self._counting()
        if event in ("slow", "cpu"):
            return self._beyond(live, "latency" if event == "slow" else "cpu")
        if event == "error":
            return np.asarray(live[live["failed"]])
        if event in ("block", "review"):
            return np.asarray(live[live["action"] == _CODES[Action(event)]])
        rows = self._overturned.all if event == "overturned" else self._named.all
        rows = self._compared(rows[rows["event"] == self._codes.get(event, _NONE)])
        return rows if self._by_seller else np.asarray(rows[np.isin(rows["seq"], live["seq"])])

    def _beyond(self, live: Rows, what: str) -> Rows:
        if what == "latency" and self.plan.guards.slow_ms is not None:
            bucket, last = int(buckets(np.array([self.plan.guards.slow_ms * 1_000]))[0]), -1
        else:
            bucket, last = self._baseline(what)
        return np.asarray(live[(live[what] > bucket) & (live["seq"] > last)])

    def _baseline(self, what: str) -> tuple[int, int]:
        """The bucket of the champion's quantile over its first exposures, and the last one's `seq`."""
        rows = self._cached("baseline", self._first_of_champion)
        if len(rows) < BASELINE:  # a limit that still moves would count one arm only
            return len(EDGES_US), 0
        quantile = 0.99 if what == "latency" else 0.9
        return int(np.quantile(rows[what], quantile, method="higher")), int(rows["seq"].max())

    def _first_of_champion(self) -> Rows:
        rows = self._exposed.all[~self._exposed.all["challenger"]]
        if len(rows) <= BASELINE:
            return np.asarray(rows)
        return np.asarray(rows[np.argpartition(rows["seq"], BASELINE)[:BASELINE]])

    def _histogram(self, what: str) -> Ints:
        rows = self._exposed.all
        codes = rows["challenger"] * len(EDGES_US) + rows[what]
        return np.bincount(codes, minlength=2 * len(EDGES_US)).reshape(2, -1)

    def _costs(self) -> tuple[Ints, NDArray[np.float64]]:
        first, prices = self._first_live(), self.plan.cost
        codes = (first["step"] * 2 + first["challenger"]) * 2 + (first["action"] == _CODES[Action.REVIEW])
        counts = np.bincount(
            codes.astype(np.int64) * len(EDGES_US) + first["cpu"],
            minlength=len(self.shares) * 4 * len(EDGES_US),
        ).reshape(len(self.shares), 2, -1)
        cpu = np.minimum(EDGES_US, _MOST_CPU_US) / 3.6e9 * prices.cpu_hour
        return counts, np.concatenate([cpu, cpu + prices.review])

    def _counting(self) -> Rows:
        """Exposures with two arms whose events count."""
        return self._live() if self._by_seller else self._first_live()

    def _first_live(self) -> Rows:
        return self._cached("first", lambda: _first(self._live()))

    def _live(self) -> Rows:
        return self._cached("live", lambda: self._compared(self._exposed.all))

    def _compared(self, rows: Rows) -> Rows:
        return np.asarray(rows[self.shares[rows["step"]] > 0])

    def _count(self, rows: Rows) -> Ints:
        codes = rows["step"].astype(np.int64) * 2 + rows["challenger"]
        return np.bincount(codes, minlength=2 * len(self.shares)).reshape(-1, 2)

    def _count_pairs(self, event: str) -> Ints:
        rows = self._paired.all
        having = rows[rows["event"] == self._codes.get(event, _NONE)]
        if not self._by_seller:
            first = self._cached("first pairs", lambda: _first(rows[rows["event"] == _ANY])["seq"])
            having = having[np.isin(having["seq"], first)]
        rows = _first(having)
        return np.bincount(rows["kind"], minlength=3)

    def _code(self, event: str) -> int:
        return self._codes.setdefault(event, len(self._codes))

    def _cached(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._cache:
            self._cache[key] = make()
        result: T = self._cache[key]
        return result


_MOST_CPU_US = 10e6  # CPU of one listing beyond ten seconds costs no more: a bet needs a bound


def buckets(values_us: NDArray[Any]) -> Ints:
    """(n,) int64: the first of `EDGES_US` that is at least the value."""
    return np.searchsorted(EDGES_US, values_us).astype(np.int64)


def _unit(unit: str) -> int:
    return int(unit, 16)


def _events(action: Action, policies: tuple[str, ...], failed: bool) -> set[str]:
    events = {"error"} if failed else set()
    if action is Action.ALLOW:
        return events
    return events | {action.value} | {f"{action.value}:{policy}" for policy in policies}


def _first(rows: Rows) -> Rows:
    """Of each unit the row with the smallest `seq`."""
    order = np.lexsort((rows["seq"], rows["unit"]))
    ordered = rows[order]
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = ordered["unit"][1:] != ordered["unit"][:-1]
    return np.asarray(ordered[new])


class _Rows:
    """Rows of one kind that grow, as one array where they are read."""

    def __init__(self, kind: np.dtype[Any]):
        self._parts: list[Rows] = [np.empty(0, dtype=kind)]

    def add(self, rows: Rows) -> None:
        self._parts.append(rows)

    @property
    def all(self) -> Rows:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

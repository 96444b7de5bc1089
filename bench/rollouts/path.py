"""One simulated rollout with a look after every request, vectorised over the requests of a step.

Evidence changes only where something is counted, so it is computed there, for all such moments of a batch
at once, by the kernels that `look` calls.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.rollouts.market import BLOCK, POLICIES, REVIEW, Batch, Market, Model, Traffic
from stallwart.core.rollout import Stage
from stallwart.estimate.ratios import sum_evidence
from stallwart.estimate.sequences import split_evidence
from stallwart.rollout.compare import Sums, bound, differences, weight
from stallwart.rollout.guards import event_evidence, evidence_limit, fall_evidence
from stallwart.rollout.plan import Plan
from stallwart.rollout.tally import BASELINE, buckets

_NAMES = np.array(["allow", "review", "block"])
_RATIOS = (
    ("errors", "error", True),
    ("slow", "slow", True),
    ("cpu", "cpu", True),
    ("blocked_most", "block", True),
    ("blocked_least", "block", False),
    ("reviewed_most", "review", True),
    ("overturned", "overturned", True),
)
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class Result:
    """How a rollout ended.

    Attributes:
        outcome: promoted, rolled back, or unanswered (its time was over).
        guard: that rolled it back.
        step: of the plan at which it ended.
        requests: all of them.
        live: requests since it left shadow.
        touched: requests that the challenger decided.
        verdicts: on audited blocks of champion and challenger.
        audited: all verdicts.
        covered: whether the intervals of precision and coverage hold the true differences at the end.
    """

    outcome: str
    guard: str
    step: int
    requests: int
    live: int
    touched: int
    verdicts: tuple[int, int]
    audited: int
    covered: tuple[bool, bool]


@dataclass
class Path:
    """One rollout on its way."""

    plan: Plan
    market: Market
    models: tuple[Model, Model]
    rng: np.random.Generator
    verdicts_only: bool = False  # without the guards on traffic, which end few of those that last
    step: int = 0
    requests: int = 0
    live: int = 0
    touched: int = 0
    audited: int = 0
    step_began: int = 0
    units: int = 0  # in this step
    verdicts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    arms: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    pairs: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    evidence: dict[str, float] = field(default_factory=dict)
    slow: list[Floats] = field(default_factory=list)  # the champion's first exposures, until there are enough
    limits: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.shares = np.array([step.share for step in self.plan.steps])
        self.c = len(self.shares)
        self.total, self.moment = np.zeros(5), np.zeros((5, 5))
        self.rows = np.zeros(2)
        self.by_unit: dict[int, Floats] = {}
        self.cost = np.zeros((self.c, 2, 2))
        self.split = np.zeros((self.c, 2))
        self.seen: dict[str, Mask] = {}
        self.day = np.full(0, -1)
        self.traffic = Traffic(self.market, self.models, self.rng)
        self.answered = False
        self.record: list[tuple[int, Batch]] | None = None  # (step, requests), where they are wanted

    def run(self) -> Result:
        """Until it is over."""
        batch = self.traffic.draw(1)
        at = 1
        while True:
            if at >= len(batch):
                batch, at = self.traffic.draw(self._length()), 0
            used, ended = self.segment(batch.part(at, len(batch)))
            at += used
            if ended is not None:
                return self._result(*ended)

    def _length(self) -> int:
        """Requests after which the step may be over."""
        step = self.plan.steps[self.step]
        units = (step.min_units - self.units) / max(step.share, step.shadow_share * (step.share == 0))
        hours = step.min_hours * self.market.per_hour - (self.requests - self.step_began)
        return int(
            np.clip(max(units, hours) * 1.02 + 50, 40_000 if self.step + 1 == self.c else 2_000, 40_000)
        )

    def segment(self, batch: Batch) -> tuple[int, tuple[str, str] | None]:
        """Requests of one step: how many were used, and (outcome, guard) where it ended."""
        step = self.plan.steps[self.step]
        exposed, challenger = self._exposed(batch), batch.position < step.share
        if self.limits is None:  # from the end of the baseline on, slow answers count
            own = np.flatnonzero(exposed & ~challenger)
            missing = BASELINE - sum(values.shape[1] for values in self.slow)
            stop = int(own[missing - 1]) + 1 if len(own) >= missing else len(batch)
            batch, exposed, challenger = batch.part(0, stop), exposed[:stop], challenger[:stop]
        n = len(batch)
        state = Segment(self, batch, exposed, challenger)
        if not self.verdicts_only:
            (state.shadow if step.stage is Stage.SHADOW else state.arms)()
        state.verdicts()
        tripped, guard = state.tripped()
        leaves = state.leaves()
        if tripped <= leaves and tripped < n:
            state.keep(tripped + 1)
            return tripped + 1, ("rolled back", guard)
        used = min(leaves + 1, n)
        state.keep(used)
        if leaves >= n:
            return used, None
        if self.step + 1 == self.c:
            return used, ("promoted" if state.promotes else "unanswered", "")
        self.step, self.units, self.step_began = self.step + 1, 0, self.requests
        return used, None

    def _exposed(self, batch: Batch) -> Mask:
        """Whether a request is its unit's first on its day in this step."""
        n = len(batch)
        if not self.market.repeats:
            return np.ones(n, np.bool_)
        top = int(batch.unit.max()) + 1
        if len(self.day) < top:
            self.day = np.concatenate([self.day, np.full(2 * top - len(self.day), -1)])
        day = ((self.requests + np.arange(n)) / (24 * self.market.per_hour)).astype(
            np.int64
        ) * 100 + self.step
        key = batch.unit * 1_000_000 + day
        first = np.zeros(n, np.bool_)
        first[np.unique(key, return_index=True)[1]] = True
        return first & (self.day[batch.unit] != day)

    def first(self, event: str, units: NDArray[np.int64], keep: bool = False) -> Mask:
        """Of the rows with an event, those whose unit has it for the first time."""
        new = np.ones(len(units), np.bool_)
        if not self.market.repeats or not len(units):
            return new
        seen = self.seen.setdefault(event, np.zeros(0, np.bool_))
        top = int(units.max()) + 1
        if len(seen) < top:
            seen = self.seen[event] = np.concatenate([seen, np.zeros(2 * top - len(seen), np.bool_)])
        new[:] = False
        new[np.unique(units, return_index=True)[1]] = True
        new &= ~seen[units]
        if keep:
            seen[units] = True
        return new

    def _result(self, outcome: str, guard: str) -> Result:
        covered = []
        truths = (
            self.models[1].precision - self.models[0].precision,
            self.models[1].coverage - self.models[0].coverage,
        )
        # a failure takes the place of a block, so a little coverage is lost on both sides
        kept = [1 - model.errors for model in self.models]
        truths = (truths[0], self.models[1].coverage * kept[1] - self.models[0].coverage * kept[0])
        sums = Sums(self.total, self.moment, self.rows[0], self.rows[1])
        for (value, error, rows), truth in zip(differences(sums), truths, strict=True):
            covered.append(bool(abs(value - truth) <= bound(error, rows, 0.025)))
        return Result(
            outcome,
            guard,
            self.step,
            self.requests,
            self.live,
            self.touched,
            (int(self.verdicts[0]), int(self.verdicts[1])),
            self.audited,
            (covered[0], covered[1]),
        )


class Segment:
    """What happens on some requests of one step; nothing is kept until `keep`."""

    def __init__(self, path: Path, batch: Batch, exposed: Mask, challenger: Mask):
        self.path, self.batch, self.exposed, self.challenger = path, batch, exposed, challenger
        self.n = len(batch)
        self.action = np.where(challenger, batch.action[1], batch.action[0])
        self.trips: list[tuple[int, str]] = []
        self.suspicious = np.zeros(self.n + 1, np.int64)  # as differences: how many guards hold
        self.counted: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self.moments: dict[str, tuple[NDArray[np.int64], Floats]] = {}

    def watch(self, guard: str, limit: float, at: NDArray[np.int64], evidence: Floats) -> None:
        """Note where a guard rolls back or holds; its evidence changes at requests `at`."""
        over = np.flatnonzero(evidence >= limit)
        if len(over):
            self.trips.append((int(at[over[0]]), guard))
        self.moments[guard] = (at, evidence)
        holds = np.concatenate([[self.path.evidence.get(guard, 0.0)], evidence]) >= np.log(
            self.path.plan.guards.suspicion
        )
        if holds.any():
            changes = np.diff(holds.astype(np.int64))
            np.add.at(self.suspicious, at, changes)
            self.suspicious[0] += int(holds[0])

    def shadow(self) -> None:
        """Pairs of all exposures, whichever events either model has."""
        path, batch = self.path, self.batch
        scored = self._counting("pairs")
        for event, masks in self._events(batch.action, batch.failed).items():
            either = np.flatnonzero((masks[0] | masks[1]) & scored)
            if path.market.sellers:
                either = either[path.first(f"paired {event}", batch.unit[either])]
            kind = np.where(masks[0][either], np.where(masks[1][either], 0, 2), 1)
            self.counted[f"paired {event}"] = (either, kind)
            base = path.pairs.setdefault(event, np.zeros(3, np.int64))
            counts = base + np.cumsum(kind[:, None] == np.arange(3), axis=0)
            arms = np.zeros((path.c, 2))
            self._ratios(event, either, counts, arms)

    def arms(self) -> None:
        """Exposures by arm."""
        path, batch, who = self.path, self.batch, self.challenger
        action = np.where(who, batch.action[1], batch.action[0])
        failed = np.where(who, batch.failed[1], batch.failed[0])
        events = {name: both[0] for name, both in self._events(action[None], failed[None]).items()}
        wrong = (action == BLOCK) & (batch.violation == 0)
        events["overturned"] = wrong & batch.appealed
        events.update(self._beyond())
        counting = self._counting("live")
        for event, mask in events.items():
            at = np.flatnonzero(mask & counting)
            if path.market.sellers:
                at = at[path.first(event, batch.unit[at])]
            arm = who[at].astype(np.int64)
            self.counted[event] = (at, arm)
            counts = self._cumulated(path.arms.setdefault(event, np.zeros((path.c, 2), np.int64)), arm)
            self._ratios(event, at, path.pairs.get(event, np.zeros(3)), counts)
        self._costs(action)
        self._split()

    def _counting(self, where: str) -> Mask:
        """Exposures whose events count: of listings the first one of each, of sellers all."""
        if self.path.market.sellers or not self.path.market.repeats:
            return self.exposed
        at = np.flatnonzero(self.exposed)
        new = self.path.first(where, self.batch.unit[at])
        self.counted[where] = (at, np.zeros(len(at), np.int64))
        mask = np.zeros(self.n, np.bool_)
        mask[at[new]] = True
        return mask

    def _events(self, action: NDArray[np.int64], failed: Mask) -> dict[str, Mask]:
        """event -> (models, n) masks."""
        events = {"error": failed, "block": action == BLOCK, "review": action == REVIEW}
        for number, policy in enumerate(POLICIES):
            of_it = self.batch.policy[: len(action)] == number
            for name in ("block", "review"):
                # a failure calls for review by no policy
                events[f"{name}:{policy}"] = events[name] & of_it & ~failed
        return events

    def _beyond(self) -> dict[str, Mask]:
        path, batch, who = self.path, self.batch, self.challenger
        none = np.zeros(self.n, np.bool_)
        if path.limits is None:
            return {"slow": none, "cpu": none}
        taken = [
            buckets(np.where(who, values[1], values[0]).astype(np.int64))
            for values in (batch.latency_us, batch.cpu_us)
        ]
        return {"slow": taken[0] > path.limits[0], "cpu": taken[1] > path.limits[1]}

    def _ratios(
        self, event: str, at: NDArray[np.int64], pairs: NDArray[np.int64], arms: NDArray[np.int64]
    ) -> None:
        plan, base, _, policy = self.path.plan, *event.partition(":")
        for guard, watched, above in _RATIOS:
            if watched != base or (
                policy and guard not in ("blocked_most", "blocked_least", "reviewed_most")
            ):
                continue
            part, among = (f"{guard} of each policy", len(POLICIES)) if policy else (guard, 1)
            limit = getattr(plan.guards, guard)
            evidence = self._sparse(
                lambda rows, limit=limit, above=above: event_evidence(
                    pairs[rows] if pairs.ndim > 1 else pairs,
                    arms[rows] if arms.ndim > 2 else arms,
                    self.path.shares,
                    limit,
                    above,
                ),
                len(at),
                limit if above else 1 / limit,
            )
            name = f"{guard} {policy}" if policy else guard
            self.watch(name, evidence_limit(plan, part, among), at, evidence)

    def _sparse(self, evaluate: Callable[[NDArray[np.int64]], Floats], count: int, limit: float) -> Floats:
        """Evidence at each of `count` events; where it cannot be suspicious yet, that of some before.

        One event multiplies evidence by at most 1 over its probability at the limit.
        """
        every = 32
        share = self.path.shares[self.path.step]
        if count < 4 * every or not share:
            return np.broadcast_to(evaluate(np.arange(count)), (count,))
        odds = share / (1 - share) * limit if limit >= 1 else 1.0
        rise = every * np.log1p(1 / min(odds, share / (1 - share), (1 - share) / share))
        first = evaluate(np.arange(0, count, every))
        evidence = np.repeat(first, every)[:count]
        close = np.flatnonzero(
            np.repeat(first > np.log(self.path.plan.guards.suspicion) - rise, every)[:count]
        )
        evidence[close] = evaluate(close)
        return evidence

    def _cumulated(self, base: NDArray[np.int64], arm: NDArray[np.int64]) -> NDArray[np.int64]:
        counts = np.broadcast_to(base, (len(arm), *base.shape)).copy()
        counts[:, self.path.step] += np.cumsum(arm[:, None] == np.arange(2), axis=0)
        return counts

    def _costs(self, action: NDArray[np.int64]) -> None:
        """Reviews alone: at the default prices the CPU of a listing costs a millionth of one."""
        path = self.path
        at = np.flatnonzero(self.exposed)
        at = at[path.first("cost", self.batch.unit[at])]
        self.counted["cost"] = (at, self.challenger[at] + 2 * (action[at] == REVIEW))
        at = at[action[at] == REVIEW]
        arm = self.challenger[at].astype(np.int64)
        # no unit without a review changes anything
        counts = self._cumulated(path.cost[..., 1], arm)[..., None]
        size = np.array([path.plan.cost.review / (path.plan.cost.review + path.plan.cost.cpu_hour / 360)])
        limit = path.plan.guards.cost
        evidence = self._sparse(
            lambda rows: sum_evidence(counts[rows, :, 1], counts[rows, :, 0], size, path.shares, limit),
            len(at),
            limit,
        )
        self.watch("cost", evidence_limit(path.plan, "cost"), at, evidence)

    def _split(self) -> None:
        path = self.path
        at = self.counted["cost"][0]  # the same units: each at its first exposure
        arm = self.challenger[at]
        base, share = path.split[path.step], path.shares[path.step : path.step + 1]
        others = np.arange(path.c) != path.step
        before = split_evidence(path.split[others, 1], path.split[others, 0], path.shares[others])
        x, y = base[1] + np.cumsum(arm), base[0] + np.cumsum(~arm)
        now = split_evidence(x[:, None], y[:, None], share)
        self.watch("split", evidence_limit(path.plan, "split"), at, before + now)

    def verdicts(self) -> None:
        """Audited exposures whose verdict says something, and what they come to after each."""
        path, batch, plan = self.path, self.batch, self.path.plan
        audit = np.array([plan.audit.allow, plan.audit.review, plan.audit.block])
        drawn = self.exposed & (batch.audit < audit[self.action]) & batch.known
        at = np.flatnonzero(drawn)
        self.audited = at
        share = np.full(len(at), path.shares[path.step])
        weights = weight(share, _NAMES[batch.action[0, at]], _NAMES[batch.action[1, at]], plan.audit)
        blocked = batch.action[:, at] == BLOCK
        broken = batch.violation[at] > 0
        marks = np.stack([blocked[0], blocked[0] & broken, blocked[1], blocked[1] & broken, broken], axis=1)
        self.features = marks * weights[:, None]
        self.informs = np.stack([blocked[0] | blocked[1], broken], axis=1)
        own = np.where(self.challenger[at], blocked[1], blocked[0])
        self.own = own[:, None] & (self.challenger[at][:, None] == np.array([False, True]))
        outer = self._outer()
        sums = Sums(
            path.total + np.cumsum(self.features, axis=0),
            path.moment + np.cumsum(outer, axis=0),
            *(path.rows + np.cumsum(self.informs, axis=0)).T,
        )
        self.outer = outer
        self._answers(sums, path.verdicts + np.cumsum(self.own, axis=0))

    def _outer(self) -> Floats:
        """(n, 5, 5) growth of the moments, by unit where units repeat."""
        outer = self.features[:, :, None] * self.features[:, None, :]
        if self.path.market.repeats:
            sums: dict[int, Floats] = {}
            for row, unit in enumerate(self.batch.unit[self.audited].tolist()):
                before = sums.get(unit, self.path.by_unit.get(unit))
                if before is not None:
                    cross = np.outer(before, self.features[row])
                    outer[row] += cross + cross.T
                sums[unit] = self.features[row] if before is None else before + self.features[row]
        return outer

    def _answers(self, sums: Sums, verdicts: NDArray[np.int64]) -> None:
        plan, at = self.path.plan, self.audited
        shown = np.min(verdicts, axis=1) >= plan.question.min_verdicts
        drops = (plan.guards.precision_drop, plan.guards.coverage_drop)
        margins = (plan.question.precision_margin, plan.question.coverage_margin)
        names = ("precision", "coverage")
        for (value, error, rows), name, drop, margin in zip(
            differences(sums), names, drops, margins, strict=True
        ):
            self.watch(name, evidence_limit(plan, name), at, fall_evidence(value, error, rows, drop))
            with np.errstate(invalid="ignore"):
                worst = value - bound(error, rows, plan.false_promotion)
                upper = value + bound(error, rows, 0.025)
            least = 0.0 if plan.question.show == "superior" else -margin
            shown = shown & (worst > least) & ~(upper < 0)
        self.shown = shown

    def tripped(self) -> tuple[int, str]:
        """The first request at which a guard rolls back; n where none does."""
        return min(self.trips, default=(self.n, ""))

    def leaves(self) -> int:
        """The first request at which the step is left: on, promoted or unanswered; n where it is not."""
        path, step, n = self.path, self.path.plan.steps[self.path.step], self.n
        counted = self.exposed if step.stage is Stage.SHADOW else self.exposed & self.challenger
        hours = (path.requests - path.step_began + 1 + np.arange(n)) / path.market.per_hour
        ready = (path.units + np.cumsum(counted) >= step.min_units) & (hours >= step.min_hours)
        ready &= np.cumsum(self.suspicious[:-1]) == 0
        last = path.step + 1 == path.c
        if last:
            answered = np.concatenate([[path.answered], self.shown])
            ready &= answered[np.searchsorted(self.audited, np.arange(n), side="right")]
        over = hours >= step.max_hours if step.max_hours is not None else np.zeros(n, np.bool_)
        first = [int(np.argmax(mask)) if mask.any() else n for mask in (ready, over)]
        self.promotes = last and first[0] <= first[1] and first[0] < n
        return min(first)

    def keep(self, used: int) -> None:
        """Count the first `used` requests."""
        path, batch = self.path, self.batch
        if path.record is not None:
            path.record.append((path.step, batch.part(0, used)))
        for event, (at, code) in self.counted.items():
            inside = at < used
            self._count(event, at[inside], code[inside])
            if path.market.repeats:
                path.first(event, batch.unit[at[inside]], keep=True)
        for guard, (at, evidence) in self.moments.items():
            count = int(np.searchsorted(at, used))
            if count:
                path.evidence[guard] = float(evidence[count - 1])
        self._keep_verdicts(int(np.searchsorted(self.audited, used)))
        self._baseline(used)
        live = path.shares[path.step] > 0
        counted = self.exposed if not live else self.exposed & self.challenger
        path.units += int(counted[:used].sum())
        path.touched += int(self.challenger[:used].sum())
        path.live += used if live else 0
        if path.market.repeats:
            seen = np.flatnonzero(self.exposed[:used])
            day = ((path.requests + seen) / (24 * path.market.per_hour)).astype(np.int64) * 100 + path.step
            path.day[batch.unit[seen]] = day
        path.requests += used

    def _count(self, event: str, at: NDArray[np.int64], code: NDArray[np.int64]) -> None:
        path = self.path
        if event in ("pairs", "live"):
            return
        if event.startswith("paired "):
            path.pairs[event.removeprefix("paired ")] += np.bincount(code, minlength=3)
        elif event == "cost":
            counts = np.bincount(code, minlength=4).reshape(2, 2).T  # arm, reviewed
            path.cost[path.step] += counts
            path.split[path.step] += counts.sum(axis=1)
        else:
            path.arms[event][path.step] += np.bincount(code, minlength=2)
        del at

    def _keep_verdicts(self, count: int) -> None:
        path = self.path
        path.total += self.features[:count].sum(axis=0)
        path.moment += self.outer[:count].sum(axis=0)
        path.rows += self.informs[:count].sum(axis=0)
        path.verdicts += self.own[:count].sum(axis=0)
        path.audited += count
        path.answered = bool(self.shown[count - 1]) if count else path.answered
        if path.market.repeats:
            for row, unit in enumerate(self.batch.unit[self.audited[:count]].tolist()):
                path.by_unit[unit] = path.by_unit.get(unit, np.zeros(5)) + self.features[row]

    def _baseline(self, used: int) -> None:
        path, batch = self.path, self.batch
        if path.limits is not None:
            return
        own = np.flatnonzero((self.exposed & ~self.challenger)[:used])
        path.slow.append(np.stack([batch.latency_us[0, own], batch.cpu_us[0, own]]))
        values = np.concatenate(path.slow, axis=1)[:, :BASELINE].astype(np.int64)
        if values.shape[1] >= BASELINE:
            path.limits = (
                int(np.quantile(buckets(values[0]), 0.99, method="higher")),
                int(np.quantile(buckets(values[1]), 0.9, method="higher")),
            )


def paths(
    plan: Plan, market: Market, challenger: Model, count: int, seed: int, verdicts_only: bool = False
) -> Iterator[Result]:
    """Simulated rollouts, each with its own generator."""
    for child in np.random.SeedSequence(seed).spawn(count):
        rng = np.random.default_rng(child)
        yield Path(plan, market, (Model(), challenger), rng, verdicts_only).run()

"""The requests of a simulated rollout, one by one through what serves: tally, verdicts, guards and moves."""

import numpy as np

from bench.rollouts.market import BLOCK, POLICIES, REVIEW, Batch, Market, Model
from bench.rollouts.path import Path
from stallwart.core.decision import Action
from stallwart.core.rollout import Arm, Rollout, Stage
from stallwart.rollout.compare import Judged, compare
from stallwart.rollout.guards import GuardState, look
from stallwart.rollout.plan import Plan
from stallwart.rollout.stages import first_move, moved, next_move, numbers_of
from stallwart.rollout.tally import Tally
from stallwart.store.counterparts import Pair
from stallwart.store.exposures import Exposure

_ACTIONS = (Action.ALLOW, Action.REVIEW, Action.BLOCK)
_MOST = 20_000  # requests; of longer rollouts the evidence is compared there
_NEAR = 200  # of the last requests, each is followed by a look; before, every 250th and the last of a step


def agreement(model: Model, seed: int, most: int = _MOST) -> str:
    """One line: both say the same, at the same request; or how far apart their evidence is.

    Raises:
        AssertionError: they differ.
    """
    path = Path(Plan(), Market(), (Model(), model), np.random.default_rng(seed))
    path.record = []
    end = _until(path, most)
    live, requests = Live(path.plan, path.market), 0
    for step, batch in path.record:
        assert live.rollout.step == step, (
            f"step {live.rollout.step} after {requests} requests, {step} expected"
        )
        for row in range(len(batch)):
            requests += 1
            live.meet(batch, row, requests)
            near = end is not None and path.requests - requests < _NEAR
            if near or requests % 250 == 0 or row == len(batch) - 1:
                live.look(requests)
    if end is None:
        live.look(requests)
    apart = live.apart(path)
    assert apart < 0.02, f"evidence differs by {apart}"
    if end is None:
        return f"evidence of {len(path.evidence)} guards differs by {apart:.1e} after {requests:,} requests"
    assert live.rollout.stage is Stage.ROLLED_BACK, f"{live.rollout.stage} instead of {end}"
    return f"both {end[0]} by {end[1]} at request {requests:,}"


def _until(path: Path, most: int) -> tuple[str, str] | None:
    batch, at = path.traffic.draw(1), 1
    while path.requests < most:
        if at >= len(batch):
            batch, at = path.traffic.draw(2_000), 0
        used, ended = path.segment(batch.part(at, len(batch)))
        at += used
        if ended is not None:
            return ended
    return None


class Live:
    """A rollout as a service runs it, without a database."""

    def __init__(self, plan: Plan, market: Market):
        self.plan, self.market, self.tally = plan, market, Tally(plan)
        self.judged: list[Judged] = []
        self.states: tuple[GuardState, ...] = ()
        first = first_move(plan, "bench", "")
        self.rollout = Rollout(
            rollout_id="r_1",
            champion="a",
            challenger="b",
            plan=plan.model_dump(mode="json"),
            routing_key="00",
            step=0,
            stage=first.stage,
            share=first.share,
            shadow_share=first.shadow_share,
            held=False,
            version=1,
            started_at_ms=0,
            step_since_ms=0,
        )

    def meet(self, batch: Batch, row: int, number: int) -> None:
        """One request."""
        arm = Arm.CHALLENGER if batch.position[row] < self.rollout.share else Arm.CHAMPION
        own = int(arm is Arm.CHALLENGER)
        says = [(_ACTIONS[batch.action[m, row]], _policies(batch, m, row)) for m in (0, 1)]
        exposure = Exposure(
            "r_1",
            self.rollout.step,
            f"{int(batch.unit[row]):014x}",
            0,
            arm,
            "d",
            *says[own],
            bool(batch.failed[own, row]),
            int(batch.latency_us[own, row]),
            int(batch.cpu_us[own, row]),
            0,
            number,
        )
        self.tally.add_exposures([exposure])
        if self.rollout.stage is Stage.SHADOW:
            self.tally.add_pairs([_pair(exposure, batch, row, says)])
        wrong = batch.violation[row] == 0 and says[own][0] is Action.BLOCK
        if wrong and batch.appealed[row] and self.rollout.stage is not Stage.SHADOW:
            self.tally.add_overturned([exposure])
        audit = getattr(self.plan.audit, says[own][0].value)
        if batch.audit[row] < audit and batch.known[row]:
            self.judged.append(_judged(exposure, batch, row, says))

    def _now(self, number: int) -> int:
        return round(number / self.market.per_hour * 3.6e6)

    def look(self, number: int) -> None:
        """The guards, and the move that follows."""
        comparison = compare(self.judged, self.plan)
        self.states = look(self.plan, self.tally, comparison, POLICIES, None)
        numbers = numbers_of(self.tally, comparison, self.rollout.step)
        now = self._now(number)
        move = next_move(self.rollout, self.plan, self.states, comparison, numbers, now)
        if move is not None:
            self.rollout = moved(self.rollout, move, now)

    def apart(self, path: Path) -> float:
        """Largest difference of evidence between the last look and the path's, on the log scale."""
        told = {f"{one.name} {one.policy}" if one.policy else one.name: one.evidence for one in self.states}
        return max(abs(told[name] - evidence) for name, evidence in path.evidence.items())


def _policies(batch: Batch, model: int, row: int) -> tuple[str, ...]:
    acts = batch.action[model, row] in (BLOCK, REVIEW) and not batch.failed[model, row]
    return (POLICIES[batch.policy[model, row]],) if acts else ()


def _pair(exposure: Exposure, batch: Batch, row: int, says: list[tuple[Action, tuple[str, ...]]]) -> Pair:
    return Pair(
        seq=exposure.seq,
        decision_id="d",
        step=exposure.step,
        decided_bundle="a",
        decided_action=exposure.action,
        decided_policies=exposure.policies,
        decided_failed=exposure.failed,
        decided_cpu_us=exposure.cpu_us,
        arm=exposure.arm,
        unit=exposure.unit,
        bundle="b",
        action=says[1][0],
        policies=says[1][1],
        failed=bool(batch.failed[1, row]),
        cpu_us=int(batch.cpu_us[1, row]),
        at_ms=0,
    )


def _judged(exposure: Exposure, batch: Batch, row: int, says: list[tuple[Action, tuple[str, ...]]]) -> Judged:
    broken = POLICIES[batch.violation[row] - 1] if batch.violation[row] else None
    answers = {policy: "yes" if policy == broken else "no" for policy in POLICIES}
    return Judged(exposure.step, exposure.unit, exposure.arm, *says[0], *says[1], answers)

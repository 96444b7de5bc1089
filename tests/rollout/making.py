"""Rows of a made-up rollout, as the store would give them."""

import numpy as np

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm, Rollout, Stage
from stallwart.rollout.compare import Judged, compare
from stallwart.rollout.plan import Plan, Step
from stallwart.rollout.tally import Tally
from stallwart.store.counterparts import Pair
from stallwart.store.exposures import Exposure

PLAN = Plan(
    steps=(
        Step(stage=Stage.SHADOW, shadow_share=1.0, min_units=100, min_hours=1),
        Step(stage=Stage.CANARY, share=0.05, min_units=10),
        Step(stage=Stage.AB, share=0.5, min_units=20, min_hours=2, max_hours=100),
    )
)
NOTHING = compare([], PLAN)


def exposure(seq, arm=Arm.CHAMPION, action=Action.ALLOW, step=2, unit=None, failed=False, latency=50_000):
    policies = () if action is Action.ALLOW else ("weapons",)
    unit = f"{seq if unit is None else unit:014x}"
    return Exposure("r", step, unit, 0, arm, f"d{seq}", action, policies, failed, latency, latency, 0, seq)


def exposures(count, arm, first=0, every=0, **rest):
    """Exposures of one arm; each `every`-th as `rest` says, the others plain."""
    step = rest.pop("step", 2)
    return [
        exposure(first + n, arm, step=step, **(rest if every and n % every == 0 else {}))
        for n in range(count)
    ]


def pair(seq, champion=Action.ALLOW, challenger=Action.ALLOW, step=0, unit=None, failed=(False, False)):
    policies = [() if action is Action.ALLOW else ("weapons",) for action in (champion, challenger)]
    unit = f"{seq if unit is None else unit:014x}"
    return Pair(
        seq=seq,
        decision_id=f"d{seq}",
        step=step,
        decided_bundle="a",
        decided_action=champion,
        decided_policies=policies[0],
        decided_failed=failed[0],
        decided_cpu_us=1,
        arm=Arm.CHAMPION,
        unit=unit,
        bundle="b",
        action=challenger,
        policies=policies[1],
        failed=failed[1],
        cpu_us=1,
        at_ms=0,
    )


def judged(champion, challenger, violation, arm=Arm.CHAMPION, step=2, unit="1"):
    policies = [("weapons",) if action is not Action.ALLOW else () for action in (champion, challenger)]
    answers = {"weapons": violation} if isinstance(violation, str) else violation
    return Judged(step, unit, arm, champion, policies[0], challenger, policies[1], answers)


def tally(*rows, pairs=(), overturned=(), plan=PLAN):
    counted = Tally(plan)
    counted.add_exposures([one for group in rows for one in group])
    counted.add_pairs(pairs)
    counted.add_overturned(overturned)
    return counted


def verdicts(rng, count, precision=(0.9, 0.9), coverage=(0.6, 0.6), plan=PLAN, step=2):
    """Audited listings of two models that agree on four of five, drawn as the plan says."""
    share, rows = plan.steps[step].share, []
    while len(rows) < count:
        violation = rng.random() < 0.3
        first, second = rng.random(2)
        looks = first, (first if rng.random() < 0.8 else second)
        actions = []
        for model in (0, 1):
            false = 0.3 * coverage[model] * (1 / precision[model] - 1) / 0.7
            blocks = looks[model] < (coverage[model] if violation else false)
            actions.append(Action.BLOCK if blocks else Action.ALLOW)
        arm = Arm.CHALLENGER if rng.random() < share else Arm.CHAMPION
        decided = actions[arm is Arm.CHALLENGER]
        if rng.random() < (plan.audit.block if decided is Action.BLOCK else plan.audit.allow):
            rows.append(judged(*actions, "yes" if violation else "no", arm, step, str(len(rows))))
    return rows


def rollout(step=0, plan=PLAN, **changes):
    at = plan.steps[step]
    values = {
        "rollout_id": "r_1",
        "champion": "a",
        "challenger": "b",
        "plan": {},
        "routing_key": "00",
        "step": step,
        "stage": at.stage,
        "share": at.share,
        "shadow_share": at.shadow_share,
        "held": False,
        "version": 1,
        "started_at_ms": 0,
        "step_since_ms": 0,
    }
    return Rollout(**{**values, **changes})


def generator(seed=1):
    return np.random.default_rng(seed)

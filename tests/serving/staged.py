"""Rollouts as tables hold them after hours of traffic: real guards over generated counts."""

from dataclasses import dataclass

import numpy as np

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.rollout import stages
from stallwart.rollout.compare import Judged, compare
from stallwart.rollout.guards import look
from stallwart.rollout.plan import Plan
from stallwart.rollout.tally import Tally
from stallwart.serving.rollouts.figures import figures_of
from stallwart.serving.rollouts.operate import make_move, start_rollout
from stallwart.store.counterparts import Pair
from stallwart.store.database import writing
from stallwart.store.exposures import Exposure
from stallwart.store.looks import add_look
from stallwart.store.registry import register, set_champion

OLD, NEW = "3f9c21d07be4" + "a" * 52, "8afaaf04a650" + "b" * 52
POLICIES = ("counterfeit", "drugs", "tobacco", "weapons")
UNITS = (1_200, 22_000, 11_000, 8_400, 8_400, 8_400)  # of both arms in each step of the default plan
_VIOLATING = 0.07  # share of all listings
_HOUR = 3_600_000


@dataclass
class Model:
    """How one model behaves in a generated rollout."""

    blocks: float = 0.06
    reviews: float = 0.08
    fails: float = 0.0005
    latency_ms: float = 14.0
    precision: float = 0.94
    coverage: float = 0.8


def staged(
    database, now_ms, *, steps=6, challenger=None, plan=None, promote=False, looks=10, seed=7, why=None
):
    """Start a rollout in the past and move it as its guards say; its id.

    Args:
        database: of a service.
        now_ms: of the last look, milliseconds since 1970.
        steps: how many of its steps have traffic.
        challenger: how it behaves; like the champion where it is None.
        plan: the default one where it is None.
        promote: take it to the end.
        looks: kept for each step.
        seed: of what is drawn.
        why: it is started.
    """
    plan = plan or Plan()
    rng, models = np.random.default_rng(seed), (Model(), challenger or Model(precision=0.955, coverage=0.83))
    at = now_ms - steps * looks * _HOUR
    with writing(database) as connection:
        for digest in (OLD, NEW):
            register(connection, digest=digest, place="/bundles", card={}, who="ana", now_ms=at)
        set_champion(connection, OLD, who="ana", why="the first one", now_ms=at)
    why = why or "Trained on decisions to August; finds 3 points more counterfeits offline"
    rollout = start_rollout(database, NEW, plan, "ana", why, at)
    tally, judged, seq = Tally(plan), [], 0
    for number in range(steps):
        for part in range(looks):
            at += _HOUR
            rows = _rows(rng, models, plan, number, UNITS[number] // looks, seq)
            seq += len(rows)
            tally.add_exposures(rows)
            if not plan.steps[number].share:
                tally.add_pairs(_pairs(rng, models, rows))
            judged += _judged(rng, models, plan, number, UNITS[number] // looks)
            comparison = compare(judged, plan)
            guards = look(plan, tally, comparison, POLICIES, 212.0)
            numbers = stages.numbers_of(tally, comparison, number)
            move = stages.next_move(rollout, plan, guards, comparison, numbers, at)
            last = part == looks - 1
            wanted = last and (number + 1 < steps or promote)
            harm = move is not None and move.stage.value == "rolled_back"
            figures = figures_of(rollout, plan, tally, guards, comparison, numbers, at)
            with writing(database) as connection:
                add_look(connection, rollout.rollout_id, at, figures)
            if harm or (wanted and move is not None):
                rollout = make_move(database, rollout, move, at)
            elif wanted:
                rollout = make_move(database, rollout, _by_hand(rollout, plan, comparison), at)
            if rollout.stage.ended:
                return rollout.rollout_id
    return rollout.rollout_id


def _by_hand(rollout, plan, comparison):
    who, why = "ana (k_7f21)", "Nothing speaks against it, and the weekend is near"
    if rollout.step + 1 == len(plan.steps):
        return stages.promote(rollout, plan, comparison, who, why, True)
    return stages.advance(rollout, plan, who, why)


def _actions(rng, model, count):
    drawn = rng.random(count)
    return [
        Action.BLOCK
        if one < model.blocks
        else Action.REVIEW
        if one < model.blocks + model.reviews
        else Action.ALLOW
        for one in drawn
    ]


def _rows(rng, models, plan, step, count, seq):
    challenger = rng.random(count) < plan.steps[step].share
    actions = [_actions(rng, model, count) for model in models]
    policies, latency = rng.integers(0, len(POLICIES), count), rng.lognormal(0, 0.35, count)
    fails, rows = rng.random(count), []
    for n in range(count):
        model = models[int(challenger[n])]
        action = actions[int(challenger[n])][n]
        rows.append(
            Exposure(
                rollout_id="",
                step=step,
                unit=f"{seq + n + 1:016x}",
                day=0,
                arm=Arm.CHALLENGER if challenger[n] else Arm.CHAMPION,
                decision_id="",
                action=action,
                policies=() if action is Action.ALLOW else (POLICIES[policies[n]],),
                failed=bool(fails[n] < model.fails),
                latency_us=int(1_000 * model.latency_ms * latency[n]),
                cpu_us=int(900 * model.latency_ms * latency[n]),
                at_ms=0,
                seq=seq + n + 1,
            )
        )
    return rows


def _pairs(rng, models, rows):
    theirs = _actions(rng, models[1], len(rows))
    return [
        Pair(
            seq=row.seq,
            decision_id="",
            step=row.step,
            decided_bundle=OLD,
            decided_action=row.action,
            decided_policies=row.policies,
            decided_failed=row.failed,
            decided_cpu_us=row.cpu_us,
            arm=row.arm,
            unit=row.unit,
            bundle=NEW,
            action=row.action if same else other,
            policies=row.policies if same else () if other is Action.ALLOW else (POLICIES[0],),
            failed=False,
            cpu_us=row.cpu_us,
            at_ms=0,
        )
        for row, other, same in zip(rows, theirs, rng.random(len(rows)) < 0.9, strict=True)
    ]


def _judged(rng, models, plan, step, count):
    """Verdicts on what the audit draws: most violations are found by both, and each blocks some wrongly."""
    rows, share = [], plan.steps[step].share
    for number in range(count):
        violation, same, arm = rng.random() < _VIOLATING, rng.random() < 0.85, int(rng.random() < share)
        drawn = rng.random(), rng.random()
        acts = [
            Action.BLOCK if drawn[0 if same else place] < _chance(model, violation) else Action.ALLOW
            for place, model in enumerate(models)
        ]
        if rng.random() >= plan.audit.probability(acts[arm]):
            continue
        named = [("drugs",) if one is Action.BLOCK else () for one in acts]
        answers = {"drugs": "yes" if violation else "no"}
        by, unit = (Arm.CHAMPION, Arm.CHALLENGER)[arm], f"{step}-{number}-{drawn[0]}"
        rows.append(Judged(step, unit, by, acts[0], named[0], acts[1], named[1], answers))
    return rows


def _chance(model, violation):
    """That a listing is blocked."""
    wrong = model.coverage * _VIOLATING * (1 - model.precision) / model.precision / (1 - _VIOLATING)
    return model.coverage if violation else wrong

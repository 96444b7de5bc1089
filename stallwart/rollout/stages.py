"""Where a rollout goes next: a pure state machine over guards and verdicts, and what an operator may do.

It knows no database: a `Move` is what is to become true, and who writes it checks that nothing else moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stallwart.core.errors import ConflictError, GateError
from stallwart.core.rollout import Rollout, Stage
from stallwart.rollout.compare import Comparison
from stallwart.rollout.guards import GuardState
from stallwart.rollout.plan import Plan
from stallwart.rollout.tally import Tally

ITSELF = "stallwart"  # who moves a rollout where nobody does
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a step has gathered.

    Attributes:
        units: of the challenger's arm in this step; in shadow, listings that both models scored.
        verdicts: on audited blocks, over all steps, of the arm that has fewer.
    """

    units: int
    verdicts: int


@dataclass(frozen=True, slots=True)
class Move:
    """What a rollout is to become.

    Attributes:
        stage: the next one.
        step: of the plan.
        share: of units that the challenger decides about.
        shadow_share: of units that it scores without deciding.
        held: whether it stops there until an operator lets it go on.
        who: an operator, or `ITSELF`.
        why: in words.
        forced: promoted by an operator without the answer that the plan asks for.
    """

    stage: Stage
    step: int
    share: float
    shadow_share: float
    held: bool
    who: str
    why: str
    forced: bool = False


def first_move(plan: Plan, who: str, why: str) -> Move:
    """The step that a rollout begins with."""
    return _to_step(plan, 0, who, why)


def next_move(
    rollout: Rollout,
    plan: Plan,
    guards: Sequence[GuardState],
    comparison: Comparison,
    numbers: Numbers,
    now_ms: int,
) -> Move | None:
    """What it does by itself now; None where it stays as it is.

    Harm comes first, also where an operator holds it. Then, unless it is held: on to the next step, or
    promoted, once the step's smallest numbers are there and no guard says hold; rolled back once the step's
    time is over.
    """
    if rollout.stage.ended:
        return None
    harm = [state.words for state in guards if state.says == "roll back"]
    if harm:
        return _end(rollout, Stage.ROLLED_BACK, ITSELF, " ".join(harm))
    if rollout.held:
        return None
    if not _lacks(rollout, plan, comparison, numbers, now_ms) and not _suspicious(guards):
        if rollout.step + 1 < len(plan.steps):
            why = "The step's smallest numbers are there, and no guard speaks against it."
            return _to_step(plan, rollout.step + 1, ITSELF, why)
        return _end(rollout, Stage.PROMOTED, ITSELF, _answer(comparison))
    hours = plan.steps[rollout.step].max_hours
    if hours is not None and now_ms - rollout.step_since_ms >= hours * _HOUR_MS:
        return _end(
            rollout, Stage.ROLLED_BACK, ITSELF, f"Its time of {hours:g} hours is over without an answer."
        )
    return None


def expectation(
    rollout: Rollout,
    plan: Plan,
    guards: Sequence[GuardState],
    comparison: Comparison,
    numbers: Numbers,
    now_ms: int,
) -> str:
    """One or two sentences: what happens next, and what it takes."""
    if rollout.stage.ended:
        return f"It is over: {rollout.stage.value.replace('_', ' ')}."
    harm = [state.name.replace("_", " ") for state in guards if state.says == "roll back"]
    if harm:
        return f"Is rolled back now, by {_list(harm)}."
    goal, lacks = _goal(rollout, plan), _lacks(rollout, plan, comparison, numbers, now_ms)
    suspicious = _suspicious(guards)
    if suspicious:
        lacks = [
            *lacks,
            f"once {_list(suspicious)} {'is' if len(suspicious) == 1 else 'are'} no longer suspicious",
        ]
    if rollout.held:
        return f"Held by an operator; after that it {goal}{' ' + _list(lacks) if lacks else ''}."
    hours = plan.steps[rollout.step].max_hours
    if not lacks:
        return f"{goal[:1].upper()}{goal[1:]} now."
    ends = ""
    if hours is not None:
        left = rollout.step_since_ms + hours * _HOUR_MS - now_ms
        ends = f" It is rolled back in {_duration(left)} if that does not come."
    return f"{goal[:1].upper()}{goal[1:]} {_list(lacks)}.{ends}"


def numbers_of(tally: Tally, comparison: Comparison, step: int) -> Numbers:
    """What a step has gathered so far."""
    shadow = tally.plan.steps[step].stage is Stage.SHADOW
    units = int(tally.pairs()[step] if shadow else tally.exposures()[step, 1])
    return Numbers(units, min(comparison.verdicts))


def advance(rollout: Rollout, plan: Plan, who: str, why: str) -> Move:
    """An operator takes it to the next step, whatever it lacks; guards go on watching.

    Raises:
        ConflictError: it is over, or at its last step.
    """
    _running(rollout)
    if rollout.step + 1 >= len(plan.steps):
        raise ConflictError(
            "it is at its last step: `promote` takes it to all traffic, `abort` takes it back"
        )
    return _to_step(plan, rollout.step + 1, who, why)


def hold(rollout: Rollout, who: str, why: str) -> Move:
    """An operator stops it from moving on by itself; guards still roll it back.

    Raises:
        ConflictError: it is over, or held already.
    """
    _running(rollout)
    if rollout.held:
        raise ConflictError("it is held already; `hold --off` lets it go on")
    return _stay(rollout, True, who, why)


def resume(rollout: Rollout, who: str, why: str) -> Move:
    """An operator lets it move on by itself again.

    Raises:
        ConflictError: it is over, or not held.
    """
    _running(rollout)
    if not rollout.held:
        raise ConflictError("it is not held: there is nothing to resume")
    return _stay(rollout, False, who, why)


def abort(rollout: Rollout, who: str, why: str) -> Move:
    """An operator takes it back: the champion decides everything again.

    Raises:
        ConflictError: it is over.
    """
    _running(rollout)
    return _end(rollout, Stage.ROLLED_BACK, who, why)


def promote(rollout: Rollout, plan: Plan, comparison: Comparison, who: str, why: str, force: bool) -> Move:
    """An operator takes it to all traffic.

    Args:
        rollout: as it is.
        plan: of it.
        comparison: its verdicts so far.
        who: the operator.
        why: in words.
        force: also without the answer that the plan asks for; the move is then marked as forced.

    Raises:
        ConflictError: it is over.
        GateError: the answer is not there, and it is not forced.
    """
    _running(rollout)
    answered = _answered(plan, comparison)
    if not (answered or force):
        raise GateError(
            f"the plan asks for {plan.question.show}, and the verdicts say {comparison.answer};"
            " wait for the answer, or promote with force, which is written to the audit log"
        )
    return _end(rollout, Stage.PROMOTED, who, why, forced=not answered)


def moved(rollout: Rollout, move: Move, now_ms: int) -> Rollout:
    """The rollout after a move: its next version."""
    other = (move.stage, move.step) != (rollout.stage, rollout.step)
    changes: dict[str, Any] = {
        "stage": move.stage,
        "step": move.step,
        "share": move.share,
        "shadow_share": move.shadow_share,
        "held": move.held,
        "reason": move.why,
        "version": rollout.version + 1,
        "step_since_ms": now_ms if other else rollout.step_since_ms,
        "ended_at_ms": now_ms if move.stage.ended else None,
    }
    return rollout.model_copy(update=changes)


def _to_step(plan: Plan, step: int, who: str, why: str) -> Move:
    to = plan.steps[step]
    return Move(to.stage, step, to.share, to.shadow_share, False, who, why)


def _end(rollout: Rollout, stage: Stage, who: str, why: str, forced: bool = False) -> Move:
    share = 1.0 if stage is Stage.PROMOTED else 0.0
    return Move(stage, rollout.step, share, 0.0, False, who, why, forced)


def _stay(rollout: Rollout, held: bool, who: str, why: str) -> Move:
    return Move(rollout.stage, rollout.step, rollout.share, rollout.shadow_share, held, who, why)


def _running(rollout: Rollout) -> None:
    if rollout.stage.ended:
        ended = rollout.stage.value.replace("_", " ")
        raise ConflictError(f"rollout {rollout.rollout_id} is over ({ended}); `rollout start` begins another")


def _lacks(rollout: Rollout, plan: Plan, comparison: Comparison, numbers: Numbers, now_ms: int) -> list[str]:
    """What is still missing before it may leave its step, each in words that follow "goes on"."""
    step, lacks = plan.steps[rollout.step], []
    wait = rollout.step_since_ms + step.min_hours * _HOUR_MS - now_ms
    if wait > 0:
        lacks.append(f"in {_duration(wait)} at the earliest")
    if numbers.units < step.min_units:
        lacks.append(f"after {step.min_units - numbers.units:,} more units")
    if numbers.verdicts < step.min_verdicts:
        lacks.append(f"after {step.min_verdicts - numbers.verdicts:,} more verdicts on blocks of an arm")
    if rollout.step + 1 == len(plan.steps) and not _answered(plan, comparison):
        short = plan.question.min_verdicts - numbers.verdicts
        more = f" (at least {short:,} more verdicts on blocks of an arm)" if short > 0 else ""
        lacks.append(f"once verdicts show that it is {plan.question.show}{more}")
    return lacks


def _answered(plan: Plan, comparison: Comparison) -> bool:
    enough = ("superior",) if plan.question.show == "superior" else ("superior", "non-inferior")
    return comparison.answer in enough


def _suspicious(guards: Sequence[GuardState]) -> list[str]:
    return [state.name.replace("_", " ") for state in guards if state.says == "hold"]


def _goal(rollout: Rollout, plan: Plan) -> str:
    if rollout.step + 1 == len(plan.steps):
        return "is promoted to all traffic"
    to = plan.steps[rollout.step + 1]
    where = "the A/B stage at " if to.stage is Stage.AB else ""
    return f"goes on to {where}{100 * to.share:g} %" if to.share else "goes on to the next shadow step"


def _answer(comparison: Comparison) -> str:
    told = comparison.precision_difference, comparison.coverage_difference
    parts = [
        f"{name} {100 * (one.value or 0.0):+.1f} points, at worst {100 * one.worst:+.1f}"
        for name, one in zip(("precision", "coverage"), told, strict=True)
    ]
    return f"Shown to be {comparison.answer}: {_list(parts)}, from {comparison.rows:,} verdicts."


def _duration(wait_ms: float) -> str:
    minutes = max(1, round(wait_ms / 60_000))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

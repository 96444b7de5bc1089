"""What the live page says of a rollout: its status as sentences, figures and marks for the template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

from stallwart.core.rollout import Stage
from stallwart.rollout.plan import Plan, plan_of
from stallwart.serving.rollouts.marks import Line, Whisker, difference_marks, line_of, whiskers
from stallwart.serving.rollouts.operate import Act

_STALE_MS = 30_000  # a look comes about once a second
TITLES = {
    "errors": "Failures of the model",
    "slow": "Slow answers",
    "cpu": "CPU of a listing",
    "cost": "Cost of a listing",
    "blocked_most": "Too many blocks",
    "blocked_least": "Too few blocks",
    "reviewed_most": "Too many reviews",
    "overturned": "Overturned blocks",
    "precision": "Precision",
    "coverage": "Coverage",
    "split": "Split of the traffic",
    "memory": "Memory",
}
_GROUPS = (("roll back", "Roll back"), ("hold", "Hold"), ("advance", "Advance"))
_ACTS = {"start": "Started", "advance": "Advanced", "hold": "Held", "resume": "Resumed"}
_STAGES = {"shadow": "shadow", "canary": "canary", "ramp": "ramp", "ab": "A/B"}


@dataclass(frozen=True)
class Moment:
    """A point in time, in UTC; the page shows it in the viewer's own zone.

    Attributes:
        iso: for machines.
        text: for people.
    """

    iso: str
    text: str


@dataclass(frozen=True)
class StepMark:
    """One step of the bar.

    Attributes:
        name: of its stage.
        share: of units that the challenger decides about, in words.
        state: done, now, to come or left.
    """

    name: str
    share: str
    state: str


@dataclass(frozen=True)
class Cell:
    """A figure of one arm.

    Attributes:
        text: the figure.
        interval: in words; "" where there is none.
        whisker: the interval, drawn; None where there is none.
    """

    text: str
    interval: str = ""
    whisker: Whisker | None = None


@dataclass(frozen=True)
class GuardMark:
    """One guard.

    Attributes:
        key: unique on the page, letters, digits and - only.
        title: in words.
        policy: which it is about, or None.
        says: advance, hold or roll back.
        words: its sentence.
        figure: its value.
        limit: what it is held against, in words.
        standing: its evidence against its limit, in words.
        line: its evidence over time.
    """

    key: str
    title: str
    policy: str | None
    says: str
    words: str
    figure: str
    limit: str
    standing: str
    line: Line


def panel_of(
    told: Mapping[str, Any], looks: Sequence[Mapping[str, Any]], may_act: bool, now_ms: int
) -> dict[str, Any]:
    """What the template `panel.html` shows.

    Args:
        told: of `operate.status`.
        looks: over the rollout's life, the last one last.
        may_act: whether the caller may move it.
        now_ms: milliseconds since 1970.
    """
    rollout, look = told["rollout"], told["look"]
    plan = plan_of(rollout["plan"], f"the plan of {rollout['rollout_id']}")
    stage = Stage(rollout["stage"])
    guards = [] if look is None else [_guard(one, looks, plan) for one in look["guards"]]
    return {
        "rollout": rollout,
        "ended": stage.ended,
        "headline": _headline(rollout, plan),
        "next": _next(rollout, look),
        "speaking": [one for one in guards if one.says != "advance"] if not stage.ended else [],
        "stale_seconds": _stale(stage, look, now_ms),
        "steps": _steps(rollout, plan),
        "names": (rollout["champion"][:12], rollout["challenger"][:12]),
        "figures": [] if look is None else _figures(look),
        "comparison": None if look is None else _comparison(look, plan),
        "groups": [(title, says, [one for one in guards if one.says == says]) for says, title in _GROUPS],
        "suspicion": f"{plan.guards.suspicion:g}",
        "acts": _acts(rollout, plan) if may_act else [],
        "answered": look is not None and _answered(look, plan),
        "moves": [{**one, "act": _act(one["act"]), "at": moment(one["at_ms"])} for one in told["moves"]],
        "looked_at": None if look is None else moment(look["at_ms"]),
        "asked_at": moment(now_ms),
        "started_at": moment(rollout["started_at_ms"]),
    }


def moment(at_ms: int) -> Moment:
    """Milliseconds since 1970 as a moment."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC)
    return Moment(at.isoformat(timespec="milliseconds"), f"{at:%Y-%m-%d %H:%M:%S} UTC")


def _headline(rollout: Mapping[str, Any], plan: Plan) -> str:
    name, stage = rollout["challenger"][:12], rollout["stage"]
    if stage == "promoted":
        return f"{name} is promoted: it decides everything"
    if stage == "rolled_back":
        return f"{name} is rolled back: {rollout['champion'][:12]} decides everything"
    units = "sellers’ listings" if plan.unit == "seller" else "listings"
    if stage == "shadow":
        does = f"scores {_percent(rollout['shadow_share'])} of {units} and decides none"
    else:
        does = f"decides {_percent(rollout['share'])} of {units}"
    where = {"shadow": "in shadow", "canary": "a canary", "ramp": "on the ramp", "ab": "in the A/B stage"}
    return f"{name} is {where[stage]}{', held' if rollout['held'] else ''}: it {does}"


def _next(rollout: Mapping[str, Any], look: Mapping[str, Any] | None) -> str:
    if Stage(rollout["stage"]).ended:
        return str(rollout["reason"])
    if look is None:
        return "No look at its guards yet. Once a service has loaded both bundles, it looks every second."
    if look["version"] != rollout["version"]:
        return "It was moved since the last look; the next look says what comes."
    return str(look["next"])


def _stale(stage: Stage, look: Mapping[str, Any] | None, now_ms: int) -> int | None:
    if stage.ended or look is None or now_ms - look["at_ms"] <= _STALE_MS:
        return None
    return int((now_ms - look["at_ms"]) // 1_000)


def _steps(rollout: Mapping[str, Any], plan: Plan) -> list[StepMark]:
    at, stage = rollout["step"], rollout["stage"]
    marks = []
    for number, step in enumerate(plan.steps):
        state = "done" if number < at or stage == "promoted" else "now" if number == at else "to come"
        if stage == "rolled_back":
            state = "done" if number < at else "left" if number == at else "to come"
        marks.append(StepMark(_STAGES[step.stage.value], _percent(step.share), state))
    return [*marks, StepMark("all", "100 %", "now" if stage == "promoted" else "to come")]


def _figures(look: Mapping[str, Any]) -> list[tuple[str, tuple[Cell, Cell]]]:
    arms = [look["arms"][name] for name in ("champion", "challenger")]
    guards = {one["name"]: one for one in look["guards"] if one["policy"] is None}
    rows = [
        ("Decisions", [Cell(f"{arm['exposures']:,}") for arm in arms]),
        ("in this step", [Cell(f"{arm['exposures_in_step']:,}") for arm in arms]),
    ]
    if look["shadowed"]:
        rows.append(("Scored in shadow", [Cell("all it decides"), Cell(f"{look['shadowed']:,}")]))
    for name in ("precision", "coverage"):
        rows.append((name.capitalize(), _shares([arm[name] for arm in arms])))
    rows.append(("Verdicts on its blocks", [Cell(f"{arm['verdicts_on_blocks']:,}") for arm in arms]))
    for guard, title in (("blocked_most", "Blocks"), ("reviewed_most", "Reviews"), ("errors", "Failures")):
        if guard in guards:
            rows.append((title, _counts(guards[guard])))
    for name, title in (("p50", "Latency, median"), ("p99", "Latency, p99")):
        rows.append((title, _latencies([arm["latency_ms"][name] for arm in arms])))
    return [(title, (cells[0], cells[1])) for title, cells in rows]


def _shares(arms: Sequence[Mapping[str, Any]]) -> list[Cell]:
    drawn = whiskers([(one["lower"], one["value"], one["upper"]) for one in arms], 1.0)
    return [
        Cell("not known yet")
        if one["value"] is None
        else Cell(
            f"{100 * one['value']:.1f} %", f"{100 * one['lower']:.1f} to {100 * one['upper']:.1f}", mark
        )
        for one, mark in zip(arms, drawn, strict=True)
    ]


def _latencies(arms: Sequence[Sequence[float | None]]) -> list[Cell]:
    ends = [upper for _, upper in arms if upper is not None]
    drawn = whiskers([(lower or 0.0, None, upper) for lower, upper in arms], 1.1 * max(ends, default=1.0))
    cells = []
    for (lower, upper), mark in zip(arms, drawn, strict=True):
        if not lower and upper is None:
            cells.append(Cell("not known yet"))
            continue
        text = f"{lower or 0:.3g} ms or more" if upper is None else f"{lower or 0:.3g} to {upper:.3g} ms"
        cells.append(Cell(text, "", mark))
    return cells


def _counts(guard: Mapping[str, Any]) -> list[Cell]:
    lower, value, upper = guard["lower"], guard["value"], guard["upper"]
    ends = f"{_ratio(lower or 0.0)} {'or more' if upper is None else f'to {_ratio(upper)}'}"
    times = "" if value is None else f"{_ratio(value)} times as much"
    return [
        Cell(f"{guard['champion']:,}"),
        Cell(f"{guard['challenger']:,}", f"{times} ({ends})" if times else ""),
    ]


def _comparison(look: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    told = look["comparison"]
    rows = []
    for name in ("precision", "coverage"):
        one = told[name]
        words = (
            "not known yet"
            if one["value"] is None
            else f"{100 * one['value']:+.1f} points ({100 * one['lower']:+.1f} to {100 * one['upper']:+.1f})"
        )
        rows.append((name.capitalize(), words, one, difference_marks(one)))
    return {
        "rows": rows,
        "verdicts": told["rows"],
        "unknown": told["unknown"],
        "answer": {"open": "no answer yet"}.get(told["answer"], f"shown to be {told['answer']}"),
        "asked": plan.question.show,
    }


def _guard(guard: Mapping[str, Any], looks: Sequence[Mapping[str, Any]], plan: Plan) -> GuardMark:
    name, policy = guard["name"], guard["policy"]
    points = [
        (look["at_ms"], _fraction(one))
        for look in looks
        for one in look["guards"]
        if one["name"] == name and one["policy"] == policy
    ]
    limit = guard["evidence_limit"]
    suspicious = math.log(plan.guards.suspicion) / limit if limit else None
    title = TITLES.get(name, name)
    return GuardMark(
        key=f"guard-{name.replace('_', '-')}" + (f"-{policy.encode().hex()}" if policy else ""),
        title=title,
        policy=policy,
        says=guard["says"],
        words=guard["words"],
        figure=_figure(guard),
        limit=_limit(guard),
        standing=_standing(guard),
        line=line_of(points, suspicious),
    )


def _fraction(guard: Mapping[str, Any]) -> float:
    """Where the evidence is between none (0) and where it rolls back (1)."""
    limit, evidence = guard["evidence_limit"], guard["evidence"]
    if not limit:  # a bound, no test
        return float((guard["value"] or 0.0) / guard["limit"])
    if evidence is None:  # it was not finite
        return 1.0 if guard["says"] == "roll back" else 0.0
    return float(evidence / limit)


def _figure(guard: Mapping[str, Any]) -> str:
    name, value = guard["name"], guard["value"]
    if name == "memory":
        return f"{value:,.0f} MB"
    if value is None:
        return "no figure yet"
    if name in ("precision", "coverage"):
        return f"{100 * value:+.1f} points"
    return f"{_ratio(value)} times"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _limit(guard: Mapping[str, Any]) -> str:
    name, limit = guard["name"], guard["limit"]
    if name == "memory":
        return f"at most {limit:,.0f} MB"
    if name in ("precision", "coverage"):
        return f"at least {100 * limit:+.3g}" if limit else "at least 0"
    if name == "split":
        return "" if guard["value"] is None else "what was planned"
    return f"{'at least' if name == 'blocked_least' else 'at most'} {limit:g}"


def _standing(guard: Mapping[str, Any]) -> str:
    if not guard["evidence_limit"]:
        return "a bound, no test"
    return f"evidence {_odds(guard['evidence'])} of {_odds(guard['evidence_limit'])}"


def _odds(evidence: float | None) -> str:
    """Evidence as a number of which 1 is none, from its logarithm."""
    if evidence is None:
        return "–"
    if evidence < 0:
        return "below 1"
    return f"{math.exp(evidence):,.1f}" if evidence < math.log(10) else _large(evidence)


def _large(evidence: float) -> str:
    return f"{math.exp(evidence):,.0f}" if evidence < math.log(1e6) else "over 1,000,000"


def _answered(look: Mapping[str, Any], plan: Plan) -> bool:
    enough = ("superior",) if plan.question.show == "superior" else ("superior", "non-inferior")
    return look["comparison"]["answer"] in enough


def _acts(rollout: Mapping[str, Any], plan: Plan) -> list[tuple[str, str]]:
    """Each act, and why it cannot be done now; "" where it can."""
    if Stage(rollout["stage"]).ended:
        return [(act, "the rollout is over") for act in get_args(Act)]
    last, held = rollout["step"] + 1 >= len(plan.steps), rollout["held"]
    against = {
        "advance": "it is at its last step; promote takes it to all traffic" if last else "",
        "hold": "it is held already" if held else "",
        "resume": "" if held else "it is not held",
    }
    return [(act, against.get(act, "")) for act in get_args(Act)]


def _act(act: str) -> str:
    plain = act.removeprefix("rollout.")
    return _ACTS.get(plain, plain.replace("_", " ").capitalize())


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"

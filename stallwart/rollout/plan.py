"""How a rollout goes: its steps, what each needs, its guards' limits, the audit and the question; one file.

    unit = "seller"
    [[steps]]
    stage = "shadow"
    shadow_share = 1.0
    min_units = 1000

All of it has defaults; `stallwart rollout plan` prints them.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError
from stallwart.core.rollout import Stage

_STRICT = ConfigDict(frozen=True, extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]


class Step(BaseModel):
    """One step of a rollout."""

    model_config = _STRICT

    stage: Literal[Stage.SHADOW, Stage.CANARY, Stage.RAMP, Stage.AB]
    share: Share = Field(default=0.0, description="Of units that the challenger decides about.")
    shadow_share: Share = Field(default=0.0, description="Of units that it scores without deciding.")
    min_units: int = Field(default=0, ge=0, description="Units in the challenger's arm (in shadow: scored).")
    min_hours: float = Field(default=0.0, ge=0, description="Hours before it may go on.")
    min_verdicts: int = Field(
        default=0,
        ge=0,
        description="Verdicts on audited blocks of each arm, over all steps so far, before it may go on.",
    )
    max_hours: float | None = Field(
        default=None, gt=0, description="Hours after which it is rolled back unanswered; null is never."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.stage is Stage.SHADOW) != (self.share == 0):
            raise ValueError("shadow decides nothing (share = 0); every other stage needs a share above 0")
        if self.stage is Stage.SHADOW and not self.shadow_share:
            raise ValueError("shadow needs a shadow_share above 0")
        if self.share == 1:
            raise ValueError("a share of 1 leaves nothing to compare with; promotion takes it to all traffic")
        return self


class Guards(BaseModel):
    """Limits of the guards; a ratio is the challenger's rate over the champion's."""

    model_config = _STRICT

    errors: float = Field(default=1.0, ge=1, description="Listings that the model failed on.")
    slow: float = Field(default=1.5, ge=1, description="Answers slower than the champion's p99.")
    slow_ms: float | None = Field(
        default=None, gt=0, description="What slow is, instead of the champion's p99 so far."
    )
    cpu: float = Field(default=1.5, ge=1, description="Listings that cost more CPU than the champion's p90.")
    blocked_most: float = Field(default=2.0, ge=1, description="Blocks, overall and by each policy.")
    blocked_least: float = Field(default=0.5, ge=0, le=1, description="Blocks, overall and by each policy.")
    reviewed_most: float = Field(
        default=2.0, ge=1, description="Listings sent to review, overall and by each policy."
    )
    overturned: float = Field(default=1.5, ge=1, description="Blocks overturned on appeal, for each unit.")
    precision_drop: float = Field(
        default=0.0, ge=0, lt=1, description="Fall of precision that is put up with, absolute."
    )
    coverage_drop: float = Field(
        default=0.0, ge=0, lt=1, description="Fall of coverage that is put up with, absolute."
    )
    cost: float = Field(default=1.5, ge=1, description="Mean cost of a listing, CPU and reviews.")
    memory_mb: float = Field(
        default=2_000.0, gt=0, description="Megabytes that loading the challenger may add; a bound, no test."
    )
    suspicion: float = Field(
        default=5.0, gt=1, description="Evidence (1 is none) from which a step is not left."
    )


class Cost(BaseModel):
    """What a listing costs, in any one currency."""

    model_config = _STRICT

    cpu_hour: float = Field(default=0.05, ge=0)
    review: float = Field(default=0.5, ge=0)


class Audit(BaseModel):
    """Chance that a decision is drawn for a person's verdict, by its action."""

    model_config = _STRICT

    block: Annotated[float, Field(gt=0, le=1)] = 0.25
    review: Annotated[float, Field(gt=0, le=1)] = 0.1
    allow: Annotated[float, Field(gt=0, le=1)] = 0.01

    def probability(self, action: Action) -> float:
        """Chance that a decision with this action is drawn."""
        return {Action.BLOCK: self.block, Action.REVIEW: self.review, Action.ALLOW: self.allow}[action]


class Question(BaseModel):
    """What the A/B stage has to show before the challenger is promoted."""

    model_config = _STRICT

    show: Literal["non-inferior", "superior"] = "non-inferior"
    about: Literal["blocks", "calls"] = Field(
        default="blocks",
        description="What is right or wrong: blocks, or all calls, reviews too, where nothing may block yet.",
    )
    precision_margin: float = Field(default=0.02, gt=0, lt=1, description="Absolute.")
    coverage_margin: float = Field(default=0.03, gt=0, lt=1, description="Absolute.")
    min_verdicts: int = Field(default=200, ge=20, description="On audited blocks of each arm.")


def _steps() -> tuple[Step, ...]:
    return (
        Step(stage=Stage.SHADOW, shadow_share=1.0, min_units=1_000, min_hours=1),
        Step(stage=Stage.CANARY, share=0.01, min_units=200, min_hours=1),
        Step(stage=Stage.RAMP, share=0.05, min_units=500, min_hours=1),
        Step(stage=Stage.RAMP, share=0.25, min_units=2_000, min_hours=4),
        Step(stage=Stage.RAMP, share=0.5, min_units=4_000, min_hours=12),
        Step(stage=Stage.AB, share=0.5, min_units=4_000, min_hours=24, max_hours=24 * 28),
    )


class Plan(BaseModel):
    """How a rollout goes."""

    model_config = _STRICT

    unit: Literal["listing", "seller"] = Field(
        default="listing", description="What always meets the same arm; seller where sellers interact."
    )
    false_rollback: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Chance of rolling back a challenger as good, over everything.",
    )
    false_promotion: float = Field(
        default=0.05, gt=0, lt=0.5, description="Chance of promoting a challenger worse than a margin."
    )
    steps: tuple[Step, ...] = Field(default_factory=_steps, min_length=1)
    guards: Guards = Guards()
    cost: Cost = Cost()
    audit: Audit = Audit()
    question: Question = Question()

    @model_validator(mode="after")
    def _climbs(self) -> Self:
        order = [Stage.SHADOW, Stage.CANARY, Stage.RAMP, Stage.AB]
        stages = [order.index(step.stage) for step in self.steps]
        shares = [step.share for step in self.steps]
        if stages != sorted(stages) or shares != sorted(shares):
            raise ValueError("steps go from shadow over canary and ramp to ab, and shares never fall")
        if self.steps[-1].stage is not Stage.AB:
            raise ValueError("the last step is ab: promotion needs its answer")
        return self


def read_plan(path: Path | None) -> Plan:
    """The plan in a TOML file; without one, the defaults.

    Raises:
        ConfigError: it cannot be read, or is no plan.
    """
    if path is None:
        return Plan()
    try:
        return plan_of(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read ({err})") from None
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{path}: is no TOML: {err}") from None


def plan_of(values: dict[str, Any], where: str) -> Plan:
    """The plan that a table of values states.

    Raises:
        ConfigError: a value is wrong; the message says which.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the plan"
        raise ConfigError(f"{where}: {place}: {first['msg'].removeprefix('Value error, ')}") from None


def plan_text(plan: Plan) -> str:
    """The plan as the TOML file that `read_plan` reads, with what each value means."""
    lines = ["# How a rollout goes. Leave out what stays at its default.", ""]
    lines += _lines(plan, ("unit", "false_rollback", "false_promotion"))
    for step in plan.steps:
        lines += ["", "[[steps]]", *_lines(step, tuple(Step.model_fields))]
    for name in ("guards", "cost", "audit", "question"):
        part: BaseModel = getattr(plan, name)
        lines += ["", f"[{name}]", *_lines(part, tuple(type(part).model_fields))]
    return "\n".join(lines) + "\n"


def _lines(part: BaseModel, names: tuple[str, ...]) -> list[str]:
    lines = []
    for name in names:
        about, value = type(part).model_fields[name].description, getattr(part, name)
        comment = f"  # {about}" if about else ""
        # TOML has no null: what is not set is shown as a comment
        lines.append(
            f"# {name} is not set.{comment}" if value is None else f"{name} = {json.dumps(value)}{comment}"
        )
    return lines

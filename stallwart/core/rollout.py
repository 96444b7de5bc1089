"""A challenger on its way to all traffic: stages, arms, and what a rollout is at one moment."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Stage(StrEnum):
    """How far a challenger has come."""

    SHADOW = "shadow"
    CANARY = "canary"
    RAMP = "ramp"
    AB = "ab"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"

    @property
    def ended(self) -> bool:
        """Whether no traffic is routed for it any more."""
        return self in (Stage.PROMOTED, Stage.ROLLED_BACK)


class Arm(StrEnum):
    """Who decides about a unit."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class Rollout(BaseModel):
    """A rollout at one moment; every move makes the next version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollout_id: str = Field(description="`r_` and hexadecimal characters that sort by time.")
    champion: str = Field(description="Digest of the bundle that decided when it began.")
    challenger: str = Field(description="Digest of the bundle that wants to.")
    plan: dict[str, Any] = Field(description="The plan as it was when it began; `rollout/plan.py` reads it.")
    routing_key: str = Field(description="Hexadecimal; keys the hash that gives a unit its arm.", repr=False)
    step: int = Field(ge=0, description="Which step of the plan it is at.")
    stage: Stage
    share: float = Field(ge=0, le=1, description="Of units that the challenger decides about; 0 in shadow.")
    shadow_share: float = Field(
        ge=0, le=1, description="Of units that it scores without deciding; 0 from canary on."
    )
    held: bool = Field(description="An operator stopped it from moving on by itself.")
    version: int = Field(ge=1, description="Counts its moves; a move names the version that it saw.")
    started_at_ms: int
    step_since_ms: int = Field(description="When it came to this step.")
    ended_at_ms: int | None = None
    reason: str = Field(default="", description="Of its last move.")

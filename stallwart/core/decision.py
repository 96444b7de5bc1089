"""What was decided about one revision of a listing, as it is answered, stored and replayed."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Action(StrEnum):
    """What happens to a listing."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"


class Cause(StrEnum):
    """Why a decision was made; see `PEOPLE` for those that a person made."""

    NEW = "new"
    EDIT = "edit"
    RESCAN = "rescan"
    KNOWN_BAD = "known-bad"
    VERDICT = "verdict"
    APPEAL = "appeal"
    BULK = "bulk"
    UNDO = "undo"


RULINGS = frozenset({Cause.VERDICT, Cause.APPEAL, Cause.BULK})
"""What a person ruled, which no model may overturn for the same revision."""
PEOPLE = RULINGS | {Cause.UNDO}
"""Causes of decisions that a person made. An undo gives back what a model decided, and its say with it."""


class Limits(BaseModel):
    """From which score what happens for one policy; None where it never does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: float | None = Field(description="Certified score in [0, 1] from which the policy blocks alone.")
    review: float | None = Field(description="Score in [0, 1] from which a person is asked.")


class Decision(BaseModel):
    """One decision; append-only: a later one supersedes it and never changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_id: str = Field(description="Unique; sorts by time.")
    listing_id: str
    revision: str = Field(
        description="sha256 of what was decided about: the listing's content, photos by hash."
    )
    action: Action
    policies: tuple[str, ...] = Field(
        description="Policies that call for the action, the highest score first; empty for allow."
    )
    reason: str = Field(description="In plain words, without the listing's content.")
    scores: dict[str, float] | None = Field(
        description="Calibrated probability of each policy in [0, 1]; null where nothing could be scored."
    )
    thresholds: dict[str, Limits]
    evidence: dict[str, Any] | None = Field(default=None, description="At the level that was asked for.")
    bundle: str = Field(description="Digest of the bundle that scored.")
    addons: tuple[str, ...] = Field(
        default=(), description="Digests of the add-ons that scored beside it, for policies that are new."
    )
    taxonomy: str = Field(
        description="Digest of the rulebook, or of the bundle's taxonomy where there is none."
    )
    cause: Cause
    automatic: bool = Field(
        default=True, description="Whether no person had a part in it; false for verdict, appeal, bulk, undo."
    )
    supersedes: str | None = Field(default=None, description="The listing's decision before this one.")
    decided_at_ms: int = Field(description="Milliseconds since 1970, UTC.")

    @property
    def read(self) -> str:
        """Words in the listing's photos that were scored with it; "" where none were."""
        return str((self.evidence or {}).get("read", ""))

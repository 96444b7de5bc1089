"""What goes over the wire, as types that check themselves and describe themselves in the OpenAPI."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stallwart.core.decision import Decision
from stallwart.core.listing import Listing
from stallwart.store.revisions import storable

Evidence = Literal["none", "words", "full"]


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None


# pydantic's own Base64Bytes goes through three copies; photos are the bulk of a request
_Base64 = Annotated[
    bytes,
    BeforeValidator(_from_base64, json_schema_input_type=str),
    Field(json_schema_extra={"format": "byte"}),
]
_Text = Annotated[str, Field(max_length=1_000_000)]


class PhotoIn(BaseModel):
    """One photo, given in exactly one way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base64: _Base64 | None = Field(default=None, description="The encoded image file.")
    url: str | None = Field(
        default=None, max_length=4_096, description="Where to fetch it; only hosts that the operator listed."
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="A photo that an earlier request brought."
    )
    path: str | None = Field(
        default=None, max_length=1_024, description="Where it lies below the operator's source of photos."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "PhotoIn":
        if sum(way is not None for way in (self.base64, self.url, self.sha256, self.path)) != 1:
            raise ValueError("give exactly one of base64, url, sha256 and path")
        return self


class ListingIn(BaseModel):
    """A listing as published; every part but the id may be missing."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "listing_id": "L1",
                    "title": "Brass desk lamp, 1960s",
                    "description": "Rewired last year, shade has a small dent.",
                    "photos": [],
                }
            ]
        },
    )

    listing_id: str = Field(min_length=1, max_length=256)
    revision: str | None = Field(
        default=None,
        max_length=256,
        description="Your own version of the listing, if its content alone does not tell revisions apart.",
    )
    title: _Text | None = None
    description: _Text | None = None
    photos: tuple[PhotoIn, ...] = Field(default=(), max_length=100)
    seller_id: str | None = Field(default=None, max_length=256)
    price: float | None = Field(default=None, allow_inf_nan=False)
    language: str | None = Field(default=None, max_length=64)
    listed_at: datetime | None = Field(default=None, description="In UTC where no zone is given.")

    def listing(self, photos: tuple[bytes, ...], unread: tuple[str, ...]) -> Listing:
        """The listing with the photos that could be had, and why others could not.

        Its texts are as the store keeps them: what is scored is what is stored, and replay scores the same.
        """
        at = self.listed_at
        return Listing(
            listing_id=self.listing_id,
            title=storable(self.title),
            description=storable(self.description),
            photos=photos,
            seller_id=storable(self.seller_id),
            listed_at=at if at is None or at.tzinfo else at.replace(tzinfo=UTC),
            price=self.price,
            language=storable(self.language),
            unread=unread,
        )


class Options(BaseModel):
    """How listings are decided about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evidence: Evidence = Field(
        default="none",
        description="none; words: which words speak for the policy; full: also photo regions and the nearest"
        " known violations. Evidence costs up to a hundred times a score.",
    )
    rescan: bool = Field(default=False, description="Decide again about a revision that has a decision.")
    on_failure: Literal["review", "error"] = Field(
        default="review",
        description="What an overloaded service or a missed deadline gives: a stored `review`, or 503.",
    )


class DecisionRequest(Options):
    """One listing to decide about."""

    listing: ListingIn


class BatchRequest(Options):
    """Several listings to decide about, each with a result of its own."""

    listings: tuple[ListingIn, ...] = Field(min_length=1)


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    request_id: str


class ErrorOut(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


class BatchRow(BaseModel):
    """The result for one listing: a decision or an error."""

    listing_id: str
    decision: Decision | None = None
    error: ErrorBody | None = None


class BatchOut(BaseModel):
    """One row for each listing, in the order of the request."""

    results: tuple[BatchRow, ...]


class FeedbackIn(BaseModel):
    """What the world said of a decision."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"decision_id": "d_019ab...", "kind": "appeal", "note": "It is a toy."}]
        },
    )

    decision_id: str = Field(min_length=1, max_length=64)
    kind: Literal["appeal", "upheld", "overturned", "report", "outcome"]
    policy: str | None = Field(default=None, max_length=64, description="Which policy it is about.")
    note: str | None = Field(default=None, max_length=10_000)


class PhotoWordsIn(BaseModel):
    """What was read in the photos of a listing that was decided about."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"words": "write to us for prices"}]}
    )

    words: str = Field(min_length=1, max_length=10_000)


class FeedbackOut(BaseModel):
    """What was stored."""

    feedback_id: str


class StatementOut(BaseModel):
    """Why a listing was blocked, as it is told to its seller."""

    model_config = ConfigDict(from_attributes=True)

    decision_id: str
    language: str = Field(description="Of the text; English where there is no template in the one asked for.")
    text: str
    sha256: str = Field(description="Of the text in UTF-8: the same statement is given ever after.")
    given_at_ms: int = Field(description="When it was first given; milliseconds since 1970, UTC.")


class RolloutIn(BaseModel):
    """A rollout to start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    challenger: str = Field(
        min_length=6, max_length=64, description="Digest of a registered bundle, or how it begins."
    )
    why: str = Field(min_length=1, max_length=2_000)
    plan: dict[str, Any] = Field(
        default_factory=dict, description="What differs from the default plan; see `stallwart rollout plan`."
    )


class RolloutActIn(BaseModel):
    """What an operator does with the running rollout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    why: str = Field(min_length=1, max_length=2_000)
    version: int | None = Field(
        default=None, description="That was looked at; refused where it has moved on."
    )
    force: bool = Field(default=False, description="Promote without the answer that the plan asks for.")


class VerdictIn(BaseModel):
    """What a person says of a decision that was drawn for the audit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_id: str = Field(min_length=1, max_length=64)
    answers: dict[str, Literal["yes", "no", "unknown"]] = Field(
        min_length=1,
        max_length=200,
        description="Whether it breaks each policy; all that are not named: unknown.",
    )
    who: str = Field(min_length=1, max_length=200, description="The reviewer.")
    severity: int | None = Field(default=None, ge=0, le=10)
    note: str | None = Field(default=None, max_length=10_000)
    replaces: str | None = Field(default=None, max_length=64, description="The verdict that it corrects.")


class VerdictOut(BaseModel):
    """What was stored."""

    verdict_id: str


class DrawOut(BaseModel):
    """A decision that waits for a person's verdict; it tells neither scores nor action."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="`after` of the next page.")
    decision_id: str
    revision: str
    probability: float = Field(description="That it was drawn, given its action.")
    drawn_at_ms: int


class DrawsOut(BaseModel):
    """A page of what waits, the oldest first."""

    draws: tuple[DrawOut, ...]

"""Distances to known violations that were certified on labelled listings, in a file that services read."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stallwart.core.errors import ConfigError
from stallwart.store.files import whole_file


class Proven(BaseModel):
    """What labelled listings say of one policy and kind.

    Attributes:
        policy: its id.
        kind: what is alike: "photo", "text" or "meaning".
        target: wanted precision, in (0, 1).
        distance: the largest at which it is proven; None where it is at none.
        at: the distance that the figures are about: `distance`, or the nearest to passing.
        precision: at live shares, as counted.
        lower: its lower bound, >= target where proven.
        own: listings of the policy.
        own_near: of those, within `at` of an entry of the policy.
        neutral: neutral listings.
        neutral_near: of those, the same.
        others_near: of listings of other policies, the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str
    kind: Literal["photo", "text", "meaning"]
    target: float = Field(gt=0, lt=1)
    distance: float | None = Field(ge=0)
    at: float = Field(ge=0)
    precision: float
    lower: float
    own: int
    own_near: int
    neutral: int
    neutral_near: int
    others_near: int


class ProvenFile(BaseModel):
    """All of them, and what proved them.

    Attributes:
        format: of the file.
        confidence: of each policy and kind.
        encoder: digest of what made the words' embeddings.
        data: sha256 over ids, labels and times of the listings.
        listings: how many.
        first: day of the first.
        last: day of the last.
        distances: one for each policy and kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    confidence: float = Field(gt=0, lt=1)
    encoder: str
    data: str
    listings: int
    first: str
    last: str
    distances: tuple[Proven, ...]

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        with whole_file(path) as aside:
            aside.write_text(self.model_dump_json(indent=1) + "\n")


def read_proven(path: Path) -> ProvenFile:
    """The file that `ProvenFile.write` wrote.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    try:
        return ProvenFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise ConfigError(f"{path}: is no file of `stallwart known certify`") from None

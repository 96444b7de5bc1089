"""The rulebook: policies read from `policies.toml`, `neutral` first.

A policy file holds one table for each policy, in the order of their introduction:

    [policies.tobacco]
    title = "Tobacco and vapes"
    covers = "Cigarettes, snus, e-liquids."
    precision = 0.90     # lowest share of right calls before the policy may act alone
    prevalence = 0.02    # share of live listings assumed to break it
"""

import hashlib
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stallwart.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NEUTRAL = "neutral"
_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Policy(BaseModel):
    """One rule of the market.

    Attributes:
        id: lower-case name, also the label that enforcement uses.
        title: a few words for people.
        covers: what falls under it and what does not, for people and reviewers.
        precision: share in (0, 1) of right calls wanted before it may act alone.
        prevalence: share in (0, 1) of live listings assumed to break it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str = Field(min_length=1, max_length=200)
    covers: str = Field(default="", max_length=4000)
    precision: float = Field(default=0.9, gt=0, lt=1)
    prevalence: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _id_is_a_name(self) -> "Policy":
        if not _ID.fullmatch(self.id) or self.id == NEUTRAL:
            raise ValueError(
                f"policy id {self.id!r} must be lower case letters, digits and _ and not {NEUTRAL!r}"
            )
        return self


_KEYS = tuple(name for name in Policy.model_fields if name != "id")


class Taxonomy(BaseModel):
    """All policies of one market, in the order of their columns in scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policies: tuple[Policy, ...]

    @model_validator(mode="after")
    def _shares_fit(self) -> "Taxonomy":
        ids = [policy.id for policy in self.policies]
        if not ids:
            raise ValueError("a taxonomy needs at least one policy")
        if repeated := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"repeated policy {', '.join(repeated)}")
        if (total := sum(policy.prevalence for policy in self.policies)) >= 1:
            raise ValueError(f"the prevalences add up to {total:.3f}; they must leave room for neutral")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """Policy ids in column order, without `neutral`."""
        return tuple(policy.id for policy in self.policies)

    @property
    def labels(self) -> tuple[str, ...]:
        """`neutral`, then the policy ids."""
        return (NEUTRAL, *self.ids)

    @cached_property
    def shares(self) -> dict[str, float]:
        """Live share of each label; they sum to 1."""
        shares = {policy.id: policy.prevalence for policy in self.policies}
        return {NEUTRAL: 1.0 - sum(shares.values()), **shares}

    @cached_property
    def digest(self) -> str:
        """sha256 over everything that the taxonomy says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def __getitem__(self, policy_id: str) -> Policy:
        for policy in self.policies:
            if policy.id == policy_id:
                return policy
        raise ConfigError(f"no policy {policy_id!r}; there are: {', '.join(self.ids)}")


def read_taxonomy(path: Path) -> Taxonomy:
    """The taxonomy in a TOML file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a policy in it is wrong.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as err:
        raise ConfigError(
            f"{path}: cannot be read ({err.strerror}); name a file as `stallwart sample` writes policies.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: is not valid TOML: {err}") from None
    tables = content.get("policies")
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(f"{path}: needs a table [policies.<id>] for each policy")
    policies, wrong = [], []
    for name, table in tables.items():
        try:
            policies.append(Policy.model_validate({**table, "id": name}))
        except ValidationError as err:
            wrong += [f"policy {name!r}: {_said(fault)}" for fault in err.errors()]
    try:
        if not wrong:
            return Taxonomy(policies=tuple(policies))
    except ValidationError as err:
        wrong = [_said(fault) for fault in err.errors()]
    raise ConfigError(f"{path}: {'; '.join(wrong)}")


def _said(fault: "ErrorDetails") -> str:
    """A fault in the words of whoever wrote the file."""
    key, bound = ".".join(str(part) for part in fault["loc"]), fault.get("ctx", {})
    given = f", not {fault['input']!r:.60}"
    words = {
        "missing": f"{key} is missing",
        "extra_forbidden": f"no key is called {key!r}; there are: {', '.join(_KEYS)}",
        "greater_than": f"{key} has to be above {bound.get('gt')}{given}",
        "less_than": f"{key} has to be below {bound.get('lt')}{given}",
        "string_too_short": f"{key} is empty",
        "string_too_long": f"{key} is longer than {bound.get('max_length')} characters",
        "string_type": f"{key} has to be a text{given}",
        "float_type": f"{key} has to be a number{given}",
        "float_parsing": f"{key} has to be a number{given}",
        "finite_number": f"{key} has to be a number{given}",
    }
    return words.get(fault["type"], fault["msg"].removeprefix("Value error, "))

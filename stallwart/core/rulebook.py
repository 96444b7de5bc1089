"""The rulebook as it stands: every policy there is or was, and how one version came from the one before.

A move (add, split, merge, retire, narrow) makes the next version. Versions are kept, so that a decision, a
verdict or a label can be read under the rulebook of its day; `core/carrying.py` says what a label of an older
version still proves.
"""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stallwart.core.errors import ConfigError
from stallwart.core.taxonomy import Policy, Taxonomy


class Standing(StrEnum):
    """What a policy does."""

    ACTIVE = "active"
    """A bundle scores it; it acts where its threshold is certified."""
    TRIED = "tried"
    """It is new and scored beside the bundle: its candidates go to people, and it does nothing by itself."""
    NARROWED = "narrowed"
    """It covers less than what the bundle learned: it asks people and does not act."""
    REPLACED = "replaced"
    """It was split or merged; it goes on until a bundle scores what took its place."""
    RETIRED = "retired"
    """It neither acts nor asks."""


class Move(StrEnum):
    """What made a version of the next one."""

    BEGIN = "begin"
    ADD = "add"
    SPLIT = "split"
    MERGE = "merge"
    RETIRE = "retire"
    NARROW = "narrow"


class Step(BaseModel):
    """One move.

    Attributes:
        move: its kind.
        old: policies that it took from.
        new: policies that it led to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    move: Move
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()


class Entry(BaseModel):
    """A policy in a version.

    Attributes:
        policy: its text, wanted precision and share.
        standing: what it does.
        since: version in which its text or standing changed last.
        origin: policies that it was split or merged from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy
    standing: Standing
    since: int = Field(ge=1)
    origin: tuple[str, ...] = ()


class Rulebook(BaseModel):
    """One version: all policies, also those that do nothing any more; an id is never used again.

    Attributes:
        version: 1, 2, 3 ...
        step: the move that made it.
        entries: in the order of their introduction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    step: Step
    entries: tuple[Entry, ...]

    @cached_property
    def digest(self) -> str:
        """sha256 over everything that it says; decisions name it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def to_train(self) -> Taxonomy:
        """What the next full training learns: all but what is retired or replaced.

        Raises:
            ConfigError: none is left, or their shares leave no room for neutral.
        """
        kept = (Standing.ACTIVE, Standing.TRIED, Standing.NARROWED)
        return _taxonomy(entry.policy for entry in self.entries if entry.standing in kept)

    def __getitem__(self, policy_id: str) -> Entry:
        for entry in self.entries:
            if entry.policy.id == policy_id:
                return entry
        known = ", ".join(entry.policy.id for entry in self.entries)
        raise ConfigError(f"no policy {policy_id!r}; there are: {known}")

    def standing_of(self, policy: Policy) -> Standing | None:
        """What a policy does that a bundle was trained on; None where this rulebook never had it.

        A bundle that was trained on the narrower text has learned it: there the policy is active again.
        """
        for entry in self.entries:
            if entry.policy.id == policy.id:
                learned = entry.standing in (Standing.NARROWED, Standing.TRIED) and (
                    entry.policy.covers == policy.covers
                )
                return Standing.ACTIVE if learned else entry.standing
        return None


def begin(taxonomy: Taxonomy) -> Rulebook:
    """Version 1: the policies of a bundle, all of them active."""
    entries = tuple(Entry(policy=one, standing=Standing.ACTIVE, since=1) for one in taxonomy.policies)
    return Rulebook(version=1, step=Step(move=Move.BEGIN, new=taxonomy.ids), entries=entries)


def add(book: Rulebook, policy: Policy) -> Rulebook:
    """The next version, with a policy that is tried.

    Raises:
        ConfigError: its id is or was taken, or its share leaves no room for neutral.
    """
    return _next(book, Step(move=Move.ADD, new=(policy.id,)), (), (), (policy,))


def split(book: Rulebook, old: str, parts: tuple[Policy, ...]) -> Rulebook:
    """The next version, in which two or more policies take the place of one.

    Raises:
        ConfigError: there is no such policy or it does nothing any more, or the parts are fewer than two or
            have ids that are or were taken.
    """
    if len(parts) < 2:
        raise ConfigError(f"a split of {old!r} needs two policies or more in its file, not {len(parts)}")
    step = Step(move=Move.SPLIT, old=(old,), new=tuple(part.id for part in parts))
    return _next(book, step, (old,), (old,), parts)


def merge(book: Rulebook, old: tuple[str, ...], whole: Policy) -> Rulebook:
    """The next version, in which one policy takes the place of several.

    Raises:
        ConfigError: fewer than two are merged, there is no such policy or it does nothing any more, or the
            new id is or was taken.
    """
    if len(set(old)) < 2:
        raise ConfigError("a merge needs two different policies or more")
    return _next(book, Step(move=Move.MERGE, old=old, new=(whole.id,)), old, old, (whole,))


def retire(book: Rulebook, old: str) -> Rulebook:
    """The next version, in which a policy neither acts nor asks.

    Raises:
        ConfigError: there is no such policy, or it is retired already.
    """
    _live(book, old)
    return _changed(book, Step(move=Move.RETIRE, old=(old,)), old, Standing.RETIRED, None)


def narrow(book: Rulebook, policy: Policy) -> Rulebook:
    """The next version, in which a policy covers less, as its new text says.

    Raises:
        ConfigError: there is no such policy, it does nothing any more, or its text is the same.
    """
    before = _live(book, policy.id)
    if before.policy.covers == policy.covers:
        raise ConfigError(f"policy {policy.id!r}: `covers` is the same as before; say what it covers now")
    standing = Standing.TRIED if before.standing is Standing.TRIED else Standing.NARROWED
    step = Step(move=Move.NARROW, old=(policy.id,), new=(policy.id,))
    return _changed(book, step, policy.id, standing, policy)


def _next(
    book: Rulebook, step: Step, live: Iterable[str], replaced: Iterable[str], new: tuple[Policy, ...]
) -> Rulebook:
    for name in live:
        _live(book, name)
    taken = {entry.policy.id for entry in book.entries}
    if repeated := sorted(taken.intersection(policy.id for policy in new)):
        raise ConfigError(
            f"policy {repeated[0]!r} is or was another one of this rulebook; an id is never used again"
        )
    version, gone = book.version + 1, set(replaced)
    entries = [
        entry.model_copy(update={"standing": Standing.REPLACED, "since": version})
        if entry.policy.id in gone
        else entry
        for entry in book.entries
    ]
    entries += [
        Entry(policy=policy, standing=Standing.TRIED, since=version, origin=step.old) for policy in new
    ]
    made = Rulebook(version=version, step=step, entries=tuple(entries))
    _ = made.to_train  # raises where the shares do not fit
    return made


def _changed(book: Rulebook, step: Step, name: str, standing: Standing, policy: Policy | None) -> Rulebook:
    version = book.version + 1
    entries = tuple(
        entry.model_copy(update={"standing": standing, "since": version, "policy": policy or entry.policy})
        if entry.policy.id == name
        else entry
        for entry in book.entries
    )
    return Rulebook(version=version, step=step, entries=entries)


def _live(book: Rulebook, name: str) -> Entry:
    entry = book[name]
    if entry.standing in (Standing.RETIRED, Standing.REPLACED):
        raise ConfigError(f"policy {name!r} is {entry.standing} since version {entry.since}")
    return entry


def _taxonomy(policies: Iterable[Policy]) -> Taxonomy:
    try:
        return Taxonomy(policies=tuple(policies))
    except ValidationError as err:
        raise ConfigError(err.errors()[0]["msg"].removeprefix("Value error, ")) from None

"""Stored decisions with the content that they were made about, page by page, oldest first.

Each page is a short transaction that only reads, and the next one begins behind its last row, so that neither
memory nor a lock grows with the number of decisions. Knows nothing of bundles.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Select, func, select, tuple_

from stallwart.core.decision import PEOPLE, Action, Cause, Limits
from stallwart.core.errors import StoreError
from stallwart.store.database import reading, store_errors
from stallwart.store.revisions import Revision
from stallwart.store.tables import decisions, revisions

PAGE = 256
_FAILED = "stored decisions cannot be read"
_READ = (
    "seq",
    "decision_id",
    "action",
    "policies",
    "reason",
    "scores",
    "thresholds",
    "bundle",
    "addons",
    "taxonomy",
    "decided_at_ms",
    "evidence",
)
# What the service says where it could not score: `serving/service.py` and `serving/engine.py`
_UNSCORED = {
    "overloaded": "overloaded",
    "the deadline was over": "deadline",
    "the model failed": "model failed",
}
_LATE = "was not looked at within the deadline"


def by_models(cause: ColumnElement[str]) -> ColumnElement[bool]:
    """Condition on a column of causes: a model made the decision alone, so that one can make it again."""
    return cause.not_in([one.value for one in (*PEOPLE, Cause.KNOWN_BAD)])


@dataclass(frozen=True, slots=True)
class Window:
    """Which stored decisions of models are meant; what people decided is never replayed.

    Attributes:
        since_ms: first moment, in milliseconds since 1970; None begins with the first decision.
        until_ms: first moment after; what is decided while it is read stays outside.
        bundle: digest of the bundle that decided; None takes all.
        every: all decisions, not only the last one of each listing in the window.
    """

    since_ms: int | None
    until_ms: int
    bundle: str | None = None
    every: bool = False

    def holds(self, at: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """Conditions on a column of times."""
        return [at < self.until_ms] + ([at >= self.since_ms] if self.since_ms is not None else [])

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Conditions on `decisions`."""
        found = [*self.holds(decisions.c.decided_at_ms), by_models(decisions.c.cause)]
        if self.bundle is not None:
            found.append(decisions.c.bundle == self.bundle)
        if not self.every:
            later = decisions.alias("later")
            # A subquery for each row, and no join: one look into the index, whatever PostgreSQL believes
            last = select(func.max(later.c.seq)).where(
                later.c.listing_id == decisions.c.listing_id,
                *self.holds(later.c.decided_at_ms),
                by_models(later.c.cause),
            )
            found.append(decisions.c.seq == last.scalar_subquery())
        return found


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored decision with what it was made about.

    Attributes:
        seq: orders decisions.
        decision_id: its id.
        action: what was decided.
        policies: that called for it, the highest score first.
        reason: in plain words.
        scores: probability by policy; None where nothing could be scored.
        thresholds: from which score what happened, by policy.
        bundle: digest of the bundle that decided.
        addons: digests of the add-ons that scored beside it.
        taxonomy: digest of the rulebook or of the bundle's taxonomy.
        decided_at_ms: milliseconds since 1970, UTC.
        revision: the content, photos by hash.
        read: words in its photos that were scored with it; "" where none were.
    """

    seq: int
    decision_id: str
    action: Action
    policies: tuple[str, ...]
    reason: str
    scores: dict[str, float | None] | None
    thresholds: dict[str, Limits]
    bundle: str
    addons: tuple[str, ...]
    taxonomy: str
    decided_at_ms: int
    revision: Revision
    read: str = ""

    @property
    def failure(self) -> str | None:
        """What kept the service from scoring all of it then, and says nothing of the listing; else None.

        One of overloaded, deadline, model failed, photo not in time.
        """
        if self.scores is None:
            for begins, kind in _UNSCORED.items():
                if self.reason.startswith(begins):
                    return kind
        return "photo not in time" if _LATE in self.reason else None


def count_decisions(engine: Engine, window: Window) -> int | None:
    """How many decisions a window holds; None where the database would take too long to say."""
    query = select(func.count()).select_from(decisions).where(*window.conditions)
    try:
        with store_errors(_FAILED), reading(engine) as connection:
            return int(connection.execute(query).scalar_one())
    except StoreError:  # as a statement's time limit; where more is wrong, reading says so
        return None


def read_decisions(engine: Engine, window: Window) -> Iterator[Stored]:
    """The decisions of a window, oldest first.

    Raises:
        StoreError: the database cannot be read.
    """
    for page in _pages(engine, window, _whole()):
        yield from map(_stored, page)


def draw_decisions(engine: Engine, window: Window, n: int, seed: int) -> list[int]:
    """Numbers (`seq`) of `n` decisions of a window, ascending, or of all where there are fewer.

    Those whose hash with the seed is smallest: each is as likely as any other, and the same are drawn again.

    Raises:
        StoreError: the database cannot be read.
    """
    light = select(decisions.c.seq, decisions.c.decided_at_ms, decisions.c.decision_id)
    rows = (row for page in _pages(engine, window, light, 16 * PAGE) for row in page)
    return sorted(row.seq for row in heapq.nsmallest(n, rows, key=lambda row: chance(seed, row.decision_id)))


def read_drawn(engine: Engine, numbers: list[int]) -> Iterator[Stored]:
    """The decisions with these numbers, in order.

    Raises:
        StoreError: the database cannot be read.
    """
    for start in range(0, len(numbers), PAGE):
        query = _whole().where(decisions.c.seq.in_(numbers[start : start + PAGE])).order_by(decisions.c.seq)
        with store_errors(_FAILED), reading(engine) as connection:
            page = connection.execute(query).all()
        yield from map(_stored, page)


def chance(seed: int, name: str) -> int:
    """A number in [0, 2**64) that is the same for the same seed and name, and looks drawn otherwise."""
    key = seed.to_bytes(8, "big", signed=True)
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "big")


def _whole() -> Select[Any]:
    columns = [decisions.c[name] for name in _READ] + [
        column.label(f"r_{column.name}") for column in revisions.c
    ]
    return select(*columns).join_from(decisions, revisions)


def _pages(
    engine: Engine, window: Window, query: Select[Any], rows: int = PAGE
) -> Iterator[Iterable[Row[Any]]]:
    at, seq = decisions.c.decided_at_ms, decisions.c.seq
    query = query.where(*window.conditions).order_by(at, seq).limit(rows)
    page = query
    while True:
        with store_errors(_FAILED), reading(engine) as connection:
            found = connection.execute(page).all()
        if found:
            yield found
        if len(found) < rows:
            return
        last = found[-1].decided_at_ms, found[-1].seq
        page = query.where(at >= last[0], tuple_(at, seq) > tuple_(*last))


def _stored(row: Row[Any]) -> Stored:
    told = row._mapping
    content = {column.name: told[f"r_{column.name}"] for column in revisions.c}
    content.update(photos=tuple(content["photos"]), unread=tuple(content["unread"]))
    facts = {name: told[name] for name in _READ}
    facts.update(action=Action(facts["action"]), policies=tuple(facts["policies"]))
    facts["thresholds"] = {name: Limits(**limits) for name, limits in facts["thresholds"].items()}
    facts.update(addons=tuple(facts["addons"] or ()), read=(facts.pop("evidence") or {}).get("read", ""))
    return Stored(**facts, revision=Revision(**content))

"""What a form of search asks for -> filters; and what is found -> what a page shows of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import TypeVar

from sqlalchemy import Connection, Engine, select

from stallwart.core.decision import Action
from stallwart.core.errors import DataError
from stallwart.index.meaning import Meaning
from stallwart.index.near import NearDuplicates
from stallwart.index.search import Filters
from stallwart.index.words import unread
from stallwart.pages.site import Values
from stallwart.store.database import reading, store_errors
from stallwart.store.decisions import read_decision
from stallwart.store.findable import Hit
from stallwart.store.tables import findable, revisions

FIELDS = ("words", "seller", "policy", "action", "score_from", "score_to", "since", "until", "near", "by")
"""Fields of the form; a search is its address."""
BY = ("any", "text", "photo", "meaning")
"""In what listings may be near another one."""
_EXCERPT = 160
_NEAR = 200  # near duplicates that are looked among
_DAY_MS = 86_400_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search as it was asked for.

    Attributes:
        given: the fields that are not empty, as they were typed.
        filters: what they mean.
        likeness: of each listing near the one that was asked about, and in what; None without one.
    """

    given: dict[str, str]
    filters: Filters
    likeness: dict[str, tuple[float, str]] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A listing as the page shows it.

    Attributes:
        hit: what was found.
        title: of the listing; None where there is none, or it was deleted.
        excerpt: how its description begins.
        photos: how many it has.
        purged: whether retention deleted its content.
        likeness: as of `Wanted`, or None.
    """

    hit: Hit
    title: str | None
    excerpt: str
    photos: int
    purged: bool
    likeness: tuple[float, str] | None


class Finding:
    """Reads searches.

    Args:
        database: where everything is.
        duplicates: finds near duplicates by words and photos.
        meaning: finds what is alike in meaning; None where embeddings are not at hand.
    """

    def __init__(self, database: Engine, duplicates: NearDuplicates, meaning: Meaning | None):
        self._database, self._duplicates, self._meaning = database, duplicates, meaning

    def wanted(self, values: Values) -> Wanted:
        """The search that a form asks for.

        Raises:
            DataError: a field cannot be read; the message names it.
            StoreError: the database or the photo store fails.
        """
        given = {name: values.get(name).strip() for name in FIELDS if values.get(name).strip()}
        if why := unread(given.get("words", "")):
            raise DataError(f"words: {why}")
        likeness = self._near(given["near"], given.get("by", "any")) if "near" in given else None
        filters = Filters(
            words=given.get("words", ""),
            seller_id=given.get("seller", ""),
            policy=given.get("policy", ""),
            action=_action(given.get("action")),
            score_from=_score(given.get("score_from"), "least score"),
            score_to=_score(given.get("score_to"), "greatest score"),
            since_ms=_day(given.get("since"), "from day"),
            until_ms=_after(_day(given.get("until"), "to day")),
            listings=None if likeness is None else tuple(likeness),
        )
        _in_order(filters.score_from, filters.score_to, "least score", "the greatest score")
        _in_order(filters.since_ms, filters.until_ms, "from day", "the day that it goes to")
        return Wanted(given, filters, likeness)

    def _near(self, decision_id: str, by: str) -> dict[str, tuple[float, str]]:
        if by not in BY:
            raise DataError(f"near in: is one of {', '.join(BY)}")
        with store_errors("the listing cannot be read"), reading(self._database) as connection:
            decision = read_decision(connection, decision_id)
            if decision is None:
                raise DataError("near: there is no such decision; go to it from a listing that was found")
            near = self._duplicates.of(connection, decision.revision, _NEAR) if by != "meaning" else []
        near = [one for one in near if by in ("any", one.by)]
        if self._meaning is not None and by in ("any", "meaning"):
            near += self._meaning.near(decision.revision, _NEAR if by == "meaning" else 50)
        found: dict[str, tuple[float, str]] = {decision.listing_id: (1.0, "itself")}
        for one in near:
            found.setdefault(one.listing_id, (one.likeness, one.by))
        return found

    def shown(self, connection: Connection, hits: Sequence[Hit], wanted: Wanted | None = None) -> list[Shown]:
        """What a page shows of listings that were found, in their order."""
        query = select(
            revisions.c.revision, revisions.c.title, revisions.c.description, revisions.c.photos,
            revisions.c.purged_at_ms,
        ).where(revisions.c.revision.in_([hit.revision for hit in hits]))  # fmt: skip
        content = {row.revision: row for row in connection.execute(query)} if hits else {}
        likeness = (wanted.likeness if wanted else None) or {}
        return [
            Shown(
                hit=hit,
                title=row.title,
                excerpt=(row.description or "")[:_EXCERPT],
                photos=len(row.photos),
                purged=row.purged_at_ms is not None,
                likeness=likeness.get(hit.listing_id),
            )
            for hit in hits
            if (row := content.get(hit.revision)) is not None
        ]


def policies_of(connection: Connection) -> list[str]:
    """Policies that listings were found under: one look for each, however many listings there are."""
    found: list[str] = []
    while len(found) < 500:
        query = select(findable.c.policy).where(findable.c.policy > (found[-1] if found else ""))
        policy = connection.execute(query.order_by(findable.c.policy).limit(1)).scalar()
        if policy is None:
            break
        found.append(policy)
    return found


def _action(given: str | None) -> Action | None:
    try:
        return Action(given) if given else None
    except ValueError:
        raise DataError(f"decision: is one of {', '.join(Action)}") from None


def _score(given: str | None, name: str) -> float | None:
    return _read(
        given, name, float, lambda score: isfinite(score) and 0 <= score <= 1, "a number from 0 to 1"
    )


def _in_order(low: float | None, high: float | None, name: str, other: str) -> None:
    if low is not None and high is not None and low > high:
        raise DataError(f"{name}: is above {other}, so nothing can be found")


def _day(given: str | None, name: str) -> int | None:
    def read(text: str) -> int:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1_000)

    return _read(given, name, read, lambda _: True, "a day as 2026-01-31")


def _after(day_ms: int | None) -> int | None:
    return None if day_ms is None else day_ms + _DAY_MS


def _read(
    given: str | None, name: str, read: Callable[[str], T], fits: Callable[[T], bool], what: str
) -> T | None:
    if given is None:
        return None
    try:
        value = read(given)
    except (ValueError, OverflowError):
        raise DataError(f"{name}: is {what}") from None
    if not fits(value):
        raise DataError(f"{name}: is {what}")
    return value

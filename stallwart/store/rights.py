"""Rights: which policy of which bundle may act alone, and every move of that.

A bundle's certificates are its policies' first rights; `adopt` writes them down. From then on a right is lost
and earned by moves. A move names the version that it saw, and changes the row and writes its audit entry in
one transaction: of two watchers at once one moves, and a killed one leaves the old state or the new. Nobody
can give a right by hand: it is proven offline, or earned.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from stallwart.core.errors import ConflictError, DataError, NotFoundError
from stallwart.store import audit
from stallwart.store.tables import addons, rights, rights_watched

_MOVED = ("state", "threshold", "offered", "why", "since_ms", "version", "attempt", "tried")
MOST_TRIED = 4


class State(StrEnum):
    """How a policy stands with its right to act alone."""

    NONE = "none"  # never had it
    CERTIFIED = "certified"  # offline
    EARNED = "earned"  # by verdicts on would-be blocks
    WITHDRAWN = "withdrawn"
    EARNING = "earning"

    @property
    def acts(self) -> bool:
        """Whether it blocks."""
        return self in (State.CERTIFIED, State.EARNED)


@dataclass(frozen=True, slots=True)
class Right:
    """One policy of one bundle.

    Attributes:
        bundle: digest.
        policy: its id.
        state: how it stands.
        target: wanted precision.
        threshold: score from which it blocks; None where it may not.
        offered: the lowest score that its certificate, granted or not, or an attempt was about; None without
            one. Once its right is gone, people are asked from there on at least. Of a policy that an add-on
            scores only what was granted counts: until then it asks nothing in live decisions.
        why: of its last move.
        since_ms: when that was, milliseconds since 1970; draws from then on are evidence.
        version: counts its moves from 1.
        attempt: to earn it, from 1; 0 before the first.
        tried: thresholds of that attempt, the laxest first.
    """

    bundle: str
    policy: str
    state: State
    target: float
    threshold: float | None
    offered: float | None
    why: str
    since_ms: int
    version: int = 1
    attempt: int = 0
    tried: tuple[float, ...] = ()


def read_rights(connection: Connection, bundles: Iterable[str]) -> list[Right]:
    """The rights of these bundles' policies, by bundle and policy; none of a bundle that was not adopted."""
    query = select(rights).where(rights.c.bundle.in_(sorted(set(bundles))))
    return [_right(row) for row in connection.execute(query.order_by(rights.c.bundle, rights.c.policy))]


def read_right(connection: Connection, bundle: str, policy: str) -> Right:
    """The right of one policy.

    Raises:
        NotFoundError: the bundle was not adopted, or has no such policy.
    """
    query = select(rights).where(rights.c.bundle == bundle, rights.c.policy == policy)
    row = connection.execute(query).first()
    if row is None:
        raise NotFoundError(
            f"nothing is known of the right of {policy[:64]!r} under bundle {bundle[:12]};"
            " see: stallwart rights list"
        )
    return _right(row)


def acting(known: Iterable[Right]) -> dict[str, dict[str, float | None]]:
    """For each bundle the score from which each of its policies blocks; None where it may not."""
    found: dict[str, dict[str, float | None]] = {}
    for one in known:
        found.setdefault(one.bundle, {})[one.policy] = one.threshold if one.state.acts else None
    return found


def asking(known: Iterable[Right]) -> dict[str, dict[str, float]]:
    """For each bundle the score from which people are asked at least, of policies that lost or earn a right.

    What such a policy blocked, or would block, must not pass unseen where it asks late or never by itself.
    """
    found: dict[str, dict[str, float]] = {}
    for one in known:
        if one.state in (State.WITHDRAWN, State.EARNING) and one.offered is not None:
            found.setdefault(one.bundle, {})[one.policy] = one.offered
    return found


def earning(known: Iterable[Right]) -> dict[str, dict[str, float]]:
    """For each bundle the score from which a policy that earns its right would block: the laxest tried."""
    found: dict[str, dict[str, float]] = {}
    for one in known:
        if one.state is State.EARNING:
            found.setdefault(one.bundle, {})[one.policy] = min(one.tried)
    return found


def changed_since(known: Iterable[Right], at_ms: int) -> frozenset[str]:
    """Policies whose right under any of these bundles was moved at that time or later."""
    return frozenset(one.policy for one in known if one.version > 1 and one.since_ms >= at_ms)


def adopt(connection: Connection, given: Sequence[Right], *, who: str, now_ms: int) -> None:
    """Write down the first rights of one bundle's policies; what is there stays as it is.

    Args:
        connection: in a transaction of `database.writing`.
        given: of one bundle, as its certificates say.
        who: for the audit log.
        now_ms: milliseconds since 1970.
    """
    audit.lock(connection)
    known = {one.policy for one in read_rights(connection, {one.bundle for one in given})}
    new = [one for one in given if one.policy not in known]
    if not new:
        return
    connection.execute(
        insert(rights), [{**_values(one), "bundle": one.bundle, "policy": one.policy} for one in new]
    )
    audit.append(
        connection,
        who=who,
        act="rights.adopt",
        subject=new[0].bundle,
        why="as its certificates say",
        detail={one.policy: {"state": one.state.value, "threshold": one.threshold} for one in new},
        now_ms=now_ms,
    )


def withdraw(
    connection: Connection,
    seen: Right,
    *,
    who: str,
    why: str,
    now_ms: int,
    detail: Mapping[str, Any] | None = None,
) -> Right:
    """The right after it was taken away, or after an attempt to earn it was stopped.

    Args:
        connection: in a transaction of `database.writing`.
        seen: as whoever moves it has read it.
        who: for the audit log.
        why: for people and the audit log.
        now_ms: milliseconds since 1970.
        detail: figures behind it.

    Raises:
        ConflictError: somebody else moved it, or there is nothing to take away.
        ConfigError: who or why cannot be written to the audit log.
    """
    if seen.state not in (State.CERTIFIED, State.EARNED, State.EARNING):
        raise ConflictError(f"{seen.policy} does not act alone and is not earning it: it is {seen.state}")
    after = replace(seen, state=State.WITHDRAWN, threshold=None, tried=())
    return _move(connection, seen, after, "rights.withdraw", who, why, now_ms, detail or {})


def start_earning(
    connection: Connection, seen: Right, tried: Sequence[float], *, who: str, why: str, now_ms: int
) -> Right:
    """The right at the start of the next attempt to earn it.

    Args:
        connection: in a transaction of `database.writing`.
        seen: as whoever moves it has read it.
        tried: 1 to 4 thresholds in (0, 1]; they stay as they are until the attempt ends.
        who: for the audit log.
        why: for people and the audit log.
        now_ms: milliseconds since 1970.

    Raises:
        ConflictError: somebody else moved it, or it acts or earns already.
        DataError: there are none or too many thresholds, or one is not in (0, 1].
        ConfigError: who or why cannot be written to the audit log.
    """
    if seen.state not in (State.NONE, State.WITHDRAWN):
        raise ConflictError(f"{seen.policy} is {seen.state}; withdraw the right before it is earned anew")
    kept = tuple(sorted({float(one) for one in tried}))
    if not 1 <= len(kept) <= MOST_TRIED or not all(0 < one <= 1 for one in kept):
        raise DataError(f"an attempt tries 1 to {MOST_TRIED} thresholds in (0, 1], got {list(tried)}")
    lowest: float | None = kept[0] if seen.offered is None else min(seen.offered, kept[0])
    if seen.offered is None and _beside(connection, seen.policy):
        lowest = None  # it has blocked nothing yet that might pass unseen now; its candidates go to people
    after = replace(
        seen, state=State.EARNING, threshold=None, offered=lowest, attempt=seen.attempt + 1, tried=kept
    )
    return _move(connection, seen, after, "rights.earn", who, why, now_ms, {"tried": list(kept)})


def grant(
    connection: Connection,
    seen: Right,
    threshold: float,
    *,
    who: str,
    why: str,
    now_ms: int,
    detail: Mapping[str, Any],
) -> Right:
    """The right after it was earned at one of the thresholds that were tried.

    Raises:
        ConflictError: somebody else moved it, it is not earning, or this threshold was not tried.
        ConfigError: who or why cannot be written to the audit log.
    """
    if seen.state is not State.EARNING or threshold not in seen.tried:
        raise ConflictError(f"{seen.policy} is {seen.state} and did not try {threshold}")
    offered = threshold if seen.offered is None else min(seen.offered, threshold)
    after = replace(seen, state=State.EARNED, threshold=threshold, offered=offered, tried=())
    return _move(connection, seen, after, "rights.grant", who, why, now_ms, detail)


def keep_watched(
    connection: Connection, bundle: str, figures: Mapping[str, Mapping[str, Any]], now_ms: int
) -> None:
    """Keep what was seen of each policy's right, in place of what was kept before."""
    insert_ = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for policy, one in sorted(figures.items()):
        values = {"looked_at_ms": now_ms, "figures": json.loads(json.dumps(one, allow_nan=False))}
        connection.execute(
            insert_(rights_watched)
            .values(bundle=bundle, policy=policy, **values)
            .on_conflict_do_update(index_elements=["bundle", "policy"], set_=values)
        )


def read_watched(connection: Connection, bundle: str) -> dict[str, dict[str, Any]]:
    """What was last seen of each policy's right, with `looked_at_ms`."""
    rows = connection.execute(select(rights_watched).where(rights_watched.c.bundle == bundle))
    return {row.policy: {**row.figures, "looked_at_ms": row.looked_at_ms} for row in rows}


def _beside(connection: Connection, policy: str) -> bool:
    """Whether an add-on scores this policy."""
    live = select(addons.c.policy).where(addons.c.policy == policy, addons.c.ended_at_ms.is_(None))
    return connection.execute(live).first() is not None


def _move(
    connection: Connection,
    seen: Right,
    after: Right,
    act: str,
    who: str,
    why: str,
    now_ms: int,
    detail: Mapping[str, Any],
) -> Right:
    why = audit.checked("why", why)
    audit.lock(connection)
    after = replace(after, why=why, since_ms=now_ms, version=seen.version + 1)
    values = {name: value for name, value in _values(after).items() if name in _MOVED}
    done = connection.execute(
        update(rights)
        .where(
            rights.c.bundle == seen.bundle,
            rights.c.policy == seen.policy,
            rights.c.version == seen.version,
        )
        .values(values)
    )
    if done.rowcount != 1:
        raise ConflictError(f"somebody moved the right of {seen.policy} meanwhile; look at it again")
    said = {
        "bundle": seen.bundle,
        "policy": seen.policy,
        "from": {"state": seen.state.value, "threshold": seen.threshold},
        "to": {"state": after.state.value, "threshold": after.threshold},
        **detail,
    }
    audit.append(
        connection,
        who=who,
        act=act,
        subject=f"{seen.policy} of {seen.bundle}",
        why=why,
        detail=said,
        now_ms=now_ms,
    )
    return after


def _values(right: Right) -> dict[str, Any]:
    names = ("target", *_MOVED)
    return {name: getattr(right, name) for name in names} | {
        "state": right.state.value,
        "tried": list(right.tried),
    }


def _right(row: Row[Any]) -> Right:
    fields = dict(row._mapping)
    return Right(**{**fields, "state": State(fields["state"]), "tried": tuple(fields["tried"])})

"""The step that watches rights: withdraws one whose precision fell, grants one that was earned.

Evidence is what people said of drawn decisions (`evidence.py`), by the tests of `estimate`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from stallwart.core.errors import BundleError, ConflictError
from stallwart.estimate.change import fall_limit, fall_path
from stallwart.estimate.earning import Progress, attempt_error, granted, progress
from stallwart.model.bundle import Bundle
from stallwart.model.shelf import from_shelf
from stallwart.monitoring.evidence import Seen, called, would_be
from stallwart.monitoring.step import Around, Told
from stallwart.store import rights as store
from stallwart.store.alerts import Severity, raise_alert, resolve_alert
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.drawn import DrawnDecisions
from stallwart.store.registry import Alias, alias, read_bundle_row
from stallwart.store.rights import Right, State, adopt, keep_watched, read_rights

WHO = "stallwart watch"
RUNBOOK = "certificates.md#a-policy-lost-its-right"
_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_POINTS = 240  # of a line on the page


class Certificates:
    """The step.

    Args:
        around: database, settings and clock.
    """

    def __init__(self, around: Around):
        self._database, self._now_ms, self._alive = around.database, around.now_ms, around.alive
        self._patience_ms = int(around.settings.rights_patience_days * _DAY_MS)
        self._drawn: dict[str, DrawnDecisions] = {}

    def run(self) -> Told:
        """Look at the rights of the champion and the challenger.

        Raises:
            StoreError: the database fails; the next round goes on.
        """
        told = {"withdrawn": 0.0, "granted": 0.0, "watched": 0.0, "unreadable": 0.0}
        deciding = self._deciding()
        for gone in set(self._drawn) - set(deciding):
            del self._drawn[gone]
        for digest, place in deciding.items():
            self._alive()
            rights = adopted(self._database, digest, place, self._now_ms)
            told["unreadable"] += not rights
            self._look(digest, rights, told)
        return told

    def _deciding(self) -> dict[str, str]:
        """Digest of each bundle that decides or wants to, and where it lies."""
        with store_errors("the registry cannot be read"), reading(self._database) as connection:
            named = [alias(connection, one) for one in (Alias.CHAMPION, Alias.CHALLENGER)]
            return {digest: read_bundle_row(connection, digest).place for digest in named if digest}

    def _look(self, digest: str, rights: Sequence[Right], told: dict[str, float]) -> None:
        drawn = self._drawn.setdefault(digest, DrawnDecisions(digest, self._now_ms))
        drawn.read(self._database)
        figures: dict[str, dict[str, Any]] = {}
        for right in rights:
            if right.state.acts:
                figures[right.policy] = self._watch(right, drawn, told)
            elif right.state is State.EARNING:
                figures[right.policy] = self._hear(right, drawn, told)
            told["watched"] += right.state.acts or right.state is State.EARNING
        now_ms = self._now_ms()
        with store_errors("what was seen of rights is not kept"), writing(self._database) as connection:
            keep_watched(connection, digest, figures, now_ms)

    def _watch(self, right: Right, drawn: DrawnDecisions, told: dict[str, float]) -> dict[str, Any]:
        seen = called(right, drawn)
        path, limit = fall_path(seen.right, seen.weights, right.target), fall_limit(right.target)
        figures = {
            "kind": "acting",
            "verdicts": len(seen.right),
            "right": int(sum(seen.right)),
            "unknown": seen.unknown,
            "waiting": seen.waiting,
            "statistic": float(path[-1]) if len(path) else 0.0,
            "limit": limit,
            "a_day": _a_day(seen, self._now_ms()),
            "points": points(seen.at_ms, path.tolist(), seen.right),
        }
        fallen = np.flatnonzero(path >= limit)
        if len(fallen):
            why = why_withdrawn(right, seen.right[: int(fallen[0]) + 1], path[: int(fallen[0]) + 1].tolist())
            told["withdrawn"] += self._withdraw(right, why, {**figures, "points": None})
        return figures

    def _withdraw(self, right: Right, why: str, detail: dict[str, Any]) -> bool:
        now_ms = self._now_ms()
        try:
            with store_errors("a right cannot be withdrawn"), writing(self._database) as connection:
                store.withdraw(connection, right, who=WHO, why=why, now_ms=now_ms, detail=detail)
                raise_alert(
                    connection,
                    key=f"rights/{right.policy}",
                    severity=Severity.PAGE,
                    title=f"{right.policy} lost its right to act alone",
                    words=f"{why} What it blocked goes to review now.",
                    runbook=RUNBOOK,
                    detail={"bundle": right.bundle, "policy": right.policy},
                    now_ms=now_ms,
                )
        except ConflictError:  # somebody was first: the next look sees what they did
            return False
        return True

    def _hear(self, right: Right, drawn: DrawnDecisions, told: dict[str, float]) -> dict[str, Any]:
        seen = would_be(right, drawn, self._now_ms(), self._patience_ms)
        error = attempt_error(right.attempt)
        found = progress(seen.scores, seen.right, seen.weights, right.tried, right.target, error)
        figures = {
            "kind": "earning",
            "verdicts": len(seen.right),
            "right": int(sum(seen.right)),
            "unknown": seen.unknown,
            "waiting": seen.waiting,
            "a_day": _a_day(seen, self._now_ms()),
            "thresholds": [_figures(one) for one in found],
        }
        threshold = granted(found)
        if threshold is not None:
            one = next(one for one in found if one.threshold == threshold)
            told["granted"] += self._grant(right, one, figures)
        return figures

    def _grant(self, right: Right, proven: Progress, detail: dict[str, Any]) -> bool:
        now_ms = self._now_ms()
        why = (
            f"{proven.right:.0f} of {proven.verdicts} drawn would-be blocks from {proven.threshold:.3f} on"
            f" were right: precision is at least {proven.lower:.3f}, and {right.target:.2f} is wanted."
        )
        try:
            with store_errors("a right cannot be granted"), writing(self._database) as connection:
                store.grant(
                    connection, right, proven.threshold, who=WHO, why=why, now_ms=now_ms, detail=detail
                )
                resolve_alert(connection, f"rights/{right.policy}", who=WHO, why=why, now_ms=now_ms)
        except ConflictError:
            return False
        return True


def adopted(database: Engine, digest: str, place: str, now_ms: Callable[[], int]) -> list[Right]:
    """The rights of a bundle's policies, written down as its certificates say where they are not yet.

    Returns:
        None at all where the bundle cannot be read.

    Raises:
        StoreError: the database fails.
    """
    with store_errors("rights cannot be read"), reading(database) as connection:
        known = read_rights(connection, [digest])
    if known:
        return known
    try:
        bundle = from_shelf(Path(place), digest)
    except BundleError:
        return []
    now = now_ms()
    with store_errors("rights cannot be written"), writing(database) as connection:
        adopt(connection, first_rights(bundle, now), who=WHO, now_ms=now)
        return read_rights(connection, [digest])


def first_rights(bundle: Bundle, now_ms: int) -> list[Right]:
    """The rights that a bundle's certificates give its policies."""
    return [
        Right(
            bundle=bundle.digest,
            policy=one.policy,
            state=State.CERTIFIED if one.certified else State.NONE,
            target=one.target,
            threshold=one.threshold if one.certified else None,
            offered=one.at_score,
            why=one.reason or "as its certificate says",
            since_ms=now_ms,
        )
        for one in bundle.certificates
    ]


def why_withdrawn(right: Right, verdicts: Sequence[bool], path: Sequence[float]) -> str:
    """What a person is told: how many of the verdicts since the evidence began to grow were wrong."""
    begins = max((place + 1 for place, at in enumerate(path) if at == 0), default=0)
    lately = verdicts[begins:]
    return (
        f"{len(lately) - sum(lately)} of the last {len(lately)} verdicts on drawn blocks of {right.policy}"
        f" were wrong: its precision fell below {right.target:.2f}."
    )


def points(at_ms: Sequence[int], path: Sequence[float], right: Sequence[bool]) -> list[list[float]]:
    """At most some hundred [milliseconds, statistic, 1 if right]; of those between the highest stays."""
    every = max(1, -(-len(path) // _POINTS))
    kept = []
    for start in range(0, len(path), every):
        place = max(range(start, min(start + every, len(path))), key=lambda one: path[one])
        kept.append([float(at_ms[place]), round(path[place], 3), float(right[place])])
    return kept


def _a_day(seen: Seen, now_ms: int) -> float:
    """Verdicts a day over the last week, or since the first where that is less."""
    recent = [at for at in seen.at_ms if at > now_ms - _WEEK_MS]
    if not recent:
        return 0.0
    return len(recent) / max(1.0, (now_ms - max(min(seen.at_ms), now_ms - _WEEK_MS)) / _DAY_MS)


def _figures(one: Progress) -> dict[str, Any]:
    return {
        "threshold": one.threshold,
        "verdicts": one.verdicts,
        "right": one.right,
        "lower": one.lower,
        "evidence": max(one.evidence, 0.0),
        "needed": one.needed,
        "more": one.more,
        "proven": one.proven,
    }

"""Replayed decisions -> what would change: by kind of change and policy, sellers, examples, reviewers' hours.

Counts only and a few examples: what is held grows with the sellers of changed listings, by 8 bytes each, and
not with the listings.
"""

import hashlib
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from stallwart.core.decision import Action
from stallwart.estimate.bounds import rate_interval
from stallwart.replay.run import Replayed
from stallwart.replay.stored import chance

ALLOW, REVIEW, BLOCK = Action.ALLOW, Action.REVIEW, Action.BLOCK
CHANGES = {
    "newly_blocked": ((ALLOW, BLOCK), (REVIEW, BLOCK)),
    "released": ((BLOCK, ALLOW),),
    "newly_reviewed": ((ALLOW, REVIEW), (BLOCK, REVIEW)),
    "no_longer_reviewed": ((REVIEW, ALLOW),),
}
"""Kinds of change, each as pairs of the action then and now; together they are all pairs that differ."""
_KIND = {pair: kind for kind, pairs in CHANGES.items() for pair in pairs}
_DAY_MS = 86_400_000


def share_of(count: int, n: int) -> dict[str, Any]:
    """A share with what is behind it: count, n, share, and its exact 95 % interval (Clopper and Pearson)."""
    interval = rate_interval(count, n)
    share = count / n if n else None
    return {"count": count, "n": n, "share": share, "lower": interval.lower, "upper": interval.upper}


@dataclass(frozen=True)
class Span:
    """How long the traffic took, for rates by the day.

    Attributes:
        first_ms: milliseconds since 1970.
        last_ms: likewise.
        weight: decisions that each replayed one stands for; 1 without a sample.
    """

    first_ms: int
    last_ms: int
    weight: float = 1.0

    @property
    def days(self) -> float:
        """Days, at least one: less traffic says nothing of a day."""
        return max(1.0, (self.last_ms - self.first_ms) / _DAY_MS)


@dataclass
class _Sellers:
    """Who is touched: known sellers once each, and listings of unknown ones."""

    known: set[int] = field(default_factory=set)
    unknown: int = 0

    def add(self, seller_id: str | None) -> None:
        if seller_id is None:
            self.unknown += 1
        else:
            digest = hashlib.blake2b(seller_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            self.known.add(int.from_bytes(digest, "big"))

    def facts(self) -> dict[str, int]:
        return {"sellers": len(self.known), "listings_of_unknown_sellers": self.unknown}


@dataclass
class _Change:
    """One kind of change."""

    sellers: _Sellers = field(default_factory=_Sellers)
    policies: Counter[str] = field(default_factory=Counter)
    sellers_of: dict[str, _Sellers] = field(default_factory=dict)
    drawn: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)


class Tally:
    """Counts replayed decisions.

    Args:
        examples: how many of each kind of change are kept, drawn at random.
        seed: of that draw.
        show_words: add the listings' titles to examples.
    """

    def __init__(self, examples: int = 5, seed: int = 0, show_words: bool = False):
        self._examples, self._seed, self._show_words = examples, seed, show_words
        self.n, self.other_policies = 0, 0
        self.actions: Counter[tuple[Action, Action]] = Counter()
        self.decided_by: Counter[str] = Counter()
        self.first_ms, self.last_ms = 0, 0
        self._changes = {kind: _Change() for kind in CHANGES}

    def add(self, one: Replayed) -> str | None:
        """Counts one; the kind of change that it is, None where the action stays."""
        stored, ruling = one.stored, one.ruling
        self.first_ms = min(self.first_ms or stored.decided_at_ms, stored.decided_at_ms)
        self.last_ms = max(self.last_ms, stored.decided_at_ms)
        self.n += 1
        self.decided_by[stored.bundle] += 1
        pair = stored.action, ruling.action
        self.actions[pair] += 1
        kind = _KIND.get(pair)
        if kind is None:
            self.other_policies += stored.policies != ruling.policies
        else:
            self._change(kind, one)
        return kind

    def _change(self, kind: str, one: Replayed) -> None:
        change, seller = self._changes[kind], one.stored.revision.seller_id
        change.sellers.add(seller)
        for policy in policies_of(kind, one):
            change.policies[policy] += 1
            change.sellers_of.setdefault(policy, _Sellers()).add(seller)
        # The smallest hashes are a draw that nothing about the listing moves
        place = -chance(self._seed, one.stored.decision_id), one.stored.seq
        if len(change.drawn) < self._examples:
            heapq.heappush(change.drawn, (*place, example(one, self._show_words)))
        elif self._examples and place > change.drawn[0][:2]:
            heapq.heapreplace(change.drawn, (*place, example(one, self._show_words)))

    def facts(self, span: Span, seconds_per_review: float) -> dict[str, Any]:
        """All of it as plain dicts, strings and numbers; each share with its count and interval."""
        return {
            "listings": self.n,
            "days": span.days,
            "decided_by": dict(self.decided_by.most_common()),
            "actions": {
                before.value: {after.value: self.actions[before, after] for after in Action}
                for before in Action
            },
            "same_action_other_policies": share_of(self.other_policies, self.n),
            "changes": {kind: self._facts(change, kind) for kind, change in self._changes.items()},
            "reviews": self._reviews(span, seconds_per_review),
        }

    def _facts(self, change: _Change, kind: str) -> dict[str, Any]:
        count = sum(self.actions[pair] for pair in CHANGES[kind])
        return {
            **share_of(count, self.n),
            **change.sellers.facts(),
            "policies": {
                policy: {**share_of(found, self.n), **change.sellers_of[policy].facts()}
                for policy, found in change.policies.most_common()
            },
            "examples": [told for *_, told in sorted(change.drawn, key=lambda drawn: drawn[:2])],
        }

    def _reviews(self, span: Span, seconds: float) -> dict[str, Any]:
        """Reviews a day, then, now and more (or fewer), and the hours that they take."""
        then = sum(self.actions[REVIEW, after] for after in Action)
        now = sum(self.actions[before, REVIEW] for before in Action)
        both = self.actions[REVIEW, REVIEW]
        # Two exact intervals at 97.5 % each hold the difference of their shares at 95 %
        more, fewer = (rate_interval(count, self.n, 0.975) for count in (now - both, then - both))
        a_day = self.n * span.weight / span.days
        by_count = span.weight / span.days
        change = {
            "estimate": (now - then) * by_count,
            "lower": (more.lower - fewer.upper) * a_day,
            "upper": (more.upper - fewer.lower) * a_day,
        }
        return {
            "then": share_of(then, self.n),
            "now": share_of(now, self.n),
            "a_day_then": then * by_count,
            "a_day_now": now * by_count,
            "more_a_day": change,
            "seconds_per_review": seconds,
            "more_hours_a_day": {name: value * seconds / 3600 for name, value in change.items()},
        }


def policies_of(kind: str, one: Replayed) -> tuple[str, ...]:
    """The policies that a change is put down to: those that call for it now, or that no longer do."""
    gone = kind in ("released", "no_longer_reviewed")
    return one.stored.policies if gone else one.ruling.policies


def example(one: Replayed, show_words: bool) -> dict[str, Any]:
    """One changed decision as facts; the listing's title only where asked for."""
    stored = one.stored
    told = {
        "listing_id": stored.revision.listing_id,
        "decision_id": stored.decision_id,
        "then": stored.action.value,
        "then_policies": list(stored.policies),
        "now": one.ruling.action.value,
        "now_policies": list(one.ruling.policies),
        "reason": one.ruling.reason,
    }
    return {**told, "title": stored.revision.title} if show_words else told

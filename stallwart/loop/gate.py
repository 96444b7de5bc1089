"""Champion and challenger on the same rows -> whether the challenger may go into shadow, and why not.

Two questions. On the later rows, which neither has seen: is it better, or at least not worse by more than a
margin? On the older rows, held back from training: does any policy's average precision fall by more than a
margin, and by more than chance? Both must hold.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stallwart.core.errors import DataError
from stallwart.core.scored import Scored
from stallwart.evaluation.compare import Candidate, Comparison, compare
from stallwart.evaluation.evaluate import Options
from stallwart.evaluation.figures import FEW, Figure, Gates


@dataclass(frozen=True)
class Margins:
    """What is put up with.

    Attributes:
        later: by how much the mean average precision on later rows may fall at most; the 95 % interval of the
            difference has to lie above minus this.
        older: by how much one policy's average precision on the older rows may fall at most.
        least: violations that a policy needs among the older rows to be judged there.
        replicates: bootstrap replicates behind the intervals.
    """

    later: float = 0.02
    older: float = 0.05
    least: int = 10
    replicates: int = 1_000


@dataclass(frozen=True)
class Seen:
    """One policy, or the mean, on some rows.

    Attributes:
        rows: "later" or "older".
        policy: id, or "mean".
        positives: violations behind it.
        champion, challenger: average precision.
        change: challenger minus champion, with its 95 % interval.
        fails: whether the gate fails for it.
    """

    rows: str
    policy: str
    positives: int
    champion: float
    challenger: float
    change: Figure
    fails: bool


@dataclass(frozen=True)
class Gated:
    """What the gate says.

    Attributes:
        passed: whether the challenger may go into shadow.
        reasons: why not, in words; empty where it passed.
        seen: everything it looked at.
        unjudged: policies with too few violations among the older rows to be judged there.
        later, older: how many rows of each.
    """

    passed: bool
    reasons: tuple[str, ...]
    seen: tuple[Seen, ...]
    unjudged: tuple[str, ...]
    later: int
    older: int

    def facts(self) -> dict[str, Any]:
        """For files and machines; what is not known is null."""
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "unjudged": list(self.unjudged),
            "rows": {"later": self.later, "older": self.older},
            "seen": [
                {
                    "rows": one.rows,
                    "policy": one.policy,
                    "positives": one.positives,
                    "champion": _plain(one.champion),
                    "challenger": _plain(one.challenger),
                    "change": [_plain(one.change.value), _plain(one.change.low), _plain(one.change.high)],
                    "fails": one.fails,
                }
                for one in self.seen
            ],
        }


def judge(
    champion: tuple[Scored, Scored], challenger: tuple[Scored, Scored], margins: Margins | None = None
) -> Gated:
    """What the gate says of a challenger.

    Args:
        champion: its scores of the later and of the older rows.
        challenger: its scores of the same rows.
        margins: what is put up with.
    """
    margins = margins or Margins()
    later, why_later = _compared(champion[0], challenger[0], margins)
    older, _ = _compared(champion[1], challenger[1], margins)
    seen: list[Seen] = []
    reasons: list[str] = []
    if later is None:
        reasons.append(f"there is nothing to judge it by: {why_later}")
    else:
        seen.append(_mean(later, margins))
        seen.extend(_policies("later", later, margins, fails=False))
        if seen[0].fails:
            reasons.append(
                f"on {later.part.n:,} later listings the mean average precision changes by"
                f" {_interval(seen[0].change)}; its interval has to lie above {-margins.later:+.3f}"
            )
    unjudged: tuple[str, ...] = tuple(champion[1].taxonomy.ids)
    if older is not None:
        judged = _policies("older", older, margins, fails=True)
        seen.extend(judged)
        unjudged = tuple(name for name in unjudged if name not in {one.policy for one in judged})
        for one in judged:
            if one.fails:
                reasons.append(
                    f"{one.policy} forgets: on {one.positives} older violations its average precision falls"
                    f" from {one.champion:.3f} to {one.challenger:.3f}, by {_interval(one.change)};"
                    f" {margins.older:g} is the most"
                )
    return Gated(
        passed=not reasons,
        reasons=tuple(reasons),
        seen=tuple(seen),
        unjudged=unjudged,
        later=len(champion[0]),
        older=len(champion[1]),
    )


def _compared(first: Scored, second: Scored, margins: Margins) -> tuple[Comparison | None, str]:
    """The comparison, or why there is none."""
    if not len(first):
        return None, "no listing is later than what it learned from; wait, or move --until"
    try:
        options = Options(replicates=margins.replicates)
        return compare(_ranked("champion", first), _ranked("challenger", second), options), ""
    except DataError as err:
        return None, str(err)


def _ranked(name: str, scored: Scored) -> Candidate:
    """A candidate of whom only the order of listings counts, not its thresholds."""
    k = len(scored.taxonomy.ids)
    return Candidate(name, scored, Gates(np.full(k, np.inf), np.ones(k)))


def _mean(comparison: Comparison, margins: Margins) -> Seen:
    difference = comparison.macro["average_precision"]
    change = difference.change.measured
    # What too few violations leave open is no proof that it is not worse
    fails = bool(np.isnan(change.low) or change.low < -margins.later)
    return Seen(
        rows="later",
        policy="mean",
        positives=change.n_positive,
        champion=difference.first.measured.value,
        challenger=difference.second.measured.value,
        change=change,
        fails=fails,
    )


def _policies(rows: str, comparison: Comparison, margins: Margins, *, fails: bool) -> list[Seen]:
    """Each policy; one fails where it falls by more than the margin and by more than chance."""
    found = []
    for policy, figures in comparison.policies.items():
        difference = figures["average_precision"]
        first, second = difference.first.measured, difference.second.measured
        if rows == "older" and first.n_positive < max(margins.least, FEW):
            continue
        change = difference.change.measured
        falls = change.value < -margins.older and change.high < 0
        found.append(
            Seen(
                rows, policy, first.n_positive, first.value, second.value, change, fails=bool(fails and falls)
            )
        )
    return found


def _interval(change: Figure) -> str:
    return f"{change.value:+.3f} [{change.low:+.3f} to {change.high:+.3f}]"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

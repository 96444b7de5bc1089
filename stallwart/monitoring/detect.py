"""Detectors of drift: a reference and later listings in, what moved and how surely out. Pure.

Each detector looks at one side of listings (their words, languages, photos, parts, scores of a policy), in
windows of the last 100, 200, 400 and 800 listings. A test's p-value says how often chance alone moves so far
from the reference, rhythm and clumping taken out (`estimate/rhythm.py`).

False alarms are counted by time: a look may spend `per_year` times the part of a year since the look before,
shared out over detectors by `SHARES` and evenly over windows. The expected number of false alarms in a year
is then at most `per_year`, however often somebody looks and however the tests depend on each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stallwart.estimate.rhythm import Floats, Usual, UsualShares
from stallwart.monitoring.sample import Sample

WINDOWS = (100, 200, 400, 800)
YEAR_MS = 365.25 * 86_400_000
LONGEST_MS = (
    86_400_000  # a look pays for a day at most: after a week's outage it is no surer than after one day
)
SHARES = {
    "words": 0.2,
    "photos": 0.15,
    "language": 0.1,
    "parts": 0.05,
    "sizes": 0.05,
    "colour": 0.1,
    "scores": 0.2,
    "calibration": 0.1,
    "labels": 0.05,
}
"""Of the false alarms that are put up with; all policies share those of `scores` and `calibration`."""
_PRINCIPAL = 16  # directions in which words and photos are followed
_FEWEST = 40  # listings of a window that have the part which is looked at
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """What one detector said at one look.

    Attributes:
        detector: as in `SHARES`, or `scores/<policy>`.
        p: of the window in which it moved most, times the number of windows, in (0, 1].
        level: the p-value below which it is an alarm at this look.
        rows: of that window.
        words: what moved, in plain words; no content of any listing.
        from_: what was expected, as a share or a mean.
        to: what was seen.
        decision_ids: of the listings in the window that moved it most; for what went away, such ones of the
            reference.
    """

    detector: str
    p: float
    level: float
    rows: int
    words: str
    from_: float
    to: float
    decision_ids: tuple[str, ...]

    @property
    def is_alarm(self) -> bool:
        """Whether chance is no explanation that is put up with."""
        return self.p < self.level


Test = Callable[[Sample], Finding | None]


class Detectors:
    """All detectors that a reference can have.

    Args:
        reference: listings that were decided while all was well, in the order of time.
        per_year: false alarms that are put up with in a year, > 0.
    """

    def __init__(self, reference: Sample, per_year: float) -> None:
        self._per_year = per_year
        self._tests: dict[str, tuple[float, Test]] = {}
        self._add("words", lambda: _Means("words", reference, reference.text, lambda s: s.text))
        self._add("photos", lambda: _Means("photos", reference, reference.photo, lambda s: s.photo))
        self._add("language", lambda: _Shares("language", reference, lambda s: s.language))
        self._add("parts", lambda: _Shares("parts", reference, lambda s: s.parts))
        self._add("sizes", lambda: _Shares("sizes", reference, lambda s: s.size))
        self._add("colour", lambda: _Shares("colour", reference, _colours))
        for column, policy in enumerate(reference.policies):
            share = SHARES["scores"] / len(reference.policies)
            self._add(f"scores/{policy}", partial(_Scores, policy, reference, column), share)

    def _add(self, name: str, make: Callable[[], Test], share: float | None = None) -> None:
        try:
            test = make()
        except ValueError:  # the reference has too little of it
            return
        self._tests[name] = (SHARES[name] if share is None else share, test)

    @property
    def names(self) -> tuple[str, ...]:
        """The detectors that this reference can have."""
        return tuple(self._tests)

    def look(self, later: Sample, since_ms: float) -> list[Finding]:
        """What each detector says of the last of these listings.

        Args:
            later: listings after the reference, in the order of time.
            since_ms: time since the look before, in milliseconds; more than a day counts as a day.
        """
        spend = self._per_year * min(since_ms, LONGEST_MS) / YEAR_MS
        windows = [size for size in WINDOWS if size <= len(later)]
        findings = []
        for share, test in self._tests.values():
            told = [one for size in windows if (one := test(later[-size:])) is not None]
            if told:
                best = min(told, key=lambda one: one.p)
                findings.append(_of(best, min(1.0, best.p * len(told)), spend * share))
        return findings


def _of(one: Finding, p: float, level: float) -> Finding:
    return Finding(one.detector, p, level, one.rows, one.words, one.from_, one.to, one.decision_ids)


class _Means:
    """Words or photos: the mean of their sketches, in the reference's principal directions."""

    def __init__(
        self,
        name: str,
        reference: Sample,
        rows: NDArray[np.float32],
        of: Callable[[Sample], NDArray[np.float32]],
    ) -> None:
        there = np.any(rows != 0, axis=1)
        full = rows[there].astype(np.float64)
        if len(full) < 50:
            raise ValueError("too few rows")
        self._name, self._of = name, of
        self._middle = full.mean(axis=0)
        _, _, directions = np.linalg.svd(full - self._middle, full_matrices=False)
        self._directions = directions[: min(_PRINCIPAL, len(full) // 25)].T
        self._usual = Usual(self._features(full), reference.at_ms[there])

    def _features(self, rows: Floats) -> Floats:
        return np.asarray((rows - self._middle) @ self._directions)

    def __call__(self, window: Sample) -> Finding | None:
        rows = self._of(window).astype(np.float64)
        there = np.any(rows != 0, axis=1)
        if there.sum() < _FEWEST:
            return None
        ids = window.decision_ids[there]
        moved = self._usual.test(self._features(rows[there]), window.at_ms[there])
        far = float(np.abs(moved.z).max())
        words = (
            f"The {self._name} of the last {moved.rows} listings that have any are others than before: "
            f"their mean moved by {far:.1f} standard errors in its strongest direction."
        )
        most = ids[np.argsort(-moved.pull)[:_SHOWN]]
        return Finding(self._name, moved.p, 0.0, moved.rows, words, 0.0, far, tuple(most.tolist()))


class _Shares:
    """Languages, parts, sizes, colours: the share of each kind."""

    def __init__(self, name: str, reference: Sample, of: Callable[[Sample], NDArray[np.str_]]) -> None:
        self._name, self._of, self._reference = name, of, reference
        kinds = of(reference)
        self._there = kinds != ""
        self._usual = UsualShares(kinds[self._there], reference.at_ms[self._there])

    def __call__(self, window: Sample) -> Finding | None:
        kinds = self._of(window)
        there = kinds != ""
        if there.sum() < _FEWEST:
            return None
        turned = self._usual.test(kinds[there], window.at_ms[there])
        words = (
            f"{self._name.capitalize()}: {self._named(turned.name, kinds[there])} has {turned.seen:.1%} "
            f"of the last {turned.rows} listings that have any; {turned.expected:.1%} is usual."
        )
        grew = turned.seen > turned.expected
        source, named = (window, kinds) if grew else (self._reference, self._of(self._reference))
        some = np.flatnonzero((named != "") & self._usual.belongs(named, turned.name))[-_SHOWN:]
        ids = tuple(source.decision_ids[some].tolist())
        return Finding(self._name, turned.p, 0.0, turned.rows, words, turned.expected, turned.seen, ids)

    def _named(self, name: str, kinds: NDArray[np.str_]) -> str:
        """A kind by its name; what was hardly ever there before by the commonest of it."""
        mine = kinds[self._usual.belongs(kinds, name)]
        if name != "other" or not len(mine):
            return name
        found, counts = np.unique(mine, return_counts=True)
        return f"{found[int(np.argmax(counts))]}, rare or unknown before,"


class _Scores:
    """Scores of one policy: their mean in log-odds, and the share of high ones."""

    def __init__(self, policy: str, reference: Sample, column: int) -> None:
        self._policy, self._column = policy, column
        scores = reference.scores[:, column]
        there = np.isfinite(scores)
        if there.sum() < 100:
            raise ValueError("too few scores")
        self._high = float(np.quantile(scores[there], 0.97))
        self._usual = Usual(_log_odds(scores[there])[:, None], reference.at_ms[there])
        self._shares = UsualShares(self._kinds(scores[there]), reference.at_ms[there])

    def _kinds(self, scores: Floats) -> NDArray[np.str_]:
        return np.where(scores >= self._high, "high", "low")

    def __call__(self, window: Sample) -> Finding | None:
        scores = window.scores[:, self._column]
        there = np.isfinite(scores)
        if there.sum() < _FEWEST:
            return None
        ids, at = window.decision_ids[there], window.at_ms[there]
        moved = self._usual.test(_log_odds(scores[there])[:, None], at)
        turned = self._shares.test(self._kinds(scores[there]), at)
        p = min(1.0, 2 * min(moved.p, turned.p))
        up = (
            float(moved.z[0]) > 0
            if moved.p < turned.p
            else float((scores[there] >= self._high).mean()) > 0.03
        )
        high = float((scores[there] >= self._high).mean())
        words = (
            f"Scores of {self._policy} went {'up' if up else 'down'}: {high:.1%} of the last {moved.rows} "
            f"are at or above {self._high:.3f}, against 3 % before; their mean moved by "
            f"{moved.z[0]:+.1f} standard errors."
        )
        most = ids[np.argsort(-scores[there] if up else scores[there])[:_SHOWN]]
        return Finding(f"scores/{self._policy}", p, 0.0, moved.rows, words, 0.03, high, tuple(most.tolist()))


def _log_odds(scores: Floats) -> Floats:
    kept = np.clip(scores, 1e-5, 1 - 1e-5)
    return np.asarray(np.log(kept / (1 - kept)))


def _colours(sample: Sample) -> NDArray[np.str_]:
    """How colourful photos are, in steps; below 0.02 a photo is grey to the eye."""
    edges = np.array([0.02, 0.06, 0.12, 0.2, 0.35])
    names = np.array(["grey", "pale", "muted", "plain", "colourful", "bright"])
    filled = np.nan_to_num(sample.colour, nan=0.0)
    return np.where(np.isnan(sample.colour), "", names[np.searchsorted(edges, filled, side="right")])

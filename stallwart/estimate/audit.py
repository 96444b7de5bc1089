"""What the audit sample says of all traffic: prevalence, recall and precision, each with an interval.

Traffic is cut into strata whose sizes are known from the decisions: score bands, and in them what was
called (blocked; or blocked or sent to review) and what was not. Within a stratum each listing was drawn with
the same probability, so that its verdicts stand for it. For one policy, a stratum is called where the call
was for this policy, and a verdict says whether this policy is broken; overall, whether any is.

The intervals are for one look at a fixed time. Anyone may ask by day, by policy or by bundle, and looks may
overlap: each interval holds its level by itself, not all of them at once. To watch a figure and act on the
first bad moment, use `sequences`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stallwart.estimate.audit_bounds import Counts, Floats, bound


@dataclass(frozen=True, slots=True)
class Stratum:
    """Traffic that was drawn with one probability, and the verdicts on what was drawn.

    Attributes:
        name: of the score band.
        called: whether its decisions are calls: blocked, or blocked or sent to review, as is asked.
        population: listings in it, drawn or not, whole, >= 0.
        violating: verdicts that say yes.
        clear: verdicts that say no.
        unknown: verdicts that say neither; they are counted, left out, and taken to be like the others.
        probability: in (0, 1], with which each was drawn; `merged` joins only strata that agree in it. None
            where it is not known to be the same over time.
    """

    name: str
    called: bool
    population: int
    violating: int = 0
    clear: int = 0
    unknown: int = 0
    probability: float | None = None

    def __post_init__(self) -> None:
        if min(self.violating, self.clear, self.unknown) < 0 or self.drawn > self.population:
            raise ValueError(
                f"stratum {self.name!r} has {self.drawn} verdicts ({self.violating} yes, {self.clear} no, "
                f"{self.unknown} unknown) on {self.population} listings; counts are >= 0, and a listing is "
                "judged once"
            )
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ValueError(f"stratum {self.name!r} has probability {self.probability}, not in (0, 1]")

    @property
    def judged(self) -> int:
        """Verdicts that say yes or no."""
        return self.violating + self.clear

    @property
    def drawn(self) -> int:
        """Verdicts of any kind."""
        return self.judged + self.unknown


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure of all traffic.

    Attributes:
        value: in [0, 1], each verdict counted by how many listings it stands for, from the strata in which
            anything was judged; None where that would mislead: nothing was found to divide by, or, for a
            recall, no miss was found although not everything was looked at. The bounds say what is known.
        lower: in [0, 1].
        upper: in [0, 1], >= lower.
        verdicts: yes and no that the figure rests on.
        violating: how many of them say yes.
        unknown: verdicts that were left out.
        unseen: listings in strata in which nothing was judged; for the bounds none to all of them violate.
    """

    value: float | None
    lower: float
    upper: float
    verdicts: int
    violating: int
    unknown: int
    unseen: int


@dataclass(frozen=True, slots=True)
class Audit:
    """The three figures, and how many listings they are about.

    Attributes:
        prevalence: share of all listings that violate.
        recall: share of violating listings that were called.
        precision: share of called listings that violate.
        population: listings of all strata.
        called: those that were called.
    """

    prevalence: Estimate
    recall: Estimate
    precision: Estimate
    population: int
    called: int


def audit(strata: Iterable[Stratum], confidence: float = 0.95) -> Audit:
    """Prevalence, recall and precision of calls with two-sided intervals, each side with half of the error.

    Figures are those of the listings that there were, not of some model of them: what was judged is known,
    and a stratum judged completely adds no doubt. Nothing is assumed of scores but that they cut the strata,
    so that miscalibrated ones cost width and never coverage.

    Args:
        strata: all traffic that is asked about; `merged` first where they are of several days.
        confidence: in (0, 1).

    Raises:
        ValueError: confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    there = merged(one for one in strata if one.population)
    tail = (1 - confidence) / 2
    return Audit(
        prevalence=_share(there, tail),
        recall=_recall(there, tail),
        precision=_share([one for one in there if one.called], tail),
        population=sum(one.population for one in there),
        called=sum(one.population for one in there if one.called),
    )


def merged(strata: Iterable[Stratum]) -> list[Stratum]:
    """Strata of several days or bundles as one: those of one name, one kind of decision and one probability.

    Where the probability of a band was changed they stay apart, since a violation found under the one stands
    for more listings than under the other; strata without a probability are never joined.
    """
    joined: dict[tuple[object, ...], Stratum] = {}
    for place, one in enumerate(strata):
        key = (one.name, one.called, one.probability if one.probability is not None else (place,))
        if key not in joined:
            joined[key] = one
            continue
        other = joined[key]
        joined[key] = replace(
            one,
            population=one.population + other.population,
            violating=one.violating + other.violating,
            clear=one.clear + other.clear,
            unknown=one.unknown + other.unknown,
        )
    return list(joined.values())


def _share(strata: Sequence[Stratum], tail: float) -> Estimate:
    """Violating listings over all listings of the strata."""
    counts, seen, unseen = _split(strata)
    total = sum(one.population for one in strata)
    if not seen:
        return _estimate(strata, None, 0.0, 1.0)
    found = float((counts.weights * counts.violating).sum())
    known, hidden = float(counts.population.sum()), float(sum(one.population for one in unseen))
    yes, no = sum(one.violating for one in seen), sum(one.clear for one in seen)

    def hypothesis(extra: float) -> Callable[[float], tuple[Floats, float]]:
        return lambda value: (np.ones(len(seen)), value * total - extra)

    return _estimate(
        strata,
        found / known,
        bound(counts, hypothesis(0.0), found / total, yes / total, tail, upper=False),
        bound(counts, hypothesis(hidden), (found + hidden) / total, 1 - no / total, tail, upper=True),
    )


def _recall(strata: Sequence[Stratum], tail: float) -> Estimate:
    """Called violating listings over all violating ones."""
    counts, seen, unseen = _split(strata)
    called = np.array([one.called for one in seen], dtype=np.float64)
    parts = counts.weights * counts.violating
    caught, missed = float((parts * called).sum()), float((parts * (1 - called)).sum())
    more_caught = sum(one.population for one in unseen if one.called)
    more_missed = sum(one.population for one in unseen if not one.called)
    if not caught + missed:
        return _estimate(strata, None, 0.0, 1.0)

    def hypothesis(caught_too: float, missed_too: float) -> Callable[[float], tuple[Floats, float]]:
        return lambda value: (called - value, missed_too * value - caught_too * (1 - value))

    likely, end = _ratio(caught, missed + more_missed), _ratio(*_least(strata))
    lower = bound(counts, hypothesis(0.0, more_missed), likely, end, tail, upper=False)
    likely, end = _ratio(caught + more_caught, missed), _ratio(*_most(strata))
    upper = bound(counts, hypothesis(more_caught, 0.0), likely, end, tail, upper=True)
    everything = all(one.called or one.judged == one.population for one in strata)
    value = caught / (caught + missed) if missed or everything else None
    return _estimate(strata, value, lower, upper)


def _ratio(caught: float, missed: float) -> float:
    return caught / (caught + missed) if caught else 0.0


def _least(strata: Sequence[Stratum]) -> tuple[int, int]:
    """The fewest caught and the most missed that the verdicts leave possible."""
    most_missed = sum(one.population - one.clear for one in strata if not one.called)
    return sum(one.violating for one in strata if one.called), most_missed


def _most(strata: Sequence[Stratum]) -> tuple[int, int]:
    """The most caught and the fewest missed that the verdicts leave possible."""
    most_caught = sum(one.population - one.clear for one in strata if one.called)
    return most_caught, sum(one.violating for one in strata if not one.called)


def _split(strata: Sequence[Stratum]) -> tuple[Counts, list[Stratum], list[Stratum]]:
    """Counts of the strata in which anything was judged, these strata, and the others."""
    seen = [one for one in strata if one.judged]
    table = np.array([(one.population, one.judged, one.violating) for one in seen], dtype=np.float64)
    counts = Counts(*table.reshape(-1, 3).T)
    return counts, seen, [one for one in strata if not one.judged]


def _estimate(strata: Sequence[Stratum], value: float | None, lower: float, upper: float) -> Estimate:
    if value is not None:  # what strata without a verdict might hold can leave it outside
        lower, upper = min(lower, value), max(upper, value)
    return Estimate(
        value=value,
        lower=lower,
        upper=upper,
        verdicts=sum(one.judged for one in strata),
        violating=sum(one.violating for one in strata),
        unknown=sum(one.unknown for one in strata),
        unseen=sum(one.population for one in strata if not one.judged),
    )

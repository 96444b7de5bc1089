"""How far people agree, how often they are right, and who has become worse; from counts alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import chi2, fisher_exact

from stallwart.estimate.bounds import Interval, rate_interval


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa of two readings of the same things.

    Attributes:
        kappa: in [-1, 1]; None where there is nothing to agree on beyond chance: both always said the same.
        lower: of its interval.
        upper: of its interval.
        pairs: things that both answered.
        same: of them those with the same answer.
    """

    kappa: float | None
    lower: float
    upper: float
    pairs: int
    same: int


def agreement(both_yes: int, first_yes: int, second_yes: int, both_no: int, level: float = 0.95) -> Agreement:
    """Kappa (Cohen 1960) with an interval that holds for few pairs and for agreement of all.

    The interval inverts the goodness of fit of the common correlation model (Donner and Eliasziw 1992,
    Statistics in Medicine 11): unlike kappa's own standard error it is not 0 where all agree.

    Args:
        both_yes: pairs in which both said yes.
        first_yes: only the first did.
        second_yes: only the second did.
        both_no: neither did.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: a count is negative, or the level is not in (0, 1).
    """
    counts = (both_yes, first_yes, second_yes, both_no)
    n = sum(counts)
    if min(counts) < 0 or not 0 < level < 1:
        raise ValueError(f"needs counts >= 0 and a level in (0, 1); got {counts} and {level}")
    if not n:
        return Agreement(None, -1.0, 1.0, 0, 0)
    same = both_yes + both_no
    one, other = (both_yes + first_yes) / n, (both_yes + second_yes) / n
    chance = one * other + (1 - one) * (1 - other)
    if chance == 1:
        return Agreement(None, -1.0, 1.0, n, same)
    kappa = (same / n - chance) / (1 - chance)
    lower, upper = _bounds(both_yes, first_yes + second_yes, both_no, level)
    return Agreement(kappa, min(lower, kappa), max(upper, kappa), n, same)


def _bounds(both: int, mixed: int, none: int, level: float) -> tuple[float, float]:
    """The values of kappa that the counts do not refuse."""
    n = both + mixed + none
    share = (2 * both + mixed) / (2 * n)
    spread = share * (1 - share)
    limit = float(chi2.ppf(level, 1))

    def misfit(kappa: float) -> float:
        expected = (share**2 + spread * kappa, 2 * spread * (1 - kappa), (1 - share) ** 2 + spread * kappa)
        found = zip((both, mixed, none), expected, strict=True)
        return sum((seen - n * p) ** 2 / (n * max(p, 1e-12)) for seen, p in found) - limit

    likely = min(max(1 - mixed / (2 * n * spread), -1.0), 1.0)
    least = max(-min(share / (1 - share), (1 - share) / share), -1.0)  # less would be negative shares
    inside = min(max(likely, least + 1e-9), 1 - 1e-9)
    return _edge(misfit, inside, least + 1e-9), _edge(misfit, inside, 1 - 1e-9)


def _edge(misfit: Callable[[float], float], inside: float, end: float) -> float:
    if misfit(end) <= 0 or misfit(inside) > 0:
        return round(end, 6)
    return float(brentq(misfit, inside, end))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often somebody gave the known answer.

    Attributes:
        right: readings with it.
        readings: all of them.
        interval: 95 %, Clopper and Pearson.
    """

    right: int
    readings: int
    interval: Interval


def accuracy(right: int, readings: int) -> Accuracy:
    """Share of right readings with its interval."""
    return Accuracy(right, readings, rate_interval(right, readings))


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether somebody has become worse.

    Attributes:
        who: the person.
        before: right and all readings of earlier.
        lately: right and all readings of late.
        p_value: of "no worse than before", by itself.
        worse: whether that is refused, for all people together.
    """

    who: str
    before: tuple[int, int]
    lately: tuple[int, int]
    p_value: float
    worse: bool


def drifts(counts: Mapping[str, tuple[tuple[int, int], tuple[int, int]]], error: float = 0.05) -> list[Drift]:
    """Each person's readings of late against those of before, the most suspicious first.

    By Fisher's exact test, one-sided, and by Holm's steps (1979) over all people: that anybody is called
    worse who is not has at most the probability `error`, at one look, however many people there are.

    Args:
        counts: person -> (right, all) of before and (right, all) of late.
        error: in (0, 1).
    """
    found = []
    for who, (before, lately) in counts.items():
        table = [[lately[0], lately[1] - lately[0]], [before[0], before[1] - before[0]]]
        found.append((float(fisher_exact(table, alternative="less").pvalue), who, before, lately))
    told, refused = [], True
    for place, (p_value, who, before, lately) in enumerate(sorted(found)):
        refused = refused and p_value <= error / (len(found) - place)
        told.append(Drift(who, before, lately, p_value, refused))
    return told


def cross(pairs: Sequence[tuple[bool, bool]]) -> tuple[int, int, int, int]:
    """Counts of `agreement` from pairs of answers."""
    return (
        sum(one and other for one, other in pairs),
        sum(one and not other for one, other in pairs),
        sum(other and not one for one, other in pairs),
        sum(not one and not other for one, other in pairs),
    )

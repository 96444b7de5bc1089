"""From counted decisions and judged draws to strata: overall, of one policy, or of some of the traffic."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stallwart.core.decision import Action
from stallwart.estimate.audit import Stratum

BLOCKS = frozenset({Action.BLOCK})
CALLS = frozenset({Action.BLOCK, Action.REVIEW})


@dataclass(frozen=True, slots=True)
class Cell:
    """What decisions have in common that are counted together, and drawn with one probability.

    Attributes:
        day: since 1970, UTC.
        bundle: that decided.
        stratum: of the plan that drew.
        action: what was decided.
        policies: that called for it.
        probability: in [0, 1]; 0 where nothing is drawn.
    """

    day: int
    bundle: str
    stratum: str
    action: Action
    policies: tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """A decision that was drawn.

    Attributes:
        cell: what it is counted in.
        answers: policy -> "yes", "no" or "unknown", as a person said; None where nobody has yet.
    """

    cell: Cell
    answers: Mapping[str, str] | None


@dataclass(frozen=True)
class Sample:
    """All traffic of some days, and what was drawn of it.

    Attributes:
        counts: decisions of each cell.
        draws: those that were drawn.
        uncounted: draws that are in no cell, as those made before decisions were counted; left out.
    """

    counts: Mapping[Cell, int]
    draws: Sequence[Drawn]
    uncounted: int = 0

    @property
    def waiting(self) -> int:
        """Draws that nobody has judged yet."""
        return sum(one.answers is None for one in self.draws)

    def within(self, days: Collection[int] | None = None, bundle: str | None = None) -> "Sample":
        """The part of some days, of one bundle, or both."""

        def is_in(cell: Cell) -> bool:
            return (days is None or cell.day in days) and bundle in (None, cell.bundle)

        return Sample(
            {cell: count for cell, count in self.counts.items() if is_in(cell)},
            [one for one in self.draws if is_in(one.cell)],
        )


def sample_of(counts: Mapping[Cell, int], draws: Iterable[Drawn]) -> Sample:
    """A sample of the draws that are counted; the others are counted apart."""
    every = list(draws)
    kept = [one for one in every if one.cell in counts]
    return Sample(counts, kept, len(every) - len(kept))


def strata_for(
    sample: Sample, policy: str | None = None, called: Collection[Action] = BLOCKS
) -> list[Stratum]:
    """Strata of a sample, those that agree in band, in being called and in probability as one.

    Args:
        sample: all traffic that is asked about.
        policy: whose figures are wanted: then only its own calls are calls, and of a verdict its answer to it
            counts. None is for any policy.
        called: the actions that are calls.
    """

    def key_of(cell: Cell) -> tuple[str, bool, float]:
        is_call = cell.action in called and (policy is None or policy in cell.policies)
        return cell.stratum, is_call, cell.probability

    populations: Counter[tuple[str, bool, float]] = Counter()
    for cell, count in sample.counts.items():
        populations[key_of(cell)] += count
    said: Counter[tuple[tuple[str, bool, float], str]] = Counter()
    for one in sample.draws:
        if one.answers is not None:
            said[key_of(one.cell), verdict_on(one.answers, policy)] += 1
    return [
        Stratum(
            name=name,
            called=is_call,
            population=population,
            violating=said[(name, is_call, probability), "yes"],
            clear=said[(name, is_call, probability), "no"],
            unknown=said[(name, is_call, probability), "unknown"],
            probability=probability or None,
        )
        for (name, is_call, probability), population in sorted(populations.items())
    ]


def verdict_on(answers: Mapping[str, str], policy: str | None = None) -> str:
    """ "yes", "no" or "unknown": whether a policy is broken, or any.

    For any: yes where one is, no where nothing that was asked is or was left open.
    """
    if policy is not None:
        return str(answers.get(policy, "unknown"))
    said = {str(answer) for answer in answers.values()}
    if "yes" in said:
        return "yes"
    return "no" if said == {"no"} else "unknown"

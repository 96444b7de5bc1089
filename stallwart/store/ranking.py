"""In which order tasks are read: expected harm x uncertainty x age against a deadline. Pure.

Age counts as 2 ** ((now - due) / halving). As time goes by that multiplies all tasks by the same, so their
order never changes, and one stored number is enough:

    rank = log2(harm(policy) * p) + log2(uncertainty(p)) - due / halving

with p the probability of the policy and uncertainty(p) its entropy in bits. Both have a floor, so that what a
model is sure of is read at last. Where no model said anything p is 1/2, the most uncertain.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

_HOUR_MS = 3_600_000
_LEAST = 1e-3  # probability and uncertainty are at least this: 10 halvings of waiting make up for either
_UNKNOWN = 0.5


@dataclass(frozen=True, slots=True)
class Rank:
    """A task's place in the order, and its parts.

    Attributes:
        rank: in bits; the higher one comes first. Only comparable at the same `Ranking.halving_ms`.
        harm: of a missed violation, relative to other policies.
        probability: that the policy is broken, in [0, 1]; None where no model said anything.
        due_at_ms: milliseconds since 1970.
    """

    rank: float
    harm: float
    probability: float | None
    due_at_ms: int


@dataclass(frozen=True)
class Ranking:
    """What an operator said of harm and time.

    Attributes:
        harms: of single policies, > 0; 1 for the others.
        deadlines_ms: of single policies.
        deadline_ms: of the others.
        halving_ms: waiting that weighs as much as twice the harm or the uncertainty.
    """

    harms: Mapping[str, float]
    deadlines_ms: Mapping[str, int]
    deadline_ms: int
    halving_ms: int

    def of(self, policy: str | None, probability: float | None, made_at_ms: int) -> Rank:
        """The rank of a task.

        Args:
            policy: whose harm and deadline count; None is harm 1 and the usual deadline.
            probability: that it is broken, in [0, 1]; None where no model said anything.
            made_at_ms: from when the deadline counts, milliseconds since 1970.
        """
        harm = self.harms.get(policy or "", 1.0)
        due = made_at_ms + self.deadlines_ms.get(policy or "", self.deadline_ms)
        given = _UNKNOWN if probability is None else probability
        bits = math.log2(harm) + math.log2(max(given, _LEAST)) + math.log2(uncertainty(given))
        return Rank(bits - due / self.halving_ms, harm, probability, due)


def uncertainty(probability: float) -> float:
    """Entropy of a yes or no in bits, in [0.001, 1]: 1 at 1/2.

    Raises:
        ValueError: the probability is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"a probability is in [0, 1], got {probability}")
    parts = (probability, 1 - probability)
    return max(_LEAST, -sum(part * math.log2(part) for part in parts if part > 0))


def ranking_of(settings: Settings) -> Ranking:
    """The ranking that the settings say.

    Raises:
        ConfigError: harms or deadlines of single policies cannot be read.
    """
    hours = _numbers(settings.review_deadlines, "STALLWART_REVIEW_DEADLINES", "weapons=4,tobacco=12")
    return Ranking(
        harms=_numbers(settings.review_harms, "STALLWART_REVIEW_HARMS", "weapons=10,tobacco=2"),
        deadlines_ms={policy: int(value * _HOUR_MS) for policy, value in hours.items()},
        deadline_ms=int(settings.review_deadline_hours * _HOUR_MS),
        halving_ms=int(settings.review_halving_hours * _HOUR_MS),
    )


def reasons(rank: Rank, policy: str | None, now_ms: int) -> list[str]:
    """Why a task comes when it does, a sentence for each part."""
    said = [_deadline(rank.due_at_ms - now_ms)]
    if rank.probability is None:
        said.append("No model's probability counts here: it comes as if undecided.")
    else:
        unsure = uncertainty(rank.probability)
        said.append(
            f"The probability of {policy or 'a violation'} is {rank.probability:.0%}:"
            f" the model is {_sure(unsure)}."
        )
    if policy and rank.harm != 1:
        said.append(f"A missed violation of {policy} counts {rank.harm:g} times as much as usual.")
    return said


def _deadline(left_ms: int) -> str:
    hours = abs(left_ms) / _HOUR_MS
    spoken = f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
    return f"It is to be read within {spoken}." if left_ms > 0 else f"It was to be read {spoken} ago."


def _sure(unsure: float) -> str:
    return "undecided" if unsure > 0.9 else "rather unsure" if unsure > 0.5 else "rather sure"


def _numbers(given: str, variable: str, example: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in filter(None, (one.strip() for one in given.split(","))):
        policy, _, number = (part.strip() for part in pair.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not policy or policy in found or not 0 < value < 1e6:
            raise ConfigError(
                f"{variable}: {pair!r} is no policy with a number above 0; write it as {example}"
            )
        found[policy] = value
    return found

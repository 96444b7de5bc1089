"""A certificate in plain words, for people who decide and do not compute."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stallwart.estimate.evidence import FEWEST_SELLERS

if TYPE_CHECKING:  # a type only: `certify` imports this module
    from stallwart.estimate.certify import Certificate, Needs


def reason_in_words(told: "Certificate") -> str:
    """Two to five sentences: the answer, the counts behind it, and what it rests on or what would help."""
    if told.at_score is None:
        kind = "neutral listings" if told.positives else "listings of this policy"
        return f"May not act alone: there are no {kind} that the model had not seen."
    if told.certified:
        parts = [_answer(told), *_rests_on(told)]
    else:
        parts = [_obstacle(told), _counts(told), _help(told.needs)]
    return " ".join(parts)


def _answer(told: "Certificate") -> str:
    return (
        f"May act alone from score {told.threshold:.3f}: there at least "
        f"{told.precision_lower:.1%} of its calls are right ({told.confidence:.0%} confidence; "
        f"{told.target:.0%} wanted) and {told.recall:.0%} of its listings are caught. {_counts(told)}"
    )


def _counts(told: "Certificate") -> str:
    confused = _list({name: str(count) for name, count in told.others_above.items()})
    others = sum(told.others_above.values())
    return (
        f"Seen: {told.recall:.0%} of its {told.positives:,} listings score that high, and so do "
        f"{told.neutral_above:,} of {told.neutral:,} neutral ones and {others:,} of {told.others:,} of other "
        f"policies{f' ({confused})' if confused else ''}."
    )


def _rests_on(told: "Certificate") -> list[str]:
    parts = []
    if told.effective_sellers < FEWEST_SELLERS:
        parts.append(
            f"Nearly all its listings come from about {max(1, round(told.effective_sellers))} seller(s), "
            "so this speaks for such sellers: it holds with others as long as at least "
            f"{told.holds_down_to_recall:.0%} of their listings score that high."
        )
    if told.leans_on:
        parts.append(
            f"There are too few listings of {', '.join(told.leans_on)} to see whether they "
            "are confused with it; "
            "this assumes no more than of other policies."
        )
    positive = told.shift.get("positive")
    if positive is not None and positive.shifted:
        parts.append(positive.reason)
    return parts


def _obstacle(told: "Certificate") -> str:
    neutral = told.shift.get("neutral")
    if neutral is not None and neutral.shifted and neutral.share_final > neutral.share_certified:
        return f"May not act alone: {neutral.reason}"
    where = f"from score {told.at_score:.3f}"
    if told.precision < told.target:
        return (
            f"May not act alone: {where} only about {told.precision:.0%} of its calls would be right; "
            f"{told.target:.0%} is wanted."
        )
    return (
        f"May not act alone yet: {where} about {told.precision:.1%} of its calls seem right, but the "
        f"evidence proves only {told.precision_lower:.1%} ({told.confidence:.0%} confidence, search "
        f"included) of the wanted {told.target:.0%}."
    )


def _help(needs: "Needs | None") -> str:
    if needs is None:
        return ""
    verdicts = (
        f"{needs.verdicts} verdicts on live listings above this score, all right "
        f"(or {needs.verdicts_one_wrong} with one wrong)"
    )
    if needs.neutral_listings is None:
        return f"More neutral listings alone would not help; {verdicts}, would be enough."
    return (
        f"Enough would be {needs.neutral_listings:,} more labelled neutral listings without a false alarm, "
        f"or, far cheaper, {verdicts}."
    )


def _list(items: Mapping[str, str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in items.items())

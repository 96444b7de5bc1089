"""What the audit's figures say in plain words, and when they say nothing yet."""

from stallwart.estimate.audit import Audit, Estimate

_MANY_WAIT = 0.2  # share of draws without a verdict from which that is said


def notes(told: Audit, waiting: int, drawn: int) -> list[str]:
    """Sentences on what these figures rest on, and on what they cannot say.

    Args:
        told: the figures.
        waiting: draws that nobody has judged.
        drawn: all draws.
    """
    if not told.population:
        return ["Nothing was decided in this time."]
    if not told.prevalence.verdicts:
        return ["Nobody has judged a decision that was drawn, so nothing can be said yet."]
    said = [_recall(told.recall), _precision(told), _unseen(told)]
    if drawn and waiting > _MANY_WAIT * drawn:
        said.append(
            f"{waiting:,} of {drawn:,} drawn decisions wait for a verdict and are taken to be like the"
            " others."
        )
    if told.prevalence.unknown:
        said.append(f"{told.prevalence.unknown:,} verdicts say neither yes nor no and are left out.")
    return [one for one in said if one]


def _recall(recall: Estimate) -> str:
    if recall.value is not None:
        return ""
    if not recall.violating:
        return "No violation was found, so that nothing can be said of recall."
    return (
        f"No miss was found in {recall.verdicts - recall.violating:,} verdicts that say no; that is no recall"
        f" of 100 %: up to {1 - recall.lower:.0%} of violations may be missed."
    )


def _precision(told: Audit) -> str:
    if not told.called:
        return "Nothing was called, so that there is no precision."
    if not told.precision.verdicts:
        return f"None of {told.called:,} calls was judged, so that nothing can be said of precision."
    return ""


def _unseen(told: Audit) -> str:
    if not told.prevalence.unseen:
        return ""
    return (
        f"{told.prevalence.unseen:,} of {told.population:,} decisions are of strata in which nothing was"
        " judged; the intervals allow for all or none of them."
    )

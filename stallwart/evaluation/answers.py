"""What each policy may do, in sentences: the first thing a report says.

Certificates and what became of them in, words out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stallwart.estimate.certify import Certificate
from stallwart.evaluation.evaluate import Evaluation
from stallwart.evaluation.held import BROKE, HELD, UNSURE, Held
from stallwart.evaluation.wording import interval

ACT, WATCH, STOP, WAIT = "may act alone", "may act, watch it", "must not act", "may not act yet"
_STATUS = {HELD: ACT, UNSURE: WATCH, BROKE: STOP}


@dataclass(frozen=True)
class Answer:
    """What a policy may do, in a line.

    Attributes:
        certificate: with its reason and what would help.
        title: the policy's title.
        status: `ACT`, `WATCH`, `STOP` or `WAIT`.
        held: what became of its certificate on these rows; None without one.
    """

    certificate: Certificate
    title: str
    status: str
    held: Held | None


def answers(evaluation: Evaluation) -> tuple[Answer, ...]:
    """Every policy's answer: those that must stop, then those that may act, then the others."""
    verdicts = {one.policy: one for one in evaluation.held}
    found = [
        Answer(
            certificate,
            evaluation.taxonomy[certificate.policy].title,
            _STATUS[verdicts[certificate.policy].verdict] if certificate.policy in verdicts else WAIT,
            verdicts.get(certificate.policy),
        )
        for certificate in evaluation.certificates
    ]
    order = (STOP, ACT, WATCH, WAIT)
    return tuple(sorted(found, key=lambda answer: order.index(answer.status)))


def period(evaluation: Evaluation) -> str:
    """ "2025-10-01 to 2025-12-31"."""
    return f"{evaluation.part.first} to {evaluation.part.last}"


def alarms(evaluation: Evaluation) -> tuple[str, ...]:
    """One sentence for each certificate that did not hold."""
    return tuple(
        f"Drift broke {evaluation.taxonomy[one.policy].title}: certified at {one.wanted:.2f}, yet from "
        f"{period(evaluation)} its precision is {one.precision.value:.2f} {interval(one.precision)} at live "
        f"prevalence ({one.right:,} of {one.calls:,} calls right)."
        for one in evaluation.held
        if one.verdict == BROKE
    )


def headline(evaluation: Evaluation) -> str:
    """The answer in a few sentences."""
    found = answers(evaluation)
    groups = {status: [a.title for a in found if a.status == status] for status in (STOP, ACT, WATCH, WAIT)}
    k, may, waiting = len(evaluation.taxonomy.ids), len(groups[ACT]) + len(groups[WATCH]), len(groups[WAIT])
    if waiting == k:
        return f"None of {k} policies may act alone yet: their listings go to reviewers."
    parts = [f"{may or 'None'} of {k} policies may act alone."]
    if groups[STOP]:
        parts.append(
            f"Later listings broke the certificate of {_and(groups[STOP])}: send those calls to reviewers."
        )
    for one in found:
        if one.status == WATCH and one.held is not None and one.held.precision.value < one.held.wanted:
            parts.append(
                f"Of {one.title} later calls were right less often than wanted, "
                f"{one.held.precision.value:.2f} {interval(one.held.precision)} for {one.held.wanted:.2f}, "
                "which may still be chance: watch it, or send them to reviewers."
            )
            groups[WATCH].remove(one.title)
    if groups[ACT]:
        parts.append(f"The certificate held on later listings for {_and(groups[ACT])}.")
    if groups[WATCH]:
        parts.append(f"For {_and(groups[WATCH])} there are too few later calls to say.")
    if waiting:
        parts.append(f"The other {waiting} may not yet: their listings go to reviewers.")
    return " ".join(parts)


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def line(answer: Answer) -> str:
    """Why a policy has its status, and what would help, in a line or two."""
    told, one = answer.certificate, answer.held
    if one is not None:
        proven = (
            f"Proven: at least {told.precision_lower:.2f} of its calls right ({told.target:.2f} wanted), "
            f"from score {told.threshold:.3f}."
        )
        if not one.calls:
            return f"{proven} No later listing scores that high."
        return (
            f"{proven} On later listings {one.right:,} of {one.calls:,} calls were right: precision "
            f"{one.precision.value:.2f} {interval(one.precision)} at live prevalence; they caught "
            f"{one.recall.value:.2f} {interval(one.recall)} of its violations."
        )
    if told.at_score is None or told.needs is None:
        return told.reason
    enough = f"{told.needs.verdicts:,} right verdicts on live listings above score {told.at_score:.3f}"
    if told.needs.neutral_listings is not None:
        enough += f", or {told.needs.neutral_listings:,} more labelled neutral listings without a false alarm"
    return (
        f"Proven: {told.precision_lower:.2f} of the {told.target:.2f} wanted, catching {told.recall:.2f} "
        f"of its violations. What would be enough: {enough}."
    )

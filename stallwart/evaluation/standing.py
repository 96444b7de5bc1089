"""What may act alone and what may not yet: a certificate in the few words that a report needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How one policy stands.

    Attributes:
        policy: its id.
        wanted: precision wanted before it may act alone, in (0, 1).
        threshold: score from which it may act alone; None where it may not.
        precision: lower 95 % bound of its precision at the threshold, at live prevalence; for a policy that
            may not act, the best bound that was reached. None where there is none.
        coverage: share of its violations at or above the threshold in the certifying data; None as above.
        n: rows behind the certificate.
        n_positive: its violations among them.
        reason: why it may not act alone; "" where it may.
        remedy: what would help; "" where it may.
    """

    policy: str
    wanted: float
    threshold: float | None
    precision: float | None = None
    coverage: float | None = None
    n: int = 0
    n_positive: int = 0
    reason: str = ""
    remedy: str = ""

"""Weeks of traffic that were drawn from and judged, for the pages of figures."""

import numpy as np

from stallwart.core.decision import Action
from stallwart.store.audit_counts import DAY_MS, Kind, add_counts, policies_text
from stallwart.store.database import writing
from stallwart.store.decisions import Draft, write
from stallwart.store.draws import Draw
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.listings import draft
from tests.store.rolling import NOW

TODAY = NOW // DAY_MS
BANDS = (
    ("allow from 0", Action.ALLOW, (), 0.004, 9_000, 0.0004),
    ("allow from 0.01", Action.ALLOW, (), 0.05, 600, 0.02),
    ("review from 0.2", Action.REVIEW, ("weapons",), 0.1, 120, 0.4),
    ("block from 0.6", Action.BLOCK, ("tobacco",), 0.25, 60, 0.93),
    ("block from 0.6", Action.BLOCK, ("weapons",), 0.25, 30, 0.8),
)


def audited(database, days=7, every=1, bundle="b" * 64, judged=0.9, seed=3):
    """Traffic of the last days, some of it drawn and most of that judged; how many were drawn."""
    rng, count = np.random.default_rng(seed), 0
    for day in range(TODAY - days + 1, TODAY + 1, every):
        for stratum, action, policies, probability, size, rate in BANDS:
            at_ms = day * DAY_MS + 1_000
            kind = Kind(day, bundle, stratum, action.value, policies_text(policies), probability)
            drawn = rng.binomial(size, probability)
            drafts = []
            for _ in range(drawn):
                count += 1
                one = draft(f"n{seed} {count}", photos=(), decision_id=f"d_{seed}_{count}")
                decision = one.decision.model_copy(
                    update={"action": action, "policies": policies, "decided_at_ms": at_ms, "bundle": bundle}
                )
                draw = Draw(decision.decision_id, probability, stratum, None, None, at_ms)
                drafts.append(Draft(one.revision, decision, draw=draw, kind=kind))
            with writing(database) as connection:
                write(connection, drafts, [], at_ms)
                add_counts(connection, [kind] * (size - drawn), "others")
                for one in drafts:
                    if rng.random() < judged:
                        policy = policies[0] if policies else "tobacco"
                        broken = Answer.YES if rng.random() < rate else Answer.NO
                        answers = {"tobacco": Answer.NO, "weapons": Answer.NO} | {policy: broken}
                        add_verdict(
                            connection, decision_id=one.decision.decision_id, answers=answers, who="rita",
                            source=Source.AUDIT, now_ms=at_ms + 5_000,
                        )  # fmt: skip
    return count

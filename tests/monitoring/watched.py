"""A database in which weeks were decided, judged and watched; for the pages of monitoring."""

import numpy as np
from sqlalchemy import insert

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.monitoring.figures import Figures
from stallwart.monitoring.step import Around
from stallwart.store.alerts import Severity, raise_alert, resolve_alert
from stallwart.store.database import writing
from stallwart.store.decisions import Draft, write
from stallwart.store.draws import Draw, add_draws
from stallwart.store.feedback import add_feedback
from stallwart.store.leases import hold
from stallwart.store.novelties import Made, Novelty, write_novelty
from stallwart.store.revisions import revision_of
from stallwart.store.statements import add_missing
from stallwart.store.tables import drift_looks, vitals
from stallwart.store.verdicts import Answer, Source, add_verdict
from tests.store.rolling import NOW

HOUR = 3_600_000
POLICIES = ("tobacco", "weapons", "alcohol")


def decided(database, number, at_ms, action, policy="tobacco", title=None, listing_id=None):
    listing = Listing(
        listing_id or f"shop-{number}", title or f"brass lamp {number}", "Rewired last year.", language="en"
    )
    revision = revision_of(listing, (), None)
    decision = Decision(
        decision_id=f"d_{number:06d}",
        listing_id=listing.listing_id,
        revision=revision.revision,
        action=action,
        policies=() if action == Action.ALLOW else (policy,),
        reason="as it was",
        scores=dict.fromkeys(POLICIES, 0.5),
        thresholds={},
        bundle="b" * 64,
        taxonomy="t" * 64,
        cause=Cause.NEW,
        decided_at_ms=at_ms,
    )
    with writing(database) as connection:
        write(connection, [Draft(revision, decision)], [], at_ms)
    return decision.decision_id


def watched(database, days=8, an_hour=2, seed=3):
    """Some days of decisions up to now, with verdicts, appeals, vitals, alerts and looks for drift."""
    rng = np.random.default_rng(seed)
    number = 0
    for hour in range(days * 24):
        at = NOW - hour * HOUR - 60_000
        for _ in range(rng.poisson(an_hour)):
            number += 1
            action = rng.choice([Action.ALLOW, Action.REVIEW, Action.BLOCK], p=[0.8, 0.12, 0.08])
            policy = str(rng.choice(POLICIES))
            decision_id = decided(database, number, at, Action(str(action)), policy)
            if action == Action.BLOCK:
                _judged(database, rng, decision_id, policy, at)
    _vitals(database, rng, days)
    _alarmed(database, ("d_000001", "d_000002", "d_000003"))
    Figures(Around(database, Settings(), lambda: NOW + 10 * HOUR)).run()
    with writing(database) as connection:
        hold(connection, "watch", "me", NOW, 120_000)
    return number


def _judged(database, rng, decision_id, policy, at):
    with writing(database) as connection:
        add_draws(connection, [Draw(decision_id, 0.5, "block", None, None, at)])
        answer = Answer.YES if rng.random() < 0.9 else Answer.NO
        add_verdict(
            connection, decision_id=decision_id, answers={policy: answer}, who="rita",
            source=Source.AUDIT, now_ms=at,
        )  # fmt: skip
    if rng.random() < 0.3:
        add_feedback(database, {"decision_id": decision_id, "kind": "appeal"}, "k", None, at)
        if answer == Answer.NO:
            add_feedback(database, {"decision_id": decision_id, "kind": "overturned"}, "k", None, at)


def _vitals(database, rng, days):
    columns = ("at_ms", "process", "answered", "p50_ms", "p99_ms", "queue_age_s", "cpu_s", "resident_bytes")
    rows = [
        (NOW - hour * HOUR, "host:1", 120, 20 + 5 * rng.random(), 60 + 40 * rng.random(), rng.random() / 10,
         1_000.0, 500_000_000)
        for hour in range(days * 24)
    ]  # fmt: skip
    with writing(database) as connection:
        add_missing(connection, vitals, columns, rows)


def _alarmed(database, decision_ids):
    words = "language: ru has 0.0% of the last 400 listings that have any; 6.0% is usual."
    rows = [
        {"detector": "language", "at_ms": NOW - day * 24 * HOUR, "evidence": 1.0 + (day < 3) * 4,
         "limit": 3.5, "detail": {"words": words}}
        for day in range(20)
    ]  # fmt: skip
    with writing(database) as connection:
        connection.execute(insert(drift_looks), rows)
        raise_alert(
            connection, key="drift/language", severity=Severity.TICKET, title="Drift: language", words=words,
            runbook="monitoring.md#drift", detail={"p": 1e-9, "decisions": list(decision_ids)}, now_ms=NOW,
        )  # fmt: skip
        raise_alert(
            connection, key="watch/figures", severity=Severity.PAGE, title="The watcher's step figures fails",
            words="The database failed.", runbook="monitoring.md#a-step-fails", now_ms=NOW,
        )  # fmt: skip
        resolve_alert(connection, "watch/figures", who="stallwart watch", why="it went well", now_ms=NOW + 1)


def grouped(database, decision_ids, novelty_id="nv_1"):
    """A group of these decisions."""
    week = NOW // (7 * 24 * HOUR)
    one = Novelty(
        novelty_id=novelty_id, bundle="b" * 64, words=("lamp", "brass", "rewired"),
        weeks={str(week - 3): 4.0, str(week - 2): 9.0, str(week): 40.0}, size=len(decision_ids),
        stands_for=53.0, centre=np.ones(128, dtype="<f2").tobytes(), first_at_ms=NOW - 21 * 24 * HOUR,
        last_at_ms=NOW, state=Made.OPEN, acted_by=None, acted_at_ms=None,
        detail={"unlike": 0.61, "actions": {"allow": len(decision_ids)}},
    )  # fmt: skip
    with writing(database) as connection:
        write_novelty(connection, one, [(name, NOW, 0.1) for name in decision_ids])

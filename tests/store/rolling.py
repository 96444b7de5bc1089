"""Bundles, a champion and a rollout that the suites of the store begin with."""

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm, Stage
from stallwart.store import registry, rollouts
from stallwart.store.counterparts import Counterpart
from stallwart.store.database import writing
from stallwart.store.draws import Draw
from stallwart.store.exposures import Exposure

NOW = 1_800_000_000_000
OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
PLAN = {"unit": "listing", "steps": [{"stage": "shadow", "shadow_share": 1.0}]}


def registered(database, *digests, champion=None):
    with writing(database) as connection:
        for digest in digests:
            registry.register(
                connection,
                digest=digest,
                place=f"/bundles/{digest[:4]}",
                card={"seed": 7},
                who="ana",
                now_ms=NOW,
            )
        if champion:
            registry.set_champion(connection, champion, who="ana", why="the first", now_ms=NOW)


def begun(database, now_ms=NOW, **facts):
    """A rollout of NEW against OLD, in shadow."""
    given = {"champion": OLD, "challenger": NEW, "plan": PLAN, "stage": Stage.SHADOW, "share": 0.0}
    given |= {"shadow_share": 1.0, "routing_key": "ab" * 32, "who": "ana", "why": "better offline"}
    with writing(database) as connection:
        return rollouts.start(connection, now_ms=now_ms, **{**given, **facts})


def moved(database, rollout, stage, **facts):
    given = {"step": rollout.step + (not stage.ended), "share": 0.5, "shadow_share": 0.0, "held": False}
    given |= {"who": "ana", "why": "it holds", "now_ms": NOW + 1_000}
    with writing(database) as connection:
        return rollouts.move(
            connection, rollout.rollout_id, rollout.version, stage=stage, **{**given, **facts}
        )


def exposure(unit, decision_id, *, rollout_id="r", arm=Arm.CHAMPION, step=0, day=20_000, **facts):
    given = {"action": Action.BLOCK, "policies": ("tobacco",), "failed": False, "latency_us": 5_000}
    given |= {"cpu_us": 4_000, "at_ms": NOW}
    return Exposure(rollout_id, step, unit, day, arm, decision_id, **{**given, **facts})


def counterpart(decision_id, *, rollout_id="r", bundle=NEW, **facts):
    given = {"step": 0, "action": Action.REVIEW, "policies": ("weapons",), "scores": {"weapons": 0.4}}
    given |= {"failed": False, "cpu_us": 3_000, "at_ms": NOW}
    return Counterpart(decision_id, bundle, rollout_id, **{**given, **facts})


def drawn(decision_id, *, rollout_id="r", probability=0.25):
    return Draw(decision_id, probability, "block", rollout_id, 0, NOW)

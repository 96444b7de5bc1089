"""What an operator does with rollouts, by command or by API: starts, looks, moves. Each change is audited."""

from typing import Any, Literal

from sqlalchemy import Engine as Database

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.core.rollout import Rollout
from stallwart.rollout import stages
from stallwart.rollout.compare import compare
from stallwart.rollout.plan import Plan, plan_of
from stallwart.rollout.stages import Move
from stallwart.serving.rollouts.watched import Watched
from stallwart.store import registry, rollouts
from stallwart.store.audit import read as read_audit
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.looks import last_look, read_looks

Act = Literal["advance", "hold", "resume", "abort", "promote"]


def start_rollout(
    database: Database, challenger: str, plan: Plan, who: str, why: str, now_ms: int
) -> Rollout:
    """A rollout of a registered bundle, at its first step.

    Args:
        database: the service's.
        challenger: its digest, or the beginning of it.
        plan: how it goes.
        who: an operator.
        why: in words.
        now_ms: milliseconds since 1970.

    Raises:
        NotFoundError: no such bundle is registered.
        ConflictError: another one runs, there is no champion, or the bundle is it.
        StoreError: the database does not take it.
    """
    first = stages.first_move(plan, who, why)
    with store_errors("the rollout cannot be started"), writing(database) as connection:
        champion = registry.champion(connection)
        if champion is None:
            raise ConflictError("there is no champion yet to compare with; start the service first")
        return rollouts.start(
            connection,
            champion=champion,
            challenger=registry.find_bundle(connection, challenger).digest,
            plan=plan.model_dump(mode="json"),
            stage=first.stage,
            share=first.share,
            shadow_share=first.shadow_share,
            routing_key=rollouts.new_routing_key(),
            who=who,
            why=why,
            now_ms=now_ms,
        )


def act_on_rollout(
    database: Database,
    act: Act,
    who: str,
    why: str,
    now_ms: int,
    *,
    version: int | None = None,
    force: bool = False,
) -> Rollout:
    """The running rollout after an operator's act.

    Args:
        database: the service's.
        act: what is done.
        who: an operator.
        why: in words.
        now_ms: milliseconds since 1970.
        version: that the operator saw; the act is refused where it is another one by now.
        force: promote without the answer that the plan asks for.

    Raises:
        ConflictError: none runs, the act is not legal now, or somebody else moved it meanwhile.
        GateError: promoted without the answer and without force.
        StoreError: the database does not take it.
    """
    with store_errors("the rollout cannot be read"), reading(database) as connection:
        rollout = rollouts.current(connection)
    if rollout is None:
        raise ConflictError("no rollout runs; stallwart rollout start begins one")
    if version is not None and version != rollout.version:
        raise ConflictError(
            f"the rollout was moved meanwhile: it is at {rollout.stage}, version {rollout.version}, not"
            f" {version}; look at it again"
        )
    plan = plan_of(rollout.plan, f"the plan of {rollout.rollout_id}")
    if act == "promote":
        watched = Watched(rollout.rollout_id, plan, lambda: now_ms)
        watched.read(database)
        comparison = compare(watched.judged, plan)
        move = stages.promote(rollout, plan, comparison, who, why, force)
    elif act == "advance":
        move = stages.advance(rollout, plan, who, why)
    else:
        move = {"hold": stages.hold, "resume": stages.resume, "abort": stages.abort}[act](rollout, who, why)
    return make_move(database, rollout, move, now_ms)


def make_move(database: Database, seen: Rollout, move: Move, now_ms: int) -> Rollout:
    """The rollout after a move that was chosen for the version in `seen`.

    Raises:
        ConflictError: somebody else moved it meanwhile.
        StoreError: the database does not take it.
    """
    with store_errors("the rollout cannot be moved"), writing(database) as connection:
        return rollouts.move(
            connection,
            seen.rollout_id,
            seen.version,
            step=move.step,
            stage=move.stage,
            share=move.share,
            shadow_share=move.shadow_share,
            held=move.held,
            who=move.who,
            why=f"(forced) {move.why}" if move.forced else move.why,
            now_ms=now_ms,
        )


def status(database: Database, rollout_id: str | None = None, *, looks: int = 0) -> dict[str, Any]:
    """A rollout with the last look at it, its moves, and if wanted earlier looks; plain JSON.

    Args:
        database: the service's.
        rollout_id: which one; the running or else the last one where it is None.
        looks: how many over its life.

    Raises:
        NotFoundError: there is none.
        StoreError: the database cannot be read.
    """
    with store_errors("the rollout cannot be read"), reading(database) as connection:
        if rollout_id is not None:
            rollout = rollouts.read(connection, rollout_id)
        else:
            last = rollouts.history(connection, 1)
            if not last:
                raise NotFoundError("there was no rollout yet; stallwart rollout start begins one")
            rollout = rollouts.current(connection) or last[0]
        look = last_look(connection, rollout.rollout_id)
        moves = read_audit(connection, subject=rollout.rollout_id, limit=50)
        over_time = read_looks(connection, rollout.rollout_id, looks) if looks else []
    return {
        "rollout": rollout.model_dump(mode="json", exclude={"routing_key"}),
        "look": None if look is None else {"at_ms": look[0], **look[1]},
        "moves": [
            {"number": one.number, "at_ms": one.at_ms, "who": one.who, "act": one.act, "why": one.why}
            for one in moves
        ],
        "looks": [{"at_ms": at_ms, **figures} for at_ms, figures in over_time],
    }

"""Rollouts: the one row that every process follows, and the moves that change it.

A move names the version that it saw. It changes the row, moves the aliases and writes its audit entry in one
transaction, so that of two operators at once one wins and a killed process leaves the old state or the new
one. All moves take the audit log's lock first, and so come one after the other.
"""

import secrets
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from stallwart.core.errors import ConflictError, NotFoundError
from stallwart.core.rollout import Rollout, Stage
from stallwart.store import audit, registry
from stallwart.store.registry import Alias
from stallwart.store.tables import rollouts

_FIELDS = tuple(rollouts.c[name] for name in Rollout.model_fields)
_MOVED = ("step", "stage", "share", "shadow_share", "held", "version")
_STAGES = (Stage.SHADOW, Stage.CANARY, Stage.RAMP, Stage.AB)
_KEY_BYTES = 32


def new_routing_key() -> str:
    """A key for `rollout.routing`, in hexadecimal: independent of the arms of earlier rollouts."""
    return secrets.token_hex(_KEY_BYTES)


def start(
    connection: Connection,
    *,
    champion: str,
    challenger: str,
    plan: dict[str, Any],
    stage: Stage,
    share: float,
    shadow_share: float,
    routing_key: str,
    who: str,
    why: str,
    now_ms: int,
) -> Rollout:
    """A new rollout at its first step, in the caller's transaction; `challenger` gets that alias.

    Args:
        connection: in a transaction of `database.writing`.
        champion: digest of the bundle that decides.
        challenger: digest of the bundle that wants to.
        plan: what JSON can hold.
        stage: of the first step.
        share: of units that the challenger decides about.
        shadow_share: of units that it scores without deciding.
        routing_key: of `new_routing_key`.
        who: for the audit log.
        why: for the audit log.
        now_ms: milliseconds since 1970.

    Raises:
        NotFoundError: the challenger is not registered.
        ConflictError: a rollout runs, the champion is another one now, or both are the same.
        ConfigError: who or why cannot be written to the audit log.
    """
    why = audit.checked("why", why)
    audit.lock(connection)
    _check_start(connection, champion, challenger)
    rollout = Rollout(
        rollout_id=f"r_{now_ms:012x}{secrets.token_hex(6)}",
        champion=champion,
        challenger=challenger,
        plan=plan,
        routing_key=routing_key,
        step=0,
        stage=stage,
        share=share,
        shadow_share=shadow_share,
        held=False,
        version=1,
        started_at_ms=now_ms,
        step_since_ms=now_ms,
        reason=why,
    )
    values = {name: getattr(rollout, name) for name in Rollout.model_fields}
    connection.execute(
        insert(rollouts).values(
            {**values, "stage": stage.value, "held": 0, "running": 1, "looked_until_ms": 0}
        )
    )
    registry.point(connection, Alias.CHALLENGER, challenger, now_ms)
    detail = {"champion": champion, "challenger": challenger, "plan": plan, "to": _state(rollout)}
    audit.append(
        connection, who=who, act="rollout.start", subject=rollout.rollout_id, why=why, detail=detail,
        now_ms=now_ms,
    )  # fmt: skip
    return rollout


def current(connection: Connection) -> Rollout | None:
    """The rollout that runs; None where none does. One look into an index."""
    row = connection.execute(select(*_FIELDS).where(rollouts.c.running == 1)).first()
    return None if row is None else _rollout(row)


def read(connection: Connection, rollout_id: str) -> Rollout:
    """A rollout as it is now or was when it ended.

    Raises:
        NotFoundError: there is none with this id.
    """
    row = connection.execute(select(*_FIELDS).where(rollouts.c.rollout_id == rollout_id)).first()
    if row is None:
        raise NotFoundError(f"there is no rollout {rollout_id[:64]!r}; see: stallwart rollout history")
    return _rollout(row)


def history(connection: Connection, limit: int = 100) -> list[Rollout]:
    """The last rollouts, the newest first, as they are now or were when they ended."""
    query = select(*_FIELDS).order_by(rollouts.c.started_at_ms.desc(), rollouts.c.rollout_id.desc())
    return [_rollout(row) for row in connection.execute(query.limit(limit))]


def move(
    connection: Connection,
    rollout_id: str,
    version_seen: int,
    *,
    step: int,
    stage: Stage,
    share: float,
    shadow_share: float,
    held: bool,
    who: str,
    why: str,
    now_ms: int,
) -> Rollout:
    """The rollout after a move, in the caller's transaction.

    A rollout never goes back: neither its step, nor its stage, nor its share falls. Promoted, the challenger
    becomes the champion; rolled back, it does not; ended either way, nothing is routed any more (both shares
    are stored as 0) and the alias `challenger` names nothing.

    Args:
        connection: in a transaction of `database.writing`.
        rollout_id: which one.
        version_seen: the version that whoever moves it has looked at.
        step: of the plan.
        stage: of that step, or how it ended.
        share: of units that the challenger decides about.
        shadow_share: of units that it scores without deciding.
        held: whether it no longer moves on by itself.
        who: for the audit log.
        why: for the audit log, and the rollout's `reason`.
        now_ms: milliseconds since 1970.

    Raises:
        NotFoundError: there is no such rollout.
        ConflictError: it was moved since it was looked at, has ended, or would go back.
        ConfigError: who or why cannot be written to the audit log.
    """
    why = audit.checked("why", why)
    audit.lock(connection)
    before = read(connection, rollout_id)
    _check_move(before, version_seen, step, stage, share)
    after = Rollout.model_validate(
        {
            **before.model_dump(),
            "step": step,
            "stage": stage,
            "share": 0.0 if stage.ended else share,
            "shadow_share": 0.0 if stage.ended else shadow_share,
            "held": held,
            "version": before.version + 1,
            "step_since_ms": before.step_since_ms if step == before.step else now_ms,
            "ended_at_ms": now_ms if stage.ended else None,
            "reason": why,
        }
    )
    _write(connection, after, version_seen)
    if stage.ended:
        registry.point(connection, Alias.CHALLENGER, None, now_ms)
    if stage is Stage.PROMOTED:
        registry.point(connection, Alias.CHAMPION, before.challenger, now_ms)
    audit.append(
        connection, who=who, act=_act(before, after), subject=rollout_id, why=why,
        detail={"from": _state(before), "to": _state(after)}, now_ms=now_ms,
    )  # fmt: skip
    return after


def lease(connection: Connection, rollout_id: str, who: str, now_ms: int, until_ms: int) -> bool:
    """Whether `who` looks at the rollout's guards until then: nobody else does now, and it runs.

    Args:
        connection: in a transaction of `database.writing`.
        rollout_id: which one.
        who: a name of this process; it may renew its own lease.
        now_ms: milliseconds since 1970.
        until_ms: milliseconds since 1970.
    """
    free = or_(rollouts.c.looked_until_ms <= now_ms, rollouts.c.looked_by == who)
    done = connection.execute(
        update(rollouts)
        .where(rollouts.c.rollout_id == rollout_id, rollouts.c.running == 1, free)
        .values(looked_by=who, looked_until_ms=until_ms)
    )
    return done.rowcount == 1


def _check_start(connection: Connection, champion: str, challenger: str) -> None:
    running = current(connection)
    if running is not None:
        raise ConflictError(
            f"rollout {running.rollout_id} is running ({running.stage}, step {running.step}), and there is"
            " one at a time; promote or abort it first"
        )
    registry.read_bundle_row(connection, challenger)
    now = registry.champion(connection)
    if now is None:
        raise ConflictError("no bundle is the champion yet; see: stallwart bundles champion")
    if now != champion:
        raise ConflictError(f"somebody changed the champion meanwhile, it is {now[:12]} now; start again")
    if champion == challenger:
        raise ConflictError(f"bundle {challenger[:12]} is the champion already; nothing to roll out")


def _check_move(before: Rollout, version_seen: int, step: int, stage: Stage, share: float) -> None:
    at = f"at {before.stage}, step {before.step}, version {before.version}"
    if before.stage.ended:
        raise ConflictError(f"rollout {before.rollout_id} has ended: it is {before.stage}; start another one")
    if before.version != version_seen:
        raise ConflictError(
            f"somebody moved rollout {before.rollout_id} meanwhile: it is {at} now, and you saw version"
            f" {version_seen}; look at it again"
        )
    back = step < before.step or (
        not stage.ended and (_STAGES.index(stage) < _STAGES.index(before.stage) or share < before.share)
    )
    if back:
        raise ConflictError(
            f"rollout {before.rollout_id} is {at} with a share of {before.share:g} and cannot go back;"
            " hold or abort it"
        )


def _write(connection: Connection, after: Rollout, version_seen: int) -> None:
    names = (*_MOVED, "step_since_ms", "ended_at_ms", "reason")
    values = {name: getattr(after, name) for name in names}
    values |= {"stage": after.stage.value, "held": int(after.held)}
    values |= {"running": None if after.stage.ended else 1}
    done = connection.execute(
        update(rollouts)
        .where(rollouts.c.rollout_id == after.rollout_id, rollouts.c.version == version_seen)
        .values(values)
    )
    if done.rowcount != 1:  # someone who did not take the lock
        raise ConflictError(f"somebody moved rollout {after.rollout_id} meanwhile; look at it again")


def _act(before: Rollout, after: Rollout) -> str:
    if after.stage.ended:
        return f"rollout.{after.stage}"
    if after.step != before.step or after.stage != before.stage or after.share != before.share:
        return "rollout.advance"
    if after.held != before.held:
        return "rollout.hold" if after.held else "rollout.resume"
    return "rollout.change"


def _state(rollout: Rollout) -> dict[str, Any]:
    return {name: getattr(rollout, name) for name in _MOVED}


def _rollout(row: Row[Any]) -> Rollout:
    return Rollout.model_validate({**row._mapping, "held": bool(row.held)})

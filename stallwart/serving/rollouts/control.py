"""What a process does for the running rollout besides deciding: keeps what was shadowed, looks, and moves it.

Every process writes what its own models said. One of them, the one that has the lease, also folds what all
wrote, asks the guards, and moves the rollout; it only ever moves the version that it saw.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable

from sqlalchemy import Engine as Database

from stallwart.core.errors import ConflictError
from stallwart.core.logs import say
from stallwart.core.rollout import Rollout, Stage
from stallwart.core.settings import Settings
from stallwart.rollout.compare import compare
from stallwart.rollout.guards import look
from stallwart.rollout.plan import Plan
from stallwart.rollout.stages import ITSELF, Move, next_move, numbers_of
from stallwart.serving.rollouts.arms import Routing
from stallwart.serving.rollouts.figures import figures_of
from stallwart.serving.rollouts.follow import Follow
from stallwart.serving.rollouts.operate import make_move
from stallwart.serving.rollouts.pairing import Pairing
from stallwart.serving.rollouts.shadow import Shadow
from stallwart.serving.rollouts.watched import Watched
from stallwart.store.database import store_errors, writing
from stallwart.store.looks import keep_look
from stallwart.store.photos import PhotoStore
from stallwart.store.rollouts import lease

_LEASE_MS = 10_000
_IDLE = 9.0  # times as long as a look took, until the next one: it shares the cores with the answers
_SHADOW = 5.0  # times as rarely in shadow, where nobody can be harmed


class Control:
    """One process's part in a rollout.

    Args:
        database: where everything is.
        follow: what is routed now.
        shadow: what models said that do not decide.
        photos: kept photos, for listings that are scored later.
        settings: how often it looks.
        now_ms: milliseconds since 1970, UTC.
    """

    def __init__(
        self,
        database: Database,
        follow: Follow,
        shadow: Shadow,
        photos: PhotoStore,
        settings: Settings,
        now_ms: Callable[[], int],
    ):
        self._database, self._follow, self._shadow = database, follow, shadow
        self._settings, self._now_ms = settings, now_ms
        self._pairing = Pairing(database, shadow, photos, now_ms)
        self._who = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._watched: Watched | None = None
        self._busy_until = 0.0

    def work(self) -> None:
        """Do what is to be done about once a second.

        Raises:
            StoreError: the database does not take it; the next time comes.
        """
        self._shadow.flush()
        routing = self._follow.arms.now
        if routing.rollout is None or routing.plan is None:
            self._watched = None
            return
        if time.monotonic() < self._busy_until or not self._leased(routing.rollout):
            return
        started = time.monotonic()
        self._look(routing, routing.rollout, routing.plan)
        until = started + (1 + _IDLE) * (time.monotonic() - started)
        if routing.rollout.stage is Stage.SHADOW:
            until = max(until, started + _SHADOW * self._settings.rollout_seconds)
        self._busy_until = until

    def close(self) -> None:
        """Write what waits, if the database takes it."""
        self._shadow.flush()

    def _leased(self, rollout: Rollout) -> bool:
        now_ms = self._now_ms()
        with store_errors("the rollout cannot be leased"), writing(self._database) as connection:
            return lease(connection, rollout.rollout_id, self._who, now_ms, now_ms + _LEASE_MS)

    def _look(self, routing: Routing, rollout: Rollout, plan: Plan) -> None:
        if self._follow.refused:
            why = f"The challenger cannot be loaded: {self._follow.refused}"
            self._move(rollout, Move(Stage.ROLLED_BACK, rollout.step, 0.0, 0.0, False, ITSELF, why))
            return
        before = self._watched
        if before is None or before.rollout_id != rollout.rollout_id or before.aside != routing.aside:
            # What was counted is counted anew without the policies whose right was moved since
            self._watched = before = Watched(rollout.rollout_id, plan, self._now_ms, routing.aside)
        watched, now_ms = before, self._now_ms()
        watched.read(self._database)
        comparison = compare(watched.judged, plan)
        guards = look(plan, watched.tally, comparison, _acting(routing), self._follow.memory_mb)
        numbers = numbers_of(watched.tally, comparison, rollout.step)
        move = next_move(rollout, plan, guards, comparison, numbers, now_ms)
        figures = figures_of(rollout, plan, watched.tally, guards, comparison, numbers, now_ms)
        with store_errors("the guards' figures are not kept"), writing(self._database) as connection:
            keep_look(connection, rollout.rollout_id, now_ms, figures, changed=move is not None)
        if move is not None:
            self._move(rollout, move)
        else:
            self._pairing.work(routing)

    def _move(self, rollout: Rollout, move: Move) -> None:
        try:
            moved = make_move(self._database, rollout, move, self._now_ms())
        except ConflictError as err:  # an operator was first: the next look sees what they did
            say("rollout not moved", rollout=rollout.rollout_id, error=str(err))
            return
        say("rollout moved", rollout=moved.rollout_id, stage=moved.stage, share=moved.share, why=move.why)
        self._follow.read()


def _acting(routing: Routing) -> tuple[str, ...]:
    """The policies that either model may block by, or might before their right was moved."""
    runtimes = [runtime for runtime in (routing.champion, routing.challenger) if runtime is not None]
    acting = {
        name
        for runtime in runtimes
        for name, limits in runtime.thresholds.items()
        if limits.block is not None
    }
    return tuple(sorted(acting | routing.aside))

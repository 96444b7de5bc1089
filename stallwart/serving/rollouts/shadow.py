"""What the model that did not decide says of a listing, kept for the guards and the comparison.

Off the path of every answer: the engine scores it where nothing else waits, and what it says is written in
one transaction every now and then. What finds no room is dropped and counted; an audited listing that was
dropped is scored later from the store (`pairing.py`). Also kept here: listings that a model failed on and
that were refused, since the caller asked for that: they have no decision to carry their exposure.
"""

import threading
from collections import deque
from collections.abc import Callable

from sqlalchemy import Engine as Database

from stallwart.core.decision import Action
from stallwart.core.listing import Listing
from stallwart.core.rollout import Rollout
from stallwart.serving.engine import Engine, Work
from stallwart.serving.metrics import Metrics
from stallwart.serving.runtime import Runtime
from stallwart.store.counterparts import Counterpart, add_counterparts
from stallwart.store.database import store_errors, writing
from stallwart.store.exposures import Exposure, add_exposures

_KEPT = 10_000  # rows that may wait for a database that is away; older ones are dropped
_ROWS = 500  # of one transaction


class Shadow:
    """Scores listings with a runtime that does not decide.

    Args:
        engine: scores.
        database: where it is kept.
        metrics: counts.
        now_ms: milliseconds since 1970, UTC.
    """

    def __init__(self, engine: Engine, database: Database, metrics: Metrics, now_ms: Callable[[], int]):
        self._engine, self._database, self._metrics, self._now_ms = engine, database, metrics, now_ms
        self._rows: deque[Counterpart] = deque(maxlen=_KEPT)
        self._refused: deque[Exposure] = deque(maxlen=_KEPT)
        self._one_at_a_time = threading.Lock()

    def score(self, listing: Listing, decision_id: str, runtime: Runtime, rollout: Rollout) -> bool:
        """Score a listing that `decision_id` was decided about; whether there was room."""

        def done(work: Work) -> None:
            self._metrics.shadow.labels("failed" if work.failed else "scored").inc()
            self._rows.append(_counterpart(work, decision_id, rollout, self._now_ms()))

        taken = self._engine.submit_spare(listing, runtime, done)
        if not taken:
            self._metrics.shadow.labels("shed").inc()
        return taken

    def refused(self, exposure: Exposure) -> None:
        """Keep the exposure of a listing that was refused because the model failed."""
        self._refused.append(exposure)

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: the database does not take it; it goes on waiting.
        """
        with self._one_at_a_time:
            while self._rows or self._refused:
                rows = [self._rows[n] for n in range(min(_ROWS, len(self._rows)))]
                refused = [self._refused[n] for n in range(min(_ROWS, len(self._refused)))]
                with (
                    store_errors("what was scored in shadow is not kept"),
                    writing(self._database) as connection,
                ):
                    add_counterparts(connection, rows)
                    add_exposures(connection, refused)
                for waiting, written in ((self._rows, rows), (self._refused, refused)):
                    for one in written:
                        if waiting and waiting[0] is one:  # a full queue drops its oldest meanwhile
                            waiting.popleft()


def _counterpart(work: Work, decision_id: str, rollout: Rollout, now_ms: int) -> Counterpart:
    runtime, scored = work.runtime, work.scored
    return Counterpart(
        decision_id=decision_id,
        bundle=runtime.digest,
        rollout_id=rollout.rollout_id,
        step=rollout.step,
        action=scored.ruling.action if scored else Action.REVIEW,
        policies=scored.ruling.policies if scored else (),
        scores=None if scored is None else scored.by_policy(runtime.policies, runtime.additions),
        failed=bool(work.failed),
        cpu_us=int(work.cpu_seconds * 1e6),
        at_ms=now_ms,
    )

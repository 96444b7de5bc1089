"""Audited listings that only one of the two models has scored: the other one scores them from the store."""

from collections.abc import Callable

from sqlalchemy import Engine as Database

from stallwart.core.errors import StallwartError
from stallwart.core.rollout import Arm
from stallwart.serving.rollouts.arms import Routing
from stallwart.serving.rollouts.shadow import Shadow
from stallwart.store.counterparts import Missing, missing
from stallwart.store.database import reading, store_errors
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import listing_of, read_revision

_ROWS = 16  # at once: they wait behind all that decides, and hold their photos meanwhile
_AGAIN_MS = 60_000  # until one that was given to the engine and did not come back is given again


class Pairing:
    """Finds what is missing and has it scored.

    Args:
        database: what was decided.
        shadow: has listings scored where nothing else waits.
        photos: kept photos.
        now_ms: milliseconds since 1970, UTC.
    """

    def __init__(self, database: Database, shadow: Shadow, photos: PhotoStore, now_ms: Callable[[], int]):
        self._database, self._shadow, self._photos, self._now_ms = database, shadow, photos, now_ms
        self._given: dict[str, int] = {}
        self._after = 0

    def work(self, routing: Routing) -> None:
        """Give some of what is missing to the engine.

        Raises:
            StoreError: the database cannot be read.
        """
        rollout = routing.rollout
        if rollout is None or routing.challenger is None:
            return
        with store_errors("audited listings cannot be read"), reading(self._database) as connection:
            found = missing(connection, rollout.rollout_id, _ROWS, self._after)
        self._after = found[-1].seq if len(found) == _ROWS else 0  # around again: some come to nothing
        now_ms = self._now_ms()
        self._given = {one: at for one, at in self._given.items() if now_ms - at < _AGAIN_MS}
        for one in [one for one in found if one.decision_id not in self._given]:
            self._given[one.decision_id] = now_ms
            self._give(one, routing)

    def _give(self, one: Missing, routing: Routing) -> None:
        rollout, challenger = routing.rollout, routing.challenger
        assert rollout is not None
        assert challenger is not None
        with reading(self._database) as connection:
            revision = read_revision(connection, one.revision)
        if revision is None or revision.purged_at_ms is not None:
            return
        try:
            photos = tuple(self._photos.get(digest) for digest in revision.photos)
        except StallwartError:
            return  # a photo is gone, so the other model cannot see what the first one saw
        other = challenger if one.arm is Arm.CHAMPION else routing.champion
        then = rollout.model_copy(update={"step": one.step})
        self._shadow.score(listing_of(revision, photos), one.decision_id, other, then)

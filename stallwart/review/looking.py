"""Keeps who looked at what, once for each look: what one page shows in several requests is one look."""

import threading
from collections import OrderedDict

from sqlalchemy import Engine

from stallwart.store.database import store_errors, writing
from stallwart.store.views import View, add_views

_SAME_MS = 600_000
_REMEMBERED = 20_000


class Looking:
    """Notes views; may be called by many threads."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._changing = threading.Lock()

    def noted(self, view: View) -> None:
        """Say that a look was kept, once its transaction has ended: photos of its page are part of it."""
        self._remember(view.user_id, view.listing_id, view.at_ms)

    def note(
        self, database: Engine, user_id: str, listing_id: str, page: str, now_ms: int, decision_id: str
    ) -> None:
        """Keep a look, unless it is part of one of the last ten minutes that this process kept.

        Raises:
            StoreError: it cannot be kept; nothing is to be shown then.
        """
        with self._changing:
            last = self._last.get((user_id, listing_id))
        if last is not None and now_ms - last < _SAME_MS:
            return
        with store_errors("it cannot be kept who looks at this"), writing(database) as connection:
            add_views(connection, [View(user_id, listing_id, page, now_ms, decision_id)])
        self._remember(user_id, listing_id, now_ms)

    def _remember(self, user_id: str, listing_id: str, at_ms: int) -> None:
        with self._changing:
            self._last[user_id, listing_id] = at_ms
            self._last.move_to_end((user_id, listing_id))
            while len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)

"""What a process does for the running rollout besides deciding: keeps what was shadowed, looks, and moves it.

Every process writes what its own models said. One of them, the one that has the lease, also folds what all
wrote, asks the guards, and moves the rollout; it only ever moves the version that it saw.
"""

import os
import secrets
import socket
from collections.abc import Callable

from sqlalchemy import Engine as Database

from stallwart.core.settings import Settings
from stallwart.serving.follow import Follow
from stallwart.serving.shadow import Shadow
from stallwart.store.photos import PhotoStore


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
        self._database, self._follow, self._shadow, self._photos = database, follow, shadow, photos
        self._settings, self._now_ms = settings, now_ms
        self._who = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"

    def work(self) -> None:
        """Do what is to be done about once a second.

        Raises:
            StoreError: the database does not take it; the next time comes.
        """
        self._shadow.flush()

    def close(self) -> None:
        """Write what waits, if the database takes it."""
        self._shadow.flush()

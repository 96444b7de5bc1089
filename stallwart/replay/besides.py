"""What stood beside the bundle when a stored decision was made: the rulebook and the add-ons of then."""

from pathlib import Path

from sqlalchemy import Engine

from stallwart.model.additions import NONE, Additions, additions
from stallwart.model.addon import encoder_digests, read_addon
from stallwart.model.bundle import Bundle
from stallwart.replay.stored import Stored
from stallwart.store import rulebooks
from stallwart.store.database import reading


class Besides:
    """Additions of stored decisions, each read once.

    Args:
        engine: the database.
        bundle: that decided.
    """

    def __init__(self, engine: Engine, bundle: Bundle):
        self._engine, self._bundle = engine, bundle
        self._encoders = encoder_digests(bundle.folder)
        self._known: dict[tuple[tuple[str, ...], str], Additions] = {}

    def of(self, stored: Stored) -> Additions:
        """What stood beside the bundle then.

        Raises:
            NotFoundError: an add-on is not registered here.
            BundleError: an add-on is not at its place any more.
        """
        key = stored.addons, stored.taxonomy
        if key not in self._known:
            self._known[key] = self._read(*key)
        return self._known[key]

    def _read(self, digests: tuple[str, ...], taxonomy: str) -> Additions:
        with reading(self._engine) as connection:
            book = rulebooks.with_digest(connection, taxonomy)
            rows = [rulebooks.addon_row(connection, digest) for digest in digests]
        if book is None:
            return NONE
        found = [read_addon(Path(row.place), row.digest) for row in rows]
        return additions(book, self._bundle.taxonomy, self._encoders, found)

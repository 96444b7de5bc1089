"""What becomes of the bundle in the folder that a service was given."""

from sqlalchemy import Engine as Database

from stallwart.core.errors import ConflictError
from stallwart.core.logs import say
from stallwart.core.settings import Settings
from stallwart.model.shelf import shelf, shelve
from stallwart.serving.bundles import BundleFolder
from stallwart.store.database import reading, store_errors, writing
from stallwart.store.registry import champion, list_bundles, register, set_champion

_WHO = "stallwart serve"


def deploy(
    database: Database, folder: BundleFolder, settings: Settings, now_ms: int, *, is_start: bool = False
) -> None:
    """Make the folder's bundle the champion where an operator put it there for that.

    That is where the registry has no champion, where the bundle is new to it, and where the folder changed
    under a running service. A restart with a bundle that was known before changes nothing: it would take
    back a promotion. While a rollout runs the champion stays, and the log says so.

    Raises:
        StoreError: the database or the shelf does not take it.
    """
    bundle = folder.runtime.bundle
    with store_errors("the registry cannot be read"), reading(database) as connection:
        deciding = champion(connection)
        known = bundle.digest in {row.digest for row in list_bundles(connection)}
    if deciding == bundle.digest:
        return
    if is_start and deciding is not None and known:
        say(
            "champion kept",
            champion=deciding,
            folder=bundle.digest,
            note="the registry's champion decides, not the folder's; see: stallwart bundles champion",
        )
        return
    place = shelve(bundle, shelf(settings))
    try:
        with store_errors("the bundle cannot be registered"), writing(database) as connection:
            register(
                connection, digest=bundle.digest, place=str(place), card=bundle.card, who=_WHO, now_ms=now_ms
            )
            why = "the first bundle" if deciding is None else f"the folder {folder.folder} holds it now"
            set_champion(connection, bundle.digest, who=_WHO, why=why, now_ms=now_ms)
    except ConflictError as err:
        say("champion kept", level=30, folder=bundle.digest, error=str(err))

"""What runs behind the pages of review, in a process of its own: all that needs the database and no page."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stallwart.cli.database import wall_ms
from stallwart.cli.searching import champions_encoders, several
from stallwart.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.pages.background import Job

_INTAKE_SECONDS, _SECONDS, _BULK_SECONDS = 1.0, 2.0, 0.5


@contextlib.contextmanager
def behind(settings: Settings, url: str, bundle: Path | None) -> Iterator[Sequence["Job"]]:
    """The jobs, on a database of their own, which is closed behind them.

    Args:
        settings: of review, photos and the registry.
        url: of the database, with the tables of this version.
        bundle: folder of a bundle that the registry need not know.

    Raises:
        ConfigError: a setting is wrong.
        BundleError: there is no bundle in the folder.
    """
    from stallwart.store.database import open_database, rest_after_writes

    database = open_database(url, settings)
    rest_after_writes(database)
    try:
        yield jobs_behind(database, settings, wall_ms, bundle)
    finally:
        database.dispose()


def jobs_behind(
    database: "Engine", settings: Settings, now_ms: Callable[[], int], bundle: Path | None = None
) -> Sequence["Job"]:
    """Work that several processes may do at once on one database.

    Raises:
        ConfigError: a setting is wrong.
        BundleError: there is no bundle in the folder.
    """
    from stallwart.index.findable import Findable
    from stallwart.index.fingerprinting import Fingerprinter
    from stallwart.index.knowing import Knowing
    from stallwart.pages.background import Job
    from stallwart.review.explaining import Explainer
    from stallwart.store.bulk import Bulk
    from stallwart.store.intake import Intake
    from stallwart.store.photos import PhotoStore

    photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
    encoders = champions_encoders(database, settings) if settings.review_meaning else (lambda: None)
    findable, prints = Findable(database, now_ms), Fingerprinter(database, photos, settings, now_ms)
    knowing = Knowing(database, photos, settings, now_ms, encoders)
    jobs = [
        Job("making tasks", _INTAKE_SECONDS, Intake(database, settings, now_ms).step),
        Job("acting on many listings", _BULK_SECONDS, Bulk(database, now_ms).work),
        Job("making listings findable", _SECONDS, lambda: several(lambda: findable.step()[1])),
        Job("fingerprinting listings", _SECONDS, lambda: several(lambda: prints.step()[1])),
        Job("keeping known-bad things in step", _SECONDS, knowing.step),
    ]
    if settings.review_explain_seconds:
        explainer = Explainer(database, photos, settings, now_ms, bundle)
        jobs.append(Job("explaining tasks", settings.review_explain_seconds, explainer.step))
    return jobs

"""What search and acts on many listings need in the review process: their pages, and the work behind them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stallwart.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.encoders.embed import Embedder
    from stallwart.index.meaning import Meaning
    from stallwart.pages.background import Job
    from stallwart.pages.site import Section
    from stallwart.store.photos import PhotoStore

_SECONDS, _BULK_SECONDS = 2.0, 0.5
_AT_ONCE = 20  # steps of one turn, so that a stop is not waited for long


def search_parts(
    database: "Engine", settings: Settings, photos: "PhotoStore", now_ms: Callable[[], int]
) -> tuple[Sequence["Section"], Sequence["Job"], "Meaning | None"]:
    """Sections of search, the jobs behind them, and what finds listings alike in meaning.

    Args:
        database: with the tables of this version.
        settings: bounds and limits.
        photos: where they are.
        now_ms: milliseconds since 1970.
    """
    from stallwart.index.findable import Findable
    from stallwart.index.fingerprinting import Fingerprinter
    from stallwart.index.knowing import Knowing
    from stallwart.index.meaning import Meaning
    from stallwart.index.near import NearDuplicates
    from stallwart.pages.background import Job
    from stallwart.review.bulk import BulkSection
    from stallwart.review.finding import Finding
    from stallwart.review.known import KnownSection
    from stallwart.review.search import SearchSection
    from stallwart.store.bulk import Bulk

    encoders = champions_encoders(database, settings) if settings.review_meaning else (lambda: None)
    meaning = Meaning(database, photos, encoders) if settings.review_meaning else None
    finding = Finding(database, NearDuplicates(photos, settings), meaning)
    findable, prints = Findable(database, now_ms), Fingerprinter(database, photos, settings, now_ms)
    jobs = [
        Job("making listings findable", _SECONDS, lambda: _several(lambda: findable.step()[1])),
        Job("fingerprinting listings", _SECONDS, lambda: _several(lambda: prints.step()[1])),
        Job("acting on many listings", _BULK_SECONDS, Bulk(database, now_ms).work),
    ]
    knowing = Knowing(database, photos, settings, now_ms, encoders)
    jobs.append(Job("keeping known-bad things in step", _SECONDS, knowing.step))
    if meaning is not None:
        jobs.append(Job("reading listings for their meaning", _SECONDS, lambda: _several(meaning.step)))
    return [SearchSection(finding), BulkSection(finding), KnownSection()], jobs, meaning


def _several(step: Callable[[], bool]) -> None:
    for _ in range(_AT_ONCE):
        if not step():
            return


def champions_encoders(database: "Engine", settings: Settings) -> "Callable[[], Embedder | None]":
    """Gives the encoders of the bundle that decides now, loaded again where another one does."""
    from stallwart.encoders.cache import EmbeddingCache
    from stallwart.encoders.embed import Embedder
    from stallwart.encoders.graphs import PhotoGraph, TextGraph
    from stallwart.model.bundle import read_bundle
    from stallwart.store.database import reading
    from stallwart.store.registry import champion, read_bundle_row

    loaded: dict[str, Embedder] = {}

    def encoders() -> "Embedder | None":
        with reading(database) as connection:
            digest = champion(connection)
            place = read_bundle_row(connection, digest).place if digest else None
        if digest is None or place is None:
            return None
        if digest not in loaded:
            bundle = read_bundle(Path(place))
            text = TextGraph(bundle.folder / "text", settings.provider)
            photo = PhotoGraph(bundle.folder / "photo", settings.provider)
            loaded.clear()
            loaded[digest] = Embedder(text, photo, settings, EmbeddingCache(settings.cache_dir))
        return loaded[digest]

    return encoders

"""What search and acts on many listings need in the review process: their pages, and what they share."""

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

_SECONDS = 2.0
_AT_ONCE = 20  # steps of one turn, so that a stop is not waited for long


def search_parts(
    database: "Engine", settings: Settings, photos: "PhotoStore"
) -> tuple[Sequence["Section"], Sequence["Job"], "Meaning | None"]:
    """Sections of search, what reads listings for their meaning, and what finds those alike in it.

    Args:
        database: with the tables of this version.
        settings: bounds and limits.
        photos: where they are.
    """
    from stallwart.index.meaning import Meaning
    from stallwart.index.near import NearDuplicates
    from stallwart.pages.background import Job
    from stallwart.review.bulk import BulkSection
    from stallwart.review.finding import Finding
    from stallwart.review.known import KnownSection
    from stallwart.review.search import SearchSection

    meaning, jobs = None, []
    if settings.review_meaning:
        meaning = Meaning(database, photos, champions_encoders(database, settings))
        reading = Job("reading listings for their meaning", _SECONDS, lambda: several(meaning.step))
        jobs.append(reading)
    finding = Finding(database, NearDuplicates(photos, settings), meaning)
    return [SearchSection(finding), BulkSection(finding), KnownSection(finding)], jobs, meaning


def several(step: Callable[[], bool]) -> None:
    """Some steps, while there is more to do."""
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

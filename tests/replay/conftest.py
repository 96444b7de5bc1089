"""A service with a real bundle of tiny encoders, and traffic with all that traffic has."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.model.bundle import read_bundle
from stallwart.model.runtime import Scorer
from stallwart.replay.run import Replayer
from stallwart.store.database import database_url as url_of
from stallwart.store.database import open_database
from stallwart.store.photos import PhotoStore
from tests.replay.served import Served


@pytest.fixture
def settings(tmp_path, database_url):
    return Settings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", database_url=database_url,
        reload_seconds=0, key_cache_seconds=0, deadline_ms=20_000, threads=2, max_photos=3,
    )  # fmt: skip


@pytest.fixture
def serve(settings):
    """Starts services, on both databases, and stops them."""
    running = []

    def start(runtime, **changes):
        running.append(Served(runtime, settings.model_copy(update=changes)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def engine(settings):
    opened = open_database(url_of(settings), settings)
    yield opened
    opened.dispose()


@pytest.fixture
def replayer(settings):
    """Makes replayers of a bundle or its folder."""
    caches = []

    def make(bundle):
        caches.append(EmbeddingCache(settings.cache_dir))
        bundle = read_bundle(bundle) if hasattr(bundle, "joinpath") else bundle
        photos = PhotoStore(str(settings.data_dir / "photos"))
        return Replayer(Scorer(bundle, settings, caches[-1]), photos)

    yield make
    for cache in caches:
        cache.close()

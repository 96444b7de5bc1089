import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tiny.market import sources_of, tiny_train

from stallwart.core.settings import Settings
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.model.bundle import Bundle


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def bundle(sample_market, cache_dir, tmp_path_factory) -> Bundle:
    """A bundle trained on the generated market with tiny encoders; read it only."""
    return tiny_train(sample_market, tmp_path_factory.mktemp("bundles") / "tiny", cache_dir).bundle


@pytest.fixture(scope="session")
def settings(cache_dir) -> Settings:
    return Settings(cache_dir=cache_dir, threads=2)


@pytest.fixture(scope="session")
def listings(sample_market, settings):
    """Some listings of the generated market, photos and all."""
    sources = sources_of(sample_market)
    read = read_listings(sources.listings, sources.columns, settings, Rejects(100), decode=False)
    return list(read)[::4]

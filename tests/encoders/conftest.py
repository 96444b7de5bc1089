import os
import socket
from pathlib import Path

import pytest

from stallwart.core.settings import Settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is first imported


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)  # several threads on a busy machine wait for each other a hundred times longer


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_options):
        raise OSError("this test must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def encoders_dir(tmp_path_factory) -> Path:
    """Folder of exported encoders: the user's own cache where one is named, or this run's."""
    if named := os.environ.get("STALLWART_CACHE_DIR"):
        return Path(named)
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def text_folder(encoders_dir) -> Path:
    from stallwart.encoders.table import exported

    return exported("minilm-l6", encoders_dir)


@pytest.fixture(scope="session")
def photo_folder(encoders_dir) -> Path:
    from stallwart.encoders.table import exported

    return exported("efficientnet-lite0", encoders_dir)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(cache_dir=tmp_path, threads=2)

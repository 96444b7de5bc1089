"""Fixtures that several suites share: the real market where it is, and a small generated one."""

from pathlib import Path

import pytest

from stallwart.dataset.sample import write_sample

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"


@pytest.fixture(scope="session")
def market() -> Path:
    """Folder of the real market's files; tests that ask for it carry the mark `market`."""
    if not (MARKET / "labels.csv").exists():
        pytest.skip(f"the real market's files are not at {MARKET}")
    return MARKET


@pytest.fixture(scope="session")
def sample_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small generated market: monthly Parquet files, labels.csv, policies.toml; read it only."""
    folder = tmp_path_factory.mktemp("generated") / "market"
    write_sample(folder, listings=240, seed=7)
    return folder

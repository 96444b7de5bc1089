"""Fixtures that several suites share: the real market where it is, and a small generated one."""

from pathlib import Path

import pytest

MARKET = Path(__file__).resolve().parents[2] / "shared" / "data" / "market"


@pytest.fixture(scope="session")
def market() -> Path:
    """Folder of the real market's files; tests that ask for it carry the mark `market`."""
    if not (MARKET / "labels.csv").exists():
        pytest.skip(f"the real market's files are not at {MARKET}")
    return MARKET

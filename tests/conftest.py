"""Fixtures that several suites share: markets, bundles and databases of both kinds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine

from stallwart.core.settings import Settings
from stallwart.dataset.sample import write_sample
from stallwart.store.database import open_database, upgrade
from tests.databases import Postgres, name_of

# Deadlines and `too_slow` measure by the wall clock how busy the machine is: two integers "take too long"
# beside another test run. Hypothesis leaves both out in CI too; what it says of the tests themselves stays.
settings.register_profile(
    "stallwart", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("stallwart")

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


@pytest.fixture(scope="session")
def tiny_bundles(sample_market: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two bundles of tiny encoders that differ in their seed; copy a link to them, never write."""
    import torch
    from tiny.market import RECIPE, tiny_train

    torch.set_num_threads(1)
    folder, cache = tmp_path_factory.mktemp("bundles"), tmp_path_factory.mktemp("training")
    for seed in (0, 1):
        tiny_train(sample_market, folder / str(seed), cache, RECIPE.model_copy(update={"seed": seed}))
    return folder / "0", folder / "1"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the session; a test that stops it makes its own `Postgres`."""
    server = Postgres()
    yield server
    server.end()


@pytest.fixture(scope="session")
def templates(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URL of an upgraded database of each kind, to be copied."""
    urls = {
        "sqlite": f"sqlite:///{tmp_path_factory.mktemp('database') / 'template.sqlite'}",
        "postgresql": postgres.create(),
    }
    for url in urls.values():
        engine = open_database(url, Settings())
        upgrade(engine)
        engine.dispose()
    return urls


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    server = request.getfixturevalue("postgres")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, templates: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """URL of a database with all tables and no rows; tests that use it run on both kinds."""
    template = templates[request.param]
    if request.param == "sqlite":
        shutil.copy(template.removeprefix("sqlite:///"), tmp_path / "stallwart.sqlite")
        yield f"sqlite:///{tmp_path / 'stallwart.sqlite'}"
        return
    server = request.getfixturevalue("postgres")
    url = server.create(name_of(template))
    yield url
    server.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = open_database(database_url, Settings())
    yield engine
    engine.dispose()

"""A service killed at random moments under load; the long form is bench/kills.py, whose checks these are."""

import pytest

from bench.kills import run
from tests.databases import Postgres

pytestmark = pytest.mark.slow

TIMES = 10


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL of its own, since its process is killed too."""
    server = Postgres()
    yield server
    server.end()


def check(facts, kills):
    assert facts.faults == []
    assert facts.kills == kills
    assert facts.distinct > 5 * kills, "it was not killed under load"
    assert facts.edits > kills
    assert facts.arrived >= facts.told > kills


def test_a_killed_service_on_sqlite_loses_nothing_and_tells_everything(tmp_path):
    check(run(tmp_path, TIMES, seed=11), TIMES)


def test_a_killed_service_on_postgresql_loses_nothing_and_tells_everything(tmp_path, server):
    check(run(tmp_path, TIMES, seed=12, url=server.create()), TIMES)


def test_a_killed_postgresql_loses_nothing_and_the_service_goes_on(tmp_path, server):
    check(run(tmp_path, 3, seed=13, url=server.create(), postgres=server), 3)

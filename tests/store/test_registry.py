import pytest

from stallwart.core.errors import ConfigError, ConflictError, NotFoundError
from stallwart.core.rollout import Stage
from stallwart.store import audit, registry
from stallwart.store.database import reading, writing
from tests.store.rolling import NEW, NOW, OLD, OTHER, begun, moved, registered


def acts(database):
    with reading(database) as connection:
        assert audit.verify(connection).wrong is None
        return [one.act for one in reversed(audit.read(connection))]


def register(database, **facts):
    given = {"digest": NEW, "place": "/b", "card": {"seed": 1}, "who": "ana", "now_ms": NOW + 5}
    with writing(database) as connection:
        return registry.register(connection, **{**given, **facts})


def crown(database, digest, **facts):
    with writing(database) as connection:
        given = {"who": "ana", "why": "it is better", "now_ms": NOW}
        return registry.set_champion(connection, digest, **{**given, **facts})


def test_a_bundle_is_registered_once_with_the_champion_as_its_parent(database):
    registered(database, OLD, champion=OLD)
    made = register(database, report={"auc": 0.9}, card={"data": {"digest": "d" * 64}})
    assert (made.parent, made.report, made.data_digest) == (OLD, {"auc": 0.9}, "d" * 64)
    assert register(database, place="/elsewhere") == made
    assert acts(database) == ["bundle.register", "bundle.champion", "bundle.register"]
    with reading(database) as connection:
        assert registry.read_bundle_row(connection, NEW) == made
        assert [one.digest for one in registry.list_bundles(connection)] == [NEW, OLD]


def test_a_bundle_that_was_moved_is_registered_again_and_keeps_its_report(database):
    register(database, report={"auc": 0.9})
    again = register(database, place="/elsewhere", again=True)
    assert (again.place, again.report) == ("/elsewhere", {"auc": 0.9})
    assert register(database, place="/elsewhere", again=True) == again
    assert register(database, place="/elsewhere", report={"auc": 0.8}, again=True).report == {"auc": 0.8}
    assert acts(database) == ["bundle.register", "bundle.update", "bundle.update"]


def test_a_bundle_is_found_by_the_beginning_of_its_digest(database):
    registered(database, "ab" * 32, "ac" * 32)
    with reading(database) as connection:
        assert registry.find_bundle(connection, "ab").digest == "ab" * 32
        with pytest.raises(ConflictError, match="several bundles begin with 'a'"):
            registry.find_bundle(connection, "a")
        for start in ("%", "_b", "zz"):
            with pytest.raises(NotFoundError, match="no bundle"):
                registry.find_bundle(connection, start)


def test_only_a_bundle_that_is_registered_becomes_the_champion(database):
    registered(database, OLD, NEW)
    with reading(database) as connection:
        assert registry.champion(connection) is None
    with pytest.raises(NotFoundError, match="no bundle"):
        crown(database, OTHER)
    with pytest.raises(ConfigError, match="why is empty"):
        crown(database, NEW, why="")
    crown(database, OLD)
    crown(database, NEW)
    crown(database, NEW)
    with reading(database) as connection:
        assert registry.champion(connection) == NEW
        assert registry.alias(connection, registry.Alias.CHALLENGER) is None
        assert audit.read(connection, limit=1)[0].detail == {"old": OLD}
    assert acts(database) == ["bundle.register"] * 2 + ["bundle.champion"] * 2


def test_the_champion_stays_while_a_rollout_runs(database):
    registered(database, OLD, NEW, OTHER, champion=OLD)
    rollout = begun(database)
    with pytest.raises(ConflictError, match=f"rollout {rollout.rollout_id} is running"):
        crown(database, OTHER)
    moved(database, rollout, Stage.ROLLED_BACK)
    crown(database, OTHER)
    with reading(database) as connection:
        assert registry.champion(connection) == OTHER

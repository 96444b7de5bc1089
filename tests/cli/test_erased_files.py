"""Files bring back nothing that was erased from the store: not into training, and not as labels."""

import pytest

from stallwart.cli.erased import erased_by
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.store.database import open_database, reading
from stallwart.store.erased import TOMBSTONES, Kind, keep_beside
from stallwart.store.erasing import Tools, erase
from stallwart.store.photos import PhotoStore
from stallwart.store.verdicts import read_verdicts
from tests.store.outgoing import decide
from tests.store.rolling import NOW


@pytest.fixture
def store(tmp_path, monkeypatch, here):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    decide(engine, [], ("gone", 1), ("kept", 1))
    yield engine
    engine.dispose()


def erase_one(store, tmp_path, kind, name):
    tools = Tools(photos=PhotoStore(str(tmp_path / "photos")), now_ms=lambda: NOW)
    erase(store, tools, kind, name, who="ada", why="asked for it")


def test_the_store_says_what_stays_out_and_the_copy_beside_it_does_where_it_is_gone(store, tmp_path):
    assert erased_by(Settings()) is None
    erase_one(store, tmp_path, Kind.LISTING, "gone")
    erase_one(store, tmp_path, Kind.SELLER, "shop")
    keep_beside(store, tmp_path / "data" / TOMBSTONES)
    store.dispose()
    for _ in range(2):
        erased = erased_by(Settings())
        assert erased("gone", None)
        assert erased("gone@2", None), "an earlier state of it"
        assert erased("other", "shop")
        assert not erased("kept", "market")
        for file in (tmp_path / "data").glob("stallwart.sqlite*"):
            file.unlink()


def test_without_a_store_nobody_is_asked_and_a_broken_one_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path))
    assert erased_by(Settings()) is None
    assert list(tmp_path.iterdir()) == [], "no database is made by asking"
    (tmp_path / TOMBSTONES).write_text('{"key": "zz"}')
    with pytest.raises(ConfigError, match="no copy of tombstones"):
        erased_by(Settings())
    (tmp_path / "stallwart.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigError, match="what was erased"):
        erased_by(Settings())


def test_labels_of_an_erased_listing_are_refused_and_counted(here, store, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("decision_id,yes,no\nd-gone-0001,tobacco,\nd-kept-0001,tobacco,\n", encoding="utf-8")
    erase_one(store, tmp_path, Kind.LISTING, "gone")
    told = here("labels", "import", str(file), "--who", "agency", "--json").facts
    assert told["taken"] == {"new": 1}
    assert told["bad"] == {"its listing was erased, and nothing is kept of it again": 1}
    with reading(store) as connection:
        assert read_verdicts(connection, "d-gone-0001") == []

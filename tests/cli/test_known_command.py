"""`stallwart known` and `stallwart db index`, as an operator meets them."""

import pytest

from stallwart.core.settings import Settings
from stallwart.store.database import open_database
from stallwart.store.photos import PhotoStore
from tests.index.stored import KNIFE, decide, photo


@pytest.fixture
def decision(tmp_path, monkeypatch, here):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    yield decide(engine, PhotoStore(str(tmp_path / "data" / "photos")), "L1", "Knife", KNIFE, [photo(3)])
    engine.dispose()


def test_an_entry_is_added_listed_and_removed(here, decision):
    made = here("known", "add", decision.decision_id, "weapons", "--why", "a raid", "--json")
    assert made.code == 0, made.err
    assert (made.facts["policy"], made.facts["listing"], made.facts["verdict"]) == ("weapons", "L1", None)
    (one,) = here("known", "list", "--json").facts
    assert one == made.facts
    assert "a raid" in here("known", "list", "--policy", "weapons").out
    again = here("known", "add", decision.decision_id, "weapons", "--why", "again")
    assert again.code == 3
    assert "known for this policy already" in again.err
    gone = here("known", "remove", one["entry"], "--why", "too broad")
    assert (gone.code, gone.out) == (0, f"{one['entry']}: counts no more\n"), gone.err
    assert here("known", "list", "--json").facts == []


def test_what_is_not_there_is_said_in_one_line(here, decision):  # noqa: ARG001
    for command in (
        ("known", "add", "d_none", "weapons", "--why", "x"),
        ("known", "remove", "k_none", "--why", "x"),
    ):
        said = here(*command)
        assert said.code == 3
        assert said.err.startswith("error[data]") or "there is no" in said.err


def test_old_listings_are_made_findable_at_once(here, decision):  # noqa: ARG001
    assert here("db", "index", "--json").facts == {"findable": 1, "fingerprints": 1}
    assert here("db", "index", "--json").facts == {"findable": 0, "fingerprints": 0}

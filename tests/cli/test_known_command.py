"""`stallwart known` and `stallwart db index`, as an operator meets them."""

import pytest

from stallwart.core.settings import Settings
from stallwart.index.proven import read_proven
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


def test_distances_are_certified_on_labelled_files(here, tiny_bundles, sample_market, tmp_path):
    files = [str(file) for file in sorted(sample_market.glob("*.parquet"))]
    labels, out = str(sample_market / "labels.csv"), tmp_path / "near.json"
    said = here("known", "certify", str(tiny_bundles[0]), *files, "--labels", labels, "--out", str(out))
    assert said.code == 0, said.err
    made = read_proven(out)
    assert f"{made.listings:,} listings, {made.first} to {made.last}" in said.out
    assert made.listings > 200
    for one in made.distances:
        assert f"{one.policy}  {one.kind}  " in said.out
        assert 0 < one.own_near <= one.own
        assert (one.distance is not None) == (one.lower >= one.target)


def test_old_listings_are_made_findable_at_once(here, decision):  # noqa: ARG001
    assert here("db", "index", "--json").facts == {"findable": 1, "fingerprints": 1}
    assert here("db", "index", "--json").facts == {"findable": 0, "fingerprints": 0}

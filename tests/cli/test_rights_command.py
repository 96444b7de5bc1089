"""`stallwart rights`, as an operator meets it."""

import json
import re

import pytest

from stallwart.core.settings import Settings
from stallwart.store.database import open_database
from tests.monitoring.rights_made import with_rights


@pytest.fixture
def house(tmp_path, monkeypatch, here):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    with_rights(engine)
    yield engine
    engine.dispose()


@pytest.mark.usefixtures("house")
def test_rights_are_listed_withdrawn_and_earned(here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # of no terminal: nothing is cut there
    shown = here("rights", "list")
    assert "…" not in shown.out
    assert re.search(r"tobacco +certified .* \d{4}-\d\d-\d\d \d\d:\d\d ", shown.out)
    assert shown.code == 0
    assert "tobacco" in shown.out
    assert "certified" in shown.out
    gone = here("rights", "withdraw", "tobacco", "--why", "vapes", "--json")
    assert json.loads(gone.out)["state"] == "withdrawn"
    begun = here("rights", "earn", "tobacco", "--why", "again", "--score", "0.9", "--score", "0.95", "--json")
    told = json.loads(begun.out)
    assert (told["state"], told["attempt"], told["tried"]) == ("earning", 1, [0.9, 0.95])
    states = {one["policy"]: one["state"] for one in json.loads(here("rights", "list", "--json").out)}
    assert states == {"drugs": "none", "tobacco": "earning"}
    stopped = here("rights", "withdraw", "tobacco", "--why", "not now")
    assert "tobacco no longer earns a right; it did not act alone" in stopped.err


@pytest.mark.usefixtures("house")
def test_mistakes_are_one_line(here):
    unknown = here("rights", "withdraw", "wine", "--why", "x")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "no policy 'wine'; there are: drugs, tobacco" in unknown.err
    twice = here("rights", "withdraw", "drugs", "--why", "x")
    assert twice.code != 0
    assert "does not act alone" in twice.err


def test_without_a_champion_it_says_what_to_do(here, tmp_path, monkeypatch):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    here("db", "upgrade")
    said = here("rights", "list")
    assert said.code == 2
    assert "no bundle is the champion yet" in said.err

"""`stallwart audit estimates` and `audit plan`, as an operator meets them."""

import pytest

from stallwart.core.settings import Settings
from stallwart.store.database import open_database
from tests.store.test_audit_sample import TODAY, decide, judge

DAY = "2027-01-16"  # the day after the decisions

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def database(tmp_path, monkeypatch, here):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    yield engine
    engine.dispose()


def test_without_traffic_the_commands_say_so(here):
    assert here("audit", "estimates").out == "Nothing was decided in this time.\n"
    told = here("audit", "plan")
    assert "nothing is known of the traffic yet" in told.out
    assert "drawn a day: not known yet" in told.out
    assert here("audit", "plan", "--json").facts["version"] == 1


def test_figures_come_with_counts_and_what_cannot_be_said(here, database):
    for number in range(8):
        decide(database, number, drawn=number < 4, day=TODAY)
    judge(database, 0)
    judge(database, 1)
    told = here("audit", "estimates", "--until", DAY, "--json").facts
    (one,) = told["figures"]
    assert (told["from"], told["until"], one["decisions"], one["drawn"], one["waiting"]) == (
        "2026-12-19", DAY, 8, 4, 2,
    )  # fmt: skip
    assert (one["precision"]["value"], one["precision"]["verdicts"]) == (1.0, 2)
    assert one["precision"]["lower"] < 0.5
    assert any("2 of 4 drawn decisions wait" in note for note in one["notes"])
    shown = here("audit", "estimates", "--until", DAY, "--by", "policy").out
    assert "tobacco" in shown
    assert "100.0 % (" in shown


@pytest.mark.parametrize("by", ["day", "week", "bundle", "policy"])
def test_each_way_to_cut_the_traffic_gives_rows(here, database, by):
    decide(database, 0)
    judge(database, 0)
    rows = here("audit", "estimates", "--until", DAY, "--by", by, "--json").facts["figures"]
    names = {"day": "2027-01-15", "week": "2027-01-11", "bundle": "b" * 64, "policy": "tobacco"}
    assert [row["name"] for row in rows] == [names[by]]


def test_a_day_that_is_none_is_refused(here):
    told = here("audit", "estimates", "--until", "yesterday")
    assert told.code != 0
    assert "is no day; write it as 2026-05-31" in told.err

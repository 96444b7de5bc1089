"""`stallwart audit`, as an operator meets it."""

import pytest
from sqlalchemy import text

from stallwart.core.settings import Settings
from stallwart.store import audit
from stallwart.store.database import open_database, writing

NOW = 1_800_000_000_000

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def database(tmp_path, monkeypatch, here):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    yield engine
    engine.dispose()


def write(database, *whys, who="ana", act="rollout.advance"):
    with writing(database) as connection:
        for why in whys:
            audit.append(
                connection, who=who, act=act, subject="r_1", why=why, detail={"share": 0.05}, now_ms=NOW
            )


def change(database, statement):
    with writing(database) as connection:
        connection.execute(text(statement))


def head(here):
    return here("audit", "verify", "--json").facts["head"]


def test_an_empty_log_and_a_whole_one_verify(here, database):
    empty = here("audit", "verify")
    assert (empty.code, empty.out) == (0, "0 entries, all as they were written; head none yet\n")
    write(database, "one", "two")
    whole = here("audit", "verify")
    assert whole.code == 0
    assert whole.out == f"2 entries, all as they were written; head {head(here)}\n"
    assert head(here).startswith("2:")
    assert here("audit", "verify", "--head", head(here)).code == 0


def test_an_edited_entry_is_named_and_ends_with_exit_code_1(here, database):
    write(database, "one", "two", "three")
    change(database, "UPDATE audit_log SET who = 'mallory' WHERE number = 2")
    broken = here("audit", "verify")
    assert (broken.code, broken.out) == (1, "")
    assert (
        broken.err == "error[gate]: the audit log is broken: entry 2 was edited; the 1 before it are sound\n"
    )
    broken = here("audit", "verify", "--json")
    assert broken.code == 1
    assert (broken.facts["whole"], broken.facts["wrong"], broken.facts["what"]) == (False, 2, "was edited")


def test_a_cut_off_end_is_found_with_the_head_of_an_earlier_run(here, database):
    write(database, "one", "two", "three")
    noted = head(here)
    change(database, "DELETE FROM audit_log WHERE number = 3")
    assert here("audit", "verify").code == 0
    cut = here("audit", "verify", "--head", noted)
    assert cut.code == 1
    assert "entry 3 is missing, and so are all up to 3: cut off" in cut.err


@pytest.mark.parametrize("text", ["3", "0:" + "a" * 64, "3:abc", "x:" + "a" * 64])
def test_a_head_that_is_none_is_one_line(here, text):
    refused = here("audit", "verify", "--head", text)
    assert refused.code == 2
    assert "is no NUMBER:HASH" in refused.err


def test_entries_are_listed_newest_first_and_filtered(here, database):
    write(database, "one", "two")
    write(database, "three", who="ben", act="bundle.champion")
    shown = here("audit", "list")
    assert shown.code == 0
    assert shown.out.index("three") < shown.out.index("two") < shown.out.index("one")
    assert [one["why"] for one in here("audit", "list", "--act", "rollout.", "--json").facts] == [
        "two",
        "one",
    ]
    assert [one["why"] for one in here("audit", "list", "--who", "ben", "--json").facts] == ["three"]
    (one,) = here("audit", "list", "--before", "3", "--limit", "1", "--json").facts
    assert (one["number"], one["detail"], one["at"]) == (2, {"share": 0.05}, "2027-01-15T08:00:00+00:00")
    assert here("audit", "list", "--subject", "none").out == "no entries\n"

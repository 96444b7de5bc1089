"""What people read on a terminal: tables that cut nothing, hints that lead on, questions."""

import io
import re

import pytest
from rich.table import Table

from stallwart.cli import shared


def test_a_table_on_a_narrow_terminal_cuts_no_cell(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    console = shared.console()
    console.file = io.StringIO()
    table = Table("a digest", "a place", box=None)
    table.add_row("0123456789abcdef", "/a/folder/with/a/long/name")
    console.print(table)
    shown = re.sub(r"\x1b\[[0-9;]*m|\s", "", console.file.getvalue())
    assert "…" not in shown
    assert sum(map(shown.count, "0123456789")) == 10


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["policy", "retire", "wine"], "Missing option '--why'. See: stallwart policy retire --help"),
        (["rights", "list", "--jsn"], "See: stallwart rights list --help"),
        (["chek"], "Did you mean 'check'? See: stallwart --help"),
    ],
)
def test_a_mistake_points_to_the_help_of_its_own_command(here, command, said):
    ran = here(*command)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert said in ran.err


def test_an_unknown_seller_is_not_offered_for_erasure_as_if_there_were_something(here, tmp_path, monkeypatch):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody answers
    ran = here("erase", "seller", "nobody", "--why", "a request")
    assert ran.code == 1
    assert "nothing is stored of a seller 'nobody'" in ran.err
    assert "0 listings" not in ran.err
    assert "nothing was erased" in ran.err
    assert "goes on where it stopped" not in ran.err

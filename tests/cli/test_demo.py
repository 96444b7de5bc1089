"""`stallwart demo`, from nothing to a page with work in it."""

import json
import re
import sqlite3
import time

import pytest

from stallwart.cli.scripted import NOTE

pytestmark = pytest.mark.slow


def test_the_demonstration_ends_at_a_page_with_work_in_it_and_goes_on_from_what_it_made(run, tmp_path):
    folder = tmp_path / "demo"
    ran = run("demo", folder, "--listings", "120", "--leave")
    assert ran.code == 0, ran.err
    assert re.search(r"review +http://127\.0\.0\.1:\d+ +sign in as demo with \S+", ran.out)
    assert (folder / "report" / "report.html").exists()
    with sqlite3.connect(folder / "data" / "stallwart.sqlite") as database:
        (decided,) = database.execute("SELECT count(*) FROM decisions WHERE cause = 'new'").fetchone()
        (waiting,) = database.execute("SELECT count(*) FROM tasks WHERE state = 'open'").fetchone()
        samples = database.execute("SELECT who, note FROM verdicts WHERE source = 'audit'").fetchall()
    assert decided == 120, "the listings that it learned from are there too, to be shown as like another"
    assert waiting > 0
    assert len(samples) > 10
    assert {(who[:7], note) for who, note in samples} == {("script-", NOTE)}, "whoever reads sees a script's"
    assert "answered by a script" in ran.err
    assert re.search(r"rollout +http://127\.0\.0\.1:\d+/rollout\n", ran.out)
    assert f"export STALLWART_DATA_DIR={(folder / 'data').resolve()} PATH=" in ran.out
    card = json.loads((folder / "bundle" / "card.json").read_text())
    began = time.monotonic()
    again = run("demo", folder, "--listings", "120", "--leave")
    assert again.code == 0, again.err
    assert "stallwart train" not in again.err, f"learned again, in {time.monotonic() - began:.0f} s"
    assert json.loads((folder / "bundle" / "card.json").read_text()) == card

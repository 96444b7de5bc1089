"""`stallwart demo`, from nothing to a page with work in it."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from stallwart.cli.scripted import NOTE

pytestmark = pytest.mark.slow


def test_the_demonstration_ends_at_a_page_with_work_in_it_and_goes_on_from_what_it_made(
    run, launch, tmp_path
):
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
    again = launch(["demo", folder, "--listings", "120"])
    try:
        assert any(line.startswith("review ") for line in again.stdout), again.stderr.read()
        programs = children(again.pid)
        assert len(programs) == 3, "the service, the watcher and the pages"
        again.terminate()
        said = again.communicate(timeout=60)[1]
    finally:
        again.kill()
    assert again.returncode == 130
    assert not any(Path(f"/proc/{one}").exists() for one in programs), "they outlive what started them"
    assert "stallwart train" not in said, "learned again"
    assert json.loads((folder / "bundle" / "card.json").read_text()) == card


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

"""`stallwart replay` as a user gives it, on a database that a service filled."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stallwart.cli.main import main
from stallwart.model.bundle import read_bundle
from stallwart.serving.runtime import BundleRuntime
from tests.replay.served import market_listings

slow = pytest.mark.slow


@pytest.fixture
def environment(settings, monkeypatch):
    """Variables by which a command finds the service's database, photos and embeddings."""
    given = {
        "STALLWART_DATA_DIR": str(settings.data_dir),
        "STALLWART_CACHE_DIR": str(settings.cache_dir),
        "STALLWART_DATABASE_URL": settings.database_url,
        "STALLWART_MAX_PHOTOS": str(settings.max_photos),
        "COLUMNS": "200",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture
def run(environment, monkeypatch, capsys):
    """Runs a command in this process: its exit code, stdout and stderr."""
    assert environment["STALLWART_DATA_DIR"]

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["stallwart", "replay", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return command


@pytest.fixture
def stored(serve, tiny_bundles, settings, sample_market):
    listings = market_listings(sample_market, 80)
    served = serve(BundleRuntime(read_bundle(tiny_bundles[0]), settings))
    return listings, served.ask_all(listings)


@slow
@pytest.mark.usefixtures("stored")
def test_verify_is_0_for_the_bundle_that_decided_and_1_where_a_row_was_changed(run, tiny_bundles, engine):
    code, out, err = run(tiny_bundles[0], "--verify")
    assert (code, out.splitlines()[0][:24]) == (0, "the same again: 80 of 80"), err
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE decisions SET action = 'review' WHERE action = 'allow'")
    code, out, err = run(tiny_bundles[0], "--verify", "--json")
    facts = json.loads(out)
    assert code == 1
    assert "error[gate]" in err
    assert facts["differences"][0]["action"] == ["review", "allow"]
    code, _, err = run(tiny_bundles[1], "--verify")
    assert (code, "error[data]: no decision is stored" in err) == (3, True), "it has decided nothing"


@slow
def test_a_change_is_told_as_text_json_a_page_and_a_table(stored, run, tiny_bundles, tmp_path):
    listings, answers = stored
    title = max((listing["title"] or "" for listing in listings), key=len)
    policy = next(iter(answers[0]["scores"]))
    change = ["--threshold", f"{policy}=0", "--examples", "2"]
    code, out, err = run(tiny_bundles[0], *change, "--json", "--out", tmp_path / "changes.csv")
    assert code == 0, err
    facts = json.loads(out)
    blocked = facts["changes"]["newly_blocked"]
    assert blocked["count"] == sum(told["action"] != "block" for told in answers)
    assert blocked["policies"][policy]["count"] == blocked["count"]
    assert len(blocked["examples"]) == 2
    rows = list(csv.DictReader((tmp_path / "changes.csv").open(encoding="utf-8", newline="")))
    assert len(rows) == sum(told["count"] for told in facts["changes"].values())
    assert {row["decision_id"] for row in rows} <= {told["decision_id"] for told in answers}
    code, out, err = run(tiny_bundles[0], *change, "--out", tmp_path / "report.html")
    assert code == 0, err
    page = (tmp_path / "report.html").read_text()
    for text in (out, page):
        assert f"{blocked['count']:,} of 80" in text
        assert "reviews a day" in text
        assert title not in text
    shown = [*change, "--show-words", "--examples", "80", "--out", tmp_path / "report.html"]
    assert run(tiny_bundles[0], *shown)[0] == 0
    assert "<script" not in (tmp_path / "report.html").read_text()


@slow
def test_a_hunt_and_a_sample_and_a_window(stored, run, tiny_bundles):
    policy = next(iter(stored[1][0]["scores"]))
    code, out, err = run(tiny_bundles[1], "--hunt", policy, "--top", "5", "--json")
    assert code == 0, err
    scores = [told["score"] for told in json.loads(out)["candidates"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    code, out, _ = run(tiny_bundles[1], "--sample", "20", "--seed", "4", "--since", "1h", "--json")
    facts = json.loads(out)
    assert (code, facts["listings"], facts["sampled"], facts["population"]) == (0, 20, 20, 80)
    code, _, err = run(tiny_bundles[1], "--until", "1d")
    assert (code, "give an earlier --since" in err) == (3, True)


@slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--verify", "--threshold", "alcohol=0.1"], "--verify compares with what the bundle decided"),
        (["--threshold", "alcohol=much"], "--threshold 'alcohol=much'"),
        (["--threshold", "fraud=0.5"], "knows no policy fraud"),
        (["--hunt", "fraud"], "--hunt fraud"),
        (["--since", "yesterday"], "neither a day"),
        (["--out", "changes.txt"], ".html or .csv"),
        (["--verify", "--out", "changes.csv"], "--out is for comparisons"),
        (["--thresholds", "none.json"], "cannot be read"),
        (["--policies", "none.toml"], "cannot be read"),
        (["--since", "2026-11-02", "--until", "2026-11-01"], "ends before it begins"),
    ],
)
def test_a_mistake_is_one_line_and_2(run, tiny_bundles, words, says):
    code, out, err = run(tiny_bundles[0], *words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_without_a_database_none_is_made(run, monkeypatch, tmp_path):
    monkeypatch.setenv("STALLWART_DATABASE_URL", "")
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "elsewhere"))
    code, _, err = run("bundle")
    assert (code, "there is no database" in err) == (2, True)
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_neither_a_folder_nor_registered_is_said(run):
    code, _, err = run("bundles/none")
    assert (code, "no registered bundles" in err) == (2, True)


@slow
@pytest.mark.usefixtures("stored")
def test_ctrl_c_ends_it_without_a_traceback_and_without_half_a_file(environment, tiny_bundles, tmp_path):
    slowed = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from stallwart.replay import run\n"
        "read = run.Replayer._read\n"
        "run.Replayer._read = lambda self, digests: (time.sleep(0.3), read(self, digests))[1]\n"
        "print('begun', flush=True)\n"
        "from stallwart.cli.main import main; main()"
    )
    words = [sys.executable, "-c", slowed, "replay", str(tiny_bundles[1]), "--out", str(tmp_path / "c.csv")]
    process = subprocess.Popen(
        words, env={**os.environ, **environment}, cwd=Path(__file__).parents[2], start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert list(tmp_path.glob("*c.csv*")) == []

"""`stallwart backtest` and `stallwart retrain` on tiny encoders and a generated market."""

import json
import sys
from pathlib import Path

import pytest
import tomli_w
from tiny.market import RECIPE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("relearn")


@pytest.fixture
def stallwart(folder, tmp_path, monkeypatch, capsys):
    """Runs a command line; gives its exit code and what it printed on stdout and on stderr."""

    def command(*args: object) -> tuple[int, str, str]:
        from stallwart.cli.main import main

        monkeypatch.setenv("STALLWART_CACHE_DIR", str(folder / "cache"))
        monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("STALLWART_THREADS", "1")
        monkeypatch.setenv("STALLWART_RETRAIN_LATER_DAYS", "60")
        monkeypatch.setenv("STALLWART_RETRAIN_VALIDATE_DAYS", "30")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["stallwart", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return command


@pytest.fixture
def market(sample_market, folder) -> list[object]:
    recipe = folder / "recipe.toml"
    recipe.write_text(tomli_w.dumps(RECIPE.model_dump(mode="json")))
    return [
        *sorted(sample_market.glob("*.parquet")),
        "--labels", sample_market / "labels.csv",
        "--policies", sample_market / "policies.toml",
        "--recipe", recipe,
    ]  # fmt: skip


def test_a_backtest_of_a_market_ends_with_a_page_and_goes_on_where_it_stopped(stallwart, market, tmp_path):
    asked = ["backtest", *market, "--from", "2025-08-01", "--until", "2025-11-01", "--seeds", 2]
    asked += ["--review-budget", "3/week", "--out", tmp_path / "out"]
    code, out, err = stallwart(*asked, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert [one["strategy"] for one in facts["settings"]] == ["none", "random", "uncertain", "novel", "mixed"]
    assert facts["months"][-1]["month"] == "2025-12"
    assert (tmp_path / "out" / "backtest.html").stat().st_size > 10_000
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    code, again, _ = stallwart(*asked, "--json")
    assert (code, json.loads(again)) == (0, facts)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")} == kept
    code, out, err = stallwart(*asked)
    assert (code, "report: " in err, "beats chance" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--strategy", "best"), 2, "no strategy 'best'; there are: none"),
        (("--review-budget", "lots"), 2, "write it as 100/week"),
        (("--from", "yesterday"), 2, "is no date"),
        (("--from", "2025-01-01"), 3, "move the dates"),
    ],
)
def test_a_mistake_is_one_line(stallwart, market, tmp_path, changed, code, said):
    asked = ["backtest", *market, "--from", "2025-08-01", "--until", "2025-11-01", "--out", tmp_path / "out"]
    at = asked.index(changed[0]) if changed[0] in asked else len(asked)
    ran = stallwart(*asked[:at], *changed, *asked[at + 2 :])
    assert (ran[0], said in ran[2]) == (code, True), ran[2]
    assert "Traceback" not in ran[2]


def test_the_first_bundle_is_kept_for_an_operator_to_crown(stallwart, market):
    code, out, err = stallwart("retrain", *market, "--until", "2025-11-01", "--who", "ana")
    assert code == 0, err
    assert "nothing decides yet; next: stallwart bundles champion" in out
    code, out, _ = stallwart("bundles", "list", "--json")
    assert len(json.loads(out)) == 1
    code, _, err = stallwart("retrain", *market, "--when", "labels=10", "--who", "ana")
    assert (code, "not due" in err) == (0, True)
    code, _, err = stallwart("retrain", *market, "--when", "rain", "--who", "ana")
    assert (code, "no reason to retrain" in err) == (2, True)


def test_a_refused_challenger_ends_with_1_and_says_why(stallwart, market, monkeypatch):
    code, out, err = stallwart("retrain", *market, "--until", "2025-11-01", "--who", "ana", "--json")
    assert code == 0, err
    digest = json.loads(out)["bundle"]
    assert stallwart("bundles", "champion", digest, "--why", "first", "--who", "ana")[0] == 0
    monkeypatch.setenv("STALLWART_RETRAIN_MARGIN_LATER", "0")
    code, out, err = stallwart("retrain", *market, "--until", "2025-11-15", "--who", "ana")
    assert code == 1
    assert "error[gate]: on " in err
    assert "later listings the mean average precision changes by" in err
    assert "challenger" in out

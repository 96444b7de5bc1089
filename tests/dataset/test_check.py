import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

from stallwart.cli.check import check
from stallwart.cli.sample import sample
from stallwart.core.errors import DataError
from stallwart.dataset.suspects import WordFeatures, find_suspects

app = typer.Typer()
app.command()(check)
app.command()(sample)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def on_sample(folder: Path, *more: str) -> str:
    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    paths = ["--labels", str(folder / "labels.csv"), "--policies", str(folder / "policies.toml")]
    return run("check", *files, *paths, *more)


def test_wrong_labels_are_found_among_right_ones() -> None:
    random = np.random.default_rng(1)
    words = [["lamp", "table", "chair", "brass"], ["whisky", "vodka", "gin", "rum"]]
    truth = random.integers(0, 2, 300)
    features = WordFeatures()
    for label in truth:
        features.add(" ".join(random.choice(words[label], 4)))
    given = truth.copy()
    wrong = set(random.choice(300, 12, replace=False).tolist())
    given[list(wrong)] = 1 - given[list(wrong)]
    found = find_suspects(features.matrix(), given, np.arange(300))
    assert {suspect.row for suspect in found} == wrong
    assert [suspect.margin for suspect in found] == sorted((s.margin for s in found), reverse=True)
    assert all(suspect.suggested == truth[suspect.row] for suspect in found)


def test_nothing_is_suspected_where_nothing_can_be_learnt() -> None:
    assert find_suspects(csr_matrix((5, 2**19)), np.array([0, 1, 0, 1, 0]), np.arange(5)) == []
    features = WordFeatures()
    for _ in range(20):
        features.add("the same words")
    assert find_suspects(features.matrix(), np.arange(20) % 2, np.zeros(20, np.int64)) == []


def test_the_check_of_a_sample_names_what_is_planted(sample_market: Path) -> None:
    found = json.loads(on_sample(sample_market, "--json"))
    assert found["listings"] == found["rows"] == 240
    assert found["rejects"] == []
    assert sum(policy["listings"] for policy in found["policies"]) == 240
    assert found["policies"][0]["label"] == "neutral"
    assert len(found["months"]) == 12
    assert sum(found["parts"].values()) == 240
    assert set(found["languages"]) == {"en", "es", "ru"}
    assert found["repeats"]["groups"] > 5
    assert sum(found["split"][part] for part in ("train", "validation", "test", "repeats", "unknown")) == 240
    assert any("too few" in concern for concern in found["concerns"])
    assert "excerpts" not in found


def test_the_table_is_printed_and_dates_move_the_split(sample_market: Path) -> None:
    said = on_sample(sample_market, "--train-until", "2025-09-01", "--validate-until", "2025-10-01")
    assert "train until 2025-09-01" in said
    assert "Rejects: none of 240 rows" in said


def test_rejects_are_written_and_shown(sample_market: Path, tmp_path: Path) -> None:
    labels = (sample_market / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([*labels, "x,spirits,2025-01-01,me"]))
    (tmp_path / "more.jsonl").write_text('{"listing_id": "bad", "title": 7}\n')
    said = run(
        "check",
        *(str(path) for path in sorted(sample_market.glob("*.parquet"))),
        str(tmp_path / "more.jsonl"),
        *("--labels", str(tmp_path / "labels.csv"), "--policies", str(sample_market / "policies.toml")),
        *("--rejects-to", str(tmp_path / "rejects.csv")),
    )
    assert "title is no text" in said
    assert "unknown label" in said
    logged = list(csv.DictReader((tmp_path / "rejects.csv").read_text().splitlines()))
    assert {row["reason"] for row in logged} == {"title is no text", "unknown label"}


def test_labels_of_other_listings_are_an_error(sample_market: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("listing_id,label\nother,neutral\n")
    files = [str(path) for path in sorted(sample_market.glob("*-01.parquet"))]
    with pytest.raises(DataError, match="no listing has both a label and a date"):
        run("check", *files, "--labels", str(tmp_path / "labels.csv"),
            "--policies", str(sample_market / "policies.toml"))  # fmt: skip


def test_the_sample_command_says_what_to_do_next(tmp_path: Path) -> None:
    said = run("sample", str(tmp_path / "market"), "--listings", "60")
    assert "nothing in it is real" in said
    assert "stallwart check" in said

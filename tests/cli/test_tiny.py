"""Commands that take the real encoders too long, on encoders of a few numbers and a generated market."""

import csv
import json
import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tomli_w
from tiny.market import RECIPE

from stallwart.model.bundle import read_bundle
from stallwart.training.recipe import read_recipe

CUTS = ["--train-until", "2025-09-01", "--validate-until", "2025-10-01"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture
def stallwart(folder, monkeypatch, capsys):
    """Runs a command line; gives what it printed on stdout and on stderr."""

    def command(*args: object, code: int = 0) -> tuple[str, str]:
        from stallwart.cli.main import main

        monkeypatch.setenv("STALLWART_CACHE_DIR", str(folder / "cache"))
        monkeypatch.setenv("STALLWART_THREADS", "1")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["stallwart", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert int(stopped.value.code or 0) == code, said.err
        return said.out, said.err

    return command


@pytest.fixture(scope="module")
def market(sample_market) -> list[object]:
    """Listings and labels, as they are given to every command."""
    return [*sorted(sample_market.glob("*.parquet")), "--labels", sample_market / "labels.csv"]


@pytest.fixture(scope="module")
def recipe(folder) -> Path:
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps(RECIPE.model_dump(mode="json")))
    return path


@pytest.fixture
def learn(market, sample_market, recipe) -> list[object]:
    """What `train` and `tune` are given alike."""
    return [*market, "--policies", sample_market / "policies.toml", "--recipe", recipe, *CUTS]


@pytest.fixture
def bundle(stallwart, learn, folder):
    """Bundles by seed, trained once for the module."""

    def trained(seed: int) -> Path:
        out = folder / f"bundle-{seed}"
        if not out.exists():
            stallwart("train", *learn, "--out", out, "--seed", seed, "--no-certify")
        return out

    return trained


def test_compare_says_which_of_two_bundles_is_better_and_writes_three_files(
    stallwart, bundle, market, tmp_path
):
    command = ["compare", bundle(0), bundle(1), *market, "--replicates", 50]
    out, err = stallwart(*command, "--out", tmp_path / "comparison")
    verdict, _, *lines = out.splitlines()
    assert verdict.startswith(f"{bundle(1)} against {bundle(0)}: ")
    assert "listings from 2025-10" in verdict
    assert lines[0].startswith("mean over policies: ")
    assert any("average precision" in line and " -> " in line and "[" in line for line in lines)
    assert str(tmp_path / "comparison" / "comparison.html") in err
    written = tmp_path / "comparison"
    assert {path.name for path in written.iterdir()} == {
        f"comparison.{end}" for end in ("html", "json", "md")
    }
    facts, _ = stallwart(*command, "--json")
    assert facts == (written / "comparison.json").read_text()
    assert json.loads(facts)["verdict"] in verdict


def test_a_bundle_is_no_better_than_itself(stallwart, bundle, market):
    facts = json.loads(stallwart("compare", bundle(0), bundle(0), *market, "--replicates", 50, "--json")[0])
    assert facts["verdict"] == "no difference shown"
    change = facts["macro"]["average_precision"]["change"]["live"]
    assert (change["value"], change["low"], change["high"]) == (0, 0, 0)


def test_compare_refuses_listings_that_training_saw(stallwart, bundle, sample_market):
    early = sorted(sample_market.glob("*.parquet"))[:8]
    _, err = stallwart(
        "compare", bundle(0), bundle(1), *early, "--labels", sample_market / "labels.csv", code=3
    )
    assert len(err.strip().splitlines()) == 1
    assert err.strip().startswith("error[data]: ")


def test_tune_writes_a_recipe_that_train_takes_and_goes_on_where_it_stopped(stallwart, learn, tmp_path):
    better = tmp_path / "better.toml"
    search = ["tune", *learn, "--out", better, "--origins", 2]
    out, _ = stallwart(*search, "--trials", 1)
    assert out.startswith("macro average precision on the last 2 origins: ")
    assert out.splitlines()[1] == f"recipe: {better}; train with --recipe {better}"
    first = read_recipe(str(better))
    assert first.encoders == RECIPE.encoders
    more = json.loads(stallwart(*search, "--trials", 3, "--json")[0])
    assert more["figure"] >= more["started_from"]
    assert tomllib.loads(better.read_text()) == drop_nones(more["recipe"])
    again = json.loads(stallwart(*search, "--trials", 3, "--json")[0])
    assert again == more, "a search that is done repeats its answer"


def drop_nones(value):
    if isinstance(value, dict):
        return {key: drop_nones(one) for key, one in value.items() if one is not None}
    return [drop_nones(one) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_8_bit_encoders_come_with_what_they_cost(stallwart, learn, bundle, market, tmp_path):
    command = ["train", *learn, "--seed", 0, "--no-certify", "--int8"]
    out, _ = stallwart(*command, "--out", tmp_path / "int8")
    assert "8-bit encoders: macro average precision on" in out
    facts = json.loads(stallwart(*command, "--out", tmp_path / "again", "--json")[0])
    assert facts["int8"]["rows"] > 0
    assert 0.9 < facts["int8"]["text_cosine"] <= 1
    assert 0.9 < facts["int8"]["photo_cosine"] <= 1
    assert facts["digest"] == read_bundle(tmp_path / "int8").digest
    assert facts["digest"] != read_bundle(bundle(0)).digest
    scored, _ = stallwart("score", tmp_path / "int8", *market[:1], "--out", tmp_path / "s.parquet", "--json")
    assert sum(json.loads(scored)["actions"].values()) == pq.read_table(tmp_path / "s.parquet").num_rows


def test_a_listing_that_cannot_be_scored_is_reviewed_and_says_why(stallwart, bundle, tmp_path):
    rows = [
        {"listing_id": "empty", "title": "", "images": ""},
        {"listing_id": "gone", "title": "", "images": "gone.jpg"},
        {"listing_id": "fine", "title": "Brass lamp", "images": ""},
        {"listing_id": "", "title": "nobody's", "images": ""},
    ]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    out, err = stallwart("score", bundle(0), tmp_path / "new.csv", "--out", tmp_path / "s.parquet")
    assert out.startswith("3 listings scored")
    assert "no listing_id: 1" in err
    found = {row["listing_id"]: row for row in pq.read_table(tmp_path / "s.parquet").to_pylist()}
    assert list(found) == ["empty", "gone", "fine"]
    assert found["empty"]["action"] == found["gone"]["action"] == "review"
    assert found["empty"]["reason"] == "the listing has neither words nor a photo"
    assert "photo file" in found["gone"]["reason"]
    assert found["empty"]["tobacco"] is None
    assert found["fine"]["tobacco"] is not None

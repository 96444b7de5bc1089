import csv
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny.market import RECIPE, tiny_train

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.model.bundle import MANIFEST
from stallwart.training import origins


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(sample_market, cache, tmp_path_factory):
    return tiny_train(sample_market, tmp_path_factory.mktemp("bundles") / "first", cache)


def digests(folder: Path) -> dict[str, str]:
    return json.loads((folder / MANIFEST).read_text())["files"]


def test_the_same_run_gives_the_same_bundle_bit_for_bit(sample_market, cache, trained, tmp_path):
    assert tiny_train(sample_market, tmp_path / "again", cache).bundle.digest == trained.bundle.digest
    fresh = tiny_train(sample_market, tmp_path / "again", tmp_path / "other-cache")
    assert fresh.bundle.digest == trained.bundle.digest


def test_another_seed_gives_another_bundle(sample_market, cache, trained, tmp_path):
    other = tiny_train(sample_market, tmp_path / "b", cache, RECIPE.model_copy(update={"seed": 1}))
    changed = {name for name, digest in digests(other.bundle.folder).items()
               if digest != digests(trained.bundle.folder)[name]}  # fmt: skip
    assert {"heads.onnx", "card.json"} <= changed
    assert not changed & {"known.npz", "taxonomy.json", "text/graph.onnx"}


def test_the_test_months_change_nothing_that_was_learnt(sample_market, cache, trained, tmp_path):
    market = Path(shutil.copytree(sample_market, tmp_path / "market"))
    later = set()
    for month in (10, 11, 12):
        path = market / f"listings-2025-{month}.parquet"
        table = pq.read_table(path)
        later |= set(table["listing_id"].to_pylist())
        words = pa.array([f"Wholly other words {month} {i}" for i in range(table.num_rows)])
        nothing = pa.array([[]] * table.num_rows, table.schema.field("images").type)
        for name, values in (("title", words), ("description", words), ("images", nothing)):
            table = table.set_column(table.schema.get_field_index(name), name, values)
        pq.write_table(table, path)
    with (market / "labels.csv").open() as file:
        header, *rows = csv.reader(file)
    with (market / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [header, *([i, "weapons" if i in later else label, *rest] for i, label, *rest in rows)]
        )
    other = tiny_train(market, tmp_path / "bundle", cache)
    one, two = digests(trained.bundle.folder), digests(other.bundle.folder)
    assert {name for name in one if one[name] != two[name]} == {"card.json"}
    cards = [bundle.card for bundle in (trained.bundle, other.bundle)]
    for card in cards:  # what describes all the data, the test part included
        del card["data"]["digest"], card["data"]["repeats"]
    assert cards[0] == cards[1]


def test_an_interrupted_run_goes_on_and_ends_the_same(sample_market, cache, trained, tmp_path, monkeypatch):
    real, fitted = origins.fit_member, []

    def stumble(*given):
        if len(fitted) == 5:
            raise KeyboardInterrupt
        fitted.append(given)
        return real(*given)

    monkeypatch.setattr(origins, "fit_member", stumble)
    with pytest.raises(KeyboardInterrupt):
        tiny_train(sample_market, tmp_path / "b", cache)
    assert not (tmp_path / "b").exists()
    assert [p for p in (cache / "runs").rglob("*") if p.is_file()]
    monkeypatch.setattr(origins, "fit_member", lambda *given: fitted.append(given) or real(*given))
    assert tiny_train(sample_market, tmp_path / "b", cache).bundle.digest == trained.bundle.digest
    assert len(fitted) == 4 * len(RECIPE.members)  # of four origins, none fitted twice
    assert not [p for p in (cache / "runs").rglob("*") if p.is_file()]


def test_without_certification_nothing_may_act_alone(sample_market, cache, tmp_path):
    from tiny.market import sources_of

    from stallwart.training.train import train

    settings = Settings(cache_dir=cache, threads=1)
    made = train(sources_of(sample_market), RECIPE, tmp_path / "b", settings, certify=False)
    assert list(made.origins) == ["final"]
    assert made.bundle.thresholds.act == {}
    assert all(certificate.reason for certificate in made.bundle.certificates)


def test_a_folder_that_is_no_bundle_is_refused_before_any_work(sample_market, cache, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ConfigError, match="holds something that is no bundle"):
            tiny_train(sample_market, out, cache)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_earlier_bundle_is_replaced(sample_market, cache, trained, tmp_path):
    out = Path(shutil.copytree(trained.bundle.folder, tmp_path / "b"))
    (out / "card.json").write_text("stale")
    assert tiny_train(sample_market, out, cache).bundle.digest == trained.bundle.digest


def test_labels_of_another_market_are_refused(sample_market, cache, tmp_path):
    policies = tmp_path / "policies.toml"
    policies.write_text("[policies.wildlife]\ntitle='Wildlife'\nprevalence=0.01\n")
    with pytest.raises(DataError, match=r"nothing to learn.*unknown label"):
        tiny_train(sample_market, tmp_path / "b", cache, taxonomy=read_taxonomy(policies))


def test_the_card_says_what_the_bundle_was_made_of(trained):
    card = trained.bundle.card
    assert card["recipe"] == RECIPE.model_dump(mode="json")
    assert card["data"]["rows"]["train"] == sum(card["data"]["labels"]["train"].values())
    assert {"torch", "onnxruntime", "stallwart"} <= set(card["versions"])
    assert card["examples"] == trained.roles
    assert "October" not in json.dumps(card)

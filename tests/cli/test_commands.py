"""Every command as a user meets it, on a generated market with the real encoders."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stallwart.dataset.drawings import DRAWINGS, draw
from stallwart.model.bundle import read_bundle

pytestmark = pytest.mark.slow

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def one_line(said: str) -> str:
    """The one line of an error, without a traceback."""
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1, said
    return lines[0]


def test_check_counts_what_was_generated(run, generated):
    made = run("check", *generated.listings, *generated.labels,
               "--policies", generated.folder / "policies.toml", "--json")  # fmt: skip
    assert made.code == 0, made.err
    assert made.facts["listings"] == 240
    assert made.facts["rejects"] == []


def test_train_says_what_each_policy_may_do(trained):
    bundle, facts = trained
    assert facts["digest"] == read_bundle(bundle).digest
    assert [c["policy"] for c in facts["certificates"]] == list(read_bundle(bundle).taxonomy.ids)
    assert "final" in facts["rolling_origins"]
    assert facts["skipped"] == {}


def test_score_writes_a_row_for_each_listing(generated, trained, scores):
    table = pq.read_table(scores)
    given = [i for path in generated.listings for i in pq.read_table(path)["listing_id"].to_pylist()]
    assert table["listing_id"].to_pylist() == given
    assert set(table["action"].to_pylist()) <= {"allow", "review", "block"}
    assert table.schema.metadata[b"stallwart.bundle"].decode() == trained[1]["digest"]


def test_a_second_run_computes_no_embedding_and_scores_the_same(run, generated, trained, scores, tmp_path):
    out = tmp_path / "again.parquet"
    made = run("score", trained[0], *generated.listings, "--out", out, "--json")
    assert made.facts["embeddings"]["computed"] == 0
    assert pq.read_table(out).equals(pq.read_table(scores))
    assert sum(made.facts["actions"].values()) == 240


def test_evaluate_reports_on_the_listings_after_training(run, generated, trained, tmp_path):
    out = tmp_path / "report"
    made = run("evaluate", trained[0], *generated.listings, *generated.labels,
               "--out", out, "--replicates", "50", "--no-baseline", "--json")  # fmt: skip
    assert made.code == 0, made.err
    assert made.facts
    assert {"report.html", "report.json", "report.md"} <= {path.name for path in out.iterdir()}


def test_explain_names_words_regions_and_neighbours(run, generated, trained):
    path = generated.folder / "listings-2025-12.parquet"
    rows = pq.read_table(path).to_pylist()
    chosen = next(row for row in rows if row["title"] and row["images"])
    made = run("explain", trained[0], path, "--listing", chosen["listing_id"], "--json")
    assert made.code == 0, made.err
    facts = made.facts
    assert facts["words"]
    assert len(facts["regions"]) == len(chosen["images"])
    assert facts["nearest"]
    assert facts["policy"] == max(facts["scores"], key=facts["scores"].get)


def test_the_third_photo_alone_is_caught(run, generated, trained, tmp_path):
    """Two harmless photos beside one that violates: reviewed or blocked, and only because of it."""
    random = np.random.default_rng(11)

    def photo(what: str) -> bytes:
        file = io.BytesIO()
        draw(what, random).save(file, "JPEG", quality=80)
        return file.getvalue()

    assert {"table", "lamp", "pills", "leaf", "cigarettes"} <= set(DRAWINGS)
    schema = pq.read_schema(generated.listings[0])
    rows = []
    shown = {"pills": "medicine", "leaf": "drugs", "cigarettes": "tobacco"}
    for what in shown:
        photos = [photo("table"), photo("lamp"), photo(what)]
        for name, some in (("with", photos), ("without", photos[:2])):
            rows.append({**dict.fromkeys(schema.names), "listing_id": f"{what}-{name}", "images": some})
    path, out = tmp_path / "new.parquet", tmp_path / "scores.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    made = run("score", trained[0], path, "--out", out, "--json")
    assert made.code == 0, made.err
    said = {row["listing_id"]: row for row in pq.read_table(out).to_pylist()}
    for what, policy in shown.items():
        assert said[f"{what}-with"][policy] > said[f"{what}-without"][policy]
        assert said[f"{what}-with"]["action"] in ("review", "block"), what


@pytest.fixture
def args(generated, trained):
    policies = ["--policies", generated.folder / "policies.toml"]
    return {
        "listings": generated.listings,
        "labels": generated.labels,
        "policies": policies,
        "bundle": trained[0],
    }


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["train", "no.parquet", "LABELS", "POLICIES", "--out", "OUT"], 3, "no.parquet"),
        (["train", "LISTINGS", "--labels", "no.csv", "POLICIES", "--out", "OUT"], 3, "no.csv"),
        (["train", "LISTINGS", "LABELS", "--policies", "no.toml", "--out", "OUT"], 2, "no.toml"),
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--recipe", "nope"], 2, "there are: default"),  # noqa: E501
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--train-until", "31/08/2025",
          "--validate-until", "2025-10-01"], 2, "--train-until"),
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--train-until", "2025-10-01"], 2, "both"),  # noqa: E501
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--train-until", "2025-10-01",
          "--validate-until", "2025-09-01"], 2, "swap"),
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--seed", "many"], 2, "--seed"),
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--columns", "headline"], 2, "--columns"),  # noqa: E501
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "FOLDER"], 2, "no bundle"),
        (["train", "LISTINGS", "LABELS", "POLICIES", "--out", "OUT", "--magic"], 2, "--magic"),
        (["score", "BUNDLE", "LISTINGS", "--out", "FILE/scores.parquet"], 2, "cannot be written"),
        (["score", "BUNDLE", "LISTINGS", "--out", "scores.csv"], 2, ".parquet"),
        (["score", "FOLDER", "LISTINGS", "--out", "OUT.parquet"], 4, "is no bundle"),
        (["score", "BUNDLE", "no.parquet", "--out", "OUT.parquet"], 3, "no.parquet"),
        (["explain", "BUNDLE", "LISTINGS", "--listing", "nobody"], 3, "nobody"),
        (["explain", "BUNDLE", "LISTINGS", "--listing", "FIRST", "--policy", "wine"], 2, "wine"),
        (["evaluate", "BUNDLE", "no.parquet", "--out", "OUT"], 3, "no.parquet"),
        (["evaluate", "BUNDLE", "LISTINGS", "LABELS", "--replicates", "1"], 2, "--replicates"),
        (["check", "no.parquet", "POLICIES"], 3, "no.parquet"),
        (["sample", "FOLDER", "--listings", "100"], 2, "no sample"),
        (["dance"], 2, "dance"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_mistake_is_one_line_and_an_exit_code(here, args, tmp_path, command, code, said):
    (tmp_path / "mine.txt").write_text("precious")
    first = pq.read_table(args["listings"][0])["listing_id"][0].as_py()
    words = {
        "LISTINGS": args["listings"], "LABELS": args["labels"], "POLICIES": args["policies"],
        "BUNDLE": [args["bundle"]], "FOLDER": [tmp_path], "OUT": [tmp_path / "out"], "FIRST": [first],
        "OUT.parquet": [tmp_path / "out.parquet"],
        "FILE/scores.parquet": [tmp_path / "mine.txt" / "s.parquet"],
    }  # fmt: skip
    ran = here(*(part for word in command for part in words.get(word, [word])))
    assert (ran.code, ran.out) == (code, "")
    line = one_line(ran.err)
    assert line.startswith("error[")
    assert said in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt"]


def test_an_unknown_label_is_counted_and_said(run, generated, tmp_path):
    labels = tmp_path / "labels.csv"
    text = (generated.folder / "labels.csv").read_text()
    labels.write_text(text.replace("alcohol", "wine").replace("neutral", "fine"))
    command = [*generated.train(tmp_path / "out")]
    command[command.index("--labels") + 1] = str(labels)
    ran = run(*command)
    assert ran.code == 3, ran.err
    assert "unknown label" in one_line(ran.err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["heads.onnx", "calibration.json", "text/graph.onnx"])
def test_a_tampered_bundle_is_refused_by_every_command(here, args, tmp_path, name):
    copy = Path(shutil.copytree(args["bundle"], tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    for command in (
        ["score", copy, *args["listings"], "--out", tmp_path / "s.parquet"],
        ["explain", copy, *args["listings"], "--listing", "G7-00000"],
        ["evaluate", copy, *args["listings"], *args["labels"], "--out", tmp_path / "r"],
    ):
        ran = here(*command)
        assert ran.code == 4
        assert name in one_line(ran.err)


def test_a_wrong_setting_names_its_variable(here, args, monkeypatch, tmp_path):
    monkeypatch.setenv("STALLWART_THREADS", "none")
    ran = here("score", args["bundle"], *args["listings"], "--out", tmp_path / "s.parquet")
    assert ran.code == 2
    assert "STALLWART_THREADS" in one_line(ran.err)


def test_the_labels_may_lie_in_the_folder_that_is_given(run, generated, trained, tmp_path):
    command = generated.train(tmp_path / "bundle")
    folder = ["train", str(generated.folder), *command[1 + len(generated.listings) :]]
    ran = run(*folder)
    assert ran.code == 0, ran.err
    assert ran.facts["digest"] == trained[1]["digest"]


def test_scoring_never_loads_torch(run, generated, trained, tmp_path):
    without = WITHOUT_TORCH
    made = run(
        "score", trained[0], generated.listings[0], "--out", tmp_path / "s.parquet", "--json", before=without
    )
    assert made.code == 0, made.err
    made = run(*generated.train(tmp_path / "b"), before=without)
    assert made.code == 2
    assert "stallwart[train]" in one_line(made.err)

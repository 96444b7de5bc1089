from datetime import UTC, datetime
from pathlib import Path

import pytest

from stallwart.core.errors import DataError
from stallwart.core.taxonomy import Policy, Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.labels import Labels, read_labels
from stallwart.dataset.rejects import Rejects

TAXONOMY = Taxonomy(
    policies=(
        Policy(id="tobacco", title="T", prevalence=0.1),
        Policy(id="weapons", title="W", prevalence=0.1),
    )
)
NOW = datetime(2025, 6, 1, tzinfo=UTC)


def read(path: Path, text: str, rejects: Rejects | None = None, columns: str = "") -> Labels:
    path.write_text(text)
    return read_labels([path], Columns.parse(columns), TAXONOMY, rejects or Rejects(), now=NOW)


def test_the_latest_label_known_on_the_day_holds(tmp_path: Path) -> None:
    labels = read(
        tmp_path / "l.csv",
        "listing_id,label,labelled_at\n"
        "a,neutral,2025-03-01\n"
        "a,tobacco,2025-01-01\n"
        "b,weapons,2025-02-01T00:00:00Z\n"
        "c,neutral,\n",
    )
    assert {k: v.label for k, v in labels.as_of(datetime(2025, 1, 31)).items()} == {
        "a": "tobacco",
        "c": "neutral",
    }
    assert labels.as_of(datetime(2025, 2, 1))["b"].label == "weapons"
    assert {k: v.label for k, v in labels.as_of().items()} == {"a": "neutral", "b": "weapons", "c": "neutral"}
    assert [[label.label for label in given] for given in labels.conflicts()] == [["tobacco", "neutral"]]


def test_of_two_labels_of_the_same_time_the_one_read_last_holds(tmp_path: Path) -> None:
    labels = read(tmp_path / "l.csv", "listing_id,label\na,tobacco\na,weapons\nb,neutral\nb,neutral\n")
    assert labels.as_of()["a"].label == "weapons"
    assert len(labels.conflicts()) == 1


def test_an_unknown_label_is_rejected_with_those_there_are(tmp_path: Path) -> None:
    rejects = Rejects()
    labels = read(tmp_path / "l.csv", "listing_id,label\na,neutral\nb,tobaco\nc,\n,neutral\n", rejects)
    assert len(labels) == 1
    assert rejects.counts == {
        ("row", "unknown label"): 1,
        ("field", "no label"): 1,
        ("row", "no listing_id"): 1,
    }
    assert "'tobaco'; there are: neutral, tobacco, weapons" in str(
        rejects.examples["row", "unknown label"][0]
    )


def test_labels_may_stand_in_the_listings_under_other_names(tmp_path: Path) -> None:
    text = '{"id": 1, "title": "x", "verdict": "weapons", "weight": 2.5}\n{"id": 2, "title": "y"}\n'
    labels = read(tmp_path / "l.jsonl", text, columns="listing_id=id,label=verdict")
    assert [(label.listing_id, label.label, label.weight) for label in labels.labels] == [
        ("1", "weapons", 2.5)
    ]


def test_a_file_without_labels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'label'"):
        read(tmp_path / "l.csv", "listing_id,title\na,b\n")
    with pytest.raises(DataError, match="holds no label"):
        read(tmp_path / "m.csv", "listing_id,label\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,neutral,1970-01-01,1", "labelled_at before 1990"),
        ("a,neutral,2026-01-01,1", "labelled_at in the future"),
        ("a,neutral,2025-01-01,0.5", "weight below 1"),
        ("a,neutral,2025-01-01,much", "weight is no number"),
    ],
)
def test_a_label_that_cannot_be_is_rejected(tmp_path: Path, row: str, reason: str) -> None:
    rejects = Rejects()
    text = f"listing_id,label,labelled_at,weight\nz,neutral,2025-01-01,1\n{row}\n"
    assert len(read(tmp_path / "l.csv", text, rejects)) == 1
    assert rejects.counts == {("row", reason): 1}

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tiny.market import CUTS, ENCODERS, sources_of

from stallwart.core.errors import ConfigError, DataError
from stallwart.dataset.columns import Columns
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.model.material import gather


@pytest.fixture
def embedder(settings):
    text, photo = (exported(name, settings.cache_dir) for name in (ENCODERS.text, ENCODERS.photo))
    return Embedder(TextGraph(text), PhotoGraph(photo), settings, None)


def table(folder: Path, rows) -> Path:
    """A CSV of listings, each (id, title, day of 2025 as "09-30") and a label if rows have one."""
    path = folder / "listings.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["listing_id", "title", "listed_at", "verdict"][: len(rows[0])])
        writer.writerows([(i, t, f"2025-{day}T12:00:00Z", *rest) for i, t, day, *rest in rows])
    return path


def labels(folder: Path, rows) -> Path:
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("listing_id", "label", "labelled_at"), *rows])
    return path


ROWS = [
    ("A", "Red wine, case of six", "03-01"),
    ("B", "Brass lamp in a box", "04-01"),
    ("C", "Automatic knife, black", "09-10"),
    ("D", "Oak table, some scratches", "11-01"),
]


def test_only_the_wanted_parts_are_embedded(sample_market, embedder, settings):
    sources = sources_of(sample_market)
    made = gather(sources, embedder, settings, ("train", "validation"))
    assert embedder.counts.listings == len(made.places) == len(made.split.train) + len(made.split.validation)
    assert not set(made.places.tolist()) & set(made.split.test.tolist())
    assert len(made.features) == len(made.texts) == len(made.places)
    assert (made.rows.listed_at[made.places] < np.datetime64("2025-10-01")).all()


def test_features_belong_to_the_rows_that_they_are_asked_for(sample_market, embedder, settings):
    made = gather(sources_of(sample_market), embedder, settings, ("train", "validation"))
    some = made.split.train[[5, 2, 9]]
    whole = made.at(made.places)
    for i, place in enumerate(some.tolist()):
        position = int(np.searchsorted(made.places, place))
        np.testing.assert_array_equal(made.at(some).text[i], whole.text[position])
        assert made.texts_at(some)[i] == made.texts[position]
        assert bool(made.texts_at(some)[i]) == made.rows.has_text[place]


def test_a_label_that_came_after_the_cut_is_not_used(tmp_path, embedder, settings):
    known = [("A", "alcohol", "2025-03-05"), ("B", "neutral", "2025-09-02"), ("C", "weapons", "2025-09-12")]
    sources = sources_of_rows(tmp_path, ROWS, [*known, ("D", "neutral", "")])
    made = gather(sources, embedder, settings, ("train", "validation"))
    names = made.rows.listing_ids
    assert names[made.split.train].tolist() == ["A"]
    assert names[made.split.unknown].tolist() == ["B"]
    assert set(names[made.places].tolist()) == {"A", "C"}


def test_a_later_verdict_does_not_reach_back_into_training(tmp_path, embedder, settings):
    first = [("A", "alcohol", "2025-03-05"), ("B", "neutral", ""), ("C", "weapons", ""), ("D", "neutral", "")]
    later = [("A", "neutral", "2025-11-20"), ("D", "alcohol", "2025-12-01")]
    made = gather(sources_of_rows(tmp_path, ROWS, first + later), embedder, settings, ("train",))
    said = {str(name): made.rows.labels[i] for i, name in enumerate(made.rows.listing_ids)}
    names = sources_of_rows(tmp_path, ROWS, first).taxonomy.labels
    assert names[said["A"]] == "alcohol"  # what was known in September
    assert names[said["D"]] == "alcohol"  # the latest word on the test part
    assert "A" in made.rows.listing_ids[made.split.train].tolist()


def test_labels_may_stand_in_a_column_of_the_listings(tmp_path, embedder, settings):
    verdicts = ["alcohol", "neutral", "weapons", "neutral"]
    path = table(tmp_path, [(*row, verdict) for row, verdict in zip(ROWS, verdicts, strict=True)])
    sources = replace(
        sources_of_rows(tmp_path, ROWS, [("A", "neutral", "")]),
        listings=(path,), labels=(), columns=Columns.parse("label=verdict"),
    )  # fmt: skip
    table(tmp_path, [(*row, verdict) for row, verdict in zip(ROWS, verdicts, strict=True)])
    made = gather(sources, embedder, settings, ("train",))
    assert [sources.taxonomy.labels[label] for label in made.rows.labels] == verdicts


def test_the_labels_may_lie_in_the_folder_of_the_listings(sample_market, embedder, settings):
    by_file = gather(sources_of(sample_market), embedder, settings, ("train",))
    by_folder = gather(sources_of(sample_market, listings=(sample_market,)), embedder, settings, ("train",))
    assert by_folder.digest == by_file.digest
    assert not by_folder.rejects.counts


def test_without_dates_the_split_is_by_shares_of_time(sample_market, embedder, settings):
    sources = sources_of(sample_market, train_until=None, validate_until=None)
    made = gather(sources, embedder, settings, ("train",))
    listed, split = made.rows.listed_at, made.split
    assert listed[split.train].max() < split.train_until <= listed[split.validation].min()
    assert listed[split.validation].max() < split.validate_until <= listed[split.test].min()
    assert 0.6 < (listed < split.train_until).mean() < 0.75


def test_no_near_duplicate_stands_on_two_sides(sample_market, embedder, settings):
    made = gather(sources_of(sample_market), embedder, settings, ("train",))
    groups = [set(made.rows.groups[part].tolist()) for part in (made.split.train, made.split.test)]
    assert not groups[0] & groups[1]
    assert len(made.split.repeats)


@pytest.mark.parametrize(
    ("cuts", "error"), [(CUTS[::-1], ConfigError), ((datetime(1999, 1, 1, tzinfo=UTC), CUTS[1]), DataError)]
)
def test_dates_that_cannot_be_are_refused(sample_market, embedder, settings, cuts, error):
    sources = sources_of(sample_market, train_until=cuts[0], validate_until=cuts[1])
    with pytest.raises(error):
        gather(sources, embedder, settings, ("train",))


def sources_of_rows(folder: Path, rows, known):
    policies = folder / "policies.toml"
    policies.write_text(
        "[policies.alcohol]\ntitle='Alcohol'\nprevalence=0.02\n[policies.weapons]\ntitle='W'\nprevalence=0.01\n"
    )
    return sources_of(folder, listings=(table(folder, rows),), labels=(labels(folder, known),))


def test_what_was_erased_is_left_out_and_counted(tmp_path, embedder, settings):
    labels = [("A", "alcohol", "2025-03-05"), ("B", "neutral", "2025-04-02"), ("C", "weapons", "2025-09-12")]
    sources = sources_of_rows(tmp_path, ROWS, [*labels, ("D", "neutral", "")])
    made = gather(replace(sources, erased=lambda listing, _: listing == "B"), embedder, settings, ("train",))
    assert set(made.rows.listing_ids.tolist()) == {"A", "C", "D"}
    assert made.rejects.counts["erased", "has a tombstone"] == 1
    assert gather(sources, embedder, settings, ("train",)).digest != made.digest

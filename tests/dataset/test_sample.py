from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.drawings import DRAWINGS, draw
from stallwart.dataset.duplicates import duplicate_groups
from stallwart.dataset.labels import read_labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.sample import generate, write_sample

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def test_the_sample_reads_back_without_a_reject(sample_market: Path) -> None:
    rejects = Rejects()
    taxonomy = read_taxonomy(sample_market / "policies.toml")
    labels = read_labels([sample_market / "labels.csv"], Columns(), taxonomy, rejects, now=NOW).as_of()
    files = sorted(sample_market.glob("*.parquet"))
    listings = list(read_listings(files, Columns(), Settings(), rejects, now=NOW))
    assert len(files) == 12
    assert len(listings) == len(labels) == 240
    assert not rejects.counts
    counts = Counter(label.label for label in labels.values())
    assert set(counts) == set(taxonomy.labels)
    assert 0.5 < counts["neutral"] / 240 < 0.8


def test_the_sample_has_the_traps_of_a_market() -> None:
    made = generate(400, 7)
    listings = [listing for listing, _, _ in made]
    parts = {(bool(item.title), bool(item.description), min(len(item.photos), 1)) for item in listings}
    assert parts == {(a, b, c) for a in (False, True) for b in (False, True) for c in (0, 1)} - {
        (False, False, 0)
    }
    assert any(len(item.photos) == 3 and not item.text and label != "neutral" for item, label, _ in made)
    assert {item.language for item in listings} == {"en", "es", "ru"}
    assert sum(duplicate_groups(listings, Settings()) != np.arange(400)) > 15
    assert all(known > item.listed_at for item, _, known in made if item.listed_at)
    vapes = [item.listed_at.month for item in listings if item.listed_at and "vape" in item.text.lower()]
    assert min(vapes) >= 9


def test_a_seed_gives_the_same_market_and_another_another() -> None:
    assert generate(60, 3) == generate(60, 3)
    assert generate(60, 3) != generate(60, 4)


@pytest.mark.parametrize("what", DRAWINGS)
def test_every_drawing_differs_from_the_next_of_its_kind(what: str) -> None:
    random = np.random.default_rng(1)
    one, other = (np.asarray(draw(what, random)) for _ in range(2))
    assert one.shape == (160, 160, 3)
    assert not np.array_equal(one, other)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="no sample"):
        write_sample(tmp_path, 60)
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(ConfigError, match="60 or more"):
        write_sample(tmp_path / "new", 10)


def test_the_rulebook_states_the_shares_of_the_generated_listings_if_asked(tmp_path):
    write_sample(tmp_path / "rare", 60)
    write_sample(tmp_path / "as generated", 60, shares_as_generated=True)
    rare, stated = (
        read_taxonomy(tmp_path / name / "policies.toml").shares for name in ("rare", "as generated")
    )
    assert all(stated[name] > share for name, share in rare.items() if name != "neutral")
    before = [label for listing, label, _ in generate(3_000, 1) if listing.listed_at.month < 9]
    for name in rare.keys() - {"neutral"}:
        share = stated[name]
        assert share == pytest.approx(before.count(name) / len(before), abs=0.025)

import numpy as np
import pytest

from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.index import meaning
from stallwart.index.meaning import Meaning
from stallwart.index.vectors import Vectors
from stallwart.store.photos import PhotoStore
from stallwart.store.verdicts import Answer
from tests.index.stored import KNIFE, LAMP, decide, judge, photo


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


@pytest.fixture
def embedder(tiny_bundles, tmp_path):
    text, photo_graph = (
        TextGraph(tiny_bundles[0] / "text", "cpu"),
        PhotoGraph(tiny_bundles[0] / "photo", "cpu"),
    )
    return Embedder(text, photo_graph, Settings(), EmbeddingCache(tmp_path / "cache"))


@pytest.fixture
def near(database, photos, embedder):
    return Meaning(database, photos, lambda: embedder)


def test_violations_near_in_meaning_are_those_that_a_person_confirmed(database, photos, near):
    asked = decide(database, photos, "asked", "Knife", KNIFE)
    broken = decide(database, photos, "broken", "Knife", KNIFE + " new", [photo(1)])
    cleared = decide(database, photos, "cleared", "Knife", KNIFE + " now")
    decide(database, photos, "unjudged", "Knife", KNIFE + " old")
    judge(database, broken)
    judge(database, cleared)
    judge(database, cleared, answer=Answer.NO)
    while near.step():
        pass
    (one,) = near.violations(asked.revision)
    assert (one.listing_id, one.by, one.policies) == ("broken", "meaning", ("weapons",))
    assert {found.listing_id for found in near.near(asked.revision)} == {"broken", "cleared", "unjudged"}
    assert near.forget("broken") == 2  # as judged, and as recent
    assert near.violations(asked.revision) == []


def test_a_page_does_not_wait_for_an_encoder(database, photos, near):
    judge(database, decide(database, photos, "broken", "Knife", KNIFE))
    near.step()
    late = decide(database, photos, "late", "Knife", KNIFE + " late")
    assert near.violations(late.revision) == []
    assert [one.listing_id for one in near.near(late.revision)] == ["broken"]
    assert [one.listing_id for one in near.violations(late.revision)] == ["broken"]  # it is cached now


def test_without_a_bundle_nothing_is_near(database, photos):
    lamp = decide(database, photos, "lamp", "Lamp", LAMP)
    blind = Meaning(database, photos, lambda: None)
    assert not blind.step()
    assert blind.near(lamp.revision) == blind.violations(lamp.revision) == []


def test_the_oldest_goes_where_there_are_too_many(database, photos, near, monkeypatch):
    monkeypatch.setattr(meaning, "RECENT", 3)
    shown = [decide(database, photos, f"lamp {n}", f"Lamp {n}", LAMP) for n in range(5)]
    near.step()
    assert {one.listing_id for one in near.near(shown[4].revision)} == {"lamp 2", "lamp 3"}


def test_vectors_are_found_removed_and_read_again(tmp_path):
    rows = np.random.default_rng(1).normal(size=(300, 24)).astype(np.float32)
    vectors = Vectors(24)
    vectors.add(list(range(300)), rows)
    assert [vectors.nearest(rows[number], 1)[0][0] for number in range(0, 300, 37)] == list(range(0, 300, 37))
    vectors.save(tmp_path / "vectors")
    again = Vectors(24)
    assert again.load(tmp_path / "vectors")
    assert sorted(again.numbers().tolist()) == list(range(300))
    again.remove([7, 999])
    assert 7 not in again
    assert again.nearest(rows[7], 1)[0][0] != 7
    again.add([8], rows[7])
    assert again.nearest(rows[7], 1)[0] == (8, pytest.approx(1, abs=0.01))
    assert len(again) == 299


def test_a_file_that_is_cut_off_or_of_another_length_is_not_read(tmp_path):
    vectors = Vectors(24)
    vectors.add([1], np.ones((1, 24), np.float32))
    path = tmp_path / "vectors"
    vectors.save(path)
    assert not Vectors(25).load(path)
    path.write_bytes(path.read_bytes()[:40])
    assert not vectors.load(path)
    assert not vectors.load(tmp_path / "absent")
    assert vectors.nearest(np.ones(24, np.float32), 5)[0][0] == 1

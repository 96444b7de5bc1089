import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from stallwart.content.photoprint import PhotoPrint, differing_bits
from stallwart.content.wordprint import likeness, word_print
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.index.fingerprint import (
    estimated_likeness,
    fingerprint_of,
    photo_keys,
    photo_probes,
    signature,
    word_keys,
)
from stallwart.index.fingerprinting import Fingerprinter
from stallwart.index.near import NearDuplicates
from stallwart.store.database import reading, writing
from stallwart.store.fingerprints import forget_fingerprints, read_fingerprint
from stallwart.store.photos import PhotoStore
from stallwart.store.retention import purge
from stallwart.store.tables import fingerprint_keys, fingerprints
from stallwart.store.verdicts import Answer
from tests.index.stored import KNIFE, LAMP, NOW, decide, judge, photo

COARSE = st.integers(0, 2**64 - 1)


@given(COARSE, st.sets(st.integers(0, 63), max_size=7))
def test_photos_within_seven_bits_always_meet(coarse, flips):
    other = coarse
    for bit in flips:
        other ^= 1 << bit
    assert set(photo_probes(coarse)) & set(photo_keys(other))


@given(COARSE)
def test_a_photo_asks_for_its_own_buckets_and_those_one_bit_away(coarse):
    assert set(photo_keys(coarse)) <= set(photo_probes(coarse))
    assert len(set(photo_probes(coarse))) == 4 * 17


@given(st.text(max_size=300), st.text(max_size=300))
def test_equal_words_share_all_buckets_and_likeness_is_symmetric(one, other):
    first, second = word_print(None, one), word_print(None, other)
    assert word_keys(first) == word_keys(word_print(None, one))
    if first is None or second is None:
        return
    assert likeness(first, first) == 1
    assert likeness(first, second) == likeness(second, first)
    assert 0 <= likeness(first, second) <= 1
    assert 0 <= estimated_likeness(signature(first), signature(second)) <= 1


def test_the_estimate_of_likeness_is_near_the_real_one():
    words = [f"word{number}" for number in range(60)]
    for kept in (60, 50, 40, 20, 0):
        one = word_print(None, " ".join(words))
        other = word_print(None, " ".join(words[:kept] + [f"other{n}" for n in range(60 - kept)]))
        estimate = estimated_likeness(signature(one), signature(other))
        assert estimate == pytest.approx(likeness(one, other), abs=0.15)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_differing_bits_count_the_bits_of_an_exclusive_or(one, other):
    apart = np.unpackbits(np.frombuffer(one, np.uint8) ^ np.frombuffer(other, np.uint8)).sum()
    assert differing_bits(one, other) == apart


def test_a_listing_without_content_has_no_buckets():
    made = fingerprint_of("r", Listing("empty"), Settings())
    assert (made.words, made.photos, made.keys) == (None, (), ())
    assert PhotoPrint(b"", 0).coarse == 0


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


@pytest.fixture
def worker(database, photos):
    return Fingerprinter(database, photos, Settings(), lambda: NOW + 3_600_000)


def near(database, photos, decision, what="of"):
    with reading(database) as connection:
        return getattr(NearDuplicates(photos, Settings()), what)(connection, decision.revision)


def rows(database, table):
    with reading(database) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_near_duplicates_are_found_by_words_and_by_photos(database, photos, worker):
    lamp = decide(database, photos, "lamp", "Brass lamp", LAMP, [photo(1)])
    decide(database, photos, "same words", "Brass lamp", LAMP + " Hurry!", [photo(2)])
    decide(database, photos, "same photo", "Something else", None, [photo(1, side=150, quality=60)])
    decide(database, photos, "knife", "Knife", KNIFE, [photo(3)])
    assert worker.step() == (4, False)
    found = near(database, photos, lamp)
    assert {(one.listing_id, one.by) for one in found} == {("same words", "text"), ("same photo", "photo")}
    assert all(0.75 <= one.likeness <= 1 for one in found)


def test_a_revision_without_a_fingerprint_yet_is_compared_all_the_same(database, photos, worker):
    decide(database, photos, "lamp", "Brass lamp", LAMP, [photo(1)])
    worker.step()
    late = decide(database, photos, "late", None, None, [photo(1, side=160)])
    assert [one.listing_id for one in near(database, photos, late)] == ["lamp"]


def test_only_what_a_person_confirmed_is_a_violation(database, photos, worker):
    asked = decide(database, photos, "asked", "Knife", KNIFE)
    broken = decide(database, photos, "broken", "Knife", KNIFE + " new")
    decide(database, photos, "unjudged", "Knife", KNIFE + " old")
    cleared = decide(database, photos, "cleared", "Knife", KNIFE + " now")
    said = judge(database, broken)
    judge(database, cleared)
    judge(database, cleared, answer=Answer.NO)
    worker.step()
    (one,) = near(database, photos, asked, "violations")
    assert (one.listing_id, one.policies, one.verdict_id) == ("broken", ("weapons",), said.verdict_id)


def test_each_revision_gets_one_fingerprint_however_often_it_is_looked_at(database, photos, worker):
    for number in range(250):
        decide(database, photos, f"lamp {number}", f"Lamp number {number}", now_ms=NOW + number)
    other = Fingerprinter(database, photos, Settings(), lambda: NOW + 3_600_000)
    assert worker.behind() == 250
    steps = [worker.step(), other.step(), worker.step(), other.step()]
    assert [count for count, _ in steps] == [100, 100, 50, 0]
    assert rows(database, fingerprints) == 250
    assert worker.behind() == 0


def test_a_late_decision_is_not_passed_over(database, photos):
    clock = [NOW]
    worker = Fingerprinter(database, photos, Settings(), lambda: clock[0])
    decide(database, photos, "lamp", "Lamp")
    worker.step()
    assert worker.behind() == 1  # it may not be the last one of its second
    clock[0] += 61_000
    worker.step()
    assert worker.behind() == 0


def test_what_is_emptied_or_forgotten_leaves_no_trace(database, photos, worker):
    lamp = decide(database, photos, "lamp", "Brass lamp", LAMP, [photo(1)])
    knife = decide(database, photos, "knife", "Knife", KNIFE, now_ms=NOW + 5)
    worker.step()
    with writing(database) as connection:
        assert forget_fingerprints(connection, [knife.revision]) == 1
        assert read_fingerprint(connection, knife.revision) is None
    purge(database, lambda *_: None, NOW + 1, NOW + 2)
    assert rows(database, fingerprints) == 0
    assert rows(database, fingerprint_keys) == 0
    assert near(database, photos, lamp) == []

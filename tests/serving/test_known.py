"""Known-bad things on the service's path: what they make of a ruling, and that no failure is an allow."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError, ConflictError, NotFoundError
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.decide.decide import Ruling
from stallwart.decide.known import LADDER, certified_distance, uncompared, with_known
from stallwart.encoders.embed import Embedded
from stallwart.index.fingerprint import fingerprint_of, prints_of
from stallwart.index.knowing import Knowing
from stallwart.index.known import LIMITS, Known, KnownIndex
from stallwart.index.proven import Proven, ProvenFile
from stallwart.model.runtime import ScoredListing
from stallwart.serving.engine import Work
from stallwart.serving.known import Compared, KnownBad
from stallwart.serving.service import _ruled
from stallwart.store import audit, known
from stallwart.store.database import reading, writing
from stallwart.store.decisions import write
from stallwart.store.known import Match
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import known_bad, known_matches
from stallwart.store.traces import erase_traces, traces_of
from stallwart.store.verdicts import Answer
from tests.index.stored import KNIFE, LAMP, NOW, decide, judge, photo
from tests.store.listings import draft

LIMITS_OF = Settings()
ALLOW = Ruling(Action.ALLOW, (), "no policy is likely to be broken")
BLOCK = Ruling(Action.BLOCK, ("tobacco",), "tobacco reaches its certified threshold")
KNIFE_LISTING = Listing("knife", "Knife", KNIFE, (photo(3),))


def entry(seq, listing, policy="weapons", vector=None):
    made = fingerprint_of(f"r{seq}", listing, LIMITS_OF)
    return Known(seq, f"k_{seq}", policy, f"v_{seq}", made.words, made.photos, made.keys, vector)


def near(index, listing, vector=None):
    return index.nearest(*prints_of(listing, LIMITS_OF), vector)


def match(kind="text", distance=0.0, policy="weapons"):
    return Match(1, "k_1", policy, "v_1", kind, distance)


def test_equal_and_near_words_and_photos_are_found_and_others_are_not():
    index = KnownIndex(0)
    index.add([entry(1, KNIFE_LISTING), entry(2, Listing("lamp", "Lamp", LAMP), "tobacco")])
    same = near(index, Listing("other", "Knife", KNIFE))
    assert [(one.kind, one.distance, one.entry_id, one.verdict_id) for one in same] == [
        ("text", 0, "k_1", "v_1")
    ]
    alike = near(index, Listing("other", "Knife", KNIFE + " Today!"))
    assert [one.kind for one in alike] == ["text"]
    assert 0 < alike[0].distance <= LIMITS["text"]
    smaller = near(index, Listing("other", "Something else", None, (photo(3, side=150, quality=60),)))
    assert [(one.kind, one.policy) for one in smaller] == [("photo", "weapons")]
    assert near(index, Listing("other", "Oak table", "With drawers and a key.", (photo(9),))) == []
    assert near(index, Listing("empty")) == []


def test_what_is_removed_or_replaced_is_not_found_any_more():
    index = KnownIndex(0)
    index.add([entry(1, KNIFE_LISTING)])
    index.add([replace(entry(1, Listing("lamp", "Lamp", LAMP)), policy="tobacco")])
    assert near(index, KNIFE_LISTING) == []
    assert [one.policy for one in near(index, Listing("x", "Lamp", LAMP))] == ["tobacco"]
    index.remove([1, 99])
    assert near(index, Listing("x", "Lamp", LAMP)) == []
    assert len(index) == 0


@pytest.mark.slow
def test_entries_are_found_among_many_before_and_after_they_are_sorted_in():
    index = KnownIndex(0)
    chance = np.random.default_rng(3)
    words = [f"thing {a} of kind {b} for sale in town" for a, b in chance.integers(0, 10**9, (6_000, 2))]
    for start in range(0, len(words), 500):
        index.add([entry(i, Listing(str(i), None, words[i])) for i in range(start, start + 500)])
    assert all(
        near(index, Listing("x", None, words[i]))[0].entry_id == f"k_{i}" for i in range(0, 6_000, 199)
    )


def test_meaning_is_compared_by_the_cosine(tmp_path):
    vectors = np.random.default_rng(1).normal(size=(50, 24)).astype(np.float32)
    index = KnownIndex(24, tmp_path / "known.usearch")
    index.add(
        [entry(i, Listing(str(i), f"Thing number {i} unlike"), vector=vectors[i]) for i in range(1, 50)]
    )
    (one,) = near(index, Listing("x"), vectors[7] + 0.01)
    assert (one.kind, one.entry_id) == ("meaning", "k_7")
    assert one.distance < 0.02
    assert near(index, Listing("x"), vectors[0]) == []


@given(
    st.sampled_from(list(LADDER)),
    st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60),
    st.floats(0.5, 0.99),
)
def test_a_distance_is_proven_only_on_enough_right_matches(kind, judged, target):
    proven = certified_distance(kind, judged, target)
    assert certified_distance(kind, [(0.0, True)] * 400, target) == LADDER[kind][-1]
    assert certified_distance(kind, [], target) is None
    if proven is not None:
        right = [is_right for distance, is_right in judged if distance <= proven]
        assert sum(right) / len(right) >= target
        assert proven in LADDER[kind]


def test_a_proven_match_blocks_and_any_other_asks_a_person():
    blocked, why = with_known(ALLOW, [match()], {("weapons", "text"): 0.1})
    assert (blocked.action, blocked.policies, why) == (Action.BLOCK, ("weapons",), match())
    asked, why = with_known(ALLOW, [match()], {("weapons", "photo"): 28.0})
    assert (asked.action, why) == (Action.REVIEW, match())
    assert with_known(ALLOW, [match(distance=0.2)], {("weapons", "text"): 0.1})[0].action == Action.REVIEW
    assert with_known(BLOCK, [match()], {}) == (BLOCK, None)
    assert with_known(ALLOW, [], {}) == (ALLOW, None)
    both, _ = with_known(BLOCK, [match()], {("weapons", "text"): 0.0})
    assert both.policies == ("weapons", "tobacco")


def test_what_could_not_be_compared_is_never_allowed():
    assert uncompared(ALLOW).action == Action.REVIEW
    assert uncompared(BLOCK).action == Action.BLOCK


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


@pytest.fixture
def knowing(database, photos):
    return Knowing(database, photos, Settings(), lambda: NOW, lambda: None)


def followed(database, clock=time.monotonic, targets=()):
    one = KnownBad(database, Settings(), lambda: NOW, clock, lambda: ("", 0), lambda: dict(targets))
    one.follow()
    return one


def compared(one, listing=KNIFE_LISTING):
    return one.compare(Embedded(listing, None, np.zeros((0, 4), np.float32)), None)


def live(database):
    with reading(database) as connection:
        return [(one.listing_id, one.policy, one.verdict_id) for one in known.list_known(connection)]


def test_a_confirmed_violation_is_known_at_once_and_followed(database, photos, knowing):
    service = followed(database)
    assert compared(service).near == ()
    decision = decide(database, photos, "knife", "Knife", KNIFE, [photo(3)])
    said = judge(database, decision)
    assert knowing.step() == 1
    service.follow()
    (text, picture) = compared(service).near
    assert {text.kind, picture.kind} == {"text", "photo"}
    assert text.verdict_id == said.verdict_id
    assert knowing.step() == 0
    assert live(database) == [("knife", "weapons", said.verdict_id)]


def test_a_verdict_that_does_not_hold_takes_its_entry_back(database, photos, knowing):
    service = followed(database)
    decision = decide(database, photos, "knife", "Knife", KNIFE)
    judge(database, decision)
    knowing.step()
    judge(database, decision, answer=Answer.NO)
    assert knowing.step() == 1
    service.follow()
    assert compared(service).near == ()
    assert live(database) == []


def test_what_a_person_removed_stays_removed_and_is_emptied(database, photos, knowing):
    judge(database, decide(database, photos, "knife", "Knife", KNIFE))
    knowing.step()
    with writing(database) as connection:
        (one,) = known.list_known(connection)
        known.remove_known(connection, one.entry_id, who="lea", why="too broad", now_ms=NOW)
        with pytest.raises(NotFoundError):
            known.remove_known(connection, one.entry_id, who="lea", why="again", now_ms=NOW)
        row = connection.execute(select(known_bad)).one()
        assert (row.words, bytes(row.photos), bytes(row.keys)) == (None, b"", b"")
        assert [entry.act for entry in audit.read(connection)] == ["known.remove", "known.add"]
    again = Knowing(database, photos, Settings(), lambda: NOW, lambda: None)
    assert again.step() == 0
    assert live(database) == []


def test_the_same_content_is_not_known_twice(database):
    made = fingerprint_of("r", KNIFE_LISTING, LIMITS_OF)
    with writing(database) as connection:
        known.add_known(connection, made, "weapons", who="lea", why="seen", now_ms=NOW)
        known.add_known(connection, made, "tobacco", who="lea", why="seen", now_ms=NOW)
        with pytest.raises(ConflictError):
            known.add_known(connection, made, "weapons", who="lea", why="seen", now_ms=NOW)


def test_what_is_erased_is_let_go_by_services_that_run(database, photos, knowing):
    judge(database, decide(database, photos, "knife", "Knife", KNIFE))
    knowing.step()
    service = followed(database)
    assert len(compared(service).near) == 1
    with writing(database) as connection:
        traces = traces_of(connection, b"key", "knife", [], NOW)
        assert erase_traces(connection, traces)["known_bad"] == 1
        assert "knife" not in str(connection.execute(select(known_bad)).all())
    service.follow()
    assert compared(service).near == ()


def test_what_is_not_read_yet_too_old_or_broken_is_a_failure(database, monkeypatch):
    clock = [0.0]
    never = KnownBad(database, Settings(), lambda: NOW, lambda: 0.0, lambda: ("", 0), dict)
    assert compared(never).failed
    service = followed(database, lambda: clock[0])
    assert not compared(service).failed
    clock[0] = 121.0
    assert compared(service).failed
    clock[0] = 1.0
    with writing(database) as connection:
        made = fingerprint_of("r", KNIFE_LISTING, LIMITS_OF)
        known.add_known(connection, made, "weapons", who="lea", why="seen", now_ms=NOW)
    service.follow()

    def broken(*_):
        raise RuntimeError

    monkeypatch.setattr(KnownIndex, "nearest", broken)
    assert compared(service).failed


def test_verdicts_on_matches_certify_their_distance(database, photos):
    for number in range(40):
        decision = decide(database, photos, f"L{number}", f"Knife {number}", KNIFE)
        with writing(database) as connection:
            known.add_matches(connection, [(decision.decision_id, match())], NOW)
        judge(database, decision)
    service = followed(database, targets=[("weapons", 0.9)])
    assert service.certified == {("weapons", "text"): 0.25}
    assert followed(database, targets=[("weapons", 0.99)]).certified == {}
    with reading(database) as connection:
        assert len(connection.execute(select(known_matches)).all()) == 40


def test_distances_of_a_file_block_at_once_and_until_verdicts_refute_them(database, photos, tmp_path):
    proven = Proven(
        policy="weapons", kind="text", target=0.9, distance=0.15, at=0.15, precision=0.99, lower=0.92,
        own=900, own_near=300, neutral=9_000, neutral_near=1, others_near=0,
    )  # fmt: skip
    meaning = proven.model_copy(update={"kind": "meaning", "distance": 0.1, "at": 0.1})
    made = ProvenFile(
        confidence=0.95, encoder="e", data="d", listings=9_900, first="2025-01-01", last="2025-09-30",
        distances=(proven, meaning),
    )  # fmt: skip
    made.write(tmp_path / "near.json")
    settings = Settings(known_certified=tmp_path / "near.json")

    def certified(target=0.9, encoder="e"):
        one = KnownBad(
            database, settings, lambda: NOW, time.monotonic, lambda: (encoder, 4), lambda: {"weapons": target}
        )
        one.follow()
        return one.certified

    assert certified() == {("weapons", "text"): 0.15, ("weapons", "meaning"): 0.1}
    assert certified(encoder="another") == {("weapons", "text"): 0.15}
    assert certified(target=0.95) == {}, "it was not proven for as much as is wanted now"
    for number in range(12):
        decision = decide(database, photos, f"L{number}", f"Knife {number}", KNIFE)
        with writing(database) as connection:
            known.add_matches(connection, [(decision.decision_id, match(distance=0.1))], NOW)
        judge(database, decision, answer=Answer.NO)
    assert certified(encoder="another") == {}
    (tmp_path / "near.json").write_text("{}")
    with pytest.raises(ConfigError):
        certified()


def work(compared, ruling=ALLOW):
    scored = ScoredListing(Embedded(KNIFE_LISTING, None, np.zeros((0, 4), np.float32)), np.zeros(1), ruling)
    one = Work(KNIFE_LISTING, "none", 0.0, 1.0, None, lambda _: None, scored=scored)
    one.compared = compared
    return one


def test_the_ruling_that_is_stored_is_the_one_after_comparing():
    assert _ruled(work(None)) == (ALLOW, None)
    assert _ruled(work(Compared())) == (ALLOW, None)
    assert _ruled(work(Compared(failed=True)))[0].action == Action.REVIEW
    asked, why = _ruled(work(Compared((match(),))))
    assert (asked.action, why) == (Action.REVIEW, match())
    blocked, _ = _ruled(work(Compared((match(),), certified={("weapons", "text"): 0.05})))
    assert blocked.action == Action.BLOCK
    unscored = Work(KNIFE_LISTING, "none", 0.0, 1.0, None, lambda _: None, failed="the model failed")
    assert _ruled(unscored) == (Ruling(Action.REVIEW, (), "the model failed"), None)


def test_a_decision_that_an_entry_called_for_says_so_and_counts_for_its_distance(database):
    asked = replace(draft("knife", action=Action.REVIEW), match=match(distance=0.1))
    with writing(database) as connection:
        (decision,) = write(connection, [asked], [], NOW)
        (repeat,) = write(connection, [asked], [], NOW)
        row = connection.execute(select(known_matches)).one()
    assert decision.cause == "known-bad"
    assert repeat == decision
    assert (row.decision_id, row.entry_id, row.kind, row.distance) == (
        decision.decision_id,
        "k_1",
        "text",
        0.1,
    )

"""What would change: exactly those whose scores say so, once each, with examples, sellers and hours."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from stallwart.core.decision import Action, Limits
from stallwart.core.errors import ConfigError
from stallwart.core.taxonomy import Taxonomy
from stallwart.decide.decide import Ruling
from stallwart.model.bundle import read_bundle
from stallwart.replay import rules, stored
from stallwart.replay.hunt import hunt
from stallwart.replay.run import Replayed
from stallwart.replay.session import Session, named_bundle
from stallwart.replay.stored import Stored, Window, count_decisions, draw_decisions, read_decisions
from stallwart.replay.tally import CHANGES, Span, Tally
from stallwart.serving.runtime import BundleRuntime
from stallwart.store.database import reading, writing
from stallwart.store.decisions import write
from stallwart.store.revisions import Revision
from stallwart.store.tables import aliases, bundles, decisions
from tests.replay.served import market_listings
from tests.store.listings import draft

ALL = Window(None, 2**60)
slow = pytest.mark.slow


def one(number, then, now, seller="s", then_policies=(), now_policies=(), score=0.5):
    revision = Revision(
        "r", f"l{number}", "Title of it", None, (), (), seller, None, None, None, stored_at_ms=1
    )
    before = Stored(
        number,
        f"d{number}",
        Action(then),
        tuple(then_policies),
        "",
        {"wine": 0.1},
        {},
        "b",
        (),
        "t",
        86_400_000,
        revision,
    )
    return Replayed(before, np.array([score]), Ruling(Action(now), tuple(now_policies), "why"))


ROWS = st.lists(st.tuples(st.sampled_from(list(Action)), st.sampled_from(list(Action))), max_size=60)


@given(ROWS)
def test_each_decision_is_counted_once_and_reviews_add_up(pairs):
    tally = Tally(examples=3)
    kinds = [tally.add(one(number, *pair)) for number, pair in enumerate(pairs)]
    facts = tally.facts(Span(0, 86_400_000), 60.0)
    changed = sum(then is not now for then, now in pairs)
    assert sum(kind is not None for kind in kinds) == changed
    assert sum(told["count"] for told in facts["changes"].values()) == changed
    more = sum(now is Action.REVIEW for _, now in pairs) - sum(then is Action.REVIEW for then, _ in pairs)
    assert facts["reviews"]["more_a_day"]["estimate"] == more
    assert facts["reviews"]["more_hours_a_day"]["estimate"] == pytest.approx(more / 60)
    assert facts["reviews"]["more_a_day"]["lower"] <= more <= facts["reviews"]["more_a_day"]["upper"]
    assert all(len(told["examples"]) == min(3, told["count"]) for told in facts["changes"].values())


def test_the_kinds_of_change_are_all_pairs_that_differ():
    named = [pair for pairs in CHANGES.values() for pair in pairs]
    assert sorted(named) == sorted(itertools.permutations(Action, 2))


def test_a_change_is_put_down_to_the_policies_that_call_for_it_or_no_longer_do():
    tally = Tally()
    tally.add(one(1, "allow", "block", "a", (), ("wine", "weapons")))
    tally.add(one(2, "review", "block", "a", ("wine",), ("wine",)))
    tally.add(one(3, "block", "allow", None, ("weapons",), ()))
    tally.add(one(4, "block", "block", "b", ("weapons",), ("wine",)))
    facts = tally.facts(Span(0, 0), 30)
    blocked, released = facts["changes"]["newly_blocked"], facts["changes"]["released"]
    assert {name: told["count"] for name, told in blocked["policies"].items()} == {"wine": 2, "weapons": 1}
    assert (blocked["sellers"], blocked["listings_of_unknown_sellers"]) == (1, 0)
    assert {name: told["count"] for name, told in released["policies"].items()} == {"weapons": 1}
    assert (released["sellers"], released["listings_of_unknown_sellers"]) == (0, 1)
    assert facts["same_action_other_policies"]["count"] == 1
    assert blocked["share"] == 0.5
    assert blocked["lower"] < 0.5 < blocked["upper"]


def test_no_listing_s_words_are_told_unless_asked_for():
    shy, open_ = Tally(), Tally(show_words=True)
    for tally in (shy, open_):
        tally.add(one(1, "allow", "block"))
    assert "Title of it" not in json.dumps(shy.facts(Span(0, 0), 30))
    assert "Title of it" in json.dumps(open_.facts(Span(0, 0), 30))


def test_examples_are_drawn_alike_whatever_the_order_and_otherwise_by_another_seed():
    def drawn(rows, seed):
        tally = Tally(examples=5, seed=seed)
        for row in rows:
            tally.add(row)
        told = tally.facts(Span(0, 0), 30)["changes"]["newly_blocked"]["examples"]
        return [example["decision_id"] for example in told]

    rows = [one(number, "allow", "block") for number in range(200)]
    assert drawn(rows, 0) == drawn(rows[::-1], 0)
    assert drawn(rows, 0) != drawn(rows, 1)


def test_a_hunt_lists_the_likeliest_that_were_not_called_for_the_policy():
    rows = [one(n, "allow", "allow", score=n / 100) for n in range(100)]
    rows.append(one(100, "block", "block", then_policies=("wine",), score=0.999))
    found = hunt(rows, "wine", {"wine": Limits(block=0.9, review=0.5)}, 3)
    assert [told["listing_id"] for told in found.candidates] == ["l99", "l98", "l97"]
    assert (found.looked_at, found.would_block, found.would_review) == (100, 10, 40)


# --- reading ---------------------------------------------------------------------------------------------


@pytest.fixture
def stored_drafts(database):
    """Thirty decisions about ten listings, three a millisecond."""
    with writing(database) as connection:
        for number in range(30):
            made = draft(f"l{number % 10}", f"title {number}", decision_id=f"d_{number:04}")
            decided = made.decision.model_copy(update={"decided_at_ms": 1_000 + number // 3})
            write(connection, [type(made)(made.revision, decided)], (), 1_000)
    return database


def ids(database, window):
    return [found.decision_id for found in read_decisions(database, window)]


@pytest.mark.parametrize("page", [1, 2, 3, 7, 30, 256])
def test_pages_of_any_size_give_each_decision_once_in_order(stored_drafts, monkeypatch, page):
    monkeypatch.setattr(stored, "PAGE", page)
    monkeypatch.setattr(stored._pages, "__defaults__", (page,))
    every = Window(None, 2**60, every=True)
    assert ids(stored_drafts, every) == [f"d_{number:04}" for number in range(30)]
    assert count_decisions(stored_drafts, every) == 30


def test_of_each_listing_the_last_decision_in_the_window_is_taken(stored_drafts):
    assert ids(stored_drafts, ALL) == [f"d_{number:04}" for number in range(20, 30)]
    early = Window(None, 1_005)  # d_0000 to d_0014
    assert ids(stored_drafts, early) == [f"d_{number:04}" for number in range(5, 15)]
    between = Window(1_001, 1_003, every=True)
    assert ids(stored_drafts, between) == [f"d_{number:04}" for number in range(3, 9)]
    assert count_decisions(stored_drafts, ALL) == 10
    assert ids(stored_drafts, Window(None, 2**60, bundle="another")) == []


def test_a_draw_is_the_same_again_and_other_by_another_seed(stored_drafts):
    every = Window(None, 2**60, every=True)
    first, again, other = (draw_decisions(stored_drafts, every, 9, seed) for seed in (1, 1, 2))
    assert first == again == sorted(set(first))
    assert first != other
    assert len(draw_decisions(stored_drafts, every, 99, 1)) == 30


# --- other limits ----------------------------------------------------------------------------------------


@pytest.fixture
def decided(serve, tiny_bundles, settings, sample_market):
    """Answers of a service about two hundred listings."""
    served = serve(BundleRuntime(read_bundle(tiny_bundles[0]), settings))
    return served.ask_all(market_listings(sample_market, 200))


def ruled(scores, limits):
    """What a decision is by its limits alone, for listings without a failure."""
    if any(limit.block is not None and scores[name] >= limit.block for name, limit in limits.items()):
        return "block"
    asks = any(limit.review is not None and scores[name] >= limit.review for name, limit in limits.items())
    return "review" if asks else "allow"


@slow
def test_other_thresholds_change_exactly_those_whose_scores_say_so(decided, engine, replayer, tiny_bundles):
    bundle = read_bundle(tiny_bundles[0])
    fine = [told for told in decided if told["scores"] and "a photo" not in told["reason"]]
    assert len(fine) == len(decided), "the generated market has no broken photo among these"
    middle = {
        name: float(np.quantile([told["scores"][name] for told in fine], 0.9)) for name in bundle.taxonomy.ids
    }
    first, second, *_ = bundle.taxonomy.ids
    other = rules.changed(bundle, {}, {first: middle[first]}, {second: middle[second], first: None})
    limits = rules.limits_of(other)
    assert limits[first] == Limits(block=middle[first], review=None)
    expected = {
        (told["decision_id"], told["action"], now)
        for told in fine
        if (now := ruled(told["scores"], limits)) != told["action"]
    }
    tally, seen = Tally(), set()
    for found in Session(engine, replayer(other), ALL).replayed():
        if tally.add(found):
            seen.add((found.stored.decision_id, found.stored.action.value, found.ruling.action.value))
    assert seen == expected
    assert len(expected) > 5
    assert tally.n == len(decided)


@slow
def test_a_sample_stands_for_the_whole(decided, engine, replayer, tiny_bundles):
    session = Session(engine, replayer(tiny_bundles[1]), ALL, sample=50, seed=3)
    assert sum(1 for _ in session.replayed()) == 50
    assert session.drawn == 50
    assert session.weight() == len(decided) / 50


def test_a_rulebook_without_a_policy_takes_it_out_and_an_unknown_one_is_refused(tiny_bundles):
    bundle = read_bundle(tiny_bundles[0])
    fewer = Taxonomy(policies=bundle.taxonomy.policies[1:])
    gone = bundle.taxonomy.ids[0]
    limits = rules.limits_of(rules.changed(bundle, {}, {}, {}, fewer))
    assert limits[gone] == Limits(block=None, review=None)
    assert rules.limits_of(rules.changed(bundle, {}, {}, {})) == rules.limits_of(bundle)
    with pytest.raises(ConfigError, match="knows no policy fraud"):
        rules.changed(bundle, {}, {"fraud": 0.5}, {})


def test_thresholds_are_read_from_a_bundle_s_file_and_from_a_decision_s(tiny_bundles, tmp_path):
    bundle = read_bundle(tiny_bundles[0])
    assert rules.read_limits(bundle.folder / "thresholds.json") == rules.limits_of(bundle)
    plain = tmp_path / "limits.json"
    plain.write_text(json.dumps({"alcohol": {"block": 0.9, "review": None}}))
    assert rules.read_limits(plain) == {"alcohol": Limits(block=0.9, review=None)}
    for wrong in ("", "[]", '{"alcohol": 1}', '{"certificates": [{}]}', '{"certificates": [], "review": 1}'):
        plain.write_text(wrong)
        with pytest.raises(ConfigError, match="holds no thresholds"):
            rules.read_limits(plain)
    with pytest.raises(ConfigError, match="cannot be read"):
        rules.read_limits(tmp_path / "none.json")


@pytest.mark.parametrize("wrong", ["wine", "wine=", "=0.5", "wine=2", "wine=nan", "wine=-0.1", "wine=x"])
def test_a_threshold_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="--threshold"):
        rules.read_changes([wrong], "--threshold")


def test_a_registered_bundle_is_found_by_its_alias_and_by_the_beginning_of_its_digest(database, tiny_bundles):
    bundle = read_bundle(tiny_bundles[0])
    with writing(database) as connection:
        connection.execute(
            bundles.insert().values(
                digest=bundle.digest, place=str(bundle.folder), card={}, registered_at_ms=1
            )
        )
        connection.execute(aliases.insert().values(alias="champion", digest=bundle.digest, since_ms=1))
    for name in ("champion", bundle.digest[:10], bundle.digest, str(bundle.folder)):
        assert named_bundle(name, database).digest == bundle.digest
    for name in ("challenger", "zzz", "champion%"):
        with pytest.raises(ConfigError, match="no registered bundles"):
            named_bundle(name, database)
    with reading(database) as connection:
        assert connection.execute(select(decisions.c.seq)).first() is None

"""Decisions of the real service, made again: all of them the same, and what was not is found."""

import base64
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from stallwart.content.photo import PhotoError
from stallwart.model.bundle import read_bundle
from stallwart.replay.run import CHANGED, GONE, PURGED
from stallwart.replay.session import Session
from stallwart.replay.stored import Window
from stallwart.replay.verify import verify
from stallwart.serving.runtime import BundleRuntime
from stallwart.serving.schemas import ListingIn
from stallwart.store.database import count_rows, reading, writing
from stallwart.store.photos import PhotoStore
from stallwart.store.retention import purge
from stallwart.store.revisions import listing_of, revision_of
from stallwart.store.rights import Right, State, adopt, withdraw
from stallwart.store.tables import decisions, photo_uses
from tests.replay.served import market_listings, odd_listings, photo

slow = pytest.mark.slow
ALL = Window(None, 2**60, every=True)


def runtime_of(folder, settings):
    return BundleRuntime(read_bundle(folder), settings)


def photos_of(sample_market):
    found = [
        base64.b64decode(one["base64"])
        for listing in market_listings(sample_market, 40)
        for one in listing["photos"]
    ]
    return found[:3]


def verified(session):
    return verify(session.replayed(as_then=True), session.replayer.scorer.bundle.taxonomy.ids)


@pytest.fixture
def traffic(serve, tiny_bundles, settings, sample_market):
    """Some hundred listings, as odd as they come, some edited and some looked at again, in a served store."""
    one = serve(runtime_of(tiny_bundles[0], settings))
    listings = market_listings(sample_market, 160) + odd_listings(photos_of(sample_market))
    answers = one.ask_all(listings)
    answers += one.ask_all([{**each, "description": "changed: cannabis"} for each in listings[::5]])
    answers += [one.ask(each, rescan=True) for each in listings[::9]]
    allowed = [each["decision_id"] for each in answers if each["action"] == "allow"]
    answers += [one.read(decision_id, "cannabis seeds, shipped at once") for decision_id in allowed[:20]]
    assert any("read" in (each["evidence"] or {}) for each in answers)
    return {answer["decision_id"]: answer for answer in answers}


@slow
def test_what_a_bundle_decided_comes_out_the_same_again_all_of_it(traffic, engine, replayer, tiny_bundles):
    session = Session(engine, replayer(tiny_bundles[0]), ALL)
    found = verified(session)
    assert found.differences == []
    assert found.compared == found.equal == len(traffic) > 250
    assert len(found.by_action) > 1, "traffic that is all decided alike shows nothing"
    assert not session.replayer.left_out
    assert not session.failed_then


@slow
def test_another_bundle_and_an_altered_row_are_found_out(traffic, engine, replayer, tiny_bundles):
    other = verified(Session(engine, replayer(tiny_bundles[1]), ALL))
    assert other.equal < other.compared
    altered = min(traffic)
    with writing(engine) as connection:
        row = decisions.c.decision_id == altered
        scores = connection.execute(select(decisions.c.scores).where(row)).scalar_one()
        policy = next(iter(scores))
        nearest = {**scores, policy: float(np.nextafter(scores[policy], 2))}
        connection.execute(update(decisions).where(row).values(scores=nearest))
    found = verified(Session(engine, replayer(tiny_bundles[0]), ALL))
    assert [one["decision_id"] for one in found.differences] == [altered]
    assert found.equal == found.compared - 1


@slow
def test_what_was_decided_under_rights_that_came_and_went_comes_out_the_same(
    serve, engine, replayer, tiny_bundles, settings, sample_market
):
    runtime = runtime_of(tiny_bundles[0], settings)
    policy = runtime.policies[0]
    right = Right(runtime.digest, policy, State.EARNED, 0.9, 1e-4, 1e-4, "so that it blocks", 1, version=2)
    with writing(engine) as connection:
        adopt(connection, [right], who="test", now_ms=1)
    one = serve(runtime, rollout_seconds=0.05)
    listings = market_listings(sample_market, 60)
    acted = one.ask_all(listings[:30])
    with writing(engine) as connection:
        withdraw(connection, right, who="test", why="it fell", now_ms=2)
    end = time.monotonic() + 60
    while one.ask(listings[30], rescan=True)["thresholds"][policy]["block"] is not None:
        assert time.monotonic() < end, "the service does not follow"
    after = one.ask_all(listings[31:])
    assert any(policy in answer["policies"] and answer["action"] == "block" for answer in acted)
    assert not any(policy in answer["policies"] and answer["action"] == "block" for answer in after)
    assert all(answer["action"] != "allow" for answer in after if answer["scores"][policy] >= 1e-4)
    session = Session(engine, replayer(tiny_bundles[0]), ALL)
    found = verified(session)
    assert found.differences == []
    assert found.compared >= 60


@slow
def test_a_replay_writes_nothing(traffic, engine, replayer, tiny_bundles):
    before = count_rows(engine)
    assert verified(Session(engine, replayer(tiny_bundles[1]), ALL)).compared == len(traffic)
    assert count_rows(engine) == before


@slow
def test_purged_content_and_photos_that_are_gone_or_changed_are_left_out_and_counted(
    traffic, engine, replayer, tiny_bundles, settings
):
    store = PhotoStore(str(settings.data_dir / "photos"))
    with reading(engine) as connection:
        uses = connection.execute(
            select(photo_uses.c.photo).group_by(photo_uses.c.photo).having(func.count() == 1)
        ).scalars()
        gone, changed = list(uses)[-2:]
        joined = decisions.join(photo_uses, photo_uses.c.revision == decisions.c.revision)
        shown = select(func.count()).select_from(joined)
        decided = [
            connection.execute(shown.where(photo_uses.c.photo == one)).scalar_one() for one in (gone, changed)
        ]
    store.delete(gone)
    (settings.data_dir / "photos" / changed[:2] / changed).write_bytes(b"something else")
    session = Session(engine, replayer(tiny_bundles[0]), ALL)
    found = verified(session)
    assert session.replayer.left_out == {GONE: decided[0], CHANGED: decided[1]}
    assert found.compared == found.equal == len(traffic) - sum(decided)

    purge(engine, store.delete, 2**60, 2**60)
    session = Session(engine, replayer(tiny_bundles[0]), ALL)
    assert verified(session).compared == 0
    assert session.replayer.left_out == {PURGED: len(traffic)}


class Faulty(BundleRuntime):
    """A bundle whose words take long, or fail, by what they say."""

    def __init__(self, bundle, settings):
        super().__init__(bundle, settings)
        self.go_on = threading.Event()

    def parts(self, listing):
        parts = super().parts(listing)
        if "slow" in listing.text:
            make = parts.jobs[parts.text_key]
            parts.jobs[parts.text_key] = lambda: (self.go_on.wait(20), make())[1]
        if "photo late" in listing.text:
            for key in parts.photo_keys:
                parts.jobs[key] = lambda: PhotoError("was not looked at within the deadline")
        if "broken" in listing.text:
            parts.jobs[parts.text_key] = self._fail
        return parts

    def _fail(self):
        raise RuntimeError("the graph is broken")


@slow
def test_what_the_service_could_not_score_is_told_apart(
    serve, engine, replayer, tiny_bundles, settings, sample_market
):
    runtime = Faulty(read_bundle(tiny_bundles[0]), settings)
    one, picture = serve(runtime, max_queue=1, threads=1), photo(photos_of(sample_market)[0])
    late = one.ask({"listing_id": "late", "title": "photo late: whisky vodka wine", "photos": [picture]})
    asked = [late, one.ask({"listing_id": "broken", "title": "broken lamp"})]
    asked.append(one.ask({"listing_id": "slow", "title": "slow lamp"}, deadline_ms=200))
    asked.append(one.ask({"listing_id": "overload", "title": "brass lamp"}))  # the slow one is at it still
    runtime.go_on.set()
    assert late["scores"] is not None, "the words were scored without the photo"
    assert [one["scores"] for one in asked[1:]] == [None, None, None]
    plain = serve(runtime_of(tiny_bundles[0], settings))
    plain.ask({"listing_id": "fine", "title": "wine"})
    plain.ask({"listing_id": "nothing"})
    session = Session(engine, replayer(tiny_bundles[0]), ALL)
    found = verified(session)
    assert session.failed_then == {
        "photo not in time": 1, "model failed": 1, "deadline": 1, "overloaded": 1,
    }  # fmt: skip
    assert found.compared == found.equal == 2


@slow
def test_decisions_are_replayed_while_the_service_writes(serve, engine, replayer, tiny_bundles, settings):
    one, stop = serve(runtime_of(tiny_bundles[0], settings)), threading.Event()
    one.ask_all([{"listing_id": f"before {n}", "title": f"wine {n}"} for n in range(300)])

    def write():
        number = 0
        while not stop.is_set():
            one.ask({"listing_id": f"meanwhile {number}", "title": "dagger"})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sessions = [Session(engine, replayer(tiny_bundles[0]), ALL) for _ in range(3)]
        found = [verified(session) for session in sessions]
    finally:
        stop.set()
        writer.join()
    assert all(one.compared == one.equal >= 300 for one in found)


_TEXTS = st.none() | st.text(st.characters(), max_size=8)  # with NUL and halves of surrogate pairs


@given(_TEXTS, _TEXTS, _TEXTS, st.lists(st.text(max_size=5), max_size=2))
def test_a_stored_revision_gives_exactly_the_listing_that_was_scored(title, description, language, unread):
    asked = ListingIn.model_construct(
        listing_id="l", revision=None, title=title, description=description, photos=(), seller_id=None,
        price=None, language=language, listed_at=None,
    )  # fmt: skip
    scored = asked.listing((b"photo",), tuple(unread))
    revision = revision_of(scored, ("digest",), None)
    stored = listing_of(revision, (b"photo",))
    assert (stored.title, stored.description, stored.text, stored.photos) == (
        scored.title, scored.description, scored.text, scored.photos,
    )  # fmt: skip
    assert len(stored.unread) == len(scored.unread)

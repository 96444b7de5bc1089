"""What models say that do not decide: kept in bulk, dropped first, made up for where it was audited."""

import pytest
from fakes import FakeRuntime
from sqlalchemy import select
from test_arms import rollout

from stallwart.core.listing import Listing
from stallwart.core.rollout import Arm
from stallwart.rollout.plan import Plan
from stallwart.serving.engine import Engine
from stallwart.serving.memory import Embeddings
from stallwart.serving.metrics import Metrics
from stallwart.serving.rollouts.arms import Routing
from stallwart.serving.rollouts.pairing import Pairing
from stallwart.serving.rollouts.shadow import Shadow
from stallwart.store.database import reading, writing
from stallwart.store.decisions import Draft, write
from stallwart.store.draws import Draw
from stallwart.store.exposures import Exposure
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import revision_of
from stallwart.store.tables import counterparts

OLD, NEW = FakeRuntime(digest="b" * 64), FakeRuntime(digest="d" * 64)


@pytest.fixture
def engine():
    made = Engine(OLD, Embeddings(None, 10**6), 1, 10, 10**6, lambda: 0.0, max_spare=5)
    yield made
    made.close(10)


@pytest.fixture
def shadow(engine, database):
    return Shadow(engine, database, Metrics(), lambda: 7)


def rows(database):
    with reading(database) as connection:
        return connection.execute(select(counterparts).order_by(counterparts.c.decision_id)).all()


def wait_for(shadow, n):
    import time

    end = time.monotonic() + 10
    while len(shadow._rows) < n and time.monotonic() < end:  # scored on the engine's thread
        time.sleep(0.01)


def test_what_it_says_is_kept_with_the_action_and_the_scores(shadow, database):
    assert shadow.score(Listing("L1", "a drug"), "d_1", NEW, rollout(0.0))
    wait_for(shadow, 1)
    shadow.flush()
    shadow.flush()
    (row,) = rows(database)
    assert (row.decision_id, row.bundle, row.action, row.policies) == ("d_1", NEW.digest, "block", ["drugs"])
    assert row.scores["drugs"] == 0.95
    assert not row.failed


def test_a_model_that_fails_in_shadow_is_counted_as_failed(shadow, database):
    shadow.score(Listing("L1", "lamp"), "d_1", FakeRuntime(digest=NEW.digest, raises=True), rollout(0.0))
    wait_for(shadow, 1)
    shadow.flush()
    (row,) = rows(database)
    assert (row.failed, row.action) == (1, "review")


def decided(database, listing, decision_id, photos=()):
    """Stores a decision of the champion that was drawn for the audit and is an exposure."""
    revision = revision_of(listing, photos, None)
    decision = FakeDecision.of(revision, decision_id)
    exposure = Exposure("r_1", 0, "0" * 14, 1, Arm.CHAMPION, decision_id, "allow", (), False, 1, 1, 1)
    draw = Draw(decision_id, 0.5, "allow", "r_1", 0, 1)
    with writing(database) as connection:
        write(connection, [Draft(revision, decision, None, False, exposure, draw)], [], 1)


class FakeDecision:
    """Decisions as the service drafts them."""

    @staticmethod
    def of(revision, decision_id):
        from stallwart.core.decision import Action, Cause, Decision

        return Decision(
            decision_id=decision_id,
            listing_id=revision.listing_id,
            revision=revision.revision,
            action=Action.ALLOW,
            policies=(),
            reason="fine",
            scores={"drugs": 0.0},
            thresholds={},
            bundle=OLD.digest,
            taxonomy="c" * 64,
            cause=Cause.NEW,
            decided_at_ms=1,
        )


def test_an_audited_listing_that_found_no_room_is_scored_from_the_store(shadow, database, tmp_path):
    photos = PhotoStore(str(tmp_path))
    kept = photos.put(b"a photo")
    decided(database, Listing("L1", "a drug", photos=(b"a photo",)), "d_1", (kept,))
    pairing = Pairing(database, shadow, photos, lambda: 1)
    routing = Routing(OLD, NEW, rollout(0.5), Plan(), 0.0)
    pairing.work(routing)
    pairing.work(routing)  # given once, however often it looks
    wait_for(shadow, 1)
    shadow.flush()
    (row,) = rows(database)
    assert (row.decision_id, row.bundle, row.action) == ("d_1", NEW.digest, "block")


def test_one_whose_photo_is_gone_is_left_out(shadow, database, tmp_path):
    decided(database, Listing("L1", "a drug", photos=(b"a photo",)), "d_1", ("0" * 64,))
    pairing = Pairing(database, shadow, PhotoStore(str(tmp_path)), lambda: 1)
    pairing.work(Routing(OLD, NEW, rollout(0.5), Plan(), 0.0))
    shadow.flush()
    assert rows(database) == []

"""A new policy beside a bundle that serves: taken in while it runs, and replayed as it was."""

import time

import pytest
from sqlalchemy import select

from stallwart.core import rulebook
from stallwart.core.taxonomy import Policy
from stallwart.model.addon import AddOn, Head, Linear, encoder_digests, write_addon
from stallwart.model.bundle import read_bundle
from stallwart.model.runtime import Scorer
from stallwart.replay.besides import Besides
from stallwart.replay.run import Replayer
from stallwart.replay.session import Session
from stallwart.replay.stored import Window
from stallwart.replay.verify import verify
from stallwart.serving.runtime import BundleRuntime
from stallwart.store import rights, rulebooks
from stallwart.store.database import reading, writing
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import candidates
from tests.replay.served import market_listings

KNIVES = Policy(id="knives", title="Knives", covers="Blades.", prevalence=0.01)
LAXEST = 0.5  # score from which it would block


@pytest.fixture
def runtime(tiny_bundles, settings):
    return BundleRuntime(read_bundle(tiny_bundles[0]), settings)


def addon_for(runtime):
    text, photo = encoder_digests(runtime.bundle.folder)
    embedder = runtime._scorer.embedder
    d_text, d_photo = embedder.text.spec.d, embedder.photo.spec.d
    policy = Linear(bias=1.0, text=tuple(0.1 * i for i in range(d_text)), photo=(0.0,) * d_photo)
    head = Head(text_mean=(0.0,) * d_text, photo_mean=(0.0,) * d_photo, policy=policy)
    return AddOn(
        policy=KNIVES, text=text, photo=photo, head=head, slope=1.0, intercept=0.0, review=0.0, card={}
    )


def move(connection, books, seen, places=None):
    rulebooks.move(connection, books, seen=seen, who="ana", why="the law", now_ms=1, places=places)


def begin_to_earn(connection, runtime):
    """The attempt to earn a right that comes with an add-on."""
    first = rights.Right(runtime.digest, "knives", rights.State.NONE, 0.9, None, None, "new", 1)
    rights.adopt(connection, [first], who="ana", now_ms=1)
    rights.start_earning(connection, first, [LAXEST], who="ana", why="the law", now_ms=1)


def until(make, holds, seconds=30.0):
    """What `make` gives once it `holds`."""
    end = time.monotonic() + seconds
    while not holds(made := make()):
        assert time.monotonic() < end, made
        time.sleep(0.02)
    return made


def test_a_policy_comes_and_goes_while_a_service_runs_and_every_decision_replays(
    runtime, serve, engine, settings, sample_market, tmp_path
):
    service = serve(runtime, rollout_seconds=0.05)
    listings = market_listings(sample_market, 12)
    first = service.ask_all(listings)
    assert all(one["addons"] == [] and "knives" not in one["scores"] for one in first)

    addon = addon_for(runtime)
    begun = rulebook.begin(runtime.bundle.taxonomy)
    book = rulebook.add(begun, KNIVES)
    place = write_addon(addon, tmp_path / "shelf")
    with writing(engine) as connection:  # as `policy add` does it
        move(connection, [begun, book], 0, {"knives": (addon.digest, str(place))})
        begin_to_earn(connection, runtime)

    def again(one):
        return service.client.post("/v1/decisions?rescan=true", json={"listing": one, "rescan": True}).json()

    until(lambda: again(listings[0]), lambda one: one.get("addons") == [addon.digest])
    second = [again(one) for one in listings]
    for before, after in zip(first, second, strict=True):
        kept = {name: score for name, score in after["scores"].items() if name != "knives"}
        assert kept == before["scores"]
        assert (after["action"], after["policies"]) == (before["action"], before["policies"])
        assert after["taxonomy"] == book.digest != before["taxonomy"]
        assert after["thresholds"]["knives"] == {"block": None, "review": None}
    assert any(one["scores"].get("knives", 0) >= LAXEST for one in second), "it would block some of them"
    with reading(engine) as connection:
        asked = connection.execute(select(candidates.c.decision_id)).scalars().all()
    scored = {one["decision_id"] for one in second if "knives" in one["scores"]}
    assert scored <= set(asked)
    assert len(scored) >= 4  # those with words: the head reads nothing else

    retired = rulebook.retire(book, "knives")
    with writing(engine) as connection:
        move(connection, [retired], 2)
    until(lambda: again(listings[0]), lambda one: one["addons"] == [])

    photos = PhotoStore(str(settings.data_dir / "photos"))
    replayer = Replayer(Scorer(runtime.bundle, settings), photos, Besides(engine, runtime.bundle).of)
    session = Session(engine, replayer, Window(None, 2**60, runtime.digest, True))
    found = verify(session.replayed(as_then=True), runtime.policies)
    assert found.compared == found.equal > 24, found.differences

"""A new policy beside a bundle that serves: taken in while it runs, and replayed as it was."""

import time

import pytest
from sqlalchemy import select

from stallwart.core import rulebook
from stallwart.core.taxonomy import Policy
from stallwart.model.addon import AddOn, Head, Voter, encoder_digests, write_addon
from stallwart.model.bundle import read_bundle
from stallwart.model.runtime import Scorer
from stallwart.replay.besides import Besides
from stallwart.replay.run import Replayer
from stallwart.replay.session import Session
from stallwart.replay.stored import Window
from stallwart.replay.verify import verify
from stallwart.serving.runtime import BundleRuntime
from stallwart.store import rulebooks
from stallwart.store.database import reading, writing
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import candidates
from tests.replay.served import market_listings

KNIVES = Policy(id="knives", title="Knives", covers="Blades.", prevalence=0.01)


@pytest.fixture
def runtime(tiny_bundles, settings):
    return BundleRuntime(read_bundle(tiny_bundles[0]), settings)


def addon_for(runtime):
    text, photo = encoder_digests(runtime.bundle.folder)
    embedder = runtime._scorer.embedder
    means = {"text_mean": (0.0,) * embedder.text.spec.d, "photo_mean": (0.0,) * embedder.photo.spec.d}
    head = Head(**means, voters=(Voter(bias=1.0, text=tuple(0.1 * i for i in range(embedder.text.spec.d))),))
    return AddOn(
        policy=KNIVES, text=text, photo=photo, head=head, slope=1.0, intercept=0.0, review=0.0, card={}
    )


def move(engine, book, seen, places=None):
    with writing(engine) as connection:
        books = book if isinstance(book, list) else [book]
        rulebooks.move(connection, books, seen=seen, who="ana", why="the law", now_ms=1, places=places)


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
    move(engine, [begun, book], 0, {"knives": (addon.digest, str(place))})

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
    with reading(engine) as connection:
        asked = connection.execute(select(candidates.c.decision_id)).scalars().all()
    scored = {one["decision_id"] for one in second if "knives" in one["scores"]}
    assert scored <= set(asked)
    assert len(scored) >= 4  # those with words: the head reads nothing else

    retired = rulebook.retire(book, "knives")
    move(engine, retired, 2)
    until(lambda: again(listings[0]), lambda one: one["addons"] == [])

    photos = PhotoStore(str(settings.data_dir / "photos"))
    replayer = Replayer(Scorer(runtime.bundle, settings), photos, Besides(engine, runtime.bundle).of)
    session = Session(engine, replayer, Window(None, 2**60, runtime.digest, True))
    found = verify(session.replayed(as_then=True), runtime.policies)
    assert found.compared == found.equal > 24, found.differences

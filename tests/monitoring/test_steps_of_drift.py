"""From stored decisions to sketches, alarms of drift and groups of what is new, with a tiny bundle."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from stallwart.core.decision import Action, Cause, Decision
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.model.bundle import read_bundle
from stallwart.monitoring.drift import Drift, sample_of
from stallwart.monitoring.novelty import Novelties
from stallwart.monitoring.sketches import Sketches
from stallwart.monitoring.step import Around
from stallwart.store.alerts import open_alerts
from stallwart.store.database import reading, writing
from stallwart.store.decisions import Draft, write
from stallwart.store.novelties import members, read_novelties
from stallwart.store.photos import PhotoStore
from stallwart.store.registry import register, set_champion
from stallwart.store.revisions import revision_of
from stallwart.store.rulings import Asked, rule
from stallwart.store.sketches import last_sketches
from stallwart.store.tables import drift_looks, sketches
from tests.store.rolling import NOW

HOUR = 3_600_000
PLAIN = ("brass lamp", "oak table", "wool coat", "garden chair", "old clock", "blue vase")
NEW = ("vaporizador descartável", "essência de menta", "cigarro eletrônico novo")


def photo_of(rng, grey=False):
    pixels = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("L" if grey else "RGB").convert("RGB")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class Live:
    """A market that is decided about, an hour between listings."""

    def __init__(self, database, bundle, tmp_path):
        self.database, self.now_ms, self.count = database, NOW, 0
        self.rng = np.random.default_rng(5)
        self.settings = Settings(
            data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", threads=1,
            drift_reference_rows=300, drift_reference_days=1, watch_listings_per_hour=1_000,
        )  # fmt: skip
        self.photos = PhotoStore(str(tmp_path / "data" / "photos"))
        self.policies = bundle.taxonomy.ids
        self.colour = [photo_of(self.rng) for _ in range(6)]
        self.grey = [photo_of(self.rng, grey=True) for _ in range(6)]
        with writing(database) as connection:
            register(
                connection, digest=bundle.digest, place=str(bundle.folder), card=bundle.card, who="ana",
                now_ms=NOW,
            )  # fmt: skip
            set_champion(connection, bundle.digest, who="ana", why="the first", now_ms=NOW)
        self.bundle = bundle

    def sell(self, n, words=PLAIN, language=("en",) * 9 + ("ru",), photos=None):
        photos = photos or self.colour
        drafts = []
        for _ in range(n):
            self.count += 1
            self.now_ms += HOUR // 4
            picked = self.photos.put(photos[int(self.rng.integers(len(photos)))])
            text = f"{self.rng.choice(words)} {self.rng.integers(100)}"
            listing = Listing(f"l{self.count}", text, "as it is", language=str(self.rng.choice(language)))
            drafts.append(self._draft(listing, (picked,)))
        with writing(self.database) as connection:
            write(connection, drafts, [], self.now_ms)

    def _draft(self, listing, photos):
        revision = revision_of(listing, photos, None)
        decision = Decision(
            decision_id=f"d_{self.count:06d}", listing_id=listing.listing_id, revision=revision.revision,
            action=Action.ALLOW, policies=(), reason="as it was",
            scores=dict.fromkeys(self.policies, float(self.rng.uniform(0.01, 0.2))), thresholds={},
            bundle=self.bundle.digest, taxonomy="t" * 64, cause=Cause.NEW, decided_at_ms=self.now_ms,
        )  # fmt: skip
        return Draft(revision, decision)

    @property
    def around(self):
        return Around(self.database, self.settings, lambda: self.now_ms + HOUR)

    def open_keys(self, prefix="drift/"):
        with reading(self.database) as connection:
            return {one.alert_key: one for one in open_alerts(connection, prefix)}


@pytest.fixture
def live(database, tiny_bundles, tmp_path):
    return Live(database, read_bundle(tiny_bundles[0]), tmp_path)


def test_a_market_that_stays_raises_nothing_and_one_that_changed_says_what_moved(live):
    sketching, drift = Sketches(live.around), Drift(live.around)
    live.sell(310)
    assert sketching.run()["sketched"] == 310
    assert sketching.run()["read"] == 0, "nothing is sketched twice"
    for _ in range(4):
        live.sell(50)
        sketching.run()
        drift.run()
    assert live.open_keys() == {}
    with reading(live.database) as connection:
        assert connection.execute(select(func.count()).select_from(drift_looks)).scalar() > 10
    for _ in range(4):
        live.sell(50, words=NEW, language=("pt",), photos=live.grey)
        sketching.run()
        drift.run()
    raised = live.open_keys()
    assert {"drift/language", "drift/colour"} <= set(raised)
    colour = raised["drift/colour"]
    assert "Colour: grey, rare or unknown before, has" in colour.words
    moved = colour.detail["decisions"]
    assert moved
    assert all(int(decision_id[2:]) > 510 for decision_id in moved)


def test_another_champion_ends_the_alerts_and_begins_anew(live, tiny_bundles):
    sketching, drift = Sketches(live.around), Drift(live.around)
    live.sell(310)
    live.sell(120, language=("pt",))
    sketching.run()
    drift.run()
    assert "drift/language" in live.open_keys()
    other = read_bundle(tiny_bundles[1])
    live.now_ms += HOUR
    with writing(live.database) as connection:
        register(
            connection, digest=other.digest, place=str(other.folder), card={}, who="ana", now_ms=live.now_ms
        )
        set_champion(connection, other.digest, who="ana", why="better", now_ms=live.now_ms)
    live.sell(310, language=("pt",))
    sketching.run()
    drift.run()
    assert live.open_keys() == {}
    live.sell(60, language=("pt",))
    sketching.run()
    drift.run()
    assert live.open_keys() == {}, "what is usual is what the new champion met first"


def test_a_kill_between_sketching_and_its_cursor_sketches_nothing_twice(live, monkeypatch):
    live.sell(40)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("stallwart.monitoring.sketches.move_cursor", killed)
        with pytest.raises(KeyboardInterrupt):
            Sketches(live.around).run()
    assert Sketches(live.around).run()["sketched"] == 40
    with reading(live.database) as connection:
        rows = last_sketches(connection, 100)
        assert connection.execute(select(func.count()).select_from(sketches)).scalar() == 40
    assert all(len(one.vector) == 256 and one.unlike is not None for one in rows)
    assert not any("brass" in str(one.facts) for one in rows), "no content"


def test_scores_of_a_challenger_that_decides_a_part_are_no_drift(live):
    live.sell(20)
    Sketches(live.around).run()
    with reading(live.database) as connection:
        rows = last_sketches(connection, 20)
    mixed = [replace(one, bundle="c" * 64) if place % 2 else one for place, one in enumerate(rows)]
    sample = sample_of(mixed, live.bundle.digest)
    assert len(sample) == 20
    assert np.isfinite(sample.scores).all(axis=1).sum() == 10
    assert np.isfinite(sample_of(mixed).scores).all()


def test_a_persons_decision_about_a_listing_is_no_other_listing(live):
    live.sell(10)
    policies = live.policies[:1]
    asked = [
        Asked(
            f"bulk {number}",
            f"d_{number:06d}",
            Cause.BULK,
            "ana",
            live.now_ms,
            "bulk",
            Action.BLOCK,
            policies,
        )
        for number in range(1, 6)
    ]
    with writing(live.database) as connection:
        assert len(rule(connection, asked, live.now_ms)) == 5
    assert Sketches(live.around).run()["sketched"] == 10


def test_only_a_share_is_sketched_where_more_is_decided_than_is_wanted(live):
    live.settings = live.settings.model_copy(update={"watch_listings_per_hour": 2.0})
    live.sell(192)  # in two days, 96 of them in the last; 48 are wanted
    assert 60 <= Sketches(live.around).run()["sketched"] <= 140
    with reading(live.database) as connection:
        (row,) = last_sketches(connection, 1)
    assert 0.4 < row.facts["share"] < 0.6


def test_listings_unlike_the_training_set_become_one_group_that_grows(live, monkeypatch):
    monkeypatch.setattr("stallwart.monitoring.novelty.far_from", lambda _: -1.0)  # tiny encoders tell little
    live.sell(60)
    Sketches(live.around).run()
    looking = Novelties(live.around)
    looking.run()
    with reading(live.database) as connection:
        first = read_novelties(connection)
    live.sell(8)
    Sketches(live.around).run()
    assert looking.run()["far"] == 0, "it looks every six hours"
    live.now_ms += 7 * HOUR
    looking.run()
    with reading(live.database) as connection:
        later = read_novelties(connection)
        assert first
        assert max(one.size for one in later) > max(one.size for one in first)
        assert {one.novelty_id for one in later} & {one.novelty_id for one in first}, "it is the same group"
        assert len(members(connection, later[0].novelty_id)) == later[0].size
    assert live.open_keys("novelty/")

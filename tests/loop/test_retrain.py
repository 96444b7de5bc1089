"""Retraining on the generated market with tiny encoders, on both databases."""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny.market import RECIPE, sources_of

from stallwart.core import rulebook
from stallwart.core.errors import ConflictError
from stallwart.core.rollout import Stage
from stallwart.core.settings import Settings
from stallwart.loop import retrain as module
from stallwart.loop.files import Given, gather_files, is_held_back
from stallwart.loop.retrain import LEASE, Asked, dates, retrain
from stallwart.model.bundle import read_bundle
from stallwart.model.shelf import shelf, shelve
from stallwart.rollout.plan import read_plan
from stallwart.store import audit, leases, registry, rollouts, rulebooks
from stallwart.store.database import reading, writing
from stallwart.store.photos import PhotoStore

NOW = 1_800_000_000_000
UNTIL = datetime(2025, 11, 1, tzinfo=UTC)
PASSES = {"retrain_margin_later": 0.99, "retrain_margin_older": 0.99}
QUICK = RECIPE.model_copy(update={"seed": 3, "certification": RECIPE.certification.model_copy(
    update={"first_origin_months": 7})})  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings_of(tmp_path, cache):
    def make(**changes):
        given = {"retrain_later_days": 60, "retrain_validate_days": 30, "retrain_held_back": 4, **PASSES}
        return Settings(cache_dir=cache, data_dir=tmp_path / "data", threads=1, **{**given, **changes})

    return make


@pytest.fixture
def asked(sample_market):
    sources = sources_of(sample_market)
    given = Given(sources.listings, sources.labels, sources.columns, sources.taxonomy)
    return Asked(UNTIL, given, QUICK, read_plan(None), "ana", "weekly")


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


def crown(database, folder: Path, settings) -> str:
    """The bundle in `folder` decides from now on."""
    bundle = read_bundle(folder)
    place = shelve(bundle, shelf(settings))
    with writing(database) as connection:
        registry.register(
            connection, digest=bundle.digest, place=str(place), card=bundle.card, who="ana", now_ms=NOW
        )
        registry.set_champion(connection, bundle.digest, who="ana", why="the first", now_ms=NOW)
    return bundle.digest


def said(database):
    with reading(database) as connection:
        return [
            (entry.act, entry.detail) for entry in audit.read(connection, act="retrain.", subject="retrain")
        ]


def clock():
    return NOW


@pytest.mark.slow
def test_a_challenger_that_may_goes_into_shadow_and_asking_again_changes_nothing(
    database, photos, asked, settings_of, tiny_bundles
):
    settings = settings_of()
    champion = crown(database, tiny_bundles[0], settings)
    outcome = retrain(database, photos, asked, settings, clock)
    assert outcome.passed
    assert outcome.champion == champion != outcome.bundle
    with reading(database) as connection:
        rollout = rollouts.current(connection)
        row = registry.read_bundle_row(connection, outcome.bundle)
    assert rollout is not None
    assert (rollout.rollout_id, rollout.challenger, rollout.stage) == (
        outcome.rollout_id, outcome.bundle, Stage.SHADOW
    )  # fmt: skip
    assert read_bundle(Path(row.place)).digest == outcome.bundle
    assert retrain(database, photos, asked, settings, clock) == outcome
    ((act, detail),) = said(database)
    assert act == "retrain.passed"
    assert (detail["bundle"], detail["rollout"]) == (outcome.bundle, outcome.rollout_id)
    assert {one["rows"] for one in outcome.gate["seen"]} >= {"later"}
    assert outcome.gate["rows"]["older"] > 0
    card = read_bundle(outcome.folder).card
    ends = [
        str(one.replace(tzinfo=None).isoformat(timespec="milliseconds")) for one in dates(asked, settings)
    ]
    assert [card["train_until"], card["validate_until"]] == ends


@pytest.mark.slow
def test_a_refused_challenger_is_not_registered_and_the_reasons_are_kept(
    database, photos, asked, settings_of, tiny_bundles
):
    settings = settings_of(retrain_margin_later=0.0)
    crown(database, tiny_bundles[0], settings)
    outcome = retrain(database, photos, asked, settings, clock)
    assert not outcome.passed
    assert outcome.rollout_id is None
    assert "later listings the mean average precision changes by" in outcome.gate["reasons"][0]
    with reading(database) as connection:
        assert rollouts.current(connection) is None
        assert outcome.bundle not in {row.digest for row in registry.list_bundles(connection)}
    ((act, detail),) = said(database)
    assert act == "retrain.refused"
    assert detail["reasons"] == outcome.gate["reasons"]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["_gate", "shelve", "start_rollout", "_tell"])
def test_a_killed_retraining_goes_on_after_its_last_whole_step(
    database, photos, asked, settings_of, tiny_bundles, monkeypatch, step
):
    settings = settings_of()
    crown(database, tiny_bundles[0], settings)
    trained, real = [], module.train
    monkeypatch.setattr(module, "train", lambda *given, **more: trained.append(1) or real(*given, **more))

    def killed(*_given, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            retrain(database, photos, asked, settings, clock)
    outcome = retrain(database, photos, asked, settings, clock)
    assert trained == [1]
    assert outcome.passed
    with reading(database) as connection:
        assert len(rollouts.history(connection)) == 1
    assert [act for act, _ in said(database)] == ["retrain.passed"]


def test_two_do_not_retrain_at_once_and_a_dead_one_is_followed(
    database, photos, asked, settings_of, monkeypatch
):
    settings = settings_of()
    with writing(database) as connection:
        assert leases.hold(connection, LEASE, "other-machine", NOW, 60_000)
    with pytest.raises(ConflictError, match="other-machine is retraining; where it died, try again in 60 s"):
        retrain(database, photos, asked, settings, clock)
    monkeypatch.setattr(module, "_champion", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # it got as far as the work
        retrain(database, photos, asked, settings, lambda: NOW + 60_001)
    with reading(database) as connection:
        assert leases.read_lease(connection, LEASE) is None


def test_a_running_rollout_is_waited_for(database, photos, asked, settings_of, monkeypatch):
    from tests.store.rolling import NEW, OLD, begun, registered

    registered(database, OLD, NEW, champion=OLD)
    begun(database)
    monkeypatch.setattr(module, "_champion", lambda _: None)  # its folder is nowhere
    with pytest.raises(ConflictError, match="there is one at a time"):
        retrain(database, photos, asked, settings_of(), clock)


@pytest.fixture
def gathered(database, photos, asked, settings_of, tmp_path):
    def gather(erased=None, until=UNTIL):
        folder = tmp_path / f"files-{until:%m}"
        return gather_files(folder, asked.given, database, photos, until, settings_of(), erased)

    return gather


def rows(path):
    with path.open(newline="") as file:
        return {row["listing_id"]: row for row in csv.DictReader(file)}


def test_only_labels_that_were_known_are_written_and_those_held_back_stand_apart(gathered, sample_market):
    files = gathered()
    everything, learned = rows(files.all), rows(files.train)
    known = {name for name, row in rows(sample_market / "labels.csv").items()
             if datetime.fromisoformat(row["labelled_at"]).replace(tzinfo=UTC) <= UNTIL}  # fmt: skip
    assert set(everything) == known
    held = {name for name in everything if is_held_back(name, 4)}
    assert set(learned) == set(everything) - held
    assert files.held_back == len(held) > 0
    assert sum(files.labels.values()) == len(everything)


def test_the_same_listings_are_held_back_every_time(gathered):
    early, late = (gathered(until=datetime(2025, month, 1, tzinfo=UTC)) for month in (7, 11))
    held = [set(rows(files.all)) - set(rows(files.train)) for files in (early, late)]
    assert held[0] < held[1]
    assert is_held_back("lamp@0123456789ab", 4) == is_held_back("lamp", 4)


def test_what_was_erased_stays_out_and_so_does_what_an_erased_seller_listed(gathered, sample_market):
    everything = set(rows(gathered(until=datetime(2025, 10, 1, tzinfo=UTC)).all))
    listings = [
        one for path in sorted(sample_market.glob("*.parquet")) for one in pq.read_table(path).to_pylist()
    ]
    sellers = {one["listing_id"]: one["seller_id"] for one in listings}
    name = min(everything)
    seller = sellers[max(one for one in everything if sellers[one])]
    kept = set(rows(gathered(lambda one, whose: one == name or whose == seller).all))
    assert name not in kept
    assert not {one for one in kept if sellers[one] == seller}
    assert {one for one in everything if sellers[one] != seller} - {name} <= kept


def test_verdicts_are_learned_from_beside_the_files(gathered, database, sample_market):
    from stallwart.core.taxonomy import read_taxonomy
    from tests.dataset.test_stored import judge, stored
    from tests.store.listings import draft

    policy = read_taxonomy(sample_market / "policies.toml").ids[0]
    until_ms = int(UNTIL.timestamp() * 1_000)
    known, unknown = stored(database, draft("seen"), draft("later"))
    judge(database, known, {policy: "yes"}, now_ms=until_ms - 1)
    judge(database, unknown, {policy: "yes"}, now_ms=until_ms)
    files = gathered()
    everything = rows(files.all)
    assert everything["seen"]["label"] == policy
    assert "later" not in everything
    assert any("stored" in str(path) for path in files.listings)


def moved(database, taxonomy):
    """The first policy split in two and the second retired; what the next training learns."""
    first, second = taxonomy.policies[:2]
    parts = tuple(first.model_copy(update={"id": f"part_{name}", "prevalence": 0.001}) for name in "ab")
    books = [rulebook.begin(taxonomy)]
    books.append(rulebook.split(books[-1], first.id, parts))
    books.append(rulebook.retire(books[-1], second.id))
    with writing(database) as connection:
        rulebooks.move(connection, books, seen=0, who="ana", why="new law", now_ms=NOW)
    return books[-1].to_train


def test_labels_are_carried_over_moves_and_what_one_leaves_open_is_no_label(
    database, photos, asked, settings_of, gathered, tmp_path
):
    from tests.dataset.test_stored import judge, stored
    from tests.store.listings import draft

    before = rows(gathered().all)
    split, retired = asked.given.taxonomy.ids[:2]
    neutral = min(name for name, row in before.items() if row["label"] == "neutral")
    given = replace(asked.given, taxonomy=moved(database, asked.given.taxonomy))
    at_ms = int(UNTIL.timestamp() * 1_000) - 1
    ids = stored(database, draft(neutral), draft("denied"), draft("said"))
    answers = dict.fromkeys(asked.given.taxonomy.ids, "no")
    judge(database, ids[0], answers | {split: "yes"}, now_ms=at_ms)
    judge(database, ids[1], answers | {retired: "yes"}, now_ms=at_ms)
    judge(database, ids[2], {"part_a": "yes"}, now_ms=at_ms)
    files = gather_files(tmp_path / "moved", given, database, photos, UNTIL, settings_of(), None)
    after = rows(files.all)
    gone = {name for name, row in before.items() if row["label"] == split} | {neutral}
    assert set(after) == set(before) - gone | {"denied", "said"}
    assert (after["denied"]["label"], after["said"]["label"]) == ("neutral", "part_a")
    was_retired = {name for name, row in before.items() if row["label"] == retired}
    assert was_retired
    assert {after[name]["label"] for name in was_retired} == {"neutral"}
    assert files.left_open == len(gone) > 1
    assert files.carried == len(was_retired) + 1
    again = gather_files(tmp_path / "moved", given, database, photos, UNTIL, settings_of(), None)
    assert again == files


@pytest.mark.slow
def test_after_a_split_and_a_retirement_the_gate_compares_what_both_bundles_know(
    database, photos, asked, settings_of, tiny_bundles
):
    settings = settings_of()
    crown(database, tiny_bundles[0], settings)
    others = set(asked.given.taxonomy.ids[2:])
    taxonomy = moved(database, asked.given.taxonomy)
    named = replace(asked, given=replace(asked.given, taxonomy=taxonomy))
    outcome = retrain(database, photos, named, settings, clock)
    assert outcome.passed
    judged = {one["policy"] for one in outcome.gate["seen"]} - {"mean"}
    assert judged
    assert judged <= others
    assert outcome.left_open > 0

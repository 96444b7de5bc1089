"""Evidence ahead of time: made by the bundle that decided, kept without words, gone with the content."""

import pytest
from desks import asked, listed, settings_of

from stallwart.core import rulebook
from stallwart.core.decision import Action
from stallwart.model.addon import write_addon
from stallwart.model.bundle import read_bundle
from stallwart.review.explaining import Explainer
from stallwart.store.database import reading, writing
from stallwart.store.explanations import read_explanation
from stallwart.store.photos import PhotoStore
from stallwart.store.registry import register
from stallwart.store.retention import purge
from stallwart.store.rulebooks import move
from stallwart.store.tasks import Kind
from tests.model.test_addon import KNIVES, addon_for
from tests.store.rolling import NOW

pytestmark = pytest.mark.slow


def explained(database, number=1):
    with reading(database) as connection:
        return read_explanation(connection, f"d-{number:06d}")


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


def explainer(database, settings, bundle=None, photos=1):
    store = PhotoStore(str(settings.data_dir / "photos"), lambda: NOW)
    limits = settings.model_copy(update={"review_explain_photos": photos})
    return Explainer(database, store, limits, lambda: NOW, bundle)


def test_open_tasks_are_explained_by_the_bundle_that_decided_and_retention_takes_it_back(
    database, settings, tiny_bundles
):
    bundle = read_bundle(tiny_bundles[0])
    with writing(database) as connection:
        register(connection, digest=bundle.digest, place=str(tiny_bundles[0]), card={}, who="ana", now_ms=NOW)
    policy = bundle.taxonomy.ids[0]
    for number, kind in ((1, Kind.REVIEW), (2, Kind.AUDIT)):
        decision = listed(
            database, settings, number, bundle=bundle.digest, policies=(policy,), scores={policy: 0.6}
        )
        asked(database, decision, kind)
    asked(database, listed(database, settings, 3))  # decided by a bundle that nobody has
    asked(database, listed(database, settings, 4, scores=None, action=Action.REVIEW))
    one = explainer(database, settings)
    assert one.step() == 3
    found = explained(database)
    assert found.evidence["policy"] == policy
    assert found.evidence["words"]
    assert "knife" not in str(found.evidence["words"])
    assert [region["photo"] for region in found.evidence["regions"]] == [0]
    assert explained(database, 2) is None  # blind
    assert "is registered" in explained(database, 3).failed
    assert explained(database, 4).failed == "it could not be scored"
    assert one.step() == 0
    purge(database, lambda *_: True, NOW + 10**9, NOW + 10**9)
    assert explained(database) is None


def test_a_bundle_of_a_folder_explains_its_own_decisions_and_photos_only_as_far_as_wanted(
    database, settings, tiny_bundles
):
    bundle = read_bundle(tiny_bundles[1])
    policy = bundle.taxonomy.ids[0]
    decision = listed(database, settings, 1, bundle=bundle.digest, policies=(policy,), scores={policy: 0.6})
    asked(database, decision)
    assert explainer(database, settings, tiny_bundles[1], photos=0).step() == 1
    assert explained(database).evidence["regions"] == []


def test_a_task_about_a_new_policy_is_explained_by_its_own_head_or_not_at_all(
    database, settings, tiny_bundles, tmp_path
):
    bundle = read_bundle(tiny_bundles[0])
    addon = addon_for(bundle)
    place = write_addon(addon, tmp_path / "shelf")
    begun = rulebook.begin(bundle.taxonomy)
    added = {"knives": (addon.digest, str(place))}
    books = [begun, rulebook.add(begun, KNIVES)]
    with writing(database) as connection:
        move(connection, books, seen=0, who="ana", why="new", now_ms=NOW, places=added)
    facts = {"bundle": bundle.digest, "action": Action.ALLOW, "policies": (), "photos": 0}
    for number, addons in ((1, (addon.digest,)), (2, ())):
        decision = listed(
            database, settings, number, **facts, addons=addons, scores={bundle.taxonomy.ids[0]: 0.03}
        )
        asked(database, decision, policy="knives")
    assert explainer(database, settings, tiny_bundles[0]).step() == 2
    assert explained(database).evidence["policy"] == "knives"
    assert explained(database).evidence["words"]
    assert "none can be shown for knives" in explained(database, 2).failed

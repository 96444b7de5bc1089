from sqlalchemy import update

from stallwart.core.decision import Action
from stallwart.store.database import reading, writing
from stallwart.store.history import seller_history
from stallwart.store.tables import revisions
from tests.store.outgoing import decide
from tests.store.rolling import NOW


def published(database, *listings, seller="shop", action=Action.ALLOW):
    for number, (listing_id, edit, at_ms) in enumerate(listings):
        made = decide(database, [], (listing_id, edit), action=action, now_ms=at_ms)[0]
        with writing(database) as connection:
            connection.execute(
                update(revisions)
                .where(revisions.c.revision == made.revision)
                .values(seller_id=seller, stored_at_ms=at_ms + number)
            )


def history(database, seller="shop", **facts):
    with reading(database) as connection:
        return seller_history(connection, seller, **facts)


def test_a_seller_s_listings_come_newest_first_each_as_it_is_now(database):
    published(database, ("lamp", 1, NOW), ("table", 1, NOW + 10), ("lamp", 2, NOW + 20))
    published(database, ("vase", 1, NOW + 5), seller="other")
    published(database, ("chair", 1, NOW + 30), action=Action.BLOCK)
    found = history(database)
    assert [one.listing_id for one in found] == ["chair", "lamp", "table"]
    assert [one.decision_id for one in found] == ["d-chair-0001", "d-lamp-0002", "d-table-0001"]
    assert (found[0].action, found[0].policies, found[0].title) == (Action.BLOCK, ("tobacco",), "état 1")
    assert (found[1].title, found[1].decided_at_ms) == ("état 2", NOW + 20)
    assert [one.listing_id for one in history(database, limit=2)] == ["chair", "lamp"]
    assert history(database, "nobody") == []


def test_who_edits_one_listing_often_has_it_once(database):
    published(database, ("table", 1, NOW - 1), *(("lamp", edit, NOW + edit) for edit in range(1, 15)))
    assert [one.listing_id for one in history(database)] == ["lamp", "table"]
    assert [one.listing_id for one in history(database, limit=1)] == ["lamp"]

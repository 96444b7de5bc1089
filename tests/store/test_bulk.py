import pytest
from sqlalchemy import select

from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError, ConflictError, DataError, NotFoundError
from stallwart.index.findable import Findable
from stallwart.index.search import Filters, search
from stallwart.store import audit, bulk
from stallwart.store.bulk import Bulk
from stallwart.store.database import reading, writing
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import decisions
from tests.index.stored import NOW, decide

LATER = NOW + 3_600_000


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


def shops(database, photos, count):
    for number in range(count):
        decide(
            database, photos, f"lamp {number}", f"Lamp {number}", seller_id=f"shop {number % 3}",
            action=Action.REVIEW if number % 4 == 0 else Action.ALLOW, now_ms=NOW + number,
        )  # fmt: skip
    worker = Findable(database, lambda: LATER)
    while worker.step()[1]:
        pass
    return search(database, Filters(words="lamp"), 10_000).rows


def prepared(database, hits, action=Action.BLOCK, policies=("weapons",), why="a raid"):
    with writing(database) as connection:
        return bulk.prepare(
            connection, hits, user_id="u_1", who="lea", action=action, policies=policies, why=why,
            filters={"words": "lamp"}, now_ms=LATER,
        )  # fmt: skip


def act(database, what, bulk_id, **facts):
    with writing(database) as connection:
        return what(connection, bulk_id, **facts)


def last(database):
    """Action of each listing's last decision."""
    with reading(database) as connection:
        rows = connection.execute(
            select(decisions.c.listing_id, decisions.c.action).order_by(decisions.c.seq)
        )
        return {row.listing_id: row.action for row in rows}


def seen(database, bulk_id):
    with reading(database) as connection:
        return bulk.read_act(connection, bulk_id), bulk.progress(connection, bulk_id)


def test_an_act_is_done_in_batches_and_undone_by_one_word(database, photos):
    hits = shops(database, photos, 120)
    before = last(database)
    bulk_id = prepared(database, hits)
    found, shown = seen(database, bulk_id)
    assert (found.state, found.listings, shown.before) == ("prepared", 120, {"allow": 90, "review": 30})
    assert (shown.seller_count, shown.sellers[0]) == (3, ("shop 0", 40))
    assert last(database) == before
    worker = Bulk(database, lambda: LATER)
    assert not worker.step()
    act(database, bulk.begin, bulk_id, who="lea", now_ms=LATER)
    assert worker.step()
    assert seen(database, bulk_id)[1].outcomes == {"ruled": 50}
    worker.work()
    found, shown = seen(database, bulk_id)
    assert (found.state, found.ended_at_ms, shown.outcomes) == ("done", LATER, {"ruled": 120})
    assert set(last(database).values()) == {"block"}
    act(database, bulk.take_back, bulk_id, who="lea", now_ms=LATER + 1)
    worker.work()
    found, shown = seen(database, bulk_id)
    assert (found.state, shown.undone) == ("undone", {"ruled": 120})
    assert last(database) == before


def test_what_was_edited_meanwhile_is_passed_over_and_counted(database, photos):
    hits = shops(database, photos, 3)
    bulk_id = prepared(database, hits, Action.ALLOW, ())
    decide(database, photos, "lamp 1", "Another lamp", now_ms=NOW + 50)
    act(database, bulk.begin, bulk_id, who="lea", now_ms=LATER)
    Bulk(database, lambda: LATER).work()
    assert seen(database, bulk_id)[1].outcomes == {"ruled": 2, "edited": 1}


def test_what_is_half_done_can_be_taken_back(database, photos):
    hits = shops(database, photos, 60)
    before = last(database)
    bulk_id = prepared(database, hits)
    act(database, bulk.begin, bulk_id, who="lea", now_ms=LATER)
    worker = Bulk(database, lambda: LATER)
    worker.step()
    act(database, bulk.take_back, bulk_id, who="lea", now_ms=LATER)
    worker.work()
    assert seen(database, bulk_id)[0].state == "undone"
    assert last(database) == before


def test_each_step_is_in_the_audit_log_without_words_and_listings(database, photos):
    bulk_id = prepared(database, shops(database, photos, 2))
    act(database, bulk.begin, bulk_id, who="lea", now_ms=LATER)
    Bulk(database, lambda: LATER).work()
    act(database, bulk.take_back, bulk_id, who="ana", now_ms=LATER)
    Bulk(database, lambda: LATER).work()
    with reading(database) as connection:
        entries = audit.read(connection, subject=bulk_id)
        assert audit.verify(connection).wrong is None
    assert [(one.act, one.who) for one in reversed(entries)] == [
        ("bulk.begin", "lea"), ("bulk.done", "lea"), ("bulk.undo", "ana"), ("bulk.undone", "lea"),
    ]  # fmt: skip
    assert all(one.detail["listings"] == 2 and one.detail["filters"] == ["words"] for one in entries)
    assert "lamp" not in str(entries)


def test_an_act_is_begun_once_and_only_what_was_begun_is_undone(database, photos):
    hits = shops(database, photos, 2)
    bulk_id, dropped = prepared(database, hits), prepared(database, hits)
    act(database, bulk.drop, dropped)
    with pytest.raises(ConflictError, match="it is dropped"):
        act(database, bulk.begin, dropped, who="lea", now_ms=LATER)
    with pytest.raises(ConflictError, match="it is prepared"):
        act(database, bulk.take_back, bulk_id, who="lea", now_ms=LATER)
    act(database, bulk.begin, bulk_id, who="lea", now_ms=LATER)
    with pytest.raises(ConflictError, match="it is running"):
        act(database, bulk.begin, bulk_id, who="lea", now_ms=LATER)
    with reading(database) as connection:
        assert [one.bulk_id for one in bulk.list_acts(connection)] == [bulk_id]
        assert sorted(bulk.listings_of(connection, bulk_id, 10)) == ["lamp 0", "lamp 1"]
    with pytest.raises(NotFoundError):
        act(database, bulk.begin, "b_none", who="lea", now_ms=LATER)


def test_what_cannot_be_done_is_refused_before_it_is_prepared(database, photos):
    hits = shops(database, photos, 1)
    for given, error in (
        ({"hits": ()}, DataError),
        ({"hits": hits, "policies": ()}, DataError),
        ({"hits": hits, "action": Action.ALLOW}, DataError),
        ({"hits": hits, "why": " "}, ConfigError),
    ):
        with pytest.raises(error):
            prepared(database, **given)

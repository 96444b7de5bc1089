"""The pages of search and of acts on many listings, as a plain browser sees them."""

import re
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from stallwart.core.decision import Action
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.index.findable import Findable
from stallwart.index.fingerprint import fingerprint_of
from stallwart.index.fingerprinting import Fingerprinter
from stallwart.index.near import NearDuplicates
from stallwart.review.bulk import BulkSection
from stallwart.review.finding import Finding
from stallwart.review.search import SearchSection
from stallwart.store.bulk import Bulk
from stallwart.store.database import reading, writing
from stallwart.store.known import add_known
from stallwart.store.people import Role
from stallwart.store.photos import PhotoStore
from stallwart.store.tables import bulk_acts, decisions
from stallwart.store.views import read_views
from tests.index.stored import KNIFE, LAMP, NOW, decide, photo
from tests.pages.sites import Clock, signed_in, site, words

HOSTILE = "<script>alert(1)</script> \u202e\"'> lamp"
LIMITS = {"bulk_limit_reviewers": 2, "bulk_limit_leads": 50}


@pytest.fixture
def shop(database, tmp_path):
    photos, settings = PhotoStore(str(tmp_path / "photos")), Settings(**LIMITS, review_meaning=False)
    finding = Finding(database, NearDuplicates(photos, settings), None)
    clock = Clock(NOW + 60_000)
    sections = [SearchSection(finding), BulkSection(finding)]
    from stallwart.review.account import AccountSection
    from tests.store.reviewing import QUICK

    app = site(database, [*sections, AccountSection(QUICK)], clock, settings)
    decide(database, photos, "L1", "Brass lamp", LAMP, [photo(1)], seller_id="ann & co", now_ms=NOW)
    decide(database, photos, "L2", "Brass lamp again", LAMP + " New.", seller_id="bob", now_ms=NOW + 1)
    decide(
        database, photos, "L3", HOSTILE, KNIFE, seller_id="<b>bob", action=Action.BLOCK,
        policies=("weapons",), now_ms=NOW + 2,
    )  # fmt: skip
    findable = Findable(database, lambda: NOW)
    findable.step()
    Fingerprinter(database, photos, settings, lambda: NOW).step()
    return SimpleNamespace(
        app=app, database=database, photos=photos, findable=findable, clock=clock, finding=finding
    )


def shown(page):
    return re.findall(r'name="pick" value="([^"]+)"', page.text)


def last(database):
    with reading(database) as connection:
        rows = connection.execute(
            select(decisions.c.listing_id, decisions.c.action).order_by(decisions.c.seq)
        )
        return {row.listing_id: row.action for row in rows}


def test_listings_are_found_and_each_that_is_shown_counts_as_seen(shop):
    rita = signed_in(shop.app, shop.database)
    assert shown(rita.get("/search")) == ["L3", "L2", "L1"]
    assert shown(rita.get("/search?words=brass+-again")) == ["L1"]
    assert shown(rita.get("/search?seller=ann+%26+co")) == ["L1"]
    assert shown(rita.get("/search?policy=weapons&score_from=0.1&action=block")) == ["L3"]
    with reading(shop.database) as connection:
        seen = [(view.listing_id, view.page) for _, view in read_views(connection, listing_id="L3")]
    assert seen == [("L3", "search")] * 2


def test_near_duplicates_of_a_listing_are_found_from_its_link(shop):
    rita = signed_in(shop.app, shop.database)
    page = rita.get("/search?words=brass+-again")
    link = re.search(r'href="(/search\?near=[^"]+)"', page.text).group(1)
    found = rita.get(link)
    assert set(shown(found)) == {"L1", "L2"}
    assert "alike by text" in words(found.text)
    assert shown(rita.get(f"{link}&by=photo")) == ["L1"]


def test_hostile_listings_and_searches_are_shown_as_text(shop):
    rita = signed_in(shop.app, shop.database)
    for way in ("/search", "/search?words=%3Cscript%3Ealert(1)%3C/script%3E&seller=%22%3E%3Cb%3E"):
        page = rita.get(way)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<b>bob" not in page.text
    assert "[right-to-left override]" in rita.get("/search").text


@pytest.mark.parametrize(
    "query",
    [
        "score_from=NaN", "score_to=2", "since=2026-13-01", "since=999999-01-01", "action=burn",
        "near=d_none", "near=x&by=y", "words=%F0%9F%92%8A", "words=%24%24%24", "words=-lamp",
        "score_from=0.9&score_to=0.1", "since=2026-01-03&until=2026-01-01",
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_read_is_said_beside_the_form(shop, query):
    page = signed_in(shop.app, shop.database).get(f"/search?{query}")
    assert page.status_code == 200
    assert 'class="refused"' in page.text


@pytest.mark.parametrize("before", ["x", "-1", "1" * 40, "٣"])
def test_a_page_that_is_not_there_is_the_first_one(shop, before):
    assert len(shown(signed_in(shop.app, shop.database).get(f"/search?before={before}"))) == 3


def prepare(somebody, **form):
    given = {"act": "block", "for": "weapons", "why": "a raid", "what": "chosen", **form}
    return somebody.post("/search/act", **given)


def test_an_act_is_prepared_looked_at_begun_and_undone(shop):
    lea = signed_in(shop.app, shop.database, Role.LEAD)
    before = last(shop.database)
    answer = prepare(lea, what="found", words="lamp")
    assert answer.status_code == 303
    page = lea.get(answer.headers["location"])
    said = words(page.text)
    assert "Block 3 listings for weapons" in said
    assert "2 allowed" in said
    assert "1 blocked" in said
    assert last(shop.database) == before
    worker = Bulk(shop.database, shop.clock)
    assert lea.post(answer.headers["location"] + "/begin").status_code == 303
    worker.work()
    shop.clock.now_ms += 1_000
    assert set(last(shop.database).values()) == {"block"}
    assert "3 decided" in words(lea.get(answer.headers["location"]).text)
    assert lea.post(answer.headers["location"] + "/undo").status_code == 303
    worker.work()
    assert last(shop.database) == before
    assert "Taken back" in words(lea.get(answer.headers["location"]).text)
    assert "a raid" in words(lea.get("/bulk").text)


def test_a_reviewer_acts_on_fewer_at_once_and_only_on_their_own_acts(shop):
    rita, lea = signed_in(shop.app, shop.database), signed_in(shop.app, shop.database, Role.LEAD)
    refused = prepare(rita, what="found", words="lamp")
    assert refused.status_code == 422
    assert "more than 2" in words(refused.text)
    mine = prepare(rita, pick=["L1", "L2"]).headers["location"]
    assert lea.post(f"{mine}/begin").status_code == 403
    assert rita.post(f"{mine}/begin").status_code == 303
    theirs = prepare(lea, pick=["L3"], act="allow").headers["location"]
    assert lea.post(f"{theirs}/begin").status_code == 303
    assert rita.post(f"{theirs}/undo").status_code == 403
    assert lea.post(f"{mine}/undo").status_code == 303


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "no listing was chosen"),
        ({"pick": ["L1"], "act": "burn"}, "say what is to be done"),
        ({"pick": ["L1"], "for": ""}, "name which"),
        ({"pick": ["L1"], "for": "arson"}, "there is no policy"),
        ({"pick": ["L1"], "why": " "}, "why is empty"),
        ({"pick": ["nothing"]}, "no listing was found"),
        ({"what": "found", "words": "💊"}, "there is nothing to search for in 💊"),
        ({"what": "found", "words": "-lamp"}, "add a word that must"),
    ],
)
def test_an_act_that_cannot_be_is_refused_before_it_is_prepared(shop, form, said):
    answer = prepare(signed_in(shop.app, shop.database), **form)
    assert answer.status_code in (400, 422)
    assert said in words(answer.text).lower()
    with reading(shop.database) as connection:
        assert connection.execute(select(bulk_acts)).first() is None


def test_an_act_that_is_dropped_does_nothing(shop):
    rita = signed_in(shop.app, shop.database)
    way = prepare(rita, pick=["L1"]).headers["location"]
    assert rita.post(f"{way}/drop").status_code == 303
    assert rita.post(f"{way}/begin").status_code == 409
    assert rita.get("/bulk/b_none").status_code == 404


def test_a_lead_removes_a_known_entry_and_a_reviewer_only_sees_it(shop):
    from stallwart.review.account import AccountSection
    from stallwart.review.known import KnownSection
    from tests.store.reviewing import QUICK

    app = site(shop.database, [KnownSection(shop.finding), AccountSection(QUICK)], shop.clock)
    made = fingerprint_of("r" * 64, Listing("L9", "Knife", KNIFE), Settings())
    with writing(shop.database) as connection:
        entry = add_known(connection, made, "weapons", who="lea", why="<i>seen</i>", now_ms=NOW)
    rita, lea = signed_in(app, shop.database), signed_in(app, shop.database, Role.LEAD)
    decide(shop.database, shop.photos, "L9", "Opens like a knife", KNIFE, [photo(2)], now_ms=NOW + 3)
    assert "Its content is not kept here" in words(lea.get("/known").text)
    shop.findable.step()
    page = lea.get("/known").text
    assert "Opens like a knife" in words(page)
    assert re.search(r'src="/photos/[^"]+/0"', page)
    with reading(shop.database) as connection:
        assert [view.page for _, view in read_views(connection, listing_id="L9")] == ["known"]
    assert "<i>seen" not in rita.get("/known").text
    assert "L9" in words(rita.get("/known?policy=weapons").text)
    assert rita.post("/known/remove", entry=entry.entry_id, why="x").status_code == 403
    assert lea.post("/known/remove", entry=entry.entry_id, why="too broad").status_code == 303
    assert lea.post("/known/remove", entry=entry.entry_id, why="again").status_code == 404
    assert "Nothing yet" in words(lea.get("/known").text)

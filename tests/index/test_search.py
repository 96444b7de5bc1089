import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text

from stallwart.core.decision import Action
from stallwart.index.findable import Findable
from stallwart.index.search import Filters, count, search
from stallwart.index.words import as_vector, for_postgres, for_sqlite, read_query, unread, words_of
from stallwart.store.database import reading, writing
from stallwart.store.findable import forget_findable
from stallwart.store.photos import PhotoStore
from stallwart.store.retention import purge
from stallwart.store.tables import findable
from tests.index.stored import KNIFE, LAMP, NOW, decide
from tests.store.test_query_plans import plans, whole

HOSTILE = [
    '"', '""', "'", "';--", "*", "-", "-lamp", '"lamp', "lamp*", "AND", "lamp AND", "NEAR(lamp", "NOT", "( )",
    "{}",     "words:lamp", "lamp^2", "\\", "\x00", "\ud800", "lamp & | ! <->", ":*", "%_", "🔪 \u202e",
    "a" * 5_000, "- - -", '-"', '"*', "lamp -", "٣٤ हिन्दी 日本語", "\u0301", "lamp\x00oak",
]  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    return PhotoStore(str(tmp_path / "photos"))


@pytest.fixture
def worker(database):
    return Findable(database, lambda: NOW + 3_600_000)


@pytest.fixture
def filled(database, photos, worker):
    decide(database, photos, "lamp", "Brass lamp", LAMP, seller_id="ann", now_ms=NOW)
    decide(
        database, photos, "knife", "GL0CK knife", KNIFE, seller_id="bob", action=Action.BLOCK, now_ms=NOW + 1,
        policies=("weapons",), scores={"weapons": 0.97, "tobacco": 0.01},
    )  # fmt: skip
    decide(
        database, photos, "vape", "Lamp shaped vape", "Нож и лампа", seller_id="bob", action=Action.REVIEW,
        policies=("tobacco",), scores={"weapons": 0.1, "tobacco": 0.4}, now_ms=NOW + 2,
    )  # fmt: skip
    decide(database, photos, "bare", None, None, scores={}, now_ms=NOW + 3)
    assert worker.step() == (4, False)
    return database


def found(database, **filters):
    return [one.listing_id for one in search(database, Filters(**filters), 50).rows]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["bare", "vape", "knife", "lamp"]),
        ({"words": "lamp"}, ["vape", "lamp"]),
        ({"words": "lamp -vape"}, ["lamp"]),
        ({"words": '"brass lamp"'}, ["lamp"]),
        ({"words": '"lamp brass"'}, []),
        ({"words": "swit*"}, ["knife", "lamp"]),
        ({"words": "glock"}, ["knife"]),
        ({"words": "G.L.O.C.K"}, ["knife"]),
        ({"words": "ЛАМПА"}, ["vape"]),
        ({"words": "oak"}, []),
        ({"seller_id": "bob"}, ["vape", "knife"]),
        ({"seller_id": "bob", "words": "lamp"}, ["vape"]),
        ({"policy": "weapons"}, ["knife", "lamp"]),
        ({"policy": "weapons", "score_from": 0.9}, ["knife"]),
        ({"score_from": 0.3, "score_to": 0.5}, ["vape"]),
        ({"action": Action.REVIEW}, ["vape"]),
        ({"since_ms": NOW + 1, "until_ms": NOW + 3}, ["vape", "knife"]),
        ({"listings": ("lamp", "bare", "gone")}, ["bare", "lamp"]),
        ({"listings": ("lamp", "bare"), "words": "lamp"}, ["lamp"]),
        ({"listings": ()}, []),
        ({"words": " "}, ["bare", "vape", "knife", "lamp"]),
        ({"words": "💊"}, []),
        ({"words": "-vape"}, []),
    ],
)
def test_each_filter_narrows_and_the_newest_is_first(filled, filters, names):
    assert found(filled, **filters) == names
    assert count(filled, Filters(**filters), 100) == len(names)


@pytest.mark.parametrize("words", HOSTILE)
def test_no_query_is_an_error_or_an_operator(filled, words):
    for filters in (Filters(words=words), Filters(words=words, seller_id=words), Filters(policy=words)):
        hits = search(filled, filters, 50)
        assert not hits.given_up


@pytest.mark.parametrize(
    "words",
    ["💊", "lamp 💊", "lamp💊", "-💊 lamp", "$$$", "lamp $$$", '""', "*", "';--(", "-lamp", "-lamp -",
     "- - -", "\u0301", "lamp " * 13, '"' + "lamp " * 9 + '"', "lamp " + " " * 1_000 + "oak"],
)  # fmt: skip
def test_a_query_that_would_find_more_than_was_asked_for_says_so(words):
    assert unread(words)


@pytest.mark.parametrize(
    "words",
    ["", "  ", "lamp", "lamp & shade", "lamp -oak", "lamp -", '"brass lamp', "№ 5", "日本語", "lamp " * 12],
)
def test_a_query_of_words_says_nothing(words):
    assert unread(words) == ""


@given(st.text(max_size=80))
def test_whatever_is_typed_and_taken_asks_for_a_word(asked):
    assert unread(asked) or not asked.strip() or read_query(asked)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_kept_and_asked_for(database, kept, asked):
    with reading(database) as connection:
        if connection.dialect.name == "postgresql":
            query = text("SELECT CAST(:kept AS tsvector) @@ CAST(:asked AS tsquery)")
            given = {"kept": as_vector(words_of(kept)), "asked": for_postgres(read_query(asked))}
            connection.execute(query, given).scalar_one()
        elif terms := read_query(asked):
            query = text("SELECT rowid FROM findable_words WHERE findable_words MATCH :asked")
            connection.execute(query, {"asked": for_sqlite(terms)}).all()


@given(st.text(max_size=200))
def test_a_query_has_terms_only_where_a_word_must_be_there(asked):
    terms = read_query(asked)
    assert not terms or any(not term.without for term in terms)
    assert all(word.isalnum() for term in terms for word in term.words)
    assert read_query("-" + "lamp") == ()


def test_pages_go_on_behind_the_last_row_whatever_is_decided_meanwhile(database, photos, worker):
    for number in range(10):
        decide(database, photos, f"lamp {number}", f"Lamp {number}", now_ms=NOW + number)
    worker.step()
    first = search(database, Filters(words="lamp"), 4)
    assert first.more
    decide(database, photos, "lamp 2", "Lamp 2, now with a shade", now_ms=NOW + 50)
    decide(database, photos, "new", "Lamp", now_ms=NOW + 51)
    worker.step()
    second = search(database, Filters(words="lamp"), 4, before=first.rows[-1].seq)
    third = search(database, Filters(words="lamp"), 4, before=second.rows[-1].seq)
    seen = [one.listing_id for page in (first, second, third) for one in page.rows]
    assert seen == [f"lamp {number}" for number in (9, 8, 7, 6, 5, 4, 3, 1, 0)]
    assert not third.more
    assert found(database, words="lamp")[:2] == ["new", "lamp 2"]  # its old row is gone


def many(database, rows):
    """Rows as those of decided listings, without decisions."""
    made = [
        {
            "seq": 1_000 + n, "listing_id": f"l{n}", "decision_id": f"d{n}", "revision": f"r{n}",
            "action": "allow",
            "policy": f"p{n % 9}", "score": 0.1, "seller_id": f"s{n % 700}", "decided_at_ms": NOW + n,
        }
        for n in range(rows)
    ]  # fmt: skip
    with writing(database) as connection:
        connection.execute(insert(findable), made)


def test_a_search_that_takes_too_long_is_given_up(database):
    many(database, 30_000)
    assert not search(database, Filters(action=Action.ALLOW), 10, deadline_ms=60_000).given_up
    assert count(database, Filters(words="lamp"), 10**6, deadline_ms=60_000) == 0
    assert count(database, Filters(score_from=0.05, until_ms=NOW + 9**9), 10**6, deadline_ms=1) is None
    assert search(database, Filters(score_from=0.5, policy="p1"), 10).rows == ()


def test_what_is_emptied_or_forgotten_is_not_found_by_its_words(filled):
    purge(filled, lambda *_: None, NOW + 1, NOW + 2)
    assert found(filled, words="brass") == []
    assert "lamp" in found(filled)  # its decision stays
    with writing(filled) as connection:
        assert forget_findable(connection, listings=["knife"]) == 1
    assert found(filled, words="glock") == []


def test_selective_searches_look_into_an_index(filled):
    many(filled, 5_000)
    with filled.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE" if connection.dialect.name == "postgresql" else "ANALYZE"))
    with plans(filled) as lines:
        for filters in (
            {"seller_id": "s7"}, {"policy": "p3"}, {"action": Action.BLOCK}, {"since_ms": NOW + 4_900},
            {"listings": ("l100", "l200")}, {"words": "lamp"}, {"words": "lamp", "seller_id": "bob"},
        ):  # fmt: skip
            search(filled, Filters(**filters), 20)
    assert lines
    assert [(line, sql) for sql, line in lines if whole(line) == "findable"] == []


@pytest.mark.parametrize("few", [1, 2_000])
def test_words_and_a_range_of_scores_find_the_same_however_many_have_such_a_score(filled, monkeypatch, few):
    monkeypatch.setattr("stallwart.index.search._FEW", few)
    monkeypatch.setattr("stallwart.index.search._FEW_WORDS", few)
    assert found(filled, words="knife", score_from=0.9) == ["knife"]
    assert found(filled, words="knife", score_to=0.8) == []

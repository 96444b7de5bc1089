"""Words in photos: read after the answer, and they can only make a decision stricter."""

import base64
import io
from dataclasses import replace
from hashlib import sha256

import pytest
from fakes import FakeRuntime
from PIL import Image, ImageDraw
from sqlalchemy import select
from test_app import Running

from stallwart.client import Client, ServiceError
from stallwart.content.photo import PhotoError
from stallwart.core.decision import Cause, Decision
from stallwart.core.settings import Settings
from stallwart.serving.photo_words import Around, PhotoWords
from stallwart.serving.server import photo_store, wall_ms
from stallwart.store.database import reading, writing
from stallwart.store.decisions import add_rulings
from stallwart.store.hourly import locked_cursor
from stallwart.store.tables import decisions

WORDS = {b"lamp": "", b"sign": "a drug by post", b"toy": "a gun for a child", b"blur": None}


@pytest.fixture
def running(tmp_path):
    settings = Settings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", key_cache_seconds=0, reload_seconds=0,
        audit_budget=0, audit_block_share=0, audit_block_least=0, read_hours=1,
    )  # fmt: skip
    one = Running(settings, FakeRuntime())
    yield one
    one.stop()


@pytest.fixture
def client(running):
    return running.client()


def decide(client, listing_id, *photos, **fields):
    shown = [{"base64": base64.b64encode(photo).decode()} for photo in photos]
    asked = {"listing_id": listing_id, "title": "Brass lamp", "photos": shown, **fields}
    return client.post("/v1/decisions", json={"listing": asked}).json()


def say(client, decision, words):
    return client.post(f"/v1/decisions/{decision['decision_id']}/photo-words", json={"words": words})


def of_listing(running, listing_id):
    query = select(decisions.c.action, decisions.c.cause).where(decisions.c.listing_id == listing_id)
    with reading(running.database) as connection:
        return [tuple(row) for row in connection.execute(query.order_by(decisions.c.seq))]


def reader(running, client, read=WORDS.get, now_ms=wall_ms, **changes):
    def words(photo):
        if (found := read(photo)) is None:
            raise PhotoError("does not decode")
        return found

    key = client.headers["Authorization"].removeprefix("Bearer ")
    caller = Client(running.url, key, 20_000)
    running.clients.append(caller)  # closed with it
    settings = running.settings.model_copy(update=changes)
    return PhotoWords(Around(running.database, photo_store(settings), caller, words, settings, now_ms))


def test_words_in_a_photo_make_a_decision_stricter_and_are_quoted(client):
    first = decide(client, "L", b"sign")
    assert first["action"] == "allow"
    second = say(client, first, "a drug by post").json()
    assert (second["action"], second["cause"], second["supersedes"]) == (
        "block",
        "rescan",
        first["decision_id"],
    )
    assert second["revision"] == first["revision"]
    assert second["evidence"] == {"read": "a drug by post"}
    assert say(client, first, "a drug by post").json() == second  # a repeat changes nothing


def test_words_that_say_nothing_or_less_leave_the_decision_as_it_is(client, running):
    first = decide(client, "L", b"lamp")
    assert say(client, first, "sale").json() == first
    asks = decide(client, "M", b"toy", title="a gun")
    assert say(client, asks, "a gun indeed").json() == asks
    assert say(client, asks, "and a drug").json()["action"] == "block"
    assert of_listing(running, "L") == [("allow", "new")]


def test_words_of_a_listing_that_was_edited_meanwhile_are_not_taken_for_the_edit_s(client, running):
    first = decide(client, "L", b"sign")
    edit = decide(client, "L", b"lamp")
    assert say(client, first, "a drug by post").json() == edit
    assert of_listing(running, "L") == [("allow", "new"), ("allow", "edit")]


def test_what_a_person_ruled_stands(client, running):
    first = decide(client, "L", b"sign")
    ruled = Decision.model_validate(first).model_copy(
        update={"decision_id": "d_ruled", "cause": Cause.VERDICT, "supersedes": first["decision_id"]}
    )
    with writing(running.database) as connection:
        add_rulings(connection, [ruled], (), wall_ms())
    assert say(client, first, "a drug by post").json()["decision_id"] == "d_ruled"


def test_words_about_nothing_that_is_kept_are_refused(client):
    assert say(client, {"decision_id": "d_none"}, "words").status_code == 404
    assert say(client, decide(client, "L"), "").status_code == 422


def test_a_busy_service_takes_no_words_and_changes_nothing(running, client):
    first = decide(client, "L", b"sign")
    running.runtime.gate.clear()
    answer = client.post(
        f"/v1/decisions/{first['decision_id']}/photo-words",
        json={"words": "a drug by post"},
        headers={"Stallwart-Deadline-Ms": "100"},
    )
    running.runtime.gate.set()
    assert answer.status_code == 503
    assert of_listing(running, "L") == [("allow", "new")]


def test_a_reader_follows_what_was_let_through_and_counts_all_it_met(running, client):
    for listing_id, *photos in (
        ("A", b"lamp"),
        ("B", b"sign"),
        ("C",),
        ("D", b"blur", b"toy"),
        ("E", b"sign"),
    ):
        decide(client, listing_id, *photos)
    decide(client, "F", b"sign", title="a drug")  # blocked already
    one = reader(running, client)
    assert dict(one.round()) == {
        "listings": 4, "photos": 3, "unreadable": 1, "worded": 3, "raised": 3, "gone": 0
    }  # fmt: skip
    assert of_listing(running, "B")[-1] == ("block", "rescan")
    assert of_listing(running, "D")[-1] == ("review", "rescan")
    assert not one.round()
    assert not reader(running, client).round()  # one that is started anew goes on behind it


def test_a_reader_that_died_or_met_no_service_finds_what_it_left(running, client):
    decide(client, "B", b"sign")
    query = reader(running, client)

    def dies(_photo):
        raise MemoryError

    with pytest.raises(MemoryError):
        reader(running, client, dies).round()
    with Client("http://127.0.0.1:9", None, 300, retries=0) as away, pytest.raises(ServiceError):
        PhotoWords(replace(query._around, client=away)).round()
    assert of_listing(running, "B") == [("allow", "new")]
    assert query.round()["raised"] == 1


def test_what_waited_too_long_is_left_out_and_counted(running, client):
    decide(client, "B", b"sign")
    later = reader(running, client, now_ms=lambda: wall_ms() + 2 * 3_600_000)
    assert later.round() == {"listings": 1, "late": 1}
    assert of_listing(running, "B") == [("allow", "new")]


def test_an_edited_listing_and_a_lost_photo_are_gone(running, client):
    first = decide(client, "B", b"sign")
    decide(client, "B", b"lamp")
    lost = decide(client, "C", b"toy")
    assert first["action"] == lost["action"] == "allow"
    store = photo_store(running.settings)
    store.delete(sha256(b"toy").hexdigest())
    told = reader(running, client).round()
    assert told["gone"] == 2
    assert told["raised"] == 0


def test_a_page_that_another_reader_took_meanwhile_does_not_move_the_cursor_back(running, client):
    decide(client, "B", b"lamp")
    behind = reader(running, client)

    def meanwhile(photo):
        if photo == b"lamp" and not meanwhile.done:
            meanwhile.done = True
            decide(client, "C", b"sign")
            assert reader(running, client).round()["raised"] == 1
        return WORDS[photo]

    meanwhile.done = False
    behind._around = replace(behind._around, read=meanwhile)
    behind.round()
    with writing(running.database) as connection:
        moved = locked_cursor(connection, "photo-words")
    assert moved >= 2
    assert of_listing(running, "C") == [("allow", "new"), ("block", "rescan")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_words_that_are_drawn_on_a_photo_are_read_and_block_the_listing(running, client):
    pytest.importorskip("rapidocr", reason="the extra ocr is not installed: pip install 'stallwart[ocr]'")
    from stallwart.content.photo_words import PhotoReader

    image = Image.new("RGB", (480, 320), "lightgrey")
    ImageDraw.Draw(image).text((20, 100), "every drug by post", "black", font_size=28)
    held = io.BytesIO()
    image.save(held, "JPEG")
    assert decide(client, "L", held.getvalue())["action"] == "allow"
    assert reader(running, client, PhotoReader(running.settings).read).round()["raised"] == 1
    assert of_listing(running, "L") == [("allow", "new"), ("block", "rescan")]

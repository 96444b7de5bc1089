"""`stallwart keys` and `stallwart webhooks`, as an operator meets them."""

import json
import re

import pytest

from stallwart.client.webhooks import verify
from stallwart.core.decision import Decision
from stallwart.core.settings import Settings
from stallwart.serving.keys import Authenticator
from stallwart.store.database import open_database
from stallwart.store.keys import Scope
from stallwart.store.outbox import DEAD, Outcome, claim, finish
from stallwart.store.webhooks import list_webhooks
from tests.serving.receiver import Receiver, Reply
from tests.store.outgoing import NOW, decide

pytestmark = pytest.mark.usefixtures("data")


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STALLWART_WEBHOOK_PRIVATE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


@pytest.fixture
def database(data, here):
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{data}/stallwart.sqlite", Settings())
    yield engine
    engine.dispose()


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.close()


def test_a_key_is_made_before_the_first_start_and_its_secret_alone_is_on_stdout(data, here):
    made = here("keys", "create", "shop", "--scope", "score", "--scope", "read", "--per-minute", 600)
    assert made.code == 0, made.err
    secret = made.out.strip()
    assert re.fullmatch(r"sw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", secret)
    assert secret not in made.err
    shown = here("keys", "list")
    assert secret[3:15] in shown.out
    assert secret[16:] not in shown.out
    engine = open_database(f"sqlite:///{data}/stallwart.sqlite", Settings())
    assert Authenticator(engine, Settings(), lambda: NOW).check(f"Bearer {secret}", Scope.READ)
    engine.dispose()


def test_keys_are_listed_revoked_and_rotated(here):
    first = here("keys", "create", "a", "--scope", "admin", "--expires", "2099-01-01", "--json").facts
    assert (first["scopes"], first["expires"]) == (["admin"], "2099-01-01T00:00:00+00:00")
    second = here("keys", "rotate", first["key_id"], "--overlap-hours", 0, "--json").facts
    assert second["replaces"] == first["key_id"]
    assert [key["state"] for key in here("keys", "list", "--json").facts] == ["expired", "active"]
    assert "refused within 5 s" in here("keys", "revoke", second["key_id"]).out
    assert [key["state"] for key in here("keys", "list", "--json").facts] == ["expired", "revoked"]
    assert "secret" not in here("keys", "list", "--json").facts[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "create", "a"], "scope"),
        (["keys", "create", "a", "--scope", "all"], "score, read, feedback, admin"),
        (["keys", "create", "a", "--scope", "score", "--expires", "soon"], "2025-09-01"),
        (["keys", "create", "a", "--scope", "score", "--expires", "2001-01-01"], "passed"),
        (["keys", "create", "a", "--scope", "score", "--per-minute", "0"], "per-minute"),
        (["keys", "create", " ", "--scope", "score"], "name"),
        (["keys", "revoke", "nobody"], "keys list"),
        (["keys", "rotate", "nobody"], "keys list"),
        (["webhooks", "add", "https://example.com/"], "action"),
        (["webhooks", "add", "ftp://example.com/", "--action", "block"], "scheme"),
        (["webhooks", "add", "http://169.254.169.254/", "--action", "block"], "metadata"),
        (["webhooks", "add", "https://example.com/", "--action", "delete"], "delete"),
        (["webhooks", "remove", "nobody"], "webhooks list"),
        (["webhooks", "test", "nobody"], "webhooks list"),
        (["webhooks", "replay", "nobody"], "webhooks list"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_there_is(here, arguments, said):
    made = here(*arguments)
    assert made.code == 2
    assert made.out == ""
    assert said in made.err
    assert "Traceback" not in made.err


def test_private_receivers_are_refused_unless_they_are_allowed(here, monkeypatch):
    monkeypatch.setenv("STALLWART_WEBHOOK_PRIVATE", "0")
    made = here("webhooks", "add", "https://10.0.0.8/", "--action", "block")
    assert made.code == 2
    assert "STALLWART_WEBHOOK_PRIVATE" in made.err


def test_a_webhook_is_added_with_a_secret_that_is_shown_once_and_tested(here, receiver):
    made = here("webhooks", "add", receiver.url, "--action", "block", "--action", "review")
    secret = made.out.strip()
    assert secret.startswith("whsec_")
    (shown,) = here("webhooks", "list", "--json").facts
    assert shown["actions"] == ["block", "review"]
    assert secret not in json.dumps(shown)
    assert here("webhooks", "test", shown["webhook_id"]).code == 0
    (came,) = receiver.came
    assert Decision.model_validate_json(came.body).listing_id == "stallwart-test"
    now = int(came.headers["Stallwart-Timestamp"])
    assert verify(secret, came.headers, came.body, now).startswith("test_")


def test_a_test_that_fails_says_why_and_exits_with_1(here, receiver):
    receiver.answer = lambda _came: Reply(500)
    added = here("webhooks", "add", receiver.url, "--action", "block", "--json").facts
    made = here("webhooks", "test", added["webhook_id"])
    assert (made.code, made.out) == (1, "")
    assert "it answered 500" in made.err


def test_dead_letters_are_shown_replayed_and_counted(here, database):
    added = here("webhooks", "add", "https://example.com/", "--action", "block", "--json").facts
    decide(database, list_webhooks(database), ("a", 1), ("b", 1))
    taken = claim(database, added["webhook_id"], "w", NOW, 1, 10)
    finish(database, "w", [Outcome(one.delivery_id, DEAD, "it answered 500") for one in taken], NOW)
    (shown,) = here("webhooks", "list", "--json").facts
    assert (shown["waiting"], shown["dead"]) == (0, 2)
    dead = here("webhooks", "dead", "--json").facts
    assert [(one["listing_id"], one["why"]) for one in dead] == [
        ("a", "it answered 500"),
        ("b", "it answered 500"),
    ]
    assert "it answered 500" in here("webhooks", "dead", added["webhook_id"]).out
    one = here("webhooks", "replay", added["webhook_id"], dead[1]["delivery_id"], "--json")
    assert one.facts["replayed"] == 1
    assert "wait again: 1" in here("webhooks", "replay", added["webhook_id"]).out
    assert here("webhooks", "remove", added["webhook_id"], "--json").facts["given_up"] == 2
    assert here("webhooks", "list", "--json").facts == []
    assert here("webhooks", "test", added["webhook_id"]).code == 2

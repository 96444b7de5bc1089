"""`stallwart users`, as an operator meets it."""

import getpass
import io
import json
import sys

import pytest

from stallwart.core.settings import Settings
from stallwart.store import audit, passwords, sessions
from stallwart.store.attempts import PAIR
from stallwart.store.database import open_database, reading
from tests.store.reviewing import QUICK, WORDS

NOW = 4_000_000_000_000


@pytest.fixture(autouse=True)
def typed(tmp_path, monkeypatch):
    """Sets what is typed at a terminal, or sent to stdin."""
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(passwords.Passwords, "__init__", lambda one: one.__dict__.update(QUICK.__dict__))

    def say(*lines, terminal=False):
        source = io.StringIO("".join(f"{line}\n" for line in lines))
        source.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", source)
        answers = iter(lines)
        monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(answers))

    say()
    return say


@pytest.fixture
def database(tmp_path, here):
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    yield engine
    engine.dispose()


@pytest.fixture
def rita(here, typed, database):  # noqa: ARG001
    typed(WORDS)
    made = here("users", "add", "Rita", "--role", "lead", "--skill", "weapons", "--password-stdin")
    assert (made.code, made.out) == (0, "Rita can sign in as lead\n"), made.err


def enter(database, password=WORDS):
    return sessions.sign_in(
        database, QUICK, "rita", password, address="192.0.2.1", settings=Settings(), now_ms=NOW
    )


def test_an_account_is_made_and_shown_and_its_password_is_not(here, rita, database):  # noqa: ARG001
    shown = here("users", "list", "--json")
    (one,) = shown.facts
    assert (one["name"], one["role"], one["skills"], one["languages"]) == ("Rita", "lead", ["weapons"], None)
    assert "password" not in shown.out
    assert "Rita" in here("users", "list").out
    assert enter(database)
    with reading(database) as connection:
        assert WORDS not in json.dumps([one.detail for one in audit.read(connection)])


def test_a_password_is_asked_for_twice_at_a_terminal(here, typed):
    typed(WORDS, "something else", terminal=True)
    made = here("users", "add", "rita")
    assert (made.code, made.out) == (2, "")
    assert "the two passwords differ" in made.err
    typed(WORDS, WORDS, terminal=True)
    assert here("users", "add", "rita").code == 0


def test_roles_reading_and_state_change(here, rita):  # noqa: ARG001
    assert here("users", "role", "rita", "admin", "--why", "she leads").out == "Rita is admin\n"
    said = here("users", "reading", "rita", "--language", "de", "--why", "was trained").out
    assert said == "Rita reads all in de\n"
    refused = here("users", "disable", "rita", "--why", "left")
    assert (refused.code, refused.out) == (3, "")
    assert "is the only admin" in refused.err
    assert here("users", "role", "rita", "reviewer", "--why", "no more").code == 3


def test_whoever_left_is_disabled_and_can_come_back(here, rita, database):  # noqa: ARG001
    token = enter(database).token
    assert "signed out everywhere" in here("users", "disable", "rita", "--why", "left").out
    with reading(database) as connection:
        assert sessions.read_session(connection, token, Settings(), NOW) is None
    assert here("users", "list", "--json").facts[0]["state"] == "disabled"
    assert here("users", "enable", "rita", "--why", "is back", "--json").facts["state"] == "active"
    assert enter(database)


def test_a_new_password_is_set_and_an_account_unlocked(here, rita, typed, database):  # noqa: ARG001
    for _ in range(PAIR.free):
        with pytest.raises(Exception, match="is wrong"):
            enter(database, "not her password")
    assert here("users", "list", "--json").facts[0]["state"] == "locked"
    assert here("users", "unlock", "rita").out == "Rita may try again\n"
    typed(WORDS + "!")
    assert "signed out everywhere" in here("users", "password", "rita", "--password-stdin").out
    assert enter(database, WORDS + "!")


@pytest.mark.parametrize(
    ("arguments", "sent", "code", "said"),
    [
        (["add", "ben"], (), 2, "--password-stdin"),
        (
            ["add", "ben", "--role", "boss", "--password-stdin"],
            (WORDS,),
            2,
            "reviewer, lead, engineer, admin",
        ),
        (["add", "ben", "--password-stdin"], ("short",), 3, "12 are the least"),
        (["add", "ben", "--password-stdin"], (), 3, "12 are the least"),
        (["add", " ", "--password-stdin"], (WORDS,), 3, "1 to 64 characters"),
        (["add", "ben", "--skill", "No Policy", "--password-stdin"], (WORDS,), 3, "is no policy"),
        (["role", "ben", "admin", "--why", "x"], (), 3, "users list"),
        (["role", "ben", "boss", "--why", "x"], (), 2, "reviewer, lead, engineer, admin"),
        (["disable", "ben", "--why", "x"], (), 3, "users list"),
        (["disable", "ben"], (), 2, "why"),
        (["password", "ben", "--password-stdin"], (WORDS,), 3, "users list"),
        (["unlock", "ben"], (), 3, "users list"),
        (["add", "ben", "--password", WORDS], (), 2, "--password"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_there_is(here, typed, arguments, sent, code, said):
    typed(*sent)
    made = here("users", *arguments)
    assert (made.code, made.out) == (code, "")
    assert said in made.err
    assert len(made.err.splitlines()) == 1
    assert here("users", "list").out.startswith("no accounts")

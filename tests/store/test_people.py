import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.core.errors import ConfigError, ConflictError, DataError, NotFoundError
from stallwart.store import audit
from stallwart.store.database import reading, writing
from stallwart.store.passwords import Passwords, check_password
from stallwart.store.people import (
    Role,
    disable,
    enable,
    find_user,
    language_of,
    list_users,
    name_key,
    set_password,
    set_reading,
    set_role,
)
from tests.store.reviewing import QUICK, WORDS, person
from tests.store.rolling import NOW

SAYS = {"who": "ana", "why": "she asked", "now_ms": NOW + 1}


def change(database, act, *arguments, **facts):
    with writing(database) as connection:
        return act(connection, *arguments, **{**SAYS, **facts})


def find(database, name):
    with reading(database) as connection:
        return find_user(connection, name)


def log(database):
    with reading(database) as connection:
        assert audit.verify(connection).wrong is None
        return [(one.act, one.subject) for one in audit.read(connection, act="user.")]


def test_an_account_is_read_as_it_was_made(database):
    made = person(database, "Rita", Role.LEAD, skills=["weapons"], languages=["de", "fr"])
    assert find(database, "rita") == made
    assert (made.name, made.role, made.state) == ("Rita", Role.LEAD, "active")
    assert (made.skills, made.languages) == ({"weapons"}, {"de", "fr"})
    other = person(database, "ben")
    with reading(database) as connection:
        assert list_users(connection) == [other, made]
    assert (other.skills, other.languages) == (None, None)


@pytest.mark.parametrize("twin", ["rita", "RITA", "Ｒｉｔａ", "  rita "])
def test_no_two_names_look_the_same(database, twin):
    person(database, "Rita")
    with pytest.raises(ConflictError, match="there is an account named"):
        person(database, twin)
    assert log(database) == [("user.add", find(database, "rita").user_id)]


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "ri\u200bta", "ri\x00ta", "ri\nta", "\ud800"])
def test_a_name_that_cannot_be_told_apart_is_refused(database, name):
    with pytest.raises(DataError, match="name"):
        person(database, name)


@given(st.text(max_size=80))
def test_a_name_s_key_is_its_own_key(name):
    assert name_key(name_key(name)) == name_key(name)
    assert name_key(name.upper()) == name_key(name.upper().lower())


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("brass lamp", "has 10 characters, and 12 are the least"),
        ("x" * 1_001, "1,000 are the most"),
        ("rita-the-1st", "is the name"),
        ("RITA-THE-1ST", "is the name"),
        ("rita-the-1st-", "is the name"),
        ("password1234", "tried first"),
        ("P@ssword12345", None),
        ("123456789012", "tried first"),
        ("847392650183", "tried first"),
        ("qwertyuiop12", "tried first"),
        ("abcdefghijkl", "tried first"),
        ("abc123abc123abc123", "tried first"),
        ("aaaaaaaaaaaaaaaab", "tried first"),
        ("iloveyou!!!!!", "tried first"),
        (WORDS, None),
        ("zwölf Zeichen", None),
    ],
)
def test_a_password_is_long_and_not_among_the_first_that_are_tried(password, says):
    if says is None:
        check_password(password, "rita-the-1st")
        return
    with pytest.raises(DataError, match=says):
        check_password(password, "rita-the-1st")


def test_a_password_is_the_same_however_it_was_typed_and_is_not_kept():
    kept = QUICK.hash("cafe\u0301 au lait, twice")
    assert QUICK.matches(kept, "caf\u00e9 au lait, twice")
    assert not QUICK.matches(kept, "cafe au lait, twice")
    assert "lait" not in kept
    assert kept.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert not QUICK.matches("no hash", WORDS)
    assert not QUICK.matches(None, "nobody has this password")
    assert QUICK.outdated(kept) is False
    assert Passwords(time_cost=2, memory_kib=64, lanes=1).outdated(kept)


def test_the_parameters_are_those_of_rfc_9106_for_little_memory():
    assert Passwords().hash(WORDS).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_roles_and_reading_change_with_an_entry_each(database):
    user = person(database)
    assert change(database, set_role, "RITA", Role.ENGINEER).role == Role.ENGINEER
    read = change(database, set_reading, "rita", ["tobacco"], None)
    assert (read.skills, read.languages) == ({"tobacco"}, None)
    assert find(database, "rita") == read
    acts = ["user.reading", "user.role", "user.add"]
    assert log(database) == [(act, user.user_id) for act in acts]
    with reading(database) as connection:
        assert audit.read(connection, act="user.role")[0].detail == {
            "name": "rita", "from": "reviewer", "to": "engineer",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("skills", "languages"), [(["Weapons!"], None), (None, ["german"]), (None, ["de-CH"])]
)
def test_what_is_no_policy_or_language_is_refused(database, skills, languages):
    person(database)
    with pytest.raises(DataError, match="is no"):
        change(database, set_reading, "rita", skills, languages)


def test_the_last_admin_stays_one(database):
    person(database, "ada", Role.ADMIN)
    for act in ((set_role, "ada", Role.LEAD), (disable, "ada")):
        with pytest.raises(ConflictError, match="ada is the only admin"):
            change(database, *act)
    person(database, "bob", Role.ADMIN)
    assert change(database, disable, "ada").state == "disabled"
    with pytest.raises(ConflictError, match="bob is the only admin"):
        change(database, set_role, "bob", Role.LEAD)
    assert change(database, enable, "ada").state == "active"
    assert change(database, set_role, "bob", Role.LEAD).role == Role.LEAD


def test_disabling_twice_keeps_since_when(database):
    person(database)
    assert change(database, disable, "rita").disabled_at_ms == NOW + 1
    assert change(database, disable, "rita", now_ms=NOW + 9).disabled_at_ms == NOW + 1


def test_an_act_without_a_reason_or_on_nobody_changes_nothing(database):
    before = person(database)
    with pytest.raises(ConfigError, match="why is empty"):
        change(database, disable, "rita", why=" ")
    for act in (
        (set_role, "bob", Role.LEAD),
        (disable, "bob"),
        (enable, "bob"),
        (set_reading, "bob", None, None),
    ):
        with pytest.raises(NotFoundError, match="stallwart users list"):
            change(database, *act)
    with pytest.raises(NotFoundError):
        set_password(database, QUICK, "bob", WORDS, **SAYS)
    assert find(database, "rita") == before


@pytest.mark.parametrize(
    ("language", "kept"),
    [
        ("de", "de"),
        ("DE-ch", "de"),
        ("fr_FR", "fr"),
        ("", None),
        (None, None),
        ("x'; --", None),
        ("deutsch", None),
    ],
)
def test_a_language_is_its_short_name(language, kept):
    assert language_of(language) == kept

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from stallwart.core.errors import ConfigError
from stallwart.store.keys import (
    Scope,
    create_key,
    key_id_of,
    list_keys,
    read_key,
    revoke_key,
    rotate_key,
)
from stallwart.store.tables import api_keys

NOW = 1_800_000_000_000
DAY = 86_400_000


def test_a_secret_is_shown_once_and_kept_as_its_digest_only(database):
    made = create_key(database, "checkout", [Scope.SCORE, Scope.READ], NOW, per_minute=600)
    assert re.fullmatch(r"sw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made.secret)
    assert key_id_of(made.secret) == made.key.key_id
    with database.connect() as connection:
        (row,) = connection.execute(select(api_keys)).all()
    assert made.secret not in repr(row)
    assert made.secret[16:] not in repr(row)
    assert made.secret not in repr(made)
    assert read_key(database, made.key.key_id) == made.key


def test_keys_are_listed_the_oldest_first_with_their_state(database):
    first = create_key(database, "a", [Scope.SCORE], NOW, expires_at_ms=NOW + DAY).key
    second = create_key(database, "b", [Scope.ADMIN], NOW + 1).key
    assert list_keys(database) == [first, second]
    assert [key.state(NOW + DAY - 1) for key in list_keys(database)] == ["active", "active"]
    assert [key.state(NOW + DAY) for key in list_keys(database)] == ["expired", "active"]
    revoke_key(database, second.key_id, NOW + 5)
    assert [key.state(NOW + 5) for key in list_keys(database)] == ["active", "revoked"]


def test_revoking_again_keeps_the_time_of_the_first(database):
    key = create_key(database, "a", [Scope.SCORE], NOW).key
    assert revoke_key(database, key.key_id, NOW + 5).revoked_at_ms == NOW + 5
    assert revoke_key(database, key.key_id, NOW + 9).revoked_at_ms == NOW + 5


def test_a_rotated_key_has_a_successor_like_it_and_ends_after_the_overlap(database):
    old = create_key(
        database, "a", [Scope.SCORE, Scope.READ], NOW, per_minute=7, expires_at_ms=NOW + 30 * DAY
    )
    new = rotate_key(database, old.key.key_id, NOW + DAY, overlap_ms=DAY)
    assert (new.key.name, new.key.scopes, new.key.per_minute) == ("a", old.key.scopes, 7)
    assert new.key.expires_at_ms == NOW + 31 * DAY
    assert new.secret != old.secret
    before = read_key(database, old.key.key_id)
    assert before.state(NOW + 2 * DAY - 1) == "active"
    assert before.state(NOW + 2 * DAY) == "expired"


def test_an_overlap_never_prolongs_a_key(database):
    old = create_key(database, "a", [Scope.SCORE], NOW, expires_at_ms=NOW + 10).key
    rotate_key(database, old.key_id, NOW, overlap_ms=DAY)
    assert read_key(database, old.key_id).expires_at_ms == NOW + 10


def test_a_key_that_is_not_active_cannot_be_rotated(database):
    revoked = create_key(database, "a", [Scope.SCORE], NOW).key
    revoke_key(database, revoked.key_id, NOW)
    expired = create_key(database, "b", [Scope.SCORE], NOW, expires_at_ms=NOW + 1).key
    for key, why in ((revoked, "revoked"), (expired, "expired")):
        with pytest.raises(ConfigError, match=why):
            rotate_key(database, key.key_id, NOW + 2, overlap_ms=0)
    assert len(list_keys(database)) == 2


@pytest.mark.parametrize(
    ("name", "scopes", "options", "said"),
    [
        (" ", [Scope.SCORE], {}, "name"),
        ("x" * 201, [Scope.SCORE], {}, "name"),
        ("a", [], {}, "scope"),
        ("a", [Scope.SCORE], {"per_minute": 0}, "at least 1"),
        ("a", [Scope.SCORE], {"expires_at_ms": NOW}, "passed"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(database, name, scopes, options, said):
    with pytest.raises(ConfigError, match=said):
        create_key(database, name, scopes, NOW, **options)
    assert list_keys(database) == []


def test_a_key_that_is_not_there_is_said_so(database):
    for change in (
        lambda: revoke_key(database, "00", NOW),
        lambda: rotate_key(database, "00", NOW, overlap_ms=0),
    ):
        with pytest.raises(ConfigError, match="stallwart keys list"):
            change()
    assert read_key(database, "00") is None


@given(st.text())
def test_no_other_text_has_the_form_of_a_secret(text):
    assert key_id_of(text) is None or re.fullmatch(r"sw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)

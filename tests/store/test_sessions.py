import threading

import pytest
from sqlalchemy import select, text

from stallwart.core.errors import LockedError, NotFoundError, SignInError
from stallwart.core.settings import Settings
from stallwart.store import audit, sessions
from stallwart.store.attempts import ACCOUNT, PAIR, SOURCE, forget, locked_until, source_of
from stallwart.store.database import reading, writing
from stallwart.store.passwords import Passwords
from stallwart.store.people import Role, disable, set_password, set_role
from stallwart.store.tables import sessions as table
from stallwart.store.tables import sign_ins, users
from tests.store.reviewing import QUICK, WORDS, person
from tests.store.rolling import NOW

SETTINGS = Settings(session_idle_minutes=30, session_hours=8)
MINUTE, HOUR = 60_000, 3_600_000
HOME, OFFICE = "192.0.2.1", "198.51.100.7"


def enter(database, name="rita", password=WORDS, address=HOME, now_ms=NOW, passwords=QUICK):
    return sessions.sign_in(
        database, passwords, name, password, address=address, settings=SETTINGS, now_ms=now_ms
    )


def seen(database, token, now_ms=NOW):
    with reading(database) as connection:
        return sessions.read_session(connection, token, SETTINGS, now_ms)


def fail(database, times, name="rita", address=HOME, now_ms=NOW):
    for _ in range(times):
        with pytest.raises(SignInError):
            enter(database, name, "not her password", address, now_ms)


def wait(database, name="rita", address=HOME, now_ms=NOW, password=WORDS):
    """How many seconds somebody has to wait."""
    with pytest.raises(LockedError) as locked:
        enter(database, name, password, address, now_ms)
    return locked.value.retry_after_seconds


def test_whoever_knows_the_password_gets_a_token_that_is_kept_nowhere(database):
    user = person(database, "Rita")
    made = enter(database, "rITA")
    assert made.session.user == user
    assert seen(database, made.token) == made.session
    with reading(database) as connection:
        (row,) = connection.execute(select(table)).all()
    assert made.token not in str(row)
    assert made.token not in repr(made)
    assert made.session.csrf not in repr(made)
    assert len(made.token) == 43
    assert seen(database, made.token + "x") is None
    assert seen(database, "") is None
    assert seen(database, "\ud800" * 50) is None
    assert seen(database, "x" * 100_000) is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("rita", "brass lamps and oak table"),
        ("nobody", WORDS),
        ("rita\0", WORDS),
        ("\ud800", "\ud800"),
        ("", ""),
    ],
)
def test_what_is_wrong_is_not_said(database, name, password):
    person(database)
    with pytest.raises(SignInError, match="name or password is wrong"):
        enter(database, name, password)


def test_a_session_ends_when_it_is_idle_or_old(database):
    person(database)
    made = enter(database)
    assert seen(database, made.token, NOW + 30 * MINUTE - 1)
    assert seen(database, made.token, NOW + 30 * MINUTE) is None
    at = NOW
    while at < NOW + 8 * HOUR - 20 * MINUTE:
        at += 20 * MINUTE
        sessions.touch(database, seen(database, made.token, at), at)
    assert seen(database, made.token, NOW + 8 * HOUR - 1)
    assert seen(database, made.token, NOW + 8 * HOUR) is None


def test_a_request_writes_at_most_once_a_minute(database):
    person(database)
    made = enter(database)
    sessions.touch(database, made.session, NOW + 59_999)
    assert seen(database, made.token).seen_at_ms == NOW
    sessions.touch(database, made.session, NOW + 60_000)
    assert seen(database, made.token).seen_at_ms == NOW + 60_000


def test_the_role_is_that_of_now_and_a_disabled_account_is_out(database):
    person(database)
    made = enter(database)
    says = {"who": "ana", "why": "she asked", "now_ms": NOW}
    with writing(database) as connection:
        set_role(connection, "rita", Role.LEAD, **says)
    assert seen(database, made.token).user.role == Role.LEAD
    with writing(database) as connection:
        disable(connection, "rita", **says)
    assert seen(database, made.token) is None
    with pytest.raises(SignInError, match="name or password is wrong"):
        enter(database)


def test_another_password_ends_all_sessions(database):
    person(database)
    tokens = [enter(database).token for _ in range(2)]
    set_password(database, QUICK, "rita", WORDS + "!", who="ana", why="lost", now_ms=NOW + 1)
    assert [seen(database, token) for token in tokens] == [None, None]
    fail(database, 1)
    assert seen(database, enter(database, password=WORDS + "!").token)


def test_sessions_are_listed_and_ended_one_or_all(database):
    user, other = person(database), person(database, "ben")
    first, second = enter(database, now_ms=NOW), enter(database, now_ms=NOW + 1, address=OFFICE)
    bens = enter(database, "ben")
    with reading(database) as connection:
        listed = sessions.list_sessions(connection, user, SETTINGS, NOW + 2)
    assert listed == [second.session, first.session]
    assert [one.source for one in listed] == [OFFICE, HOME]
    with writing(database) as connection:
        sessions.sign_out(connection, first.session, NOW + 3)
    assert seen(database, first.token) is None
    assert seen(database, second.token)
    says = {"who": "ana", "why": "a lost laptop", "now_ms": NOW + 4}
    with pytest.raises(NotFoundError, match="has no session"), writing(database) as connection:
        sessions.revoke(connection, user, session_id=bens.session.session_id, **says)
    with writing(database) as connection:
        assert sessions.revoke(connection, user, session_id=second.session.session_id, **says) == 1
        assert sessions.revoke(connection, user, **says) == 0
        assert sessions.revoke(connection, other, **says) == 1
    assert seen(database, second.token) is None
    assert seen(database, bens.token) is None
    with reading(database) as connection:
        assert [one.detail["ended"] for one in audit.read(connection, act="user.sessions")] == [1, 0, 1]


def test_a_form_matches_its_own_session_only(database):
    person(database)
    one, two = enter(database).session, enter(database).session
    assert one.csrf_matches(one.csrf)
    assert not one.csrf_matches(two.csrf)
    assert not one.csrf_matches("")
    assert not one.csrf_matches("\ud800ü")


def test_old_sessions_are_forgotten(database):
    person(database)
    enter(database)
    enter(database, now_ms=NOW + 60 * 24 * HOUR)
    with reading(database) as connection:
        assert len(connection.execute(select(table)).all()) == 1


def test_a_password_is_hashed_again_when_the_parameters_have_changed(database):
    person(database)
    stronger = Passwords(time_cost=2, memory_kib=128, lanes=1)

    def kept():
        with reading(database) as connection:
            return connection.execute(select(users.c.password_hash)).scalar_one()

    before = kept()
    with pytest.raises(SignInError):
        enter(database, password="not her password", passwords=stronger)
    assert kept() == before
    enter(database, passwords=stronger)
    assert "m=128,t=2" in kept()
    assert enter(database, passwords=stronger)


def test_waits_double_and_knocking_does_not_make_them_longer(database):
    person(database)
    fail(database, PAIR.free)
    at = NOW
    for seconds in (30, 60, 120, 240):
        assert wait(database, now_ms=at) == seconds
        for _ in range(5):
            assert wait(database, now_ms=at + 1_000 * seconds - 1) == 1
        at += 1_000 * seconds
        fail(database, 1, now_ms=at)
    at += HOUR
    assert enter(database, now_ms=at)
    fail(database, PAIR.free - 1, now_ms=at)  # it began anew
    assert enter(database, now_ms=at)


def test_no_wait_is_longer_than_the_longest():
    assert [PAIR.wait_ms(failures) for failures in (0, 4, 5, 6, 11, 12, 10_000)] == [
        0, 0, 30_000, 60_000, 1_920_000, 3_600_000, 3_600_000,
    ]  # fmt: skip


def test_a_name_that_nobody_has_locks_as_others_do_and_is_not_kept(database):
    fail(database, PAIR.free, "hunter2-typed-too-early")
    assert wait(database, "hunter2-typed-too-early") == 30
    with reading(database) as connection:
        assert "hunter2" not in str(connection.execute(select(sign_ins)).all())


def test_a_stranger_does_not_lock_out_whoever_works_here(database):
    person(database)
    enter(database, address=OFFICE)
    for number in range(ACCOUNT.free):
        fail(database, 1, address=f"203.0.113.{number}")
    assert wait(database, address="203.0.113.200") == 60
    assert wait(database, address=HOME) == 60, "it is not known who that is"
    assert enter(database, address=OFFICE)
    assert enter(database, address=HOME, now_ms=NOW + 15 * MINUTE), "not for ever"
    assert wait(database, address="203.0.113.200", now_ms=NOW + 1), "what she did unlocks it for no stranger"


def test_an_address_that_tries_many_names_waits(database):
    person(database)
    for number in range(SOURCE.free):
        fail(database, 1, f"user{number}")
    assert wait(database) == 60
    assert enter(database, address=OFFICE)


def test_an_office_behind_one_address_is_not_locked_by_its_typing_errors(database):
    people = [person(database, f"reviewer-no-{number}").name for number in range(8)]
    at = NOW
    for day in range(4):
        for name in people:
            at = NOW + day * 24 * HOUR + people.index(name) * 20 * MINUTE
            fail(database, 2, name, OFFICE, at)
            assert enter(database, name, address=OFFICE, now_ms=at)


def test_a_sign_in_of_one_s_own_buys_no_tries_of_others(database):
    person(database)
    person(database, "mallory")
    tries = 0
    for _ in range(40):
        try:
            enter(database, "mallory")
            enter(database, password="a guess of mallory")
        except SignInError:
            tries += 1
        except LockedError:
            break
    assert tries <= SOURCE.free


def test_many_attempts_at_once_get_no_more_tries(database):
    person(database)
    came = []

    def attempt():
        try:
            enter(database, password="not her password")
        except (SignInError, LockedError) as err:
            came.append(type(err))

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (came.count(SignInError), came.count(LockedError)) == (PAIR.free, 12 - PAIR.free)


def test_an_admin_unlocks_an_account(database):
    user = person(database)
    fail(database, PAIR.free)
    with reading(database) as connection:
        assert locked_until(connection, user.user_id) == NOW + 30_000
    with writing(database) as connection:
        sessions.unlock(connection, user, who="ana", why="she called", now_ms=NOW)
        assert locked_until(connection, user.user_id) == 0
        assert audit.read(connection)[0].act == "user.unlock"
    assert enter(database)


def test_counts_that_mean_nothing_any_more_are_forgotten(database):
    person(database)
    enter(database)
    fail(database, 1, "nobody", OFFICE)
    with writing(database) as connection:
        assert forget(connection, NOW + HOUR) == 0
        assert forget(connection, NOW + 3 * 24 * HOUR) == 5, "all but that she is known at home"
        assert forget(connection, NOW + 40 * 24 * HOUR) == 1
        assert connection.execute(text("SELECT count(*) FROM sign_ins")).scalar_one() == 0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("x" * 1_000, "x" * 64),
    ],
)
def test_an_address_is_what_one_subscriber_has(address, source):
    assert source_of(address) == source

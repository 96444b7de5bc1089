"""A lease is one process's until its time is over."""

from stallwart.store.database import reading, writing
from stallwart.store.leases import hold, let_go, read_lease
from tests.store.rolling import NOW


def held(database, holder, now_ms):
    with writing(database) as connection:
        return hold(connection, "watch", holder, now_ms, 1_000)


def test_a_lease_is_one_holders_until_its_time_is_over(database):
    assert held(database, "a", NOW)
    assert not held(database, "b", NOW + 999)
    assert held(database, "a", NOW + 999)  # which renews it
    assert not held(database, "b", NOW + 1_998)
    assert held(database, "b", NOW + 1_999)
    assert not held(database, "a", NOW + 2_000)
    with reading(database) as connection:
        lease = read_lease(connection, "watch")
    assert lease is not None
    assert (lease.holder, lease.since_ms, lease.until_ms) == ("b", NOW + 1_999, NOW + 2_999)


def test_a_lease_that_was_given_up_is_free_at_once(database):
    held(database, "a", NOW)
    with writing(database) as connection:
        let_go(connection, "watch", "b")  # not its own
    assert not held(database, "b", NOW)
    with writing(database) as connection:
        let_go(connection, "watch", "a")
        assert read_lease(connection, "watch") is None
    assert held(database, "b", NOW)

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError
from stallwart.store.outbox import (
    DEAD,
    DELIVERED,
    WAITING,
    Backlog,
    Outcome,
    backlog,
    claim,
    due_webhooks,
    enqueue,
    finish,
    list_dead,
    release,
    replay_dead,
)
from stallwart.store.tables import deliveries
from stallwart.store.webhooks import add_webhook, list_webhooks, read_webhook, remove_webhook
from tests.store.outgoing import NOW, decide

URL = "https://example.com/hook"
LEASE = 10_000


@pytest.fixture
def hook(database):
    return add_webhook(database, URL, [Action.BLOCK], NOW)


def claimed(database, hook, worker="w", now=NOW, limit=100):
    return claim(database, hook.webhook_id, worker, now, LEASE, limit)


def names(taken):
    return [delivery.decision_id for delivery in taken]


def end(database, taken, state, worker="w", due=0, now=NOW):
    finish(database, worker, [Outcome(one.delivery_id, state, "it answered 500", due) for one in taken], now)


def test_a_webhook_is_told_only_of_its_actions(database, hook):
    review = add_webhook(database, URL, [Action.REVIEW, Action.ALLOW], NOW)
    decide(database, [hook, review], ("a", 1), action=Action.BLOCK)
    decide(database, [hook, review], ("b", 1), action=Action.REVIEW)
    assert names(claimed(database, hook)) == ["d-a-0001"]
    assert names(claimed(database, review)) == ["d-b-0001"]


def test_a_decision_is_in_the_outbox_once(database, hook):
    (decision,) = decide(database, [hook], ("a", 1))
    decide(database, [hook], ("a", 1))  # a repeat of the revision
    with pytest.raises(IntegrityError), database.begin() as connection:
        enqueue(connection, [decision], [hook], NOW)
    assert backlog(database) == {hook.webhook_id: Backlog(waiting=1, dead=0, oldest_ms=NOW)}


def test_what_is_claimed_is_nobody_elses_until_the_lease_ends(database, hook):
    decide(database, [hook], ("a", 1))
    (taken,) = claimed(database, hook, "one")
    assert taken.attempts == 1
    assert due_webhooks(database, NOW + LEASE - 1) == []
    assert claimed(database, hook, "two", NOW + LEASE - 1) == []
    assert due_webhooks(database, NOW + LEASE) == [hook.webhook_id]
    (again,) = claimed(database, hook, "two", NOW + LEASE)
    assert (again.delivery_id, again.attempts) == (taken.delivery_id, 2)


def test_whoever_lost_the_lease_cannot_end_the_delivery(database, hook):
    decide(database, [hook], ("a", 1))
    taken = claimed(database, hook, "one")
    claimed(database, hook, "two", NOW + LEASE)
    end(database, taken, DELIVERED, "one")
    assert backlog(database)[hook.webhook_id].waiting == 1
    end(database, taken, DELIVERED, "two")
    assert backlog(database) == {}


def test_a_later_decision_of_a_listing_waits_until_the_earlier_is_delivered_or_dead(database, hook):
    decide(database, [hook], ("a", 1), ("b", 1), ("a", 2), ("a", 3))
    first = claimed(database, hook)
    assert names(first) == ["d-a-0001", "d-b-0001"]
    assert claimed(database, hook) == []
    end(database, first[:1], WAITING, due=NOW + 5)
    assert due_webhooks(database, NOW + 4) == []
    assert claimed(database, hook, now=NOW + 4) == []
    end(database, claimed(database, hook, now=NOW + 5), DELIVERED)
    second = claimed(database, hook, now=NOW + 5)
    assert names(second) == ["d-a-0002"]
    end(database, second, DEAD)
    assert names(claimed(database, hook, now=NOW + 5)) == ["d-a-0003"]


def test_what_waits_behind_a_failed_delivery_is_not_due_before_it(database, hook):
    other = add_webhook(database, URL, [Action.BLOCK], NOW)
    decide(database, [hook, other], ("a", 1), ("a", 2), ("b", 1))
    first, beside = claimed(database, hook)
    end(database, [first], WAITING, due=NOW + 5)
    with database.connect() as connection:
        of_hook = deliveries.c.webhook_id == hook.webhook_id
        rows = connection.execute(select(deliveries).where(of_hook).order_by(deliveries.c.seq)).all()
        others = connection.execute(select(deliveries.c.due_at_ms).where(~of_hook)).scalars().all()
    assert [(row.decision_id, row.due_at_ms) for row in rows] == [
        ("d-a-0001", NOW + 5),
        ("d-a-0002", NOW + 5),
        (beside.decision_id, NOW),
    ]
    assert set(others) == {NOW}


def test_webhooks_do_not_wait_for_each_other(database, hook):
    other = add_webhook(database, URL, [Action.BLOCK], NOW)
    decide(database, [hook, other], ("a", 1), ("a", 2))
    end(database, claimed(database, hook), DELIVERED)
    assert names(claimed(database, hook)) == ["d-a-0002"]
    assert names(claimed(database, other)) == ["d-a-0001"]


def test_a_claim_takes_no_more_than_it_was_allowed_the_earliest_first(database, hook):
    decide(database, [hook], *((f"l{n}", 1) for n in range(6)))
    assert names(claimed(database, hook, limit=2)) == ["d-l0-0001", "d-l1-0001"]
    assert names(claimed(database, hook, limit=9)) == [f"d-l{n}-0001" for n in range(2, 6)]


def test_a_worker_that_stops_gives_its_leases_back(database, hook):
    decide(database, [hook], ("a", 1), ("b", 1))
    claimed(database, hook, "one", limit=1)
    claimed(database, hook, "two", limit=1)
    release(database, "one")
    assert names(claimed(database, hook, "three")) == ["d-a-0001"]


def test_dead_letters_are_listed_with_their_reason_and_replayed_in_order(database, hook):
    decide(database, [hook], ("a", 1), ("a", 2))
    for _ in range(2):
        end(database, claimed(database, hook), DEAD, now=NOW + 7)
    dead = list_dead(database)
    assert [(one.decision_id, one.last_error, one.ended_at_ms) for one in dead] == [
        ("d-a-0001", "it answered 500", NOW + 7),
        ("d-a-0002", "it answered 500", NOW + 7),
    ]
    assert list_dead(database, "wh_other") == []
    assert replay_dead(database, hook.webhook_id, NOW + 9) == 2
    assert list_dead(database) == []
    (taken,) = claimed(database, hook, now=NOW + 9)
    assert (taken.decision_id, taken.attempts) == ("d-a-0001", 1)


def test_named_dead_letters_are_replayed_all_or_none(database, hook):
    decide(database, [hook], ("a", 1), ("b", 1))
    end(database, claimed(database, hook), DEAD)
    first, second = (one.delivery_id for one in list_dead(database))
    with pytest.raises(ConfigError, match="none was replayed"):
        replay_dead(database, hook.webhook_id, NOW, [first, "dl_unknown"])
    assert len(list_dead(database)) == 2
    assert replay_dead(database, hook.webhook_id, NOW, [second]) == 1
    assert [one.delivery_id for one in list_dead(database)] == [first]


def test_a_removed_webhook_leaves_dead_letters_that_are_not_replayed(database, hook):
    decide(database, [hook], ("a", 1), ("b", 1))
    claimed(database, hook, limit=1)
    assert remove_webhook(database, hook.webhook_id, NOW) == 1
    assert list_webhooks(database) == []
    assert read_webhook(database, hook.webhook_id).removed_at_ms == NOW
    assert [one.last_error for one in list_dead(database)] == ["the webhook was removed"]
    with pytest.raises(ConfigError, match="removed"):
        replay_dead(database, hook.webhook_id, NOW)


def test_a_webhook_that_is_not_there_is_said_so(database):
    for change in (
        lambda: read_webhook(database, "wh_0"),
        lambda: remove_webhook(database, "wh_0", NOW),
        lambda: replay_dead(database, "wh_0", NOW),
    ):
        with pytest.raises(ConfigError, match="stallwart webhooks list"):
            change()


def test_a_webhook_shows_neither_secret_nor_url_in_logs(database, hook):
    assert hook.secret not in repr(hook)
    assert URL not in repr(hook)
    assert read_webhook(database, hook.webhook_id) == hook
    with pytest.raises(ConfigError, match="at least one action"):
        add_webhook(database, URL, [], NOW)


def test_what_a_receiver_says_is_kept_short(database, hook):
    decide(database, [hook], ("a", 1))
    (taken,) = claimed(database, hook)
    finish(database, "w", [Outcome(taken.delivery_id, DEAD, "x" * 10_000)], NOW)
    with database.connect() as connection:
        (said,) = connection.execute(select(deliveries.c.last_error)).scalars()
    assert len(said) == 300

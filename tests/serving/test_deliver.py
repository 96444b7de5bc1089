import asyncio
import threading
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from stallwart.client.webhooks import verify
from stallwart.core.decision import Action, Decision
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.serving.deliver import Deliverer
from stallwart.serving.pinned import PinnedTransport
from stallwart.serving.post import check_webhook_url
from stallwart.store.outbox import backlog, list_dead, replay_dead
from stallwart.store.tables import deliveries
from stallwart.store.webhooks import add_webhook, remove_webhook
from tests.serving.receiver import Receiver, Reply
from tests.store.outgoing import NOW, decide

SETTINGS = Settings(
    webhook_private=True,
    webhook_timeout_ms=5_000,
    webhook_attempts=3,
    webhook_backoff_ms=1_000,
    webhook_max_backoff_ms=60_000,
)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def hook(database, receiver):
    return add_webhook(database, f"{receiver.url}/hook?token=t", [Action.BLOCK], NOW)


@pytest.fixture
def deliverer(database, clock):
    return Deliverer(database, SETTINGS, clock, jitter=lambda: 0.5)


def drain(deliverer):
    asyncio.run(deliverer.drain())


def rows(database):
    with database.connect() as connection:
        return connection.execute(select(deliveries).order_by(deliveries.c.seq)).all()


def script(*replies):
    """Answers these, one after the other, and 200 when they are through."""
    left = list(replies)
    return lambda _came: left.pop(0) if left else Reply()


def test_a_decision_arrives_as_it_was_answered_and_signed(database, hook, receiver, deliverer):
    (decision,) = decide(database, [hook], ("a", 1))
    drain(deliverer)
    (came,) = receiver.came
    assert came.path == "/hook?token=t"
    assert Decision.model_validate_json(came.body) == decision
    assert came.headers["Content-Type"] == "application/json"
    (row,) = rows(database)
    assert verify(hook.secret, came.headers, came.body, NOW / 1000) == row.delivery_id
    assert (row.state, row.attempts, row.last_error, row.ended_at_ms) == ("delivered", 1, None, NOW)


def test_what_failed_is_tried_again_after_a_pause_that_doubles(database, hook, receiver, deliverer, clock):
    receiver.answer = script(Reply(500), Reply(404))
    decide(database, [hook], ("a", 1))
    drain(deliverer)
    (row,) = rows(database)
    assert (row.state, row.last_error, row.due_at_ms) == ("waiting", "it answered 500", NOW + 500)
    clock.now = NOW + 499
    drain(deliverer)
    assert len(receiver.came) == 1
    clock.now = NOW + 500
    drain(deliverer)
    assert rows(database)[0].due_at_ms == clock.now + 1_000
    clock.now += 1_000
    drain(deliverer)
    assert rows(database)[0].state == "delivered"
    assert len({came.headers["Stallwart-Delivery"] for came in receiver.came}) == 1
    assert [came.headers["Stallwart-Timestamp"] for came in receiver.came][-1] == str(clock.now // 1000)


def test_a_delivery_that_fails_each_time_becomes_a_dead_letter_that_can_be_replayed(
    database, hook, receiver, deliverer, clock
):
    receiver.answer = script(Reply(500), Reply(503), Reply(302, (("Location", "http://127.0.0.1:1/"),)))
    counted = []
    deliverer = Deliverer(database, SETTINGS, clock, counted=counted.append)
    decide(database, [hook], ("a", 1))
    for _ in range(5):
        drain(deliverer)
        clock.now += 60_000
    (dead,) = list_dead(database)
    assert (dead.attempts, dead.last_error) == (3, "it answered 302, the last of 3 attempts")
    assert counted == ["retry", "retry", "dead"]
    replay_dead(database, hook.webhook_id, clock.now)
    drain(deliverer)
    assert rows(database)[0].state == "delivered"
    assert len(receiver.came) == 4


def test_a_receiver_that_is_gone_is_not_asked_again(database, hook, receiver, deliverer):
    receiver.answer = script(Reply(410))
    decide(database, [hook], ("a", 1), ("b", 1))
    drain(deliverer)
    (dead,) = list_dead(database)
    assert "410" in dead.last_error
    assert "remove the webhook" in dead.last_error
    assert sorted(row.state for row in rows(database)) == ["dead", "delivered"]


def test_decisions_of_a_listing_keep_their_order_and_hold_up_no_other(
    database, hook, receiver, deliverer, clock
):
    failed = []

    def answer(came):
        if came.told == "d-a-0001" and len(failed) < 2:
            failed.append(came)
            return Reply(500)
        return Reply()

    receiver.answer = answer
    decide(database, [hook], ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3))
    drain(deliverer)
    assert [told for told in receiver.told if "-b-" in told] == ["d-b-0001", "d-b-0002"]
    assert [told for told in receiver.told if "-a-" in told] == ["d-a-0001"]
    for _ in range(2):
        clock.now += 60_000
        drain(deliverer)
    assert [told for told in receiver.told if "-a-" in told] == [
        "d-a-0001", "d-a-0001", "d-a-0001", "d-a-0002", "d-a-0003",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "pause_ms"),
    [
        ("7", 7_000),
        ("0", 500),
        ("86400", 60_000),
        (formatdate(NOW / 1000 + 9, usegmt=True), 9_000),
        (formatdate(NOW / 1000 - 9, usegmt=True), 500),
        ("soon", 500),
        ("-5", 500),
        ("9" * 5_000, 500),
    ],
)
def test_retry_after_is_honoured_within_bounds(database, hook, receiver, deliverer, asked, pause_ms):
    receiver.answer = script(Reply(503, (("Retry-After", asked),)))
    decide(database, [hook], ("a", 1))
    drain(deliverer)
    assert rows(database)[0].due_at_ms == NOW + pause_ms


@given(attempts=st.integers(1, 100), share=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_longer_than_the_longest(attempts, share):
    pause = Deliverer(None, SETTINGS, lambda: NOW, jitter=lambda: share)._pause_ms(attempts, None)
    assert 0 <= pause <= min(60_000, 1_000 * 2 ** (attempts - 1))


def test_an_endless_answer_is_cut_off_and_counts_by_its_status(database, hook, receiver, deliverer):
    receiver.answer = script(Reply(200, endless=True))
    decide(database, [hook], ("a", 1))
    drain(deliverer)
    assert rows(database)[0].state == "delivered"


def test_a_receiver_that_does_not_answer_is_left_after_the_timeout(database, hook, receiver, clock):
    waiting = threading.Event()
    receiver.answer = lambda _came: Reply() if waiting.wait(30) else Reply(500)
    decide(database, [hook], ("a", 1))
    quick = Deliverer(database, SETTINGS.model_copy(update={"webhook_timeout_ms": 100}), clock)
    drain(quick)
    waiting.set()
    assert rows(database)[0].last_error == "no answer within 100 ms"


def test_nobody_listening_is_a_failed_connection(database, deliverer):
    server = Receiver()
    server.close()
    gone = add_webhook(database, f"{server.url}/?token=t0ken", [Action.BLOCK], NOW)
    decide(database, [gone], ("a", 1))
    drain(deliverer)
    said = rows(database)[0].last_error
    assert said.startswith("the connection failed")
    assert "t0ken" not in said


def test_a_slow_receiver_does_not_hold_up_another(database, receiver, clock):
    release = threading.Event()
    slow = Receiver(lambda _came: Reply() if release.wait(30) else Reply(500))
    hooks = [add_webhook(database, f"{server.url}/", [Action.BLOCK], NOW) for server in (slow, receiver)]
    decide(database, hooks, *((f"l{n:02}", 1) for n in range(30)))
    deliverer = Deliverer(database, SETTINGS.model_copy(update={"webhook_timeout_ms": 30_000}), clock)
    deliverer.start()
    assert receiver.wait_for(lambda came: len(came) == 30)
    assert len(slow.came) <= 8
    release.set()
    assert slow.wait_for(lambda came: len(came) == 30)
    deliverer.stop(10)
    slow.close()
    assert {row.state for row in rows(database)} == {"delivered"}


def test_stopping_finishes_what_is_under_way_and_leaves_the_rest(database, hook, receiver, clock):
    release = threading.Event()
    receiver.answer = lambda _came: Reply() if release.wait(30) else Reply(500)
    decide(database, [hook], ("a", 1), ("a", 2))
    deliverer = Deliverer(database, SETTINGS, clock)
    deliverer.start()
    assert receiver.wait_for(lambda came: len(came) == 1)
    stopped = threading.Thread(target=deliverer.stop, args=(20,))
    stopped.start()
    release.set()
    stopped.join(30)
    assert [row.state for row in rows(database)] == ["delivered", "waiting"]
    assert receiver.told == ["d-a-0001"]


def test_stopping_at_once_gives_the_leases_back(database, hook, receiver, clock):
    release = threading.Event()
    receiver.answer = lambda _came: Reply() if release.wait(30) else Reply(500)
    decide(database, [hook], ("a", 1))
    deliverer = Deliverer(database, SETTINGS, clock)
    deliverer.start()
    assert receiver.wait_for(lambda came: len(came) == 1)
    deliverer.stop(0)
    release.set()
    (row,) = rows(database)
    assert (row.state, row.leased_until_ms, row.leased_by) == ("waiting", 0, None)


def test_a_new_delivery_is_sent_when_the_writer_says_so(database, hook, receiver, clock, monkeypatch):
    monkeypatch.setattr("stallwart.serving.deliver._POLL_SECONDS", 60)
    deliverer = Deliverer(database, SETTINGS, clock)
    deliverer.start()
    for number in (1, 2):
        decide(database, [hook], ("a", number))
        while len(receiver.came) < number:
            deliverer.wake()
            receiver.wait_for(lambda came, number=number: len(came) == number, 0.1)
    deliverer.stop(10)
    assert receiver.told == ["d-a-0001", "d-a-0002"]


def test_a_database_that_goes_away_and_comes_back_loses_nothing(database, hook, receiver, clock, monkeypatch):
    monkeypatch.setattr("stallwart.serving.deliver._POLL_SECONDS", 0.01)
    away, refused = threading.Event(), threading.Event()

    @event.listens_for(database, "before_cursor_execute")
    def refuse(*_):
        if away.is_set():
            refused.set()
            raise OperationalError("", {}, Exception("gone"))

    def answer(_came):
        away.set()
        assert refused.wait(30)
        return Reply()

    receiver.answer = answer
    decide(database, [hook], ("a", 1))
    deliverer = Deliverer(database, SETTINGS, clock)
    deliverer.start()
    assert refused.wait(30)
    away.clear()
    deliverer.stop(10)
    assert [row.state for row in rows(database)] == ["delivered"]
    assert receiver.told == ["d-a-0001"]


def test_a_webhook_that_was_removed_is_told_nothing_more(database, hook, receiver, deliverer):
    remove_webhook(database, hook.webhook_id, NOW)
    decide(database, [hook], ("a", 1))  # by a process that has not seen it yet
    drain(deliverer)
    assert receiver.came == []
    assert [dead.last_error for dead in list_dead(database)] == ["the webhook was removed"]


def test_a_private_address_is_refused_and_never_connected(database, hook, receiver, clock):
    decide(database, [hook], ("a", 1))
    drain(Deliverer(database, Settings(), clock))
    assert receiver.came == []
    assert "scheme" in rows(database)[0].last_error


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00:ec2::254"])
def test_a_name_that_leads_to_a_private_address_is_refused(database, clock, address):
    async def resolver(_host, _port):
        return [address]

    def client():
        return httpx.AsyncClient(transport=PinnedTransport(resolver), trust_env=False)

    hook = add_webhook(database, "https://receiver.example/hook", [Action.BLOCK], NOW)
    decide(database, [hook], ("a", 1))
    drain(Deliverer(database, Settings(), clock, client))
    assert "address" in rows(database)[0].last_error
    assert backlog(database)[hook.webhook_id].waiting == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com/",
        "https://user:pw@example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0x7f000001/",
        "https://169.254.169.254/latest",
        "example.com",
        "",
    ],
)
def test_a_url_that_is_not_allowed_is_refused_when_it_is_added(url):
    with pytest.raises(ConfigError, match="webhook's URL"):
        check_webhook_url(url, Settings())


def test_metadata_is_refused_even_where_private_receivers_are_allowed():
    assert str(check_webhook_url("http://10.0.0.8:8080/x", SETTINGS)) == "http://10.0.0.8:8080/x"
    with pytest.raises(ConfigError):
        check_webhook_url("http://169.254.169.254/", SETTINGS)

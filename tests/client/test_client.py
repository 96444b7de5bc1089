"""Both clients against a service that the test plays: what is sent, what is tried again, what is raised."""

import asyncio
import base64
import inspect
import json
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import pytest

from stallwart.client import (
    AsyncClient,
    Client,
    FaultError,
    MissingError,
    NoAnswerError,
    NotAllowedError,
    RefusedError,
    RepeatError,
    TryLaterError,
)
from stallwart.core.decision import Action
from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Listing

URL, KEY = "http://stallwart.test", "sw_" + "0" * 12 + "_" + "a" * 43
DECISION = {
    "decision_id": "d_1",
    "listing_id": "L1",
    "revision": "r" * 64,
    "action": "review",
    "policies": ["tobacco"],
    "reason": "the score is not certified",
    "scores": {"tobacco": 0.7},
    "thresholds": {"tobacco": {"block": 0.9, "review": 0.4}},
    "evidence": None,
    "bundle": "b" * 64,
    "taxonomy": "t" * 64,
    "cause": "new",
    "supersedes": None,
    "decided_at_ms": 1_000,
}


class Played:
    """A service that answers from a list, and the time that passes meanwhile, all in seconds."""

    def __init__(self, *answers, each_takes=0.0):
        self.answers, self.each_takes = list(answers), each_takes
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.now = 100.0

    def __call__(self, request):
        request.read()
        self.requests.append(request)
        self.now += self.each_takes
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    async def apause(self, seconds):
        self.pause(seconds)

    def bodies(self):
        return [json.loads(request.content) for request in self.requests]


class Sync:
    """A client whose calls are made by name."""

    def __init__(self, played, **options):
        self.client = Client(
            URL,
            KEY,
            transport=httpx.MockTransport(played),
            clock=lambda: played.now,
            sleep=played.pause,
            **{"jitter": lambda: 0.5, **options},
        )

    def __call__(self, name, *arguments, **options):
        with self.client as client:
            return getattr(client, name)(*arguments, **options)


class Async:
    def __init__(self, played, **options):
        self.client = AsyncClient(
            URL,
            KEY,
            transport=httpx.MockTransport(played),
            clock=lambda: played.now,
            sleep=played.apause,
            **{"jitter": lambda: 0.5, **options},
        )

    def __call__(self, name, *arguments, **options):
        async def called():
            async with self.client as client:
                return await getattr(client, name)(*arguments, **options)

        return asyncio.run(called())


@pytest.fixture(params=[Sync, Async])
def calling(request):
    return request.param


def decided(**changes):
    return httpx.Response(200, json={**DECISION, **changes})


def refused(status, code, headers=None):
    error = {"code": code, "message": "what and why", "request_id": "req-7"}
    return httpx.Response(status, json={"error": error}, headers=headers)


def test_a_listing_by_its_fields_is_sent_and_its_decision_read(calling):
    played = Played(decided())
    decision = calling(played)(
        "decide", listing_id="L1", title="Lamp", photos=[b"\xff\xd8"], evidence="words"
    )
    assert (decision.action, decision.policies, decision.scores) == (
        Action.REVIEW,
        ("tobacco",),
        {"tobacco": 0.7},
    )
    (request,) = played.requests
    assert (request.method, request.url) == ("POST", f"{URL}/v1/decisions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert played.bodies() == [
        {
            "listing": {
                "listing_id": "L1",
                "title": "Lamp",
                "photos": [{"base64": base64.b64encode(b"\xff\xd8").decode()}],
            },
            "evidence": "words",
            "rescan": False,
            "on_failure": "review",
        }
    ]


def test_a_listing_object_is_sent_whole_and_without_what_it_lacks(calling):
    played = Played(decided())
    at = datetime(2025, 3, 1, tzinfo=UTC)
    calling(played)("decide", Listing("L1", description="words", photos=(b"x",), listed_at=at, price=3.5))
    assert played.bodies()[0]["listing"] == {
        "listing_id": "L1",
        "description": "words",
        "photos": [{"base64": "eA=="}],
        "price": 3.5,
        "listed_at": "2025-03-01T00:00:00+00:00",
    }


def test_photos_go_as_bytes_urls_or_hashes(calling):
    played = Played(decided())
    calling(played)("decide", {"listing_id": "L1", "photos": [b"x", "https://img.test/a.jpg", "ab" * 32]})
    assert played.bodies()[0]["listing"]["photos"] == [
        {"base64": "eA=="},
        {"url": "https://img.test/a.jpg"},
        {"sha256": "ab" * 32},
    ]


@pytest.mark.parametrize(
    "listing",
    [
        {},
        {"listing_id": ""},
        {"listing_id": "L1", "colour": "red"},
        {"listing_id": "L1", "photos": ["no photo"]},
        {"listing_id": "L1", "price": float("nan")},
        {"listing_id": "L1", "title": object()},
        Listing("L1", unread=("file missing",)),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is_sent(calling, listing):
    played = Played()
    with pytest.raises(DataError):
        calling(played)("decide", listing)
    assert played.requests == []


def test_fields_beside_a_listing_object_are_refused_and_not_lost(calling):
    with pytest.raises(DataError, match="not both"):
        calling(Played())("decide", Listing("L1"), title="other")


@pytest.mark.parametrize(
    "failed",
    [
        httpx.ConnectError("no route"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("server disconnected"),
        httpx.ReadTimeout("silent"),
        lambda: refused(408, "late"),
        lambda: refused(503, "overloaded"),
        lambda: httpx.Response(502, text="<html>proxy</html>"),
    ],
)
def test_what_is_safe_is_tried_again_under_the_same_key_and_request_id(calling, failed):
    played = Played(failed() if callable(failed) else failed, decided())
    assert calling(played)("decide", listing_id="L1").decision_id == "d_1"
    first, second = played.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    assert first.content == second.content


def test_each_call_has_its_own_key_unless_one_is_given(calling):
    keys = set()
    for options in ({}, {}, {"idempotency_key": "mine"}):
        played = Played(decided())
        calling(played)("decide", listing_id="L1", **options)
        keys.add(played.requests[0].headers["idempotency-key"])
    assert len(keys) == 3
    assert "mine" in keys


def test_pauses_double_and_are_drawn_from_their_whole_range(calling):
    answers = [refused(503, "overloaded") for _ in range(4)]
    played = Played(*answers)
    with pytest.raises(TryLaterError):
        calling(played, jitter=lambda: 0.999)("decide", listing_id="L1")
    assert played.pauses == pytest.approx([0.0999, 0.1998, 0.3996])
    unlucky = Played(refused(503, "overloaded"), decided())
    calling(unlucky, jitter=lambda: 0.0)("decide", listing_id="L1")
    assert unlucky.pauses == [0.0]


def test_the_pause_that_the_service_asks_for_is_kept(calling):
    played = Played(refused(429, "quota", {"Retry-After": "1"}), decided())
    calling(played)("decide", listing_id="L1")
    assert played.pauses == pytest.approx([1.05])


def test_a_date_to_come_again_is_read_against_the_answers_own_clock(calling):
    dates = {"Date": "Sun, 02 Mar 2025 10:00:00 GMT", "Retry-After": "Sun, 02 Mar 2025 10:00:01 GMT"}
    played = Played(refused(503, "overloaded", dates), decided())
    calling(played)("decide", listing_id="L1")
    assert played.pauses == pytest.approx([1.05])


@pytest.mark.parametrize("stated", ["soon", "nan", "inf", "-1", ""])
def test_a_pause_that_makes_no_sense_does_not_stop_the_next_attempt(calling, stated):
    played = Played(refused(503, "overloaded", {"Retry-After": stated}), decided())
    calling(played)("decide", listing_id="L1")
    assert played.pauses == pytest.approx([0.05])


def test_a_pause_beyond_the_deadline_is_an_error_at_once(calling):
    played = Played(refused(429, "quota", {"Retry-After": "30"}))
    with pytest.raises(TryLaterError) as raised:
        calling(played)("decide", listing_id="L1")
    assert raised.value.retry_after_seconds == 30
    assert played.pauses == []


def test_no_attempt_begins_after_the_deadline(calling):
    played = Played(*[httpx.ConnectError("no route") for _ in range(9)], each_takes=0.7)
    with pytest.raises(NoAnswerError, match="3 attempts: the service cannot be reached"):
        calling(played, retries=8)("decide", listing_id="L1")
    assert len(played.requests) == 3
    assert played.now <= 100 + 3 * 0.7 + sum(played.pauses)


def test_the_service_is_told_a_little_less_than_what_is_left(calling):
    played = Played(refused(503, "overloaded"), decided(), each_takes=0.9)
    calling(played, jitter=lambda: 0.0)("decide", listing_id="L1")
    told = [int(request.headers["stallwart-deadline-ms"]) for request in played.requests]
    assert told == pytest.approx([1_900, 1_000], abs=1)


def test_each_step_of_the_connection_gets_what_is_left_of_the_deadline():
    played = Played(decided())
    Sync(played)("decide", listing_id="L1")
    limits = played.requests[0].extensions["timeout"]
    assert limits.get("connect") == pytest.approx(2.0)
    played.now += 1.5
    assert limits.get("read") == pytest.approx(0.5)
    played.now += 9
    assert limits.get("read") == 0.001


def test_an_answer_that_drips_is_given_up_at_the_deadline():
    played = Played()

    def drip():
        while True:
            played.now += 0.3
            yield b" "

    played.answers = [httpx.Response(200, content=drip())]
    with pytest.raises(NoAnswerError, match="the deadline was over"):
        Sync(played)("decide", listing_id="L1")
    assert played.now < 103


def test_an_asynchronous_call_ends_at_its_deadline_whatever_the_service_does():
    async def silent(_):
        await asyncio.Event().wait()

    async def called():
        async with AsyncClient(URL, KEY, 30, transport=httpx.MockTransport(silent)) as client:
            await client.decide(listing_id="L1")

    with pytest.raises(NoAnswerError, match="the deadline was over"):
        asyncio.run(called())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "config", RefusedError),
        (401, "unauthenticated", NotAllowedError),
        (403, "scope", NotAllowedError),
        (404, "not_found", MissingError),
        (409, "conflict", RepeatError),
        (413, "too_large", RefusedError),
        (422, "data", RefusedError),
        (500, "internal", FaultError),
        (302, "moved", FaultError),
    ],
)
def test_what_would_be_refused_again_is_not_sent_again(calling, status, code, kind):
    played = Played(refused(status, code))
    with pytest.raises(kind) as raised:
        calling(played)("decide", listing_id="L1")
    err = raised.value
    assert (type(err), err.code, err.message, err.request_id, err.status) == (
        kind,
        code,
        "what and why",
        "req-7",
        status,
    )
    assert len(played.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"decision": 1}', b"", b"\xff\xfe"])
def test_an_answer_of_something_else_is_a_fault_and_no_decision(calling, body):
    with pytest.raises(FaultError) as raised:
        calling(Played(httpx.Response(200, content=body)))("decide", listing_id="L1")
    assert raised.value.status == 200
    with pytest.raises(FaultError) as raised:
        calling(Played(httpx.Response(500, content=body)))("decide", listing_id="L1")
    assert raised.value.code == "unknown"


def test_an_action_that_this_client_does_not_know_is_no_decision(calling):
    with pytest.raises(FaultError):
        calling(Played(decided(action="shrug")))("decide", listing_id="L1")


def test_a_newer_service_may_say_more(calling):
    assert calling(Played(decided(mood="good")))("decide", listing_id="L1").decision_id == "d_1"


def test_a_batch_gives_each_row_its_decision_or_its_error(calling):
    error = {"code": "overloaded", "message": "no room", "request_id": "req-9"}
    rows = [
        {"listing_id": "L1", "decision": DECISION, "error": None},
        {"listing_id": "L2", "decision": None, "error": error},
        {"listing_id": "L3", "error": {**error, "code": "conflict"}},
    ]
    played = Played(httpx.Response(200, json={"results": rows}))
    first, second, third = calling(played)(
        "decide_batch", [Listing("L1"), {"listing_id": "L2"}, Listing("L3")]
    )
    assert first.decision_id == "d_1"
    assert (type(second), second.code, second.request_id) == (TryLaterError, "overloaded", "req-9")
    assert type(third) is RepeatError
    assert played.requests[0].url.path == "/v1/decisions:batch"
    assert [one["listing_id"] for one in played.bodies()[0]["listings"]] == ["L1", "L2", "L3"]


def test_what_was_answered_is_read_by_its_id(calling):
    played = Played(decided())
    assert calling(played)("decision", "d_1/../x?y").decision_id == "d_1"
    assert played.requests[0].url.raw_path == b"/v1/decisions/d_1%2F..%2Fx%3Fy"


def test_feedback_is_stored_under_one_key_however_often_it_is_sent(calling):
    played = Played(httpx.ReadError("reset"), httpx.Response(201, json={"feedback_id": "f_1"}))
    assert calling(played)("feedback", "d_1", "appeal", note="It is a toy.") == "f_1"
    assert played.bodies()[1] == {"decision_id": "d_1", "kind": "appeal", "note": "It is a toy."}
    assert len({request.headers["idempotency-key"] for request in played.requests}) == 1


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("url", "key", "options"),
    [
        ("stallwart.test", KEY, {}),
        ("ftp://stallwart.test", KEY, {}),
        ("http://", KEY, {}),
        (URL, "sw_a\n", {}),
        (URL, "", {}),
        (URL, "schlüssel", {}),
        (URL, KEY, {"deadline_ms": 0}),
        (URL, KEY, {"retries": -1}),
    ],
)
def test_a_client_that_could_never_work_is_refused_without_quoting_its_key(client, url, key, options):
    with pytest.raises(ConfigError) as raised:
        client(url, key, **options)
    assert not key or key not in str(raised.value)


def test_an_idempotency_key_that_no_header_takes_is_refused(calling):
    with pytest.raises(ConfigError):
        calling(Played())("decide", listing_id="L1", idempotency_key="two words")


def test_a_service_without_keys_is_sent_none():
    played = Played(decided())
    with Client(URL, None, transport=httpx.MockTransport(played)) as client:
        client.decide(listing_id="L1")
    assert "authorization" not in played.requests[0].headers


def test_no_error_quotes_the_key_or_the_listing(calling):
    for answer in (httpx.ConnectError(f"to {URL}"), refused(401, "unauthenticated")):
        with pytest.raises(Exception, match="request") as raised:
            calling(Played(answer), retries=0)("decide", listing_id="L1", title="secret words")
        assert KEY not in str(raised.value)
        assert "secret words" not in str(raised.value)


@pytest.mark.parametrize("name", ["decide", "decide_batch", "decision", "feedback"])
def test_both_clients_take_the_same(name):
    sync, other = (inspect.signature(getattr(client, name)) for client in (Client, AsyncClient))
    assert sync.parameters == other.parameters
    assert sync.return_annotation == other.return_annotation


def test_the_client_loads_neither_numpy_nor_any_other_layer():
    code = "import sys, stallwart.client; print(*sorted(m for m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    layers = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("stallwart.")}
    assert layers == {"stallwart.client", "stallwart.core"}
    assert not {"numpy", "sqlalchemy", "fastapi"} & set(loaded)

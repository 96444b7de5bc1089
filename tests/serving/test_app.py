"""The routes with a runtime of a few lines; what they do with a real bundle is in test_serve.py."""

import base64
import hashlib
import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from fakes import FakeRuntime

from stallwart.core.settings import Settings
from stallwart.serving.server import create_service_of, wall_ms
from stallwart.store.database import database_url, open_database, upgrade
from stallwart.store.keys import Scope, create_key

JSON = {"Content-Type": "application/json"}
LAMP = {"listing_id": "L1", "title": "Brass lamp", "description": "Rewired"}


class Running:
    """A service in a thread of this process, under real HTTP."""

    def __init__(self, settings, runtime, **options):
        self.settings, self.runtime, self.clients = settings, runtime, []
        self.database = open_database(database_url(settings), settings)
        upgrade(self.database)
        app = create_service_of(runtime, settings, **options)
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=5)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def client(self, *scopes, **more):
        made = create_key(self.database, "test", scopes or tuple(Scope), wall_ms(), **more)
        headers = {"Authorization": f"Bearer {made.secret}"}
        self.clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=30))
        return self.clients[-1]

    def stop(self):
        for client in self.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.database.dispose()


@pytest.fixture
def settings(tmp_path):
    return Settings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", key_cache_seconds=0, reload_seconds=0
    )


@pytest.fixture
def serve(settings):
    """Starts services and stops them."""
    running = []

    def start(runtime=None, **changes):
        running.append(Running(settings.model_copy(update=changes), runtime or FakeRuntime()))
        return running[-1]

    yield start
    for one in running:
        one.runtime.gate.set()
        one.stop()


def test_a_decision_is_answered_and_can_be_read_again(serve):
    client = serve().client()
    answer = client.post("/v1/decisions", json={"listing": {**LAMP, "title": "a drug"}})
    assert answer.status_code == 200
    decision = answer.json()
    assert decision["action"] == "block"
    assert decision["policies"] == ["drugs"]
    assert decision["scores"]["drugs"] == 0.95
    assert decision["thresholds"]["drugs"] == {"block": 0.9, "review": 0.2}
    assert decision["cause"] == "new"
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json() == decision


def test_the_same_listing_and_content_is_answered_with_the_same_decision(serve):
    running = serve()
    client = running.client()
    answers = [client.post("/v1/decisions", json={"listing": LAMP}).json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(running.runtime.computed) == 1


def test_an_edit_and_a_rescan_supersede_what_was_decided_before(serve):
    client = serve().client()
    first = client.post("/v1/decisions", json={"listing": LAMP}).json()
    edit = client.post("/v1/decisions", json={"listing": {**LAMP, "price": 5}}).json()
    rescan = client.post("/v1/decisions", json={"listing": {**LAMP, "price": 5}, "rescan": True}).json()
    assert [one["cause"] for one in (first, edit, rescan)] == ["new", "edit", "rescan"]
    assert edit["supersedes"] == first["decision_id"]
    assert rescan["supersedes"] == edit["decision_id"]


def test_an_idempotency_key_makes_a_rescan_repeatable_and_refuses_other_content(serve):
    client, headers = serve().client(), {"Idempotency-Key": "one"}
    ask = {"listing": LAMP, "rescan": True}
    first, again = (client.post("/v1/decisions", json=ask, headers=headers).json() for _ in range(2))
    assert first == again
    other = client.post("/v1/decisions", json={"listing": {**LAMP, "title": "x"}}, headers=headers)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "conflict"


def test_concurrent_repeats_are_answered_with_one_decision(serve):
    running = serve()
    client = running.client()
    running.runtime.gate.clear()
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(client.post("/v1/decisions", json={"listing": LAMP}).json())
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert running.runtime.began.acquire(timeout=10)
    running.runtime.gate.set()
    for thread in threads:
        thread.join(20)
    assert len({answer["decision_id"] for answer in answers}) == 1
    assert len(answers) == 8


def test_a_photo_comes_as_base64_as_a_part_and_by_hash(serve):
    client = serve().client()
    photo = b"any bytes, this runtime does not look"
    encoded = base64.b64encode(photo).decode()
    first = client.post("/v1/decisions", json={"listing": {**LAMP, "photos": [{"base64": encoded}]}}).json()
    part = client.post(
        "/v1/decisions",
        data={"request": json.dumps({"listing": LAMP})},
        files=[("photo", ("a.jpg", photo, "image/jpeg"))],
    ).json()
    digest = hashlib.sha256(photo).hexdigest()
    named = client.post("/v1/decisions", json={"listing": {**LAMP, "photos": [{"sha256": digest}]}}).json()
    assert first["action"] == "allow"
    assert first == part == named


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        ({"base64": base64.b64encode(b"broken").decode()}, "a photo does not decode"),
        ({"sha256": "0" * 64}, "a photo is not among those that are kept"),
        ({"url": "https://img.example.com/a.jpg"}, "a photo"),
    ],
)
def test_a_photo_that_cannot_be_had_asks_for_a_person(serve, photo, reason):
    client = serve().client()
    decision = client.post("/v1/decisions", json={"listing": {**LAMP, "photos": [photo]}}).json()
    assert decision["action"] == "review"
    assert reason in decision["reason"]


def test_a_model_that_breaks_asks_for_a_person_or_is_an_error_where_that_is_wanted(serve):
    client = serve(FakeRuntime(raises=True)).client()
    decision = client.post("/v1/decisions", json={"listing": LAMP}).json()
    assert decision["action"] == "review"
    assert decision["scores"] is None
    assert "the model failed" in decision["reason"]
    wanted = client.post(
        "/v1/decisions", json={"listing": {**LAMP, "listing_id": "L2"}, "on_failure": "error"}
    )
    assert wanted.status_code == 503
    assert "retry-after" in wanted.headers


def test_a_full_service_refuses_by_the_header_before_the_body_is_looked_at(serve):
    runtime = FakeRuntime()
    client = serve(runtime, max_queue=1).client()
    runtime.gate.clear()
    first = threading.Thread(target=client.post, args=("/v1/decisions",), kwargs={"json": {"listing": LAMP}})
    first.start()
    assert runtime.began.acquire(timeout=10)
    refused = client.post("/v1/decisions", content=b"{" * 100_000, headers={"Stallwart-On-Failure": "error"})
    runtime.gate.set()
    first.join(20)
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    # the same connection goes on, although the body of the refused request was never read
    wanted = {"json": {"listing": LAMP}, "headers": {"Stallwart-On-Failure": "error"}}
    assert client.post("/v1/decisions", **wanted).status_code == 200
    wrong = client.post("/v1/decisions", json={"listing": LAMP}, headers={"Stallwart-On-Failure": "allow"})
    assert wrong.status_code == 400


def test_the_header_makes_a_model_that_breaks_an_error_too(serve):
    client = serve(FakeRuntime(raises=True)).client()
    answer = client.post("/v1/decisions", json={"listing": LAMP}, headers={"Stallwart-On-Failure": "error"})
    assert answer.status_code == 503


def test_a_missed_deadline_asks_for_a_person(serve):
    runtime = FakeRuntime()
    running = serve(runtime)
    client = running.client()
    runtime.gate.clear()
    answer = client.post("/v1/decisions", json={"listing": LAMP}, headers={"Stallwart-Deadline-Ms": "100"})
    runtime.gate.set()
    assert answer.json()["action"] == "review"
    assert "deadline" in answer.json()["reason"]


def test_a_full_queue_asks_for_a_person_or_says_when_to_come_back(serve):
    runtime = FakeRuntime()
    running = serve(runtime, max_queue=1)
    client = running.client()
    runtime.gate.clear()
    waiting = threading.Thread(
        target=client.post,
        args=("/v1/decisions",),
        kwargs={"json": {"listing": LAMP}, "headers": {"Stallwart-Deadline-Ms": "20000"}},
    )
    waiting.start()
    assert runtime.began.acquire(timeout=10)
    refused = client.post(
        "/v1/decisions", json={"listing": {"listing_id": "L2", "title": "x"}, "on_failure": "error"}
    )
    review = client.post("/v1/decisions", json={"listing": {"listing_id": "L3", "title": "x"}}).json()
    runtime.gate.set()
    waiting.join(20)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert review["action"] == "review"
    assert "overloaded" in review["reason"]


def test_each_listing_of_a_batch_has_a_result_of_its_own(serve):
    client = serve().client()
    listings = [{"listing_id": f"L{number}", "title": f"lamp {number}"} for number in range(5)]
    listings[3]["title"] = "a drug"
    results = client.post("/v1/decisions:batch", json={"listings": listings}).json()["results"]
    assert [row["listing_id"] for row in results] == [one["listing_id"] for one in listings]
    assert [row["decision"]["action"] for row in results] == ["allow", "allow", "allow", "block", "allow"]
    many = [{"listing_id": f"M{number}"} for number in range(65)]
    assert client.post("/v1/decisions:batch", json={"listings": many}).status_code == 413


def test_a_batch_with_an_idempotency_key_is_repeatable(serve):
    client, headers = serve().client(), {"Idempotency-Key": "batch-1"}
    ask = {"listings": [{"listing_id": "A", "title": "x"}, {"listing_id": "B", "title": "y"}], "rescan": True}
    first, again = (client.post("/v1/decisions:batch", json=ask, headers=headers).json() for _ in range(2))
    assert first == again


def test_feedback_is_stored_once(serve):
    client = serve().client()
    decision = client.post("/v1/decisions", json={"listing": LAMP}).json()
    said = {"decision_id": decision["decision_id"], "kind": "appeal", "note": "it is a lamp"}
    first, again = (
        client.post("/v1/feedback", json=said, headers={"Idempotency-Key": "f1"}) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    missing = client.post("/v1/feedback", json={**said, "decision_id": "d_none"})
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "JSON"),
        (b"{", 422, "JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "listing"),
        (b'{"listing": {"listing_id": ""}}', 422, "listing.listing_id"),
        (b'{"listing": {"listing_id": "a", "titel": "x"}}', 422, "titel"),
        (b'{"listing": {"listing_id": "a", "photos": [{}]}}', 422, "exactly one"),
        (b'{"listing": {"listing_id": "a", "photos": [{"base64": "not base64!"}]}}', 422, "base64"),
        (b'{"listing": {"listing_id": "a", "price": 1e999}}', 422, "price"),
        (b"[" * 100_000, 422, "JSON"),
        (b'{"listing": {"listing_id": "\xff"}}', 422, "JSON"),
    ],
)
def test_a_body_that_is_wrong_is_refused_with_where_and_what(serve, body, status, says):
    client = serve().client()
    answer = client.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert says.lower() in error["message"].lower()
    assert error["request_id"] == answer.headers["x-request-id"]


def test_text_that_no_database_likes_is_stored(serve):
    client = serve().client()
    answer = client.post(
        "/v1/decisions",
        content=b'{"listing": {"listing_id": "a", "title": "nul \\u0000 byte"}}',
        headers=JSON,
    )
    assert answer.status_code == 200


def test_bodies_are_bounded_as_they_arrive(serve):
    client = serve(max_body_bytes=10_000).client()
    stated = client.post("/v1/decisions", content=b"x" * 20_000, headers=JSON)
    content = (b"x" * 1_000 for _ in range(50))
    streamed = client.post("/v1/decisions", content=content, headers=JSON)
    assert (stated.status_code, streamed.status_code) == (413, 413)
    assert stated.json()["error"]["code"] == streamed.json()["error"]["code"] == "too_large"
    assert client.post("/v1/decisions", json={"listing": LAMP}).status_code == 200


def test_every_route_refuses_without_its_scope_and_without_a_key(serve):
    running = serve()
    app = running.client().get("/v1/openapi.json").json()
    scoped = [
        (method, path, operation.get("x-scope"))
        for path, operations in app["paths"].items()
        for method, operation in operations.items()
    ]
    assert {scope for *_, scope in scoped} == {None, "score", "read", "feedback", "admin"}
    for method, path, scope in scoped:
        path = path.replace("{decision_id}", "d_x")
        bare = httpx.request(method, running.url + path)
        if scope is None:
            assert bare.status_code == 200, path
            continue
        assert bare.status_code == 401, path
        assert bare.headers["www-authenticate"].startswith("Bearer")
        assert bare.json()["error"]["code"] == "unauthenticated"
        others = [one for one in Scope if one.value != scope]
        lacking = running.client(*others).request(method, path)
        assert lacking.status_code == 403, path
        assert lacking.json()["error"]["code"] == "scope"


def test_a_quota_is_answered_with_429_and_when_to_come_back(serve):
    client = serve().client(Scope.SCORE, per_minute=2)
    answers = [client.post("/v1/decisions", json={"listing": LAMP}) for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) in (4, 5, 6)  # a minute may end meanwhile
    assert all(answer.json()["error"]["code"] == "quota" for answer in refused)
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)


def test_what_is_not_there_has_the_same_error_shape(serve):
    client = serve().client()
    for answer, status in (
        (client.get("/nowhere"), 404),
        (client.get("/v1/decisions/d_none"), 404),
        (client.put("/v1/decisions"), 405),
        (client.post("/v1/decisions", content=b"x", headers={"Content-Type": "text/plain"}), 415),
        (client.post("/v1/rollout:hold", content=b'{"why": "from another site"}'), 415),
    ):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "message", "request_id"}


def test_metrics_count_what_happened(serve):
    client = serve().client()
    for number in range(3):
        client.post("/v1/decisions", json={"listing": {**LAMP, "listing_id": f"L{number}"}})
    client.post("/v1/decisions", json={"listing": {**LAMP, "listing_id": "L0"}})
    text = client.get("/metrics").text
    assert 'stallwart_requests_total{route="/v1/decisions",status="200"} 4.0' in text
    assert 'stallwart_decisions_total{action="allow",bundle="bbbbbbbbbbbb",policy=""} 3.0' in text
    assert "stallwart_repeats_total 1.0" in text
    assert 'stallwart_embeddings_total{source="computed"} 1.0' in text
    assert 'stallwart_embeddings_total{source="cached"} 2.0' in text


def test_health_says_alive_and_ready(serve):
    running = serve()
    assert httpx.get(f"{running.url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{running.url}/readyz").json() == {"status": "ready"}


def test_a_request_id_is_taken_over_where_it_is_plain(serve):
    client = serve().client()
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/healthz", headers={"X-Request-Id": "a b"}).headers["x-request-id"] != "a b"


def test_evidence_is_answered_and_stored_at_the_level_that_was_asked(serve):
    client = serve().client()
    decision = client.post("/v1/decisions", json={"listing": LAMP, "evidence": "words"}).json()
    assert decision["evidence"]["words"] == ["Brass", "lamp.", "Rewired"]
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json() == decision


def test_stopping_answers_what_was_taken(serve):
    runtime = FakeRuntime()
    running = serve(runtime)
    client, answers = running.client(), []
    runtime.gate.clear()
    asking = threading.Thread(
        target=lambda: answers.append(
            client.post("/v1/decisions", json={"listing": LAMP}, headers={"Stallwart-Deadline-Ms": "20000"})
        )
    )
    asking.start()
    assert runtime.began.acquire(timeout=10)
    running.server.should_exit = True
    runtime.gate.set()
    asking.join(20)
    running.thread.join(20)
    assert answers[0].status_code == 200
    assert not running.thread.is_alive()


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions:batch", "/v1/feedback"])
def test_a_body_that_does_not_come_is_given_up_and_named(serve, path):
    running = serve(max_deadline_ms=200, deadline_ms=200)
    client = running.client()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: {client.headers['authorization']}"]
    lines += ["Content-Type: application/json", "Content-Length: 100", "", '{"listing"']
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])), 10) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"late"' in answer
    until = time.monotonic() + 60  # a decision within 200 ms may take a busy machine more than one try
    while (said := client.post("/v1/decisions", json={"listing": LAMP}).status_code) != 200:
        assert said == 503
        assert time.monotonic() < until

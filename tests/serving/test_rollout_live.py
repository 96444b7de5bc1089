"""A rollout under a real client, with runtimes of a few lines: routed, counted, judged, moved, followed."""

import threading
import time

import pytest
from fakes import FakeRuntime
from test_app import Running

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.serving.server import wall_ms
from stallwart.store.audit import verify
from stallwart.store.database import reading, writing
from stallwart.store.exposures import read_after
from stallwart.store.registry import champion, register, set_champion

OLD, NEW = "b" * 64, "d" * 64
QUICK = {
    "audit": {"block": 1.0, "review": 1.0, "allow": 1.0},
    "guards": {"cpu": 100, "slow_ms": 60_000},  # on a busy machine these say nothing of a fake
    "question": {"min_verdicts": 20, "precision_margin": 0.3, "coverage_margin": 0.3},
    "steps": [
        {"stage": "shadow", "shadow_share": 1.0, "min_units": 20},
        {"stage": "canary", "share": 0.2, "min_units": 5},
        {"stage": "ab", "share": 0.5, "min_units": 20},
    ],
}


class Blocks(FakeRuntime):
    """Blocks everything."""

    def rule(self, parts, made):
        scored = super().rule(parts, made)
        ruling = type(scored.ruling)(Action.BLOCK, ("drugs",), "drugs reaches its certified threshold")
        return type(scored)(scored.embedded, scored.scores, ruling)


@pytest.fixture
def settings(database, tmp_path):
    return Settings(
        database_url=database.url.render_as_string(hide_password=False),
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        key_cache_seconds=0,
        reload_seconds=0,
        rollout_seconds=0.05,
    )


@pytest.fixture
def serve(settings):
    """Starts services that know a champion and a challenger."""
    running = []

    def start(challenger, **changes):
        old, known = FakeRuntime(digest=OLD), {OLD: FakeRuntime(digest=OLD), NEW: challenger}

        def load(digest, _place, _beside):
            if isinstance(known[digest], Exception):
                raise known[digest]
            return known[digest]

        one = Running(settings.model_copy(update=changes), old, load=load)
        with writing(one.database) as connection:
            for digest in (OLD, NEW):
                register(connection, digest=digest, place="/nowhere", card={}, who="test", now_ms=wall_ms())
            if champion(connection) is None:
                set_champion(connection, OLD, who="test", why="first", now_ms=wall_ms())
        running.append(one)
        return one

    yield start
    for one in running:
        one.stop()


class Traffic:
    """Listings that are sent until it stops; each audited one is judged by its words."""

    def __init__(self, client, judge=True):
        self.client, self.judge = client, judge
        self.answers, self.sent, self.stopped = [], 0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        after, titles = 0, {}
        while not self.stopped.is_set():
            for _ in range(10):
                number, self.sent = self.sent, self.sent + 1
                title = {0: "a drug", 5: "a gun"}.get(number % 10, "a lamp")
                listing = {"listing_id": f"L{number}", "title": f"{title} {number}"}
                answer = self.client.post("/v1/decisions", json={"listing": listing})
                self.answers.append((answer.status_code, answer.json()))
                if answer.status_code == 200:
                    titles[answer.json()["decision_id"]] = title
            if not self.judge:
                continue
            for draw in self.client.get("/v1/audit/draws", params={"after": after}).json()["draws"]:
                title, after = titles[draw["decision_id"]], draw["seq"]
                answers = {"drugs": "yes" if "drug" in title else "no", "weapons": "no"}
                said = {"decision_id": draw["decision_id"], "answers": answers, "who": "ana"}
                assert self.client.post("/v1/audit/verdicts", json=said).status_code == 201

    def stop(self):
        self.stopped.set()
        self.thread.join(20)


def until(client, wanted, seconds=240):
    """The status once `wanted` of it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = client.get("/v1/rollout")
        if answer.status_code == 200 and wanted(answer.json()):
            return answer.json()
        time.sleep(0.05)
    raise AssertionError(f"did not come to it: {client.get('/v1/rollout').json()}")


def begin(client, plan=QUICK):
    answer = client.post("/v1/rollout", json={"challenger": NEW, "why": "a test", "plan": plan})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_equal_challenger_is_promoted_and_decides(serve):
    running = serve(FakeRuntime(digest=NEW))
    client = running.client()
    assert begin(client)["stage"] == "shadow"
    traffic = Traffic(running.client())
    told = until(client, lambda one: one["rollout"]["stage"] in ("promoted", "rolled_back"))
    assert told["rollout"]["stage"] == "promoted", told["rollout"]["reason"]
    time.sleep(0.5)
    traffic.stop()
    assert {status for status, _ in traffic.answers} == {200}
    assert traffic.answers[-1][1]["bundle"] == NEW
    with reading(running.database) as connection:
        assert champion(connection) == NEW
        assert verify(connection).wrong is None
        rows = read_after(connection, told["rollout"]["rollout_id"], 0, 100_000)
    decided = {row.decision_id: row.arm for row in rows}
    by_bundle = {answer["decision_id"]: answer["bundle"] for _, answer in traffic.answers}
    assert all((by_bundle[one] == NEW) == (arm == "challenger") for one, arm in decided.items())
    assert [move["act"] for move in told["moves"]][-1] == "rollout.start"


@pytest.mark.parametrize(
    "challenger",
    [FakeRuntime(digest=NEW, raises=True), Blocks(digest=NEW)],
    ids=["raises always", "blocks everything"],
)
def test_a_broken_challenger_leaves_by_itself(serve, challenger):
    running = serve(challenger)
    client = running.client()
    canary = {**QUICK, "steps": [{"stage": "canary", "share": 0.2}, {"stage": "ab", "share": 0.5}]}
    canary["steps"][0]["min_hours"] = 1
    begin(client, canary)
    traffic = Traffic(running.client(), judge=False)
    told = until(client, lambda one: one["rollout"]["stage"] == "rolled_back")
    traffic.stop()
    assert {status for status, _ in traffic.answers} == {200}
    touched = sum(answer["bundle"] == NEW for _, answer in traffic.answers)
    assert 0 < touched < 300
    with reading(running.database) as connection:
        assert champion(connection) == OLD
    assert told["rollout"]["reason"]


def test_a_challenger_that_does_not_load_is_rolled_back_and_says_why(serve):
    from stallwart.core.errors import BundleError

    running = serve(BundleError("heads.onnx: is gone"))
    client = running.client()
    begin(client)
    told = until(client, lambda one: one["rollout"]["stage"] == "rolled_back")
    assert "heads.onnx: is gone" in told["rollout"]["reason"]


def test_listings_refused_because_the_model_failed_count_too(serve):
    running = serve(FakeRuntime(digest=NEW, raises=True))
    client = running.client()
    begin(client, {**QUICK, "steps": [{"stage": "ab", "share": 0.5, "min_hours": 1}]})
    until(client, lambda one: one["look"] is not None)
    for number in range(200):
        listing = {"listing_id": f"R{number}", "title": f"lamp {number}"}
        client.post("/v1/decisions", json={"listing": listing, "on_failure": "error"})
        if client.get("/v1/rollout").json()["rollout"]["stage"] == "rolled_back":
            break
    told = until(client, lambda one: one["rollout"]["stage"] == "rolled_back")
    assert "failed" in told["rollout"]["reason"]


def test_an_operator_advances_holds_resumes_and_aborts_with_a_reason(serve):
    running = serve(FakeRuntime(digest=NEW))
    client = running.client()
    first = begin(client)
    advanced = client.post("/v1/rollout:advance", json={"why": "hurry", "version": first["version"]}).json()
    assert advanced["stage"] == "canary"
    late = client.post("/v1/rollout:advance", json={"why": "hurry", "version": first["version"]})
    assert late.status_code == 409
    assert client.post("/v1/rollout:hold", json={"why": "lunch"}).json()["held"]
    assert not client.post("/v1/rollout:resume", json={"why": "back"}).json()["held"]
    refused = client.post("/v1/rollout:promote", json={"why": "I know better"})
    assert refused.status_code == 409
    assert client.post("/v1/rollout:abort", json={"why": "no"}).json()["stage"] == "rolled_back"
    again = client.post("/v1/rollout:abort", json={"why": "no"})
    assert again.status_code == 409
    assert client.post("/v1/rollout:dance", json={"why": "no"}).status_code == 404
    acts = [move["act"] for move in client.get("/v1/rollout").json()["moves"]]
    assert acts == [
        "rollout.rolled_back",
        "rollout.resume",
        "rollout.hold",
        "rollout.advance",
        "rollout.start",
    ]


def test_two_rollouts_do_not_run_at_once(serve):
    client = serve(FakeRuntime(digest=NEW)).client()
    begin(client)
    second = client.post("/v1/rollout", json={"challenger": NEW, "why": "again"})
    assert second.status_code == 409


def test_a_wrong_plan_is_refused_with_the_place(serve):
    client = serve(FakeRuntime(digest=NEW)).client()
    answer = client.post("/v1/rollout", json={"challenger": NEW, "why": "x", "plan": {"unit": "planet"}})
    assert answer.status_code == 400
    assert "unit" in answer.json()["error"]["message"]


def test_replicas_agree_on_arms_and_follow_a_promotion(serve):
    one, two = serve(FakeRuntime(digest=NEW)), serve(FakeRuntime(digest=NEW))
    first, second = one.client(), two.client()
    begin(first, {**QUICK, "steps": [{"stage": "ab", "share": 0.5, "min_hours": 1}]})
    until(second, lambda told: told["look"] is not None)
    time.sleep(0.5)
    bundles = []
    for number in range(60):
        ask = {"listing": {"listing_id": f"S{number}", "title": "lamp"}, "rescan": True}
        bundles.append([one.post("/v1/decisions", json=ask).json()["bundle"] for one in (first, second)])
    assert all(a == b for a, b in bundles)
    assert {a for a, _ in bundles} == {OLD, NEW}
    first.post("/v1/rollout:promote", json={"why": "a test", "force": True})
    end = time.monotonic() + 5
    while time.monotonic() < end:
        ask = {"listing": {"listing_id": "S0", "title": "lamp"}, "rescan": True}
        if all(one.post("/v1/decisions", json=ask).json()["bundle"] == NEW for one in (first, second)):
            return
    raise AssertionError("a replica still decides with the old bundle")

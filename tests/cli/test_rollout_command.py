"""`stallwart rollout`, as an operator meets it."""

import json
import re

import pytest

from stallwart.core.settings import Settings
from stallwart.store.database import open_database, writing
from stallwart.store.looks import keep_look
from stallwart.store.registry import register, set_champion
from tests.store.rolling import NOW

OLD, NEW = "b" * 64, "d" * 64
WHY = ("--why", "it is better")


@pytest.fixture
def asked(here):
    """Runs a command: its exit code, what it printed, what it said."""

    def ask(*words):
        ran = here(*words)
        return ran.code, ran.out, ran.err

    return ask


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch, here):
    """A registry with a champion and another bundle."""
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "250")
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    with writing(engine) as connection:
        for digest in (OLD, NEW):
            register(connection, digest=digest, place="/nowhere", card={}, who="test", now_ms=NOW)
        set_champion(connection, OLD, who="test", why="first", now_ms=NOW)
    yield engine
    engine.dispose()


def test_the_printed_plan_is_one_that_is_read_back(asked, tmp_path):
    code, printed, _ = asked("rollout", "plan")
    path = tmp_path / "plan.toml"
    path.write_text(printed)
    assert (code, asked("rollout", "plan", path)[1]) == (0, printed)
    path.write_text(re.sub('unit = "listing"', 'unit = "planet"', printed))
    code, _, said = asked("rollout", "plan", path)
    assert (code, "plan.toml: unit" in said) == (2, True)


def test_a_rollout_is_started_moved_and_ended_by_hand(asked):
    code, rollout_id, said = asked("rollout", "start", NEW[:12], *WHY)
    assert (code, rollout_id.startswith("r_"), "shadow" in said) == (0, True, True)
    for act, stage in (
        (("hold",), "shadow, held"),
        (("hold", "--off"), "shadow"),
        (("advance",), "canary"),
        (("abort",), "rolled back"),
    ):
        code, _, said = asked("rollout", *act, *WHY)
        assert (code, said.startswith(f"{stage};")) == (0, True), said
    code, listed, _ = asked("rollout", "history")
    assert (code, "rolled back" in listed, "it is better" in listed) == (0, True, True)
    assert asked("audit", "verify")[0] == 0


def test_what_is_not_legal_now_is_refused_in_one_line(asked):
    code, _, said = asked("rollout", "abort", *WHY)
    assert (code, said.count("\n")) == (3, 1)
    assert "no rollout runs" in said
    asked("rollout", "start", NEW, *WHY)
    assert asked("rollout", "start", NEW, *WHY)[0] == 3
    assert asked("rollout", "hold", *WHY, "--version", 7)[0] == 3
    code, _, said = asked("rollout", "promote", *WHY)
    assert (code, "force" in said) == (1, True)
    assert asked("rollout", "promote", *WHY, "--force")[0] == 0
    assert "(forced)" in asked("audit", "list")[1]


def test_without_a_reason_nothing_is_done(asked):
    assert asked("rollout", "start", NEW)[0] == 2


def test_the_status_says_when_no_service_looks_and_otherwise_what_it_saw(asked, data):
    code, _, said = asked("rollout", "status")
    assert (code, "there was no rollout yet" in said) == (3, True)
    rollout_id = asked("rollout", "start", NEW, *WHY)[1].strip()
    assert "is one running?" in asked("rollout", "status")[1]
    estimate = {"value": 0.9, "lower": 0.8, "upper": 0.95}
    arm = {
        "exposures": 1234,
        "verdicts_on_blocks": 56,
        "precision": estimate,
        "coverage": {"value": None, "lower": 0, "upper": 1},
        "latency_ms": {"p50": [1.0, 2.0], "p99": [3.0, None]},
    }
    guard = {"name": "errors", "policy": None, "says": "hold", "words": "Many."}
    guard |= {"evidence": 2.0, "evidence_limit": 4.0}
    quiet = {**guard, "policy": "drugs", "says": "advance", "words": "Few."}
    difference = {"value": 0.01, "lower": -0.02, "upper": 0.04, "answer": "open"}
    figures = {
        "next": "Goes on to 1 % after 3 more units.",
        "arms": {"champion": arm, "challenger": arm},
        "comparison": {"precision": difference, "coverage": difference},
        "guards": [quiet, guard],
    }
    with writing(data) as connection:
        keep_look(connection, rollout_id, 1, figures, changed=False)  # long ago
    shown = asked("rollout", "status")[1]
    for words in (
        "Goes on to 1 % after 3 more units.",
        "1,234",
        "90.0 % (80.0 to 95.0)",
        "not known yet",
        "1.0 points (-2.0 to 4.0), open",
        "3 ms or more",
        "50% of its limit",
        "Many.",
        "is a service running?",
    ):
        assert words in shown
    assert "Few." not in shown
    assert "Few." in asked("rollout", "status", "--all")[1]
    told = json.loads(asked("rollout", "status", "--json")[1])
    assert (told["rollout"]["stage"], told["look"]["guards"][1]["words"]) == ("shadow", "Many.")
    assert "routing_key" not in told["rollout"]

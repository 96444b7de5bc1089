import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from stallwart.core.errors import ConfigError, ConflictError, NotFoundError
from stallwart.core.rollout import Stage
from stallwart.store import audit, registry, rollouts
from stallwart.store.database import reading, writing
from stallwart.store.registry import Alias
from stallwart.store.tables import rollouts as table
from tests.store.rolling import NEW, NOW, OLD, OTHER, PLAN, begun, moved, registered


@pytest.fixture
def house(database):
    registered(database, OLD, NEW, OTHER, champion=OLD)
    return database


def named(database):
    with reading(database) as connection:
        return registry.champion(connection), registry.alias(connection, Alias.CHALLENGER)


def now(database):
    with reading(database) as connection:
        return rollouts.current(connection)


def log(database):
    with reading(database) as connection:
        assert audit.verify(connection).wrong is None
        return audit.read(connection, act="rollout.")


def test_a_rollout_begins_and_is_read_as_it_began(house):
    assert now(house) is None
    rollout = begun(house)
    assert now(house) == rollout
    assert (rollout.plan, rollout.step, rollout.version, rollout.held) == (PLAN, 0, 1, False)
    assert rollout.rollout_id.startswith("r_")
    assert named(house) == (OLD, NEW)
    with reading(house) as connection:
        assert rollouts.read(connection, rollout.rollout_id) == rollout
        assert rollouts.history(connection) == [rollout]
    (entry,) = log(house)
    assert (entry.act, entry.who, entry.why) == ("rollout.start", "ana", "better offline")
    assert entry.detail["to"]["shadow_share"] == 1.0
    assert rollout.routing_key not in str(entry), "who knows the key could choose an arm"


def test_one_rollout_runs_at_a_time(house):
    rollout = begun(house)
    with pytest.raises(ConflictError, match=rf"rollout {rollout.rollout_id} is running \(shadow, step 0\)"):
        begun(house, challenger=OTHER)
    row = {"rollout_id": "r_other", "champion": OLD, "challenger": OTHER, "plan": {}, "routing_key": "00"}
    row |= {"step": 0, "stage": "shadow", "share": 0, "shadow_share": 1, "held": 0, "version": 1}
    row |= {"started_at_ms": 0, "step_since_ms": 0, "reason": "", "running": 1, "looked_until_ms": 0}
    with pytest.raises(IntegrityError), writing(house) as connection:
        connection.execute(insert(table).values(row))


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        ({"challenger": "d" * 64}, NotFoundError, "no bundle"),
        ({"challenger": OLD}, ConflictError, "is the champion already"),
        ({"champion": OTHER}, ConflictError, "somebody changed the champion meanwhile"),
        ({"who": ""}, ConfigError, "who is empty"),
        ({"why": " "}, ConfigError, "why is empty"),
    ],
)
def test_what_cannot_begin_leaves_nothing_behind(house, facts, error, says):
    with pytest.raises(error, match=says):
        begun(house, **facts)
    assert (now(house), named(house), log(house)) == (None, (OLD, None), [])


def test_without_a_champion_there_is_nothing_to_compare_with(database):
    registered(database, OLD, NEW)
    with pytest.raises(ConflictError, match="no bundle is the champion yet"):
        begun(database)


def test_a_promoted_challenger_decides_from_then_on(house):
    rollout = begun(house)
    canary = moved(house, rollout, Stage.CANARY, share=0.01)
    assert (canary.step, canary.version, canary.share, canary.step_since_ms) == (1, 2, 0.01, NOW + 1_000)
    held = moved(house, canary, Stage.CANARY, step=1, share=0.01, held=True, now_ms=NOW + 2_000)
    assert (held.held, held.step_since_ms, held.version) == (True, NOW + 1_000, 3)
    assert now(house) == held
    promoted = moved(house, held, Stage.PROMOTED, now_ms=NOW + 3_000)
    assert (promoted.ended_at_ms, promoted.share, promoted.version) == (NOW + 3_000, 0.0, 4)
    assert now(house) is None
    assert named(house) == (NEW, None)
    assert [one.act for one in reversed(log(house))] == [
        "rollout.start", "rollout.advance", "rollout.hold", "rollout.promoted",
    ]  # fmt: skip
    assert log(house)[0].detail["from"]["stage"] == "canary"
    with reading(house) as connection:
        assert rollouts.read(connection, rollout.rollout_id) == promoted


def test_a_challenger_that_is_rolled_back_leaves_the_champion_and_makes_room(house):
    moved(house, begun(house), Stage.ROLLED_BACK, why="it blocks everything")
    assert (now(house), named(house)) == (None, (OLD, None))
    second = begun(house, now_ms=NOW + 5_000, challenger=OTHER)
    assert now(house) == second
    with reading(house) as connection:
        assert [one.challenger for one in rollouts.history(connection)] == [OTHER, NEW]
        assert [one.challenger for one in rollouts.history(connection, limit=1)] == [OTHER]


def test_a_move_that_saw_an_old_version_is_told_what_is_now(house):
    rollout = begun(house)
    moved(house, rollout, Stage.CANARY, share=0.01)
    with pytest.raises(ConflictError, match="meanwhile: it is at canary, step 1, version 2 now, and you saw"):
        moved(house, rollout, Stage.CANARY, share=0.05)


def test_what_has_ended_stays_ended(house):
    ended = moved(house, begun(house), Stage.ROLLED_BACK)
    for stage in Stage:
        with pytest.raises(ConflictError, match="has ended: it is rolled_back"):
            moved(house, ended, stage)
    with pytest.raises(NotFoundError, match="there is no rollout 'r_none'"):
        moved(house, ended.model_copy(update={"rollout_id": "r_none"}), Stage.CANARY)


@pytest.mark.parametrize("facts", [{"share": 0.1}, {"step": 0}, {"stage": Stage.SHADOW}])
def test_a_rollout_never_goes_back(house, facts):
    ramp = moved(house, begun(house), Stage.RAMP, share=0.25)
    with pytest.raises(ConflictError, match="cannot go back"):
        moved(house, ramp, **{"stage": Stage.RAMP, **facts})
    assert now(house) == ramp


def test_one_process_at_a_time_looks_at_the_guards(house):
    rollout = begun(house)

    def lease(who, at, until):
        with writing(house) as connection:
            return rollouts.lease(connection, rollout.rollout_id, who, at, until)

    assert lease("a", 0, 10)
    assert not lease("b", 9, 20)
    assert lease("a", 9, 12)
    assert lease("b", 12, 20)
    assert not lease("a", 13, 30)
    assert now(house) == rollout, "a lease is no move"
    moved(house, rollout, Stage.ROLLED_BACK)
    assert not lease("b", 30, 40)


@pytest.mark.parametrize("stages", [(Stage.PROMOTED, Stage.ROLLED_BACK), (Stage.CANARY, Stage.CANARY)])
def test_of_two_operators_at_once_exactly_one_wins(house, stages):
    rollout = begun(house)
    told, ready = [], threading.Barrier(2)

    def operator(stage):
        ready.wait()
        try:
            told.append(moved(house, rollout, stage, who=f"the one for {stage}"))
        except ConflictError as err:
            told.append(err)

    threads = [threading.Thread(target=operator, args=(stage,)) for stage in stages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = (one for one in told if not isinstance(one, ConflictError))
    with reading(house) as connection:
        assert rollouts.read(connection, rollout.rollout_id) == won
    assert named(house) == (NEW if won.stage is Stage.PROMOTED else OLD, None if won.stage.ended else NEW)
    assert len(log(house)) == 2


def test_of_two_who_begin_at_once_exactly_one_does(house):
    told, ready = [], threading.Barrier(2)

    def operator(challenger):
        ready.wait()
        try:
            told.append(begun(house, challenger=challenger))
        except ConflictError as err:
            told.append(err)

    threads = [threading.Thread(target=operator, args=(challenger,)) for challenger in (NEW, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = (one for one in told if not isinstance(one, ConflictError))
    assert now(house) == won
    assert named(house) == (OLD, won.challenger)
    assert len(log(house)) == 1


class Moves(RuleBasedStateMachine):
    """Any moves in any order against a model in memory."""

    database = None

    def __init__(self):
        super().__init__()
        self.champion, self.challenger, self.running, self.entries = OLD, None, None, 0

    @initialize()
    def clean(self):
        with writing(self.database) as connection:
            connection.execute(table.delete())
            registry.point(connection, Alias.CHAMPION, OLD, NOW)
            registry.point(connection, Alias.CHALLENGER, None, NOW)
            self.entries = audit.verify(connection).entries

    @rule(champion=st.sampled_from([OLD, NEW, OTHER]), challenger=st.sampled_from([OLD, NEW, OTHER]))
    def start(self, champion, challenger):
        legal = self.running is None and champion == self.champion and challenger != champion
        try:
            self.running = begun(self.database, champion=champion, challenger=challenger)
            self.challenger, self.entries = challenger, self.entries + 1
        except ConflictError:
            assert not legal
        else:
            assert legal

    @rule(digest=st.sampled_from([OLD, NEW, OTHER]))
    def crown(self, digest):
        legal = self.running is None or digest == self.champion
        try:
            with writing(self.database) as connection:
                registry.set_champion(connection, digest, who="ana", why="so", now_ms=NOW)
        except ConflictError:
            assert not legal
        else:
            assert legal
            self.entries += digest != self.champion
            self.champion = digest

    @rule(
        seen=st.integers(-1, 0),
        stage=st.sampled_from(Stage),
        step=st.integers(-1, 2),
        share=st.sampled_from([0.0, 0.01, 0.25, 0.5]),
        held=st.booleans(),
    )
    def move(self, seen, stage, step, share, held):
        before = self.running
        if before is None:
            return
        order = list(Stage)
        climbs = order.index(stage) >= order.index(before.stage) and share >= before.share
        legal = seen == 0 and step >= 0 and (stage.ended or climbs)
        looked = before.model_copy(update={"version": before.version + seen})
        try:
            after = moved(self.database, looked, stage, step=before.step + step, share=share, held=held)
        except ConflictError:
            assert not legal
            return
        assert legal
        assert (after.version, after.step, after.stage) == (before.version + 1, before.step + step, stage)
        self.entries += 1
        self.running = None if stage.ended else after
        self.challenger = None if stage.ended else before.challenger
        self.champion = before.challenger if stage is Stage.PROMOTED else before.champion

    @invariant()
    def agrees(self):
        with reading(self.database) as connection:
            assert rollouts.current(connection) == self.running
            found = registry.champion(connection), registry.alias(connection, Alias.CHALLENGER)
            whole = audit.verify(connection)
        assert found == (self.champion, self.challenger)
        assert (whole.entries, whole.wrong) == (self.entries, None)


def test_any_moves_in_any_order_keep_row_aliases_and_log_together(house):
    class Here(Moves):
        database = house

    calm = settings(
        max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Here, settings=calm)


# For each line that it reads: a process that begins rollouts and takes them through their stages, one after
# the other, until it is killed. It is forked, since imports take longer than all the rest.
OPERATORS = """
import itertools, os, sys
from stallwart.core.rollout import Stage
from stallwart.core.settings import Settings
from stallwart.store import registry, rollouts
from stallwart.store.database import open_database, writing

def operate(url, digests):
    engine = open_database(url, Settings())
    for number in itertools.count(1):
        with writing(engine) as connection:
            act(connection, rollouts.current(connection), digests, number)
        if number == 1:
            print(os.getpid(), flush=True)

def act(connection, rollout, digests, number):
    said = {"who": "operator", "why": "on and on", "now_ms": number}
    if rollout is None:
        champion = registry.champion(connection)
        challenger = next(one for one in digests if one != champion)
        rollouts.start(
            connection, champion=champion, challenger=challenger, plan={}, stage=Stage.SHADOW, share=0,
            shadow_share=1, routing_key=rollouts.new_routing_key(), **said,
        )
        return
    stage = list(Stage)[rollout.step + 1] if number % 7 else Stage.ROLLED_BACK
    rollouts.move(
        connection, rollout.rollout_id, rollout.version, step=rollout.step + 1, stage=stage, share=0.5,
        shadow_share=0, held=False, **said,
    )

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            operate(sys.argv[1], sys.argv[2:])
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def killed_at_random(url, times, chance):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPERATORS, url, OLD, NEW]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as operators:
        for _ in range(times):
            operators.stdin.write("another\n")
            operators.stdin.flush()
            operator = int(operators.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.1))
            os.kill(operator, signal.SIGKILL)
            assert int(operators.stdout.readline()) == -signal.SIGKILL
            yield


def check_consistent(engine):
    """How many entries the log has; the row, the aliases and the log say the same."""
    with reading(engine) as connection:
        whole = audit.verify(connection)
        running, past = rollouts.current(connection), rollouts.history(connection, 10_000)
        champion = registry.champion(connection)
        challenger = registry.alias(connection, Alias.CHALLENGER)
        entries = audit.read(connection, act="rollout.", limit=100_000)
    assert whole.wrong is None
    assert [one for one in past if not one.stage.ended] == ([] if running is None else [running])
    assert challenger == (running.challenger if running else None)
    assert len(entries) == sum(one.version for one in past), "one entry for each version, none without"
    promoted = [one for one in entries if one.act == "rollout.promoted"]
    by_id = {one.rollout_id: one for one in past}
    assert champion == (by_id[promoted[0].subject].challenger if promoted else OLD)
    if entries:
        told, last = entries[0].detail["to"], by_id[entries[0].subject]
        assert (told["stage"], told["version"], told["share"]) == (last.stage, last.version, last.share)
    return whole.entries


def check_kills(house, url, times):
    before = entries = check_consistent(house)
    for _ in killed_at_random(url, times, random.Random(7)):
        entries = check_consistent(house)
    assert entries >= before + times, "each did something before it was killed"


def test_a_process_that_is_killed_leaves_one_consistent_stage(house, database_url):
    check_kills(house, database_url, 20)


@pytest.mark.slow
def test_a_process_that_is_killed_hundreds_of_times_leaves_one_consistent_stage(house, database_url):
    check_kills(house, database_url, 200)

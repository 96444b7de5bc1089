import threading
from dataclasses import replace

import pytest

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.estimate.audit_draw import AuditPlan, default_plan
from stallwart.store.audit_counts import DAY_MS, Kind, add_counts, count_day, join_past_days, read_counts
from stallwart.store.audit_planner import AuditPlanner
from stallwart.store.audit_plans import add_plan, current_plan, read_plans
from stallwart.store.database import reading, writing
from stallwart.store.decisions import Draft, write
from tests.store.listings import draft
from tests.store.rolling import NOW

TODAY = NOW // DAY_MS


def kind(day=TODAY, **facts):
    given = {"bundle": "b" * 64, "stratum": "allow from 0", "action": "allow", "policies": "[]"}
    return (
        Kind(day, probability=0.01, **{**given, **facts})
        if "probability" not in facts
        else Kind(day, **{**given, **facts})
    )


def plan_with(allow, review, block):
    """A plan with one band for each action."""
    return AuditPlan(
        dict.fromkeys(Action, ()),
        {Action.ALLOW: (allow,), Action.REVIEW: (review,), Action.BLOCK: (block,)},
        unscored=review,
    )


def counted(database, writer, *kinds):
    with writing(database) as connection:
        add_counts(connection, kinds, writer)


def counts(database, first=TODAY - 9, last=TODAY + 1):
    with reading(database) as connection:
        return {
            (one.day, one.stratum, one.probability): one.decisions
            for one in read_counts(connection, first, last)
        }


def decide(number, score=0.01, action=Action.ALLOW, at_ms=NOW, policies=(), bundle="b" * 64):
    one = draft(f"n{number}", photos=())
    decision = one.decision.model_copy(
        update={
            "scores": {"tobacco": score}, "action": action, "decided_at_ms": at_ms, "policies": policies,
            "bundle": bundle,
        }
    )  # fmt: skip
    counted = kind(at_ms // DAY_MS, action=action.value, bundle=bundle)
    return Draft(one.revision, decision, kind=counted)


def traffic(database, n=400, at_ms=NOW, blocks=20, bundle="b" * 64, start=0):
    drafts = [
        decide(start + number, 0.95, Action.BLOCK, at_ms, ("tobacco",), bundle)
        if number < blocks
        else decide(start + number, (number % 37) / 1_000, at_ms=at_ms, bundle=bundle)
        for number in range(n)
    ]
    with writing(database) as connection:
        write(connection, drafts, [], at_ms)


def test_a_plan_is_read_as_it_was_made_and_of_two_at_once_one_holds(database):
    with writing(database) as connection:
        assert current_plan(connection) is None
        assert add_plan(connection, default_plan(100, 0.05), after=None, bundle="", why="first", now_ms=NOW)
    with writing(database) as connection:
        first = current_plan(connection)
        assert first.plan == default_plan(100, 0.05)
        assert len(bytes.fromhex(first.key)) == 32
        other = replace(first.plan, unscored=0.5)
        assert add_plan(connection, other, after=first, bundle="b", why="second", now_ms=NOW + 1)
        assert not add_plan(connection, first.plan, after=first, bundle="b", why="late", now_ms=NOW + 2)
        now = current_plan(connection)
        assert (now.version, now.plan, now.key, now.why) == (2, other, first.key, "second")
        assert [one.version for one in read_plans(connection)] == [2, 1]


def test_planners_that_begin_at_once_follow_one_plan(database):
    told, ready = [], threading.Barrier(4)

    def begin():
        ready.wait()
        told.append(AuditPlanner(database, Settings(), lambda: NOW).first())

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 4
    assert {one.key for one in told} == {told[0].key}
    assert told[0].version == 1


def test_decisions_are_counted_by_kind_over_all_processes(database):
    counted(database, "one", kind(), kind(), kind(probability=0.5))
    counted(database, "two", kind(), kind(TODAY - 1))
    counted(database, "one", kind())
    assert counts(database) == {
        (TODAY, "allow from 0", 0.01): 4,
        (TODAY, "allow from 0", 0.5): 1,
        (TODAY - 1, "allow from 0", 0.01): 1,
    }
    assert counts(database, TODAY, TODAY) == {}
    with reading(database) as connection:
        assert count_day(connection, TODAY) == 5


def test_rows_of_past_days_are_joined_and_no_decision_is_lost(database):
    for writer in ("one", "two", "three"):
        counted(database, writer, kind(TODAY - 3), kind(TODAY - 3), kind(TODAY))
    before = counts(database)
    with writing(database) as connection:
        assert join_past_days(connection, TODAY) == 3
    assert counts(database) == before
    counted(database, "late", kind(TODAY - 3))
    with writing(database) as connection:
        assert join_past_days(connection, TODAY) == 1
        assert join_past_days(connection, TODAY) == 0
    assert counts(database)[TODAY - 3, "allow from 0", 0.01] == 7


def test_a_repeat_of_a_decision_is_not_counted_again(database):
    once = decide(1)
    with writing(database) as connection:
        write(connection, [once, once], [], NOW)
    with writing(database) as connection:
        write(connection, [once], [], NOW)
    assert counts(database) == {(TODAY, "allow from 0", 0.01): 1}


def test_a_decision_that_is_not_stored_is_not_counted(database):
    def fail():
        with writing(database) as connection:
            write(connection, [decide(1)], [], NOW)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert counts(database) == {}


def test_the_plan_follows_traffic_and_stays_while_it_fits(database):
    planner = AuditPlanner(database, Settings(audit_budget=50), lambda: NOW)
    first = planner.look()
    assert (first.plan.version, first.changed, first.expected) == (1, False, None)
    traffic(database, at_ms=NOW - DAY_MS)
    made = planner.look()
    assert (made.plan.version, made.changed) == (2, True)
    assert made.plan.bundle == "b" * 64
    assert made.expected == pytest.approx(50, rel=0.25)
    # By now a third of the day is over, so that two thirds of yesterday's lie within 24 hours
    assert made.plan.why == "there is traffic now; about 267 decisions a day"
    assert planner.look().changed is False
    traffic(database, 2_000, start=1_000)
    again = planner.look()
    assert (again.plan.version, again.plan.why.split(";")[0]) == (3, "traffic has changed")
    assert again.plan.plan.edges == made.plan.plan.edges
    assert again.expected == pytest.approx(50, rel=0.25)


def test_another_bundle_gets_bands_of_its_own(database):
    planner = AuditPlanner(database, Settings(), lambda: NOW)
    traffic(database)
    planner.look()
    traffic(database, 1_000, bundle="c" * 64, start=5_000)
    told = planner.look()
    assert (told.plan.bundle, told.plan.why.split(";")[0]) == ("c" * 64, "another bundle decides")


def test_scores_of_long_ago_do_not_plan(database):
    traffic(database, at_ms=NOW - 57 * DAY_MS)
    assert AuditPlanner(database, Settings(), lambda: NOW).look().plan.version == 1


def test_a_market_of_few_listings_a_week_has_a_plan_too(database):
    for weeks in range(3):
        traffic(database, 100, at_ms=NOW - (7 * weeks + 1) * DAY_MS, start=1_000 * weeks)
    made = AuditPlanner(database, Settings(audit_budget=20), lambda: NOW).look()
    assert made.plan.version == 2
    assert made.expected == pytest.approx(20, rel=0.25)

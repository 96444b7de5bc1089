"""The watcher takes a right when verdicts show a fall, and grants one when they prove it."""

import pytest

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.monitoring.certificates import Certificates, adopted, points
from stallwart.monitoring.step import Around, make_steps
from stallwart.store import audit
from stallwart.store.alerts import open_alerts
from stallwart.store.database import reading, writing
from stallwart.store.registry import register
from stallwart.store.rights import (
    State,
    read_right,
    read_rights,
    read_watched,
    start_earning,
    withdraw,
)
from tests.monitoring.rights_made import DRUGS, HOUR, TOBACCO, draw, judged, say, with_rights, would_be
from tests.store.rolling import NEW, NOW, OLD

DAY = 24 * HOUR


@pytest.fixture
def house(database):
    with_rights(database)
    return database


def step(database, now_ms=NOW + 60 * DAY):
    return Certificates(Around(database, Settings(), lambda: now_ms))


def right(database, policy):
    with reading(database) as connection:
        return read_right(connection, OLD, policy)


def watched(database, policy):
    with reading(database) as connection:
        return read_watched(connection, OLD).get(policy)


def alerts(database):
    with reading(database) as connection:
        return [one.alert_key for one in open_alerts(connection)]


def earning(database, tried=(0.7,)):
    with writing(database) as connection:
        return start_earning(connection, DRUGS, tried, who="ana", why="a try", now_ms=NOW)


def test_a_policy_whose_blocks_are_wrong_loses_its_right_with_an_alert_and_an_entry(house):
    judged(house, range(30), "yes")
    watching = step(house)
    assert watching.run()["withdrawn"] == 0
    judged(house, range(30, 45), "no")
    assert watching.run()["withdrawn"] == 1
    after = right(house, "tobacco")
    assert after.state is State.WITHDRAWN
    assert "12 of the last 12 verdicts on drawn blocks of tobacco were wrong" in after.why
    assert alerts(house) == ["rights/tobacco"]
    with reading(house) as connection:
        (entry,) = audit.read(connection, act="rights.withdraw")
    assert (entry.who, entry.detail["verdicts"], entry.detail["right"]) == ("stallwart watch", 45, 30)
    assert watching.run() == {"withdrawn": 0, "granted": 0, "watched": 0, "unreadable": 0}


def test_a_policy_at_its_target_keeps_its_right_and_the_page_is_told_how_it_stands(house):
    for number in range(60):
        judged(house, [number], "no" if number % 10 == 0 else "yes")
    assert step(house).run()["withdrawn"] == 0
    told = watched(house, "tobacco")
    assert (told["kind"], told["verdicts"], told["right"]) == ("acting", 60, 54)
    assert 0 <= told["statistic"] < told["limit"]
    assert len(told["points"]) == 60


def test_verdicts_of_unsure_people_and_later_ones_are_taken_as_they_are(house):
    decision = draw(house, 1)
    say(house, decision, {"tobacco": "no"})
    say(house, decision, {"tobacco": "yes"})
    say(house, draw(house, 2), {"drugs": "no"})
    draw(house, 3)
    step(house).run()
    told = watched(house, "tobacco")
    assert (told["verdicts"], told["right"], told["unknown"], told["waiting"]) == (1, 1, 1, 1)


def test_what_one_seller_has_on_one_day_counts_once(house):
    judged(house, range(40), "no", seller="s1", at_ms=NOW + DAY)
    assert step(house).run()["withdrawn"] == 0
    assert watched(house, "tobacco")["verdicts"] == 1


def test_reviews_and_blocks_of_other_policies_say_nothing_of_a_right(house):
    judged(house, range(20), "no", action=Action.REVIEW)
    judged(house, range(20, 40), "no", policies=("drugs",))
    step(house).run()
    assert watched(house, "tobacco")["verdicts"] == 0


def test_a_right_is_earned_by_would_be_blocks_and_its_alert_ends(house):
    judged(house, range(100, 120), "no")
    watching = step(house)
    watching.run()
    earning(house)
    would_be(house, range(1, 31), "yes")
    assert watching.run()["granted"] == 0
    told = watched(house, "drugs")
    assert (told["kind"], told["verdicts"], told["thresholds"][0]["proven"]) == ("earning", 30, False)
    missing = told["thresholds"][0]["more"]
    assert 0 < missing < 40
    would_be(house, range(31, 31 + missing), "yes")
    assert watching.run()["granted"] == 1
    after = right(house, "drugs")
    assert (after.state, after.threshold) == (State.EARNED, 0.7)
    assert alerts(house) == ["rights/tobacco"]


def test_draws_of_before_the_attempt_and_below_its_scores_do_not_count(house):
    would_be(house, range(1, 60), "yes", at_ms=NOW - 1)
    earning(house)
    would_be(house, range(60, 90), "yes", score=0.6)
    step(house).run()
    assert watched(house, "drugs")["verdicts"] == 0


def test_a_draw_that_waits_holds_back_what_comes_after_it_until_it_counts_as_wrong(house):
    earning(house)
    would_be(house, [1], None)
    would_be(house, range(2, 12), "yes")
    step(house, NOW + 2 * DAY).run()
    assert (watched(house, "drugs")["verdicts"], watched(house, "drugs")["waiting"]) == (0, 1)
    step(house, NOW + 9 * DAY).run()
    told = watched(house, "drugs")
    assert (told["verdicts"], told["right"]) == (11, 10)


def test_a_right_that_a_person_withdrew_meanwhile_is_left_as_they_left_it(house):
    judged(house, range(20), "no")
    with writing(house) as connection:
        withdraw(connection, TOBACCO, who="ana", why="I saw it first", now_ms=NOW)
    assert step(house).run()["withdrawn"] == 0
    assert right(house, "tobacco").why == "I saw it first"
    assert alerts(house) == []


def test_a_bundle_that_cannot_be_read_is_counted_and_others_go_on(house):
    with writing(house) as connection:
        register(connection, digest=NEW, place="/nowhere", card={}, who="test", now_ms=NOW)
    assert adopted(house, NEW, "/nowhere", lambda: NOW) == []


@pytest.mark.slow
def test_the_first_rights_are_what_the_certificates_say(database, tiny_bundles):
    from stallwart.model.bundle import read_bundle

    bundle = read_bundle(tiny_bundles[0])
    found = adopted(database, bundle.digest, str(tiny_bundles[0]), lambda: NOW)
    assert {one.policy for one in found} == set(bundle.taxonomy.ids)
    assert {one.policy: one.threshold for one in found if one.state.acts} == bundle.thresholds.act
    with reading(database) as connection:
        assert read_rights(connection, [bundle.digest]) == found


def test_it_is_a_step_of_the_watcher(database):
    assert "certificates" in make_steps(Around(database, Settings(), lambda: NOW), ["certificates"])


def test_a_long_line_keeps_its_highest_points():
    path = [float(one % 50) for one in range(1_000)]
    kept = points(range(1_000), path, [True] * 1_000)
    assert len(kept) <= 240
    assert max(one[1] for one in kept) == 49

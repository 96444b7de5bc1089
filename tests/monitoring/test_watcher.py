"""The watcher runs its steps while it holds the lease; a step that fails spares the others."""

import itertools

import pytest

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.settings import Settings
from stallwart.monitoring.step import Around, make_steps
from stallwart.monitoring.watcher import Watcher, read_steps
from stallwart.store.alerts import open_alerts, past_alerts
from stallwart.store.database import reading
from tests.store.rolling import NOW


class Counting:
    def __init__(self, alive=lambda: None):
        self.runs, self.alive = 0, alive

    def run(self):
        self.alive()
        self.runs += 1
        return {"runs": self.runs}


class Failing:
    def __init__(self, error):
        self.error = error

    def run(self):
        if self.error:
            raise self.error
        return {}


def watcher(database, steps, clock=lambda: NOW):
    return Watcher(Around(database, Settings(), clock), lambda _: steps)


def state(database):
    with reading(database) as connection:
        return read_steps(connection)


def test_one_watcher_works_and_the_other_takes_over(database):
    clock = itertools.count(NOW, 1).__next__
    one, two = Counting(), Counting()
    first, second = watcher(database, {"a": one}, clock), watcher(database, {"a": two}, clock)
    assert first.once()
    assert not second.once()
    assert (one.runs, two.runs) == (1, 0)
    first.give_up()
    assert second.once()
    assert not first.once()
    assert two.runs == 1
    assert state(database)["a"].told == {"runs": 1}


@pytest.mark.parametrize("error", [DataError("no such thing"), ZeroDivisionError()])
def test_a_step_that_fails_is_noted_and_spares_the_others(database, error):
    failing, counting = Failing(error), Counting()
    watching = watcher(database, {"bad": failing, "good": counting})
    for _ in range(3):
        watching.once()
    bad = state(database)["bad"]
    assert counting.runs == 3
    assert (bad.failures, bad.ok_at_ms) == (3, None)
    assert "no such thing" in bad.error or "ZeroDivisionError" in bad.error
    with reading(database) as connection:
        (alert,) = open_alerts(connection)
    assert (alert.alert_key, alert.times) == ("watch/bad", 1)
    failing.error = None
    watching.once()
    assert (state(database)["bad"].failures, state(database)["bad"].error) == (0, None)
    with reading(database) as connection:
        assert open_alerts(connection) == []
        assert [one.resolved_why for one in past_alerts(connection)] == ["it went well again"]


def test_a_watcher_that_is_told_to_stop_ends_before_the_next_step(database):
    counting = Counting()
    watching = watcher(database, {})

    class Stops:
        def run(self):
            watching.stop()
            return {}

    watching._steps = {"stops": Stops(), "later": counting}
    watching.run()
    assert counting.runs == 0
    assert watcher(database, {"a": counting}).once(), "its lease was given up"


def test_an_unknown_step_is_named_with_those_there_are(database):
    with pytest.raises(ConfigError, match="no step named 'figure'; there are: "):
        make_steps(Around(database, Settings(), lambda: NOW), ["figure"])

"""Which looks at a rollout are kept, and which draws wait for a person."""

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stallwart.store.database import reading, writing
from stallwart.store.looks import keep_look, last_look, read_looks

_NAMES = itertools.count()
SECOND, HOUR = 1_000, 3_600_000


def kept(database, rollout_id):
    with reading(database) as connection:
        return [at for at, _ in read_looks(connection, rollout_id, 10_000)]


def look(database, rollout_id, at_ms, *, changed=False):
    with writing(database) as connection:
        keep_look(connection, rollout_id, at_ms, {"at": at_ms}, changed=changed)


def test_of_a_day_of_looks_each_second_some_hundred_stay_and_the_last_one_always(database):
    for at in range(0, 6 * HOUR, 20 * SECOND):
        look(database, "r_1", at)
    stay = kept(database, "r_1")
    assert 100 < len(stay) < 800
    assert stay[0] == 0
    with reading(database) as connection:
        assert last_look(connection, "r_1") == (stay[-1], {"at": stay[-1], "moves": False})
        assert last_look(connection, "r_2") is None


def test_a_look_that_moved_the_rollout_stays(database):
    for at, changed in ((0, False), (10 * SECOND, False), (11 * SECOND, True), (12 * SECOND, False)):
        look(database, "r_1", at, changed=changed)
    look(database, "r_1", 13 * SECOND)
    assert 11 * SECOND in kept(database, "r_1")
    assert 12 * SECOND not in kept(database, "r_1")


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(gaps=st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
def test_the_first_and_the_last_look_are_always_there(database, gaps):
    at, times, name = 0, [], f"r_{next(_NAMES)}"
    for gap in gaps:
        at += gap
        times.append(at)
        look(database, name, at)
    stay = kept(database, name)
    assert (stay[0], stay[-1]) == (times[0], times[-1])
    assert set(stay) <= set(times)

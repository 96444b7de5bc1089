import threading

import pytest
from sqlalchemy import func, select

from stallwart.core.decision import Action
from stallwart.core.rollout import Arm
from stallwart.store import follow
from stallwart.store.database import reading, writing
from stallwart.store.exposures import Overturns, add_exposures, follow_exposures, read_after
from stallwart.store.feedback import add_feedback
from stallwart.store.tables import exposures
from tests.store.outgoing import decide
from tests.store.rolling import NOW, exposure


class Clock:
    """Milliseconds that pass when a test says so."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def add(database, *rows):
    with writing(database) as connection:
        add_exposures(connection, rows)


def poll(database, follower):
    with reading(database) as connection:
        return [one.decision_id for one in follower.poll(connection)]


def test_a_unit_counts_once_a_day_in_each_step(database):
    add(database, exposure("u", "d_1"), exposure("u", "d_2"))
    add(database, exposure("u", "d_3", arm=Arm.CHALLENGER), exposure("u", "d_4", day=20_001))
    add(database, exposure("u", "d_5", step=1), exposure("u", "d_6", rollout_id="other"))
    with reading(database) as connection:
        kept = read_after(connection, "r", 0, 10)
        assert [one.decision_id for one in kept] == ["d_1", "d_4", "d_5"]
        assert (kept[0].arm, kept[0].action, kept[0].policies) == (Arm.CHAMPION, Action.BLOCK, ("tobacco",))
        assert [one.decision_id for one in read_after(connection, "r", kept[0].seq, 1)] == ["d_4"]


def test_an_exposure_is_read_as_it_was_written(database):
    one = exposure("u", "", arm=Arm.CHALLENGER, action=Action.REVIEW, policies=(), failed=True, cpu_us=7)
    add(database, one)
    with reading(database) as connection:
        (read,) = read_after(connection, "r", 0, 10)
    assert {name: getattr(read, name) for name in one.__slots__[:-1]} == {
        name: getattr(one, name) for name in one.__slots__[:-1]
    }


def test_hundreds_are_written_at_once(database):
    add(database, *(exposure(f"{number:03x}", f"d_{number}") for number in range(700)))
    add(database)
    with reading(database) as connection:
        assert connection.execute(select(func.count()).select_from(exposures)).scalar_one() == 700


def test_a_follower_reads_each_row_once_and_another_one_from_the_beginning(database, monkeypatch):
    monkeypatch.setattr(follow, "_PAGE", 3)
    one = follow_exposures("r", Clock())
    assert poll(database, one) == []
    names = [f"d_{number}" for number in range(7)]
    add(database, *(exposure(name, name) for name in names[:5]))
    assert sorted(poll(database, one)) == names[:5]
    add(database, *(exposure(name, name) for name in names[5:]), exposure("x", "d_x", rollout_id="other"))
    assert sorted(poll(database, one)) == names[5:]
    assert poll(database, one) == []
    assert sorted(poll(database, follow_exposures("r", Clock()))) == names


def late_writer(database, go_on):
    """A transaction that has its seq and commits when it is told to."""
    inserted = threading.Event()

    def write():
        with writing(database) as connection:
            add_exposures(connection, [exposure("late", "d_late")])
            inserted.set()
            go_on.wait(10)

    thread = threading.Thread(target=write)
    thread.start()
    assert inserted.wait(10)
    return thread


@pytest.mark.parametrize("pause_ms", [0, 29_000])
def test_a_row_that_becomes_visible_after_later_ones_is_read_once(database, pause_ms):
    if database.dialect.name == "sqlite":
        pytest.skip("SQLite writes one transaction after the other")
    clock, go_on = Clock(), threading.Event()
    follower = follow_exposures("r", clock)
    add(database, exposure("first", "d_first"))
    thread = late_writer(database, go_on)
    add(database, exposure("next", "d_next"))
    assert poll(database, follower) == ["d_first", "d_next"]
    for _ in range(3):
        clock.now += pause_ms // 3
        assert poll(database, follower) == []
    add(database, exposure("third", "d_third"))
    assert poll(database, follower) == ["d_third"]
    go_on.set()
    thread.join()
    with reading(database) as connection:
        seqs = {one.decision_id: one.seq for one in read_after(connection, "r", 0, 10)}
    assert seqs["d_late"] < seqs["d_next"], "else this test shows nothing"
    assert poll(database, follower) == ["d_late"]
    for _ in range(5):
        clock.now += 20_000
        assert poll(database, follower) == []
    add(database, exposure("last", "d_last"))
    assert poll(database, follower) == ["d_last"]


def test_a_follower_remembers_only_what_it_read_lately(database):
    if database.dialect.name == "sqlite":
        pytest.skip("SQLite writes one transaction after the other")
    clock = Clock()
    follower = follow_exposures("r", clock)
    for number in range(20):
        add(database, exposure(f"u{number}", f"d_{number}"))
        assert poll(database, follower) == [f"d_{number}"]
        clock.now += 10_000
    assert len(follower._seen) <= 5


def test_writers_and_a_follower_at_once_lose_and_repeat_nothing(database):
    follower, found, done = follow_exposures("r", Clock()), [], threading.Event()

    def write(who):
        for number in range(30):
            add(database, *(exposure(f"{who} {number} {one}", f"{who} {number} {one}") for one in range(3)))

    def read():
        while not done.is_set():
            found.extend(poll(database, follower))

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    found += poll(database, follower)
    assert len(found) == len(set(found)) == 4 * 30 * 3


def test_a_poll_that_fails_is_taken_up_by_the_next(database, monkeypatch):
    monkeypatch.setattr(follow, "_PAGE", 2)
    follower = follow_exposures("r", Clock())
    add(database, *(exposure(f"{number}", f"d_{number}") for number in range(5)))
    found = []

    def take_two():
        with reading(database) as connection:
            for one in follower.poll(connection):
                found.append(one.decision_id)
                if len(found) == 2:
                    monkeypatch.setattr(connection, "execute", _fail)

    with pytest.raises(RuntimeError):
        take_two()
    monkeypatch.undo()
    found += poll(database, follower)
    assert found == [f"d_{number}" for number in range(5)]


def _fail(*_args, **_options):
    raise RuntimeError


def test_the_first_overturn_of_a_decision_counts_once(database):
    decide(database, [], ("a", 1), ("b", 1), ("c", 1))
    add(database, exposure("a", "d-a-0001"), exposure("b", "d-b-0001", arm=Arm.CHALLENGER))
    follower = Overturns("r", Clock())

    def said(name, kind, at_ms):
        add_feedback(database, {"decision_id": f"d-{name}-0001", "kind": kind}, "key", None, at_ms)

    def read():
        with reading(database) as connection:
            return [
                (one.exposure.decision_id, one.exposure.arm, one.at_ms) for one in follower.poll(connection)
            ]

    said("a", "appeal", NOW)
    said("b", "upheld", NOW)
    said("c", "overturned", NOW)  # not exposed
    assert read() == []
    said("b", "overturned", NOW + 1)
    said("b", "overturned", NOW + 2)
    assert read() == [("d-b-0001", Arm.CHALLENGER, NOW + 1)]
    said("b", "overturned", NOW + 3)
    said("a", "overturned", NOW + 4)
    assert read() == [("d-a-0001", Arm.CHAMPION, NOW + 4)]
    with reading(database) as connection:
        seqs = [one.exposure.seq for one in Overturns("r", Clock()).poll(connection)]
        kept = [one.seq for one in read_after(connection, "r", 0, 10)]
    assert sorted(seqs) == kept

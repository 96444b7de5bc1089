import itertools

from stallwart.store.database import reading, writing
from stallwart.store.looks import add_look, read_looks
from tests.store.rolling import NOW


def looked(database, *times, rollout_id="r"):
    with writing(database) as connection:
        for at_ms in times:
            add_look(connection, rollout_id, at_ms, {"blocked": {"evidence": at_ms - NOW, "units": None}})


def read(database, **facts):
    with reading(database) as connection:
        return read_looks(connection, "r", **facts)


def test_looks_are_read_in_order_of_time_each_once(database):
    assert read(database) == []
    looked(database, NOW + 5, NOW, NOW)
    looked(database, NOW, rollout_id="another")
    assert read(database) == [
        (NOW, {"blocked": {"evidence": 0, "units": None}}),
        (NOW + 5, {"blocked": {"evidence": 5, "units": None}}),
    ]


def test_many_looks_are_thinned_evenly_and_the_last_one_is_always_there(database):
    looked(database, *range(NOW, NOW + 60_000, 60))
    thinned = read(database, most=50)
    times = [at_ms for at_ms, _ in thinned]
    assert len(times) == 50
    assert times[-1] == NOW + 59_940
    gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert max(gaps) - min(gaps) <= 120
    assert len(read(database)) == 500
    assert len(read(database, most=5_000)) == 1_000

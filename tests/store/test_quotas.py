import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from stallwart.store.quotas import take_tokens
from stallwart.store.tables import quota_windows

MINUTE = 30_000_000

# Takes until nothing is left, and prints how much it took
GREEDY = """
import sys
from stallwart.core.settings import Settings
from stallwart.store.database import open_database
from stallwart.store.quotas import take_tokens
url, wanted, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
engine = open_database(url, Settings())
sys.stdin.readline()
taken = 0
while got := take_tokens(engine, "k", 30_000_000, wanted, limit):
    taken += got
print(taken)
"""


def test_the_last_take_gets_the_rest_and_then_there_is_none(database):
    assert [take_tokens(database, "k", MINUTE, 4, 10) for _ in range(5)] == [4, 4, 2, 0, 0]


def test_each_key_and_minute_has_its_own_window(database):
    assert take_tokens(database, "a", MINUTE, 5, 5) == 5
    assert take_tokens(database, "b", MINUTE, 5, 5) == 5
    assert take_tokens(database, "a", MINUTE + 1, 5, 5) == 5
    assert take_tokens(database, "a", MINUTE, 1, 5) == 0


def test_windows_of_an_hour_ago_are_forgotten_with_those_of_other_keys_kept(database):
    for key in ("a", "b"):
        take_tokens(database, key, MINUTE, 1, 5)
    take_tokens(database, "a", MINUTE + 61, 1, 5)
    with database.connect() as connection:
        rows = connection.execute(select(quota_windows.c.key_id, quota_windows.c.minute)).all()
    assert sorted(map(tuple, rows)) == [("a", MINUTE + 61), ("b", MINUTE)]


def test_many_threads_take_no_more_than_the_limit(database):
    def take(_):
        return take_tokens(database, "k", MINUTE, 3, 100)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(60))) == 100


@pytest.mark.slow
@pytest.mark.parametrize(("wanted", "limit"), [(1, 150), (7, 1000)])
def test_several_processes_take_exactly_the_limit_together(database, database_url, wanted, limit):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GREEDY, database_url, str(wanted), str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:  # all are up before the first may start
        process.stdin.write("\n")
        process.stdin.flush()
    took = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(took) == limit
    with database.connect() as connection:
        assert connection.execute(select(quota_windows.c.taken)).scalar_one() == limit

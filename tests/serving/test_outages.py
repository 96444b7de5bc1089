"""What the service does while its disk, database, photo store or cache is away, and after it is back.

A decision that was not stored is no answer: 503 within the deadline, then recovery without a restart.
"""

import base64
import contextlib
import os
import resource
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stallwart.core.settings import Settings
from tests.databases import Postgres
from tests.serving.processes import Service, wait_until

pytestmark = pytest.mark.slow

SOON = 3.0  # seconds: the deadline of a request, and what a busy machine adds


@pytest.fixture
def settings(tmp_path):
    return Settings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", key_cache_seconds=0.2, reload_seconds=0,
        deadline_ms=1_000,
    )  # fmt: skip


@pytest.fixture
def serve(settings):
    running = []

    def start(**changes):
        running.append(Service(settings.model_copy(update=changes)).start())
        return running[-1]

    yield start
    for one in running:
        one.stop()


def ask(client, listing_id, title="a lamp", **more):
    listing = {"listing_id": listing_id, "title": title, **more}
    return client.post("/v1/decisions", json={"listing": listing})


def check_refused(answer):
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.elapsed.total_seconds() < SOON


def check_same(client, decision):
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json() == decision
    assert ask(client, decision["listing_id"]).json() == decision


@contextlib.contextmanager
def full_disk(pid):
    """No file that the process writes may hold a byte more."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_503_until_there_is_room(serve):
    service = serve()
    client, photo = service.client(), {"base64": base64.b64encode(b"a photo").decode()}
    before = ask(client, "before").json()
    with full_disk(service.pid):
        for number in range(3):
            check_refused(ask(client, f"full {number}"))
        check_refused(ask(client, "full photo", photos=[photo]))
        check_same(client, before)  # reading needs no room
    for number in range(3):
        assert ask(client, f"full {number}").status_code == 200
    assert ask(client, "full photo", photos=[photo]).json()["action"] == "allow"
    check_same(client, before)


@pytest.fixture
def lock(settings):
    """Holds the write lock of the SQLite database, as a backup or another program may."""
    held = []

    @contextlib.contextmanager
    def locked(file="data/stallwart.sqlite"):
        connection = sqlite3.connect(settings.data_dir.parent / file, isolation_level=None)
        held.append(connection)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")

    yield locked
    for connection in held:
        connection.close()


def test_a_locked_sqlite_is_503_within_the_deadline_for_all_who_wait(serve, lock):
    client = serve().client()
    before = ask(client, "before").json()
    with lock(), ThreadPoolExecutor(20) as pool:
        for answer in pool.map(lambda number: ask(client, f"locked {number}"), range(40)):
            check_refused(answer)
        check_same(client, before)
    wait_until(lambda: ask(client, "after").status_code == 200, 2)
    assert all(ask(client, f"locked {number}").status_code == 200 for number in range(40))


def test_a_short_deadline_is_kept_while_sqlite_is_locked(serve, lock):
    client = serve(deadline_ms=20_000).client()
    ask(client, "before")
    with lock():
        answer = client.post(
            "/v1/decisions", json={"listing": {"listing_id": "x"}}, headers={"Stallwart-Deadline-Ms": "300"}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store")
    assert answer.elapsed.total_seconds() < 2


def test_what_nobody_waits_for_does_not_pile_up_before_a_lock(serve, lock):
    client = serve(deadline_ms=300).client()
    ask(client, "before")
    with lock(), ThreadPoolExecutor(30) as pool:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            list(pool.map(lambda number: ask(client, f"{until} {number}"), range(30)))
    assert ask(client, "after").status_code == 200, "it waits for none that was given up"


@pytest.fixture(scope="module")
def stoppable():
    """A PostgreSQL of its own, for who stops it."""
    server = Postgres()
    yield server
    server.end()


def test_a_postgresql_that_is_stopped_is_503_until_it_is_back(serve, stoppable):
    service = serve(database_url=stoppable.create())
    client = service.client()
    before = ask(client, "before").json()
    stoppable.stop()
    try:
        for number in range(5):
            check_refused(ask(client, f"gone {number}"))
        check_refused(client.get(f"/v1/decisions/{before['decision_id']}"))
        assert service.ready().status_code == 503
    finally:
        stoppable.start()
    wait_until(lambda: ask(client, "after").status_code == 200, 5)
    wait_until(lambda: service.ready().status_code == 200, 5)
    check_same(client, before)


def processes_of(server):
    """The process that others of PostgreSQL belong to, and they."""
    first = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{first}/task/{first}/children").read_text()
    return [first, *map(int, children.split())]


def test_a_postgresql_that_hangs_is_503_within_the_deadline(serve, stoppable):
    service = serve(database_url=stoppable.create())
    client = service.client()
    before = ask(client, "before").json()
    stopped = processes_of(stoppable)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(10) as pool:
            for answer in pool.map(lambda number: ask(client, f"hangs {number}"), range(20)):
                check_refused(answer)
        assert service.ready().status_code == 503
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: ask(client, "after").status_code == 200, 10)
    check_same(client, before)


def test_a_database_that_goes_under_load_loses_nothing_that_was_answered(serve, stoppable):
    service = serve(database_url=stoppable.create())
    answered, statuses, ended = [], set(), threading.Event()

    def load(lane):
        client = service.client()
        for number in range(100_000):
            if ended.is_set():
                return
            answer = ask(client, f"{lane} {number}")
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                answered.append(answer.json())

    def more():
        seen = len(answered)
        wait_until(lambda: len(answered) > seen + 20, 30)

    lanes = [threading.Thread(target=load, args=(lane,)) for lane in range(4)]
    for lane in lanes:
        lane.start()
    for _ in range(2):
        more()
        stoppable.stop()
        stoppable.start()
    more()
    ended.set()
    for lane in lanes:
        lane.join()
    assert statuses <= {200, 503}
    client = service.client()
    for decision in answered:
        check_same(client, decision)


def test_a_photo_store_that_is_gone_is_503_for_new_photos_only(serve, settings):
    client = serve().client()
    new = [{"base64": base64.b64encode(b"a photo %d" % number).decode()} for number in range(3)]
    assert ask(client, "before", photos=[new[0]]).status_code == 200
    photos = settings.data_dir / "photos"
    photos.rename(settings.data_dir / "away")
    photos.write_text("no folder")
    check_refused(ask(client, "gone", photos=[new[1]]))
    assert ask(client, "words only").status_code == 200
    named = ask(client, "by hash", photos=[{"sha256": "0" * 64}]).json()
    assert named["action"] == "review"
    photos.unlink()
    (settings.data_dir / "away").rename(photos)
    assert ask(client, "gone", photos=[new[1]]).json()["action"] == "allow"


@pytest.mark.parametrize("harm", ["locked", "broken", "full"])
def test_an_embedding_cache_that_cannot_be_used_fails_no_request(serve, settings, lock, harm):
    service = serve()
    client = service.client()
    assert ask(client, "before", "a rare lamp").status_code == 200
    cache = settings.cache_dir / "embeddings.sqlite"
    with contextlib.ExitStack() as stack:
        if harm == "locked":
            stack.enter_context(lock("cache/embeddings.sqlite"))
        elif harm == "broken":
            for file in settings.cache_dir.iterdir():
                file.write_bytes(b"no database" * 10_000)
        else:  # the cache's disk alone
            stack.enter_context(growing_no_more(cache, service.pid))
        for number in range(20):
            answer = ask(client, f"l{number}", f"a lamp of {number} kinds")
            assert answer.status_code == 200
            assert answer.json()["action"] == "allow"
            assert answer.elapsed.total_seconds() < SOON
    assert ask(client, "after", "a drug").json()["action"] == "block"


@contextlib.contextmanager
def growing_no_more(cache, pid):
    """The cache's log is larger than any file may be; the database's, below it, still grows."""
    connection = sqlite3.connect(cache)
    connection.execute("PRAGMA wal_autocheckpoint=0")
    with connection:
        connection.execute("INSERT INTO embedding VALUES (?, ?)", (b"ballast", b"x" * 20_000_000))
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (10_000_000, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    connection.close()

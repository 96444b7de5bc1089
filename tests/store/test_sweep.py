"""Photos that were kept for a decision that was then not stored: they go after a day, and no other does."""

import contextlib
import hashlib
import os
import threading
import time

import pytest

from stallwart.core.errors import StoreError
from stallwart.store.database import writing
from stallwart.store.decisions import write
from stallwart.store.photos import PhotoStore
from stallwart.store.retention import PARTS, parts_of_hour, sweep_photos
from tests.store.listings import draft

DAY = 86_400_000


def now_ms():
    return time.time_ns() // 1_000_000


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def store(folder):
    return PhotoStore(str(folder))


def put(store, folder, content, days_ago):
    digest = store.put(content)
    at = time.time() - days_ago * 86_400
    os.utime(folder / digest[:2] / digest, (at, at))
    return digest


def show(database, *digests):
    with writing(database) as connection:
        write(connection, [draft(digest, photos=(digest,)) for digest in digests], (), 1)


def test_only_what_nothing_shows_and_is_older_than_a_day_goes(database, store, folder):
    shown = [put(store, folder, b"shown %d" % number, 9) for number in range(500)]
    show(database, *shown)
    old = [put(store, folder, b"old %d" % number, 1.01) for number in range(20)]
    young = [put(store, folder, b"young %d" % number, 0.99) for number in range(20)]
    (folder / old[0][:2] / "notes.txt").write_text("no photo")
    assert sweep_photos(database, store, now_ms()) == len(old)
    assert not any(store.has(digest) for digest in old)
    assert all(store.has(digest) for digest in shown + young)
    assert (folder / old[0][:2] / "notes.txt").exists()
    assert sweep_photos(database, store, now_ms()) == 0
    assert list((folder / ".parts").iterdir()) == []


def test_the_day_is_over_by_both_clocks(database, store, folder, monkeypatch):
    digest = put(store, folder, b"old by one clock", 2)
    monkeypatch.setattr(store._blobs, "clock_ms", lambda: now_ms() - 3 * DAY)
    assert sweep_photos(database, store, now_ms()) == 0
    monkeypatch.undo()
    assert sweep_photos(database, store, now_ms() - 3 * DAY) == 0
    assert sweep_photos(database, store, now_ms()) == 1
    assert not store.has(digest)


def test_what_is_put_again_while_the_sweep_is_at_it_stays(database, store, folder, monkeypatch):
    """A photo that lay there for days, put for a new decision between the look and the deletion."""
    digest = put(store, folder, b"a photo", 9)
    delete = store.delete

    def put_first(name, before_ms):
        PhotoStore(str(folder)).put(b"a photo")  # another process
        return delete(name, before_ms)

    monkeypatch.setattr(store, "delete", put_first)
    assert sweep_photos(database, store, now_ms()) == 0
    assert store.get(digest) == b"a photo"


def test_what_is_put_again_just_before_it_is_moved_comes_back(store, folder, monkeypatch):
    digest = put(store, folder, b"a photo", 9)
    modified_ms = store._blobs.modified_ms

    def put_after(name):
        found = modified_ms(name)
        PhotoStore(str(folder)).put(b"a photo")
        return found

    monkeypatch.setattr(store._blobs, "modified_ms", put_after)
    assert not store.delete(digest, now_ms() - DAY)
    assert store.get(digest) == b"a photo"


def test_a_photo_that_was_put_is_there_however_often_it_is_swept(database, folder):
    """Putting and sweeping at once: whoever was told that a photo is kept finds it."""
    stop, lost = threading.Event(), []
    digest = hashlib.sha256(b"again and again").hexdigest()
    path = folder / digest[:2] / digest

    def sweep():
        sweeper = PhotoStore(str(folder))
        while not stop.is_set():
            sweep_photos(database, sweeper, now_ms(), [digest[:2]])

    PhotoStore(str(folder))
    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for _ in range(150):
            PhotoStore(str(folder)).put(b"again and again")
            until = time.monotonic() + 1  # one that was just moved out of the way comes back at once
            while not (there := path.exists()) and time.monotonic() < until:
                time.sleep(0.001)
            lost += [] if there else [1]
            with contextlib.suppress(FileNotFoundError):
                os.utime(path, (1, 1))  # and is old again
    finally:
        stop.set()
        sweeping.join()
    assert lost == []


def test_a_store_that_is_another_database_s_is_left_alone(database, store, folder):
    theirs = [put(store, folder, b"theirs %d" % number, 9) for number in range(30)]
    ours = [put(store, folder, b"ours %d" % number, 9) for number in range(10)]
    show(database, *ours)
    with pytest.raises(StoreError, match=r"30 of 40 kept photos.*--strays"):
        sweep_photos(database, store, now_ms())
    assert all(store.has(digest) for digest in theirs + ours)
    assert sweep_photos(database, store, now_ms(), most=True) == 30
    assert all(store.has(digest) for digest in ours)


def test_a_remote_is_swept_too(database, tmp_path):
    remote = PhotoStore(f"memory://{tmp_path}")
    digest = remote.put(b"a photo")
    assert remote.digests(digest[:2]) == [digest]
    assert sweep_photos(database, remote, now_ms()) == 0
    assert abs(remote.clock_ms() - now_ms()) < 60_000
    before = now_ms() + DAY
    assert remote.delete(digest, before)
    assert remote.digests(digest[:2]) == []


def test_the_hours_of_a_day_look_at_all_parts_once():
    looked = [part for hour in range(24) for part in parts_of_hour(1_750_000_000_000 + hour * 3_600_000)]
    assert sorted(looked) == list(PARTS)

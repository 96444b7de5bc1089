import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stallwart.core.errors import ConfigError, NotFoundError, StoreError
from stallwart.store import photos
from stallwart.store.photos import FRESH_MS, PhotoStore

PHOTO = bytes(range(256)) * 40
DIGEST = hashlib.sha256(PHOTO).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture(params=["folder", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"folder": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path}"}[
        request.param
    ]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_got_until_it_is_deleted(url: str) -> None:
    store = PhotoStore(url)
    assert not store.has(DIGEST)
    assert store.put(PHOTO) == DIGEST
    assert PhotoStore(url).get(DIGEST) == PHOTO
    assert PhotoStore(url).has(DIGEST)
    assert store.delete(DIGEST)
    assert not store.delete(DIGEST)
    assert not store.has(DIGEST)
    with pytest.raises(NotFoundError, match=DIGEST):
        store.get(DIGEST)
    store.put(PHOTO)  # and again, although it was put a moment ago
    assert store.get(DIGEST) == PHOTO


@pytest.mark.parametrize(
    "digest", ["", "..", "../../etc/passwd", DIGEST.upper(), DIGEST[:-1], f"{DIGEST}/x", "ü" * 64]
)
def test_what_is_no_digest_is_no_path(url: str, digest: str) -> None:
    store = PhotoStore(url)
    assert not store.has(digest)
    assert not store.delete(digest)
    with pytest.raises(NotFoundError):
        store.get(digest)


def test_a_folder_holds_each_photo_once_under_its_digest(tmp_path: Path) -> None:
    for _ in range(2):
        PhotoStore(str(tmp_path)).put(PHOTO)
    assert files(tmp_path) == [f"{DIGEST[:2]}/{DIGEST}"]


@pytest.mark.parametrize("content", [b"", PHOTO[:-1], PHOTO[:-1] + b"x"])
def test_a_changed_file_is_an_error_and_the_next_put_mends_it(tmp_path: Path, content: bytes) -> None:
    store = PhotoStore(str(tmp_path))
    store.put(PHOTO)
    (tmp_path / DIGEST[:2] / DIGEST).write_bytes(content)
    with pytest.raises(StoreError, match="was changed"):
        store.get(DIGEST)
    store.put(PHOTO)
    assert store.get(DIGEST) == PHOTO


def test_a_repeated_put_writes_nothing_for_a_while_and_then_renews_its_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = PhotoStore(url, clock)
    written = []
    write = store._blobs.write
    monkeypatch.setattr(store._blobs, "write", lambda name, photo: (written.append(name), write(name, photo)))
    for wait_ms in (0, FRESH_MS - 1, 1, 1):
        clock.ms += wait_ms
        store.put(PHOTO)
    assert len(written) == 2
    assert store.known(DIGEST)
    assert not store.known("0" * 64)


def test_memory_of_what_was_put_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_RECENT", 3)
    store = PhotoStore(str(tmp_path))
    digests = [store.put(bytes([n])) for n in range(5)]
    assert [store.known(digest) for digest in digests] == [False, False, True, True, True]


def test_deletion_spares_what_was_put_again(url: str) -> None:
    store = PhotoStore(url)
    store.put(PHOTO)
    now_ms = time.time_ns() // 1_000_000
    assert not store.delete(DIGEST, before_ms=now_ms - 60_000)
    assert store.has(DIGEST)
    assert store.delete(DIGEST, before_ms=now_ms + 60_000)


def test_putting_an_old_photo_again_makes_it_young(tmp_path: Path) -> None:
    PhotoStore(str(tmp_path)).put(PHOTO)
    os.utime(tmp_path / DIGEST[:2] / DIGEST, (1_000, 1_000))
    store = PhotoStore(str(tmp_path))
    store.put(PHOTO)
    assert not store.delete(DIGEST, before_ms=2_000_000)


def test_many_threads_may_put_the_same_photos(tmp_path: Path) -> None:
    stores = [PhotoStore(str(tmp_path)) for _ in range(3)]
    with ThreadPoolExecutor(8) as pool:
        put = list(pool.map(lambda n: stores[n % 3].put(bytes([n % 5]) * 1000), range(60)))
    assert len(set(put)) == len(files(tmp_path)) == 5


def run(script: str, *arguments: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


FULL = """
import resource, sys
from stallwart.core.errors import StoreError
from stallwart.store.photos import PhotoStore
store = PhotoStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
try:
    store.put(bytes(10_000))
except StoreError as err:
    print(err)
print(store.put(b"small"))
"""


def test_a_full_disk_is_a_store_error_that_leaves_nothing(tmp_path: Path) -> None:
    out, err = run(FULL, tmp_path).communicate()
    assert not err, err.decode()
    assert b"cannot be kept" in out
    assert files(tmp_path) == [f"{(small := hashlib.sha256(b'small').hexdigest())[:2]}/{small}"]


ENDLESS = """
import sys
from stallwart.store.photos import PhotoStore
store = PhotoStore(sys.argv[1])
number = 0
while True:
    digest = store.put(number.to_bytes(8, "big") * 50_000)
    print(digest, flush=True)
    number += 1
"""


def test_a_kill_leaves_no_photo_by_half_and_loses_none_that_was_kept(tmp_path: Path) -> None:
    kept: list[str] = []
    for _ in range(4):
        process = run(ENDLESS, tmp_path)
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        kept += [line.decode() for line in out.splitlines() if len(line) == 64]
    store = PhotoStore(str(tmp_path))
    assert kept
    for name in {path.name for path in tmp_path.glob("??/*")} | set(kept):
        assert len(store.get(name)) == 400_000


def test_what_a_kill_left_is_tidied_once_it_is_old(tmp_path: Path) -> None:
    PhotoStore(str(tmp_path))
    old, young = tmp_path / ".parts" / "old", tmp_path / ".parts" / "young"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (1_000, 1_000))
    PhotoStore(str(tmp_path))
    assert not old.exists()
    assert young.exists()


def test_an_emptied_folder_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    store = PhotoStore(str(root))
    (root / ".parts").rmdir()
    root.rmdir()
    store.put(PHOTO)
    assert store.get(DIGEST) == PHOTO


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="STALLWART_PHOTO_STORE"):
        PhotoStore(str(tmp_path / "file"))
    store = PhotoStore(str(tmp_path / "later"))
    (tmp_path / "later" / ".parts").rmdir()
    (tmp_path / "later").rmdir()
    (tmp_path / "later").touch()
    with pytest.raises(StoreError, match="cannot be kept"):
        store.put(PHOTO)


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/a", "s3fs"), ("gs://bucket/a", "gcsfs")])
def test_a_missing_package_is_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        PhotoStore(url)


def test_an_unknown_protocol_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        PhotoStore("nonsense://bucket")


def test_failures_of_a_remote_are_store_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    store = PhotoStore("memory://failing")

    class RemoteError(Exception):
        pass

    def fail(*_: object) -> None:
        raise RemoteError("secret")

    for name in ("write", "read", "modified_ms"):
        monkeypatch.setattr(store._blobs, name, fail)
    for call in (lambda: store.put(PHOTO), lambda: store.get(DIGEST), lambda: store.has(DIGEST)):
        with pytest.raises(StoreError, match=r"RemoteError\)"):
            call()

"""Kept photos: bytes -> sha256 -> the same bytes, in a folder or behind an fsspec URL.

A photo lies at `ab/abcdef...` by its digest, so the same photo is kept once, and one that was changed is
found out when it is read. Calls block; a service makes them in threads of its own, which may be many. Knows
nothing of listings: who deletes photos decides by what the tables still refer to, and by age (see `delete`).
"""

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from stallwart.core.errors import ConfigError, NotFoundError, StoreError

FRESH_MS = 600_000
"""How long a photo that was put again is left as it is; its time in the store may be this much too old."""

_RECENT = 8_192  # digests remembered
_ABANDONED_S = 3_600  # age of a part that nobody can be writing any more
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Packages by protocol; fsspec names them too, but as classes and not as what to type
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


class _Blobs(Protocol):
    """Where bytes lie under names as `ab/abcdef...`; a name that is not there is a FileNotFoundError."""

    def write(self, name: str, content: bytes) -> None:
        """Keep it whole or not at all; where it is kept already, make its time now."""

    def read(self, name: str) -> bytes: ...

    def modified_ms(self, name: str) -> int: ...

    def remove(self, name: str, before_ms: int | None) -> bool:
        """Whether it was removed: not where it was written at or after a time."""

    def names(self, part: str) -> list[str]:
        """Names without the folder of what begins with two hexadecimal digits."""

    def clock_ms(self) -> int:
        """What time this store gives to what is written now."""


class PhotoStore:
    """Photos by the sha256 of their bytes.

    Args:
        url: a folder, made if absent, or an fsspec URL: `s3://bucket/photos`, `gs://...`, `memory://...`.
        now_ms: milliseconds since 1970.

    Raises:
        ConfigError: no such protocol, its package is missing, or the folder cannot be made.
    """

    def __init__(self, url: str, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._url, self._now_ms = url, now_ms
        local = "://" not in url or url.startswith("file://")
        self._blobs: _Blobs = _Folder(Path(url.removeprefix("file://"))) if local else _Remote(url)
        self._recent: OrderedDict[str, int] = OrderedDict()  # digest -> when it was put
        self._lock = Lock()

    def put(self, photo: bytes) -> str:
        """Keeps a photo and gives its sha256; it is on disk (or taken by the remote) when this returns.

        Raises:
            StoreError: it cannot be written, as when the disk is full; nothing half-written stays.
        """
        digest = hashlib.sha256(photo).hexdigest()
        if self.known(digest):
            return digest
        try:
            with self._failures(digest, "kept"):
                self._blobs.write(_name(digest), photo)
        except FileNotFoundError:  # as where the folder's disk went away
            raise StoreError(f"photo {digest} cannot be kept; see to the photo store") from None
        with self._lock:
            self._recent[digest] = self._now_ms()
            self._recent.move_to_end(digest)
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return digest

    def known(self, digest: str) -> bool:
        """Whether this very object put it within the last ten minutes; from memory, without a wait."""
        with self._lock:
            put_ms = self._recent.get(digest)
        return put_ms is not None and 0 <= self._now_ms() - put_ms < FRESH_MS

    def get(self, digest: str) -> bytes:
        """The photo with a sha256.

        Raises:
            NotFoundError: it is not kept, or never was.
            StoreError: it cannot be read, or was changed after it was kept.
        """
        try:
            with self._failures(digest, "read"):
                photo = self._blobs.read(_name(digest))
        except FileNotFoundError:
            self._forget(digest)
            raise NotFoundError(f"no photo {digest[:64]} is kept; send its bytes") from None
        if hashlib.sha256(photo).hexdigest() != digest:
            self._forget(digest)  # the next put writes it anew
            raise StoreError(f"photo {digest} was changed in the store; send its bytes again")
        return photo

    def has(self, digest: str) -> bool:
        """Whether a photo is kept.

        Raises:
            StoreError: the store cannot say.
        """
        try:
            with self._failures(digest, "looked up"):
                self._blobs.modified_ms(_name(digest))
        except FileNotFoundError:
            return False
        return True

    def delete(self, digest: str, before_ms: int | None = None) -> bool:
        """Whether the photo was deleted: no longer kept, where it was.

        Args:
            digest: its sha256.
            before_ms: keep it where it was put at or after this time. Who deletes what no row refers to
                passes a time more than `FRESH_MS` ago: a row that refers to it may be on its way.

        Raises:
            StoreError: it cannot be deleted.
        """
        try:
            with self._failures(digest, "deleted"):
                self._forget(digest)
                return self._blobs.remove(_name(digest), before_ms)
        except FileNotFoundError:
            return False

    def digests(self, part: str) -> list[str]:
        """Photos that are kept and whose digest begins with `part`, two hexadecimal digits.

        Raises:
            StoreError: the store cannot say.
        """
        try:
            with self._failures(f"{part}...", "looked up"):
                return [name for name in self._blobs.names(part) if _DIGEST.fullmatch(name)]
        except FileNotFoundError:
            return []

    def clock_ms(self) -> int:
        """Milliseconds since 1970 by the clock that gives photos their time; it may be another machine's.

        Raises:
            StoreError: the store does not answer.
        """
        try:
            with self._failures("clock", "asked"):
                return self._blobs.clock_ms()
        except FileNotFoundError:
            raise StoreError("the photo store is gone; see to it") from None

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._recent.pop(digest, None)

    @contextlib.contextmanager
    def _failures(self, digest: str, done: str) -> Iterator[None]:
        """Failures as StoreError; that a file is not there goes through."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as err:  # noqa: BLE001 - each remote has exceptions of its own, outside OSError
            reason = getattr(err, "strerror", None) or type(err).__name__
            raise StoreError(f"photo {digest} cannot be {done} ({reason}); see to the photo store") from None


def _name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):  # it comes from callers, and is about to be a path
        raise FileNotFoundError(digest)
    return f"{digest[:2]}/{digest}"


class _Folder:
    """A local folder; files are written beside, synced and renamed, so that a kill leaves none by half."""

    def __init__(self, root: Path) -> None:
        self._root, self._parts = root, root / ".parts"
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            for part in self._parts.iterdir():  # left by a kill
                with contextlib.suppress(FileNotFoundError):  # another process tidies too
                    if time.time() - part.stat().st_mtime > _ABANDONED_S:
                        part.unlink()
        except OSError as err:
            raise ConfigError(
                f"{root}: photos cannot be kept here ({err.strerror}); name another folder by"
                " STALLWART_PHOTO_STORE"
            ) from None

    def write(self, name: str, content: bytes) -> None:
        path = self._root / name
        if self._touched(path, content):
            return
        part = self._parts / f"{path.name}.{secrets.token_hex(8)}"
        self._parts.mkdir(parents=True, exist_ok=True)  # as after somebody emptied the folder
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                part.rename(path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                part.rename(path)
                _sync(self._root)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        _sync(path.parent)

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def modified_ms(self, name: str) -> int:
        return (self._root / name).stat().st_mtime_ns // 1_000_000

    def remove(self, name: str, before_ms: int | None) -> bool:
        if before_ms is None:
            (self._root / name).unlink()
            return True
        if self.modified_ms(name) >= before_ms:
            return False
        # Out of the way first: who puts it from now on writes it anew, and who did just before is seen here
        path, aside = self._root / name, self._parts / f"{secrets.token_hex(8)}.old"
        path.rename(aside)
        young = aside.stat().st_mtime_ns // 1_000_000 >= before_ms
        aside.rename(path) if young else aside.unlink()
        return not young

    def names(self, part: str) -> list[str]:
        return [entry.name for entry in os.scandir(self._root / part)]

    def clock_ms(self) -> int:
        probe = self._parts / f"{secrets.token_hex(8)}.clock"
        self._parts.mkdir(parents=True, exist_ok=True)
        probe.touch()
        try:
            return probe.stat().st_mtime_ns // 1_000_000
        finally:
            probe.unlink()

    @staticmethod
    def _touched(path: Path, content: bytes) -> bool:
        """Whether the photo is there already, undamaged; its time is now, then."""
        try:
            if path.read_bytes() != content:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True


def _sync(folder: Path) -> None:
    """Makes a rename in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Remote:
    """Behind an fsspec URL; object stores write whole objects or none."""

    def __init__(self, url: str) -> None:
        import fsspec  # only who keeps photos remotely needs it, and it takes a while

        protocol = url.partition("://")[0]
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except ImportError:
            package = _PACKAGES.get(protocol, f"the fsspec package of {protocol}")
            raise ConfigError(f"photos in {protocol}:// need a package: pip install {package}") from None
        except ValueError as err:
            raise ConfigError(f"the photo store {protocol}:// cannot be opened: {err}") from None

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        if not self._files.async_impl:  # what has folders wants them made
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, content)

    def read(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(self._path(name))
        return content

    def modified_ms(self, name: str) -> int:
        self._files.invalidate_cache(self._path(name))  # what was true a while ago deletes nothing
        modified: Any = self._files.modified(self._path(name))
        return int(modified.timestamp() * 1000)

    def remove(self, name: str, before_ms: int | None) -> bool:
        # No store of fsspec removes on a condition: a photo put between these two lines would be lost
        if before_ms is not None and self.modified_ms(name) >= before_ms:
            return False
        self._files.rm_file(self._path(name))
        return True

    def names(self, part: str) -> list[str]:
        self._files.invalidate_cache(self._path(part))
        found = self._files.ls(self._path(part), detail=False)
        return [str(name).rstrip("/").rpartition("/")[2] for name in found]

    def clock_ms(self) -> int:
        self.write("clock", b"")
        return self.modified_ms("clock")

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

"""Photos that the operator's market keeps already: a path below one folder or fsspec URL -> bytes, bounded.

The path comes from callers, so it can only go down: no absolute paths, no `..`, and in a local folder no link
that leads out of it.
"""

import re
from pathlib import Path
from typing import Any

from stallwart.content.photo import PhotoError, PhotoTooLargeError
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

_PATH = re.compile(r"[^/\\\0]+(/[^/\\\0]+)*")


class PhotoSource:
    """Reads photos from `settings.photo_source`; none where that is empty. Calls block.

    Args:
        settings: `photo_source`, a folder or an fsspec URL as s3://bucket/photos, and `max_photo_bytes`.

    Raises:
        ConfigError: the protocol's package is missing, or the folder is not there.
    """

    def __init__(self, settings: Settings):
        self._max_bytes, url = settings.max_photo_bytes, settings.photo_source
        self._folder: Path | None = None
        self._remote: Any = None
        if "://" in url and not url.startswith("file://"):
            import fsspec  # takes a while, and only who names a URL needs it

            try:
                self._remote, self._root = fsspec.url_to_fs(url)
            except (ImportError, ValueError) as err:
                raise ConfigError(f"STALLWART_PHOTO_SOURCE: {err}") from None
        elif url:
            self._folder = Path(url.removeprefix("file://")).resolve()
            if not self._folder.is_dir():
                raise ConfigError(f"STALLWART_PHOTO_SOURCE: {self._folder} is no folder")

    def read(self, path: str) -> bytes:
        """The photo's bytes, 1 to `max_photo_bytes`.

        Raises:
            PhotoTooLargeError: it has more bytes.
            PhotoError: nothing may be read, the path leads elsewhere, or it cannot be read.
        """
        if self._folder is None and self._remote is None:
            raise PhotoError("is named by a path, and the service has no source of photos")
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise PhotoError("is named by a path that may not be read")
        try:
            content = self._local(path) if self._folder else self._distant(path)
        except FileNotFoundError:
            raise PhotoError("is not in the source of photos") from None
        except PhotoError:
            raise
        except Exception as err:  # noqa: BLE001 - each remote has exceptions of its own, outside OSError
            raise PhotoError(f"cannot be read from the source of photos ({type(err).__name__})") from None
        if len(content) > self._max_bytes:
            raise PhotoTooLargeError(f"has more than {self._max_bytes:,} bytes")
        return content

    def _local(self, path: str) -> bytes:
        assert self._folder is not None
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():  # a link out, a pipe, a folder
            raise PhotoError("is named by a path that may not be read")
        with file.open("rb") as opened:
            return opened.read(self._max_bytes + 1)

    def _distant(self, path: str) -> bytes:
        with self._remote.open(f"{self._root.rstrip('/')}/{path}", "rb") as opened:
            content: bytes = opened.read(self._max_bytes + 1)
        return content

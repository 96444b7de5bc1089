"""Files that are either whole or not there, and their digests."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stallwart.core.errors import ConfigError


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal; read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes that name when the block ends well, and is gone otherwise.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as err:
        raise ConfigError(f"{path}: cannot be written ({err.strerror or err})") from None
    finally:
        with contextlib.suppress(OSError):  # a parent that is a file has no file below it to remove
            temporary.unlink()


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and is gone otherwise.

    A folder that was at `path` before is replaced by two renames, so that no reader sees a half-written one.

    Raises:
        ConfigError: the folder cannot be written, a file has its name, or the disk is full.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is a file, and a folder is to be written; name another place")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as err:
        raise ConfigError(f"{path}: cannot be written ({err.strerror or err})") from None
    try:
        temporary.chmod(0o755)
        yield temporary
        if path.exists():
            old = temporary.with_suffix(".old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    except OSError as err:
        raise ConfigError(f"{path}: cannot be written ({err.strerror or err})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

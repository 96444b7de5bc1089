import errno
import os
from pathlib import Path

import pytest

from stallwart.core.errors import ConfigError
from stallwart.store.files import file_digest, whole_file, whole_folder

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_digest_is_sha256_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert file_digest(tmp_path / "a") == EMPTY


def test_a_whole_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert left(path.parent) == ["a.txt"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert path.read_text() == "old"
    assert left(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_parent_that_is_a_file_is_a_clear_error(tmp_path, whole):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), whole(tmp_path / "file" / "a"):
        pass


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_full_disk_is_a_clear_error_and_leaves_no_half(tmp_path, whole):
    path = tmp_path / "a"

    def fill() -> None:
        with whole(path) as temporary:
            inside = temporary / "part" if temporary.is_dir() else temporary
            inside.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ConfigError, match="No space left"):
        fill()
    assert left(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_truly_full_is_a_clear_error(tmp_path):
    def fill() -> None:
        with whole_file(tmp_path / "a") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("does not fit")

    with pytest.raises(ConfigError, match="No space left"):
        fill()
    assert left(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "bundle"
    for content in ("one", "two"):
        with whole_folder(path) as temporary:
            (temporary / content).write_text(content)
    assert left(path) == ["two"]
    assert left(tmp_path) == ["bundle"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    path = tmp_path / "bundle"
    with whole_folder(path) as temporary:
        (temporary / "old").touch()

    def fail() -> None:
        with whole_folder(path) as temporary:
            (temporary / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert left(path) == ["old"]
    assert left(tmp_path) == ["bundle"]


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="is a file"), whole_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"

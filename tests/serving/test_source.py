import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.content.photo import PhotoError, PhotoTooLargeError
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.serving.source import PhotoSource


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("market")
    (root / "photos" / "a").mkdir(parents=True)
    (root / "photos" / "a" / "1.jpg").write_bytes(b"one")
    (root / "photos" / "large.jpg").write_bytes(b"x" * 2_000)
    (root / "secret").write_bytes(b"secret")
    (root / "photos" / "out").symlink_to(root / "secret")
    os.mkfifo(root / "photos" / "pipe")
    return root / "photos"


@pytest.fixture(scope="module")
def source(folder):
    return PhotoSource(Settings(photo_source=str(folder), max_photo_bytes=1_000))


def test_a_photo_is_read_by_its_path(source):
    assert source.read("a/1.jpg") == b"one"


def test_a_photo_is_read_through_fsspec():
    import fsspec

    fsspec.filesystem("memory").pipe("/bucket/photos/b/2.jpg", b"two")
    remote = PhotoSource(Settings(photo_source="memory://bucket/photos"))
    assert remote.read("b/2.jpg") == b"two"
    with pytest.raises(PhotoError, match="not in the source"):
        remote.read("b/3.jpg")


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../secret", "/etc/passwd", "out", "pipe", "a", "", "a//1.jpg", "./a/1.jpg"],
)
def test_a_path_leads_nowhere_else(source, path):
    with pytest.raises(PhotoError):
        source.read(path)


@given(st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "out", "secret", "%2e%2e", "~"])).map("/".join))
def test_no_path_reads_the_secret(source, path):
    with contextlib.suppress(PhotoError):
        assert source.read(path) != b"secret"


def test_a_photo_is_bounded_as_it_is_read(source):
    with pytest.raises(PhotoTooLargeError, match="more than 1,000"):
        source.read("large.jpg")


def test_without_a_source_no_path_is_read():
    with pytest.raises(PhotoError, match="no source"):
        PhotoSource(Settings()).read("a/1.jpg")


@pytest.mark.parametrize("url", ["/nowhere/at/all", "s3://bucket", "nosuch://x"])
def test_a_source_that_cannot_be_used_is_said_at_the_start(url):
    with pytest.raises(ConfigError, match="STALLWART_PHOTO_SOURCE"):
        PhotoSource(Settings(photo_source=url))

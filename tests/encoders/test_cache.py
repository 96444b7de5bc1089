import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stallwart.core.errors import ConfigError
from stallwart.encoders.cache import EmbeddingCache, content_key
from stallwart.encoders.spec import EncoderSpec

# Writes embeddings 0 to 1999, each a function of its number, thirty at a time, and goes on where it is.
WRITER = """
import sys, numpy as np
from pathlib import Path
from stallwart.encoders.cache import EmbeddingCache
cache = EmbeddingCache(Path(sys.argv[1]))
print("open", flush=True)
for start in range(0, 2000, 30):
    keys = [n.to_bytes(32) for n in range(start, min(start + 30, 2000))]
    known = cache.get(keys)
    cache.put([(key, np.full(64, int.from_bytes(key), np.float32)) for key in keys if key not in known])
"""


def start_writer(folder):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)


def finish(writer):
    writer.communicate(timeout=60)
    return writer.returncode


def assert_whole(folder):
    cache = EmbeddingCache(folder)
    found = cache.get([n.to_bytes(32) for n in range(2000)])
    cache.close()
    assert len(found) == 2000
    for key, value in found.items():
        np.testing.assert_array_equal(value, np.full(64, int.from_bytes(key), np.float32))


def test_what_is_put_is_found_again_by_another_process_to_be(tmp_path):
    cache = EmbeddingCache(tmp_path)
    value = np.array([1.5, -0.0, np.float32(1e-38)], dtype=np.float32)
    cache.put([(b"a", value)])
    cache.put([(b"a", value + 1)])  # the first stays: a second process computed the same
    cache.close()
    again = EmbeddingCache(tmp_path)
    found = again.get([b"a", b"b"])
    assert list(found) == [b"a"]
    np.testing.assert_array_equal(found[b"a"], value)


def test_more_keys_than_one_query_may_hold_are_found(tmp_path):
    cache = EmbeddingCache(tmp_path)
    keys = [n.to_bytes(32) for n in range(1700)]
    cache.put([(key, np.zeros(2, np.float32)) for key in keys])
    assert set(cache.get(keys)) == set(keys)


def test_keys_differ_by_content_and_by_encoder():
    one = EncoderSpec(name="a", modality="text", d=2, weights="w")
    other = one.model_copy(update={"weights": "v"})
    assert len({content_key(spec, text) for spec in (one, other) for text in (b"x", b"y")}) == 4


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    writers = [start_writer(tmp_path) for _ in range(3)]
    assert [finish(writer) for writer in writers] == [0, 0, 0]
    assert_whole(tmp_path)


def test_a_killed_writer_leaves_whole_entries_and_a_second_run_goes_on(tmp_path):
    for delay in (0.0, 0.01, 0.03):
        writer = start_writer(tmp_path)
        assert writer.stdout.readline() == b"open\n"
        time.sleep(delay)  # another moment in its work each time; any moment must do
        writer.send_signal(signal.SIGKILL)
        finish(writer)
    assert finish(start_writer(tmp_path)) == 0
    assert_whole(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "embeddings.sqlite").write_bytes(b"no database, yet long enough to look at" * 100)
    with pytest.raises(ConfigError, match=r"embeddings\.sqlite: the embedding cache cannot be used .*delete"):
        EmbeddingCache(tmp_path)


def test_a_database_with_broken_pages_is_refused(tmp_path):
    cache = EmbeddingCache(tmp_path)
    keys = [n.to_bytes(32) for n in range(500)]
    cache.put([(key, np.zeros(400, np.float32)) for key in keys])
    cache.close()
    size = cache.path.stat().st_size
    with cache.path.open("rb+") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(ConfigError, match="the embedding cache cannot be used"):
        EmbeddingCache(tmp_path).get(keys)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match="the embedding cache cannot be used"):
        EmbeddingCache(tmp_path / "cache")


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_a_full_disk_is_a_clear_error_and_what_was_stored_stays(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put([(b"before", np.ones(4, np.float32))])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(ConfigError, match="make room"):
            cache.put([(n.to_bytes(32), np.zeros(1000, np.float32)) for n in range(1000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    cache.close()
    assert list(EmbeddingCache(tmp_path).get([b"before", (0).to_bytes(32)])) == [b"before"]

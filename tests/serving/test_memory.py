import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.encoders.cache import EmbeddingCache
from stallwart.serving.memory import Embeddings


def vector(number):
    return np.full(8, number, np.float32)


def test_what_was_put_is_at_hand_at_once():
    memory = Embeddings(None, 10_000)
    memory.put(b"a", vector(1))
    found = memory.get([b"a", b"b"])
    memory.close()
    assert list(found) == [b"a"]
    assert np.array_equal(found[b"a"], vector(1))


def test_what_was_put_is_on_the_disk_after_closing(tmp_path):
    disk = EmbeddingCache(tmp_path)
    memory = Embeddings(disk, 10_000)
    for number in range(600):
        memory.put(b"%d" % number, vector(number))
    memory.close()
    assert len(disk.get([b"%d" % number for number in range(600)])) == 600
    disk.close()


def test_what_another_process_computed_is_found_on_the_disk(tmp_path):
    other = EmbeddingCache(tmp_path)
    other.put([(b"a", vector(7))])
    disk = EmbeddingCache(tmp_path)
    memory = Embeddings(disk, 10_000)
    assert np.array_equal(memory.get([b"a"])[b"a"], vector(7))
    memory.close()
    other.close()
    disk.close()


def test_a_disk_that_fails_costs_time_and_nothing_else(tmp_path):
    disk = EmbeddingCache(tmp_path)
    memory = Embeddings(disk, 10_000)
    disk.close()
    assert memory.get([b"a"]) == {}
    assert "cannot be used" in memory.failed
    memory.put(b"a", vector(1))
    assert list(memory.get([b"a"])) == [b"a"]
    memory.close()


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 400))
def test_memory_stays_within_its_bound_and_forgets_the_oldest_first(numbers, max_bytes):
    memory = Embeddings(None, max_bytes)
    size = vector(0).nbytes + 2
    for number in numbers:
        memory.put(b"%02d" % number, vector(number))
        memory.get([b"%02d" % number])  # puts do not move what is known; reads do
    last = list(dict.fromkeys(reversed(numbers)))[: max_bytes // size]
    found = memory.get([b"%02d" % number for number in range(31)])
    memory.close()
    assert set(found) == {b"%02d" % number for number in last}


@pytest.mark.parametrize("missing", [[], [b"a"]])
def test_nothing_is_found_in_nothing(missing):
    memory = Embeddings(None, 0)
    memory.put(b"a", vector(1))
    assert memory.get(missing) == {}
    memory.close()

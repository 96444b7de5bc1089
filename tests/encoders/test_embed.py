import tracemalloc

import numpy as np
import pytest
from samples import photo_bytes, write_text

from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import CHUNK_BYTES, Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph


@pytest.fixture(scope="module")
def graphs(text_folder, photo_folder):
    return TextGraph(text_folder), PhotoGraph(photo_folder)


LISTINGS = [
    Listing("both", title=write_text(1), photos=(photo_bytes(1), photo_bytes(2))),
    Listing("words", title=write_text(2), description=write_text(3)),
    Listing("photo", photos=(photo_bytes(2),)),
    Listing("broken", title=write_text(1), photos=(b"no photo", photo_bytes(3), b"")),
    Listing("nothing"),
    Listing("surrogate", title="\ud83d lamp"),
]


def test_each_listing_has_an_embedding_for_each_part_that_it_has(graphs, settings):
    embedder = Embedder(*graphs, settings, None)
    rows = list(embedder.embed(LISTINGS))
    assert [row.listing for row in rows] == LISTINGS
    assert [row.text is not None for row in rows] == [True, True, False, True, False, True]
    assert [row.photos.shape for row in rows] == [(n, 1280) for n in (2, 0, 1, 1, 0, 0)]
    np.testing.assert_array_equal(rows[0].photos[1], rows[2].photos[0])
    np.testing.assert_array_equal(rows[0].text, graphs[0].encode(LISTINGS[0].text))


def test_photos_that_fail_are_counted_with_the_reason(graphs, settings):
    embedder = Embedder(*graphs, settings, None)
    rows = list(embedder.embed(LISTINGS * 2))
    assert len(rows[3].failures) == 2
    assert sum(embedder.counts.failures.values()) == 4
    assert embedder.counts.failures["is empty"] == 2
    assert embedder.counts.listings == 12


def test_a_second_run_computes_nothing_and_gives_the_same(graphs, settings, tmp_path):
    first = Embedder(*graphs, settings, EmbeddingCache(tmp_path))
    rows = list(first.embed(LISTINGS))
    second = Embedder(*graphs, settings, EmbeddingCache(tmp_path))
    again = list(second.embed(reversed(LISTINGS)))[::-1]
    assert (first.counts.computed, first.counts.cached) == (6, 0)
    assert (second.counts.computed, second.counts.cached) == (0, 6)
    for row, same in zip(rows, again, strict=True):
        np.testing.assert_array_equal(row.photos, same.photos)
        assert (row.text is None) == (same.text is None)
        if row.text is not None:
            np.testing.assert_array_equal(row.text, same.text)


def test_what_was_embedded_before_an_interruption_is_kept(graphs, settings, tmp_path):
    def interrupted():
        yield from (Listing(str(n), title=f"lamp {n}") for n in range(256))
        raise KeyboardInterrupt

    embedder = Embedder(*graphs, settings, EmbeddingCache(tmp_path))
    handed_out = []
    with pytest.raises(KeyboardInterrupt):
        handed_out.extend(embedder.embed(interrupted()))
    again = Embedder(*graphs, settings, EmbeddingCache(tmp_path))
    list(again.embed(row.listing for row in handed_out))
    assert again.counts.computed == 0


def test_photos_past_the_limit_are_not_looked_at(graphs, tmp_path):
    limited = Settings(cache_dir=tmp_path, max_photos=1)
    (row,) = Embedder(*graphs, limited, None).embed(LISTINGS[:1])
    assert len(row.photos) == 1


def test_memory_does_not_grow_with_the_number_of_listings(graphs, settings):
    size_bytes = 8_000_000

    def heavy(n):  # photos that no decoder will touch, so that this stays fast
        return (Listing(str(i), photos=(bytes([i]) * size_bytes,)) for i in range(n))

    peaks = []
    for n in (10, 40):
        tracemalloc.start()
        for _ in Embedder(*graphs, settings, None).embed(heavy(n)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 2.5 * CHUNK_BYTES  # a chunk that is being handed out beside the next
    assert peaks[1] < 1.1 * peaks[0] + size_bytes

"""Listings -> listings with embeddings, streamed in chunks through the cache."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stallwart.content.photo import PhotoError, decode_photo
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache, content_key
from stallwart.encoders.graphs import Embedding, PhotoGraph, TextGraph

# What is held at a time, whichever comes first; photos are what memory is spent on.
CHUNK = 256  # listings
CHUNK_BYTES = 64_000_000  # of their photos, and at least one listing


@dataclass(frozen=True)
class Embedded:
    """One listing with what the encoders made of it.

    Attributes:
        listing: as it was read.
        text: (d_text,) float32, or None where there are no words.
        photos: (p, d_photo) float32, one row for each photo that decodes, p >= 0.
        failures: why a photo has no row, one entry each.
    """

    listing: Listing
    text: Embedding | None
    photos: NDArray[np.float32]
    failures: tuple[str, ...] = ()


Job = Callable[[], Embedding | PhotoError]


@dataclass(frozen=True)
class Parts:
    """One listing's words and photos as work to do.

    Attributes:
        listing: whose parts they are.
        text_key: of the words, or None where there are none.
        photo_keys: of the photos, in order.
        jobs: what makes the embedding of each key.
    """

    listing: Listing
    text_key: bytes | None
    photo_keys: list[bytes]
    jobs: dict[bytes, Job]


@dataclass
class EmbedCounts:
    """What an `Embedder` did so far."""

    listings: int = 0
    computed: int = 0
    cached: int = 0
    failures: dict[str, int] = field(default_factory=dict)


class Embedder:
    """The two encoders of a bundle or a recipe, with the cache that they share.

    Args:
        text: text encoder.
        photo: photo encoder.
        settings: bounds on photos and the number of threads.
        cache: where embeddings are looked up and kept; None computes all of them.
    """

    def __init__(self, text: TextGraph, photo: PhotoGraph, settings: Settings, cache: EmbeddingCache | None):
        self.text, self.photo, self.settings, self.cache = text, photo, settings, cache
        self.counts = EmbedCounts()

    def embed(self, listings: Iterable[Listing]) -> Iterator[Embedded]:
        """Each listing with its embeddings, in order; holds one chunk at a time.

        What is interrupted is kept: each chunk is in the cache before its first listing is handed out.
        """
        with ThreadPoolExecutor(self.settings.threads) as pool:
            for chunk in _chunks(listings):
                yield from self._embed_chunk(chunk, pool)
                del chunk  # or it would stay until the next one is complete

    def parts(self, listing: Listing) -> Parts:
        """What has to be embedded of one listing; nothing is computed yet."""
        jobs: dict[bytes, Job] = {}
        text, text_key = listing.text[: self.settings.max_text_chars], None
        if text:
            text_key = content_key(self.text.spec, text.encode("utf-8", "surrogatepass"))
            jobs[text_key] = lambda: self.text.encode(text)
        photos = listing.photos[: self.settings.max_photos]
        photo_keys = [content_key(self.photo.spec, photo) for photo in photos]
        jobs.update((key, partial(self._photo, photo)) for key, photo in zip(photo_keys, photos, strict=True))
        return Parts(listing, text_key, photo_keys, jobs)

    def _embed_chunk(self, chunk: list[Listing], pool: ThreadPoolExecutor) -> list[Embedded]:
        parts = [self.parts(listing) for listing in chunk]
        made = self._run({key: job for one in parts for key, job in one.jobs.items()}, pool)
        self.counts.listings += len(chunk)
        return [self._counted(self.joined(one, made)) for one in parts]

    def _run(self, jobs: dict[bytes, Job], pool: ThreadPoolExecutor) -> dict[bytes, Embedding | PhotoError]:
        made: dict[bytes, Embedding | PhotoError] = {}
        if self.cache:
            made.update(self.cache.get(list(jobs)))
        missing = [key for key in jobs if key not in made]
        self.counts.cached += len(jobs) - len(missing)
        results = dict(zip(missing, pool.map(lambda key: jobs[key](), missing), strict=True))
        computed = [(key, value) for key, value in results.items() if not isinstance(value, PhotoError)]
        self.counts.computed += len(computed)
        if self.cache and computed:
            self.cache.put(computed)
        return {**made, **results}

    def _photo(self, photo: bytes) -> Embedding | PhotoError:
        limits = self.settings
        try:
            pixels = decode_photo(
                photo, limits.max_photo_bytes, limits.max_photo_pixels, self.photo.spec.size
            )
        except PhotoError as err:
            return PhotoError(str(err))  # without the traceback, whose frames hold the photo
        return self.photo.encode(pixels)

    def joined(self, parts: Parts, made: Mapping[bytes, Embedding | PhotoError]) -> Embedded:
        """The listing with its embeddings, once all of its parts are made."""
        text = made[parts.text_key] if parts.text_key else None
        photos = [made[key] for key in parts.photo_keys]
        failures = tuple(str(photo) for photo in photos if isinstance(photo, PhotoError))
        rows = [photo for photo in photos if not isinstance(photo, PhotoError)]
        stacked = np.stack(rows) if rows else np.empty((0, self.photo.spec.d), dtype=np.float32)
        assert not isinstance(text, PhotoError)
        return Embedded(parts.listing, text, stacked, failures)

    def _counted(self, embedded: Embedded) -> Embedded:
        for reason in embedded.failures:
            self.counts.failures[reason] = self.counts.failures.get(reason, 0) + 1
        return embedded


def _chunks(listings: Iterable[Listing]) -> Iterator[list[Listing]]:
    chunk: list[Listing] = []
    size_bytes = 0
    for listing in listings:
        photo_bytes = sum(map(len, listing.photos))
        if chunk and (len(chunk) == CHUNK or size_bytes + photo_bytes > CHUNK_BYTES):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(listing)
        size_bytes += photo_bytes
    if chunk:
        yield chunk

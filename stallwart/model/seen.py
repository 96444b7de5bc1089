"""What an erasure needs to know of models: which bundles know a listing, and what was embedded of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, select

from stallwart.core.errors import BundleError, StallwartError
from stallwart.core.settings import Settings
from stallwart.encoders.cache import EmbeddingCache, content_key
from stallwart.encoders.spec import EncoderSpec, read_spec
from stallwart.model.bundle import KNOWN
from stallwart.store.database import reading, store_errors
from stallwart.store.erasing import Tools
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import Revision, listing_of
from stallwart.store.tables import bundles


def erase_tools(engine: Engine, settings: Settings, now_ms: Callable[[], int]) -> Tools:
    """What erases from this machine's photo store and cache of embeddings, with what registered bundles know.

    Raises:
        StoreError: the registry cannot be read.
        ConfigError: the photo store or the cache cannot be used.
    """
    with store_errors("the registry cannot be read"), reading(engine) as connection:
        found = connection.execute(select(bundles.c.digest, bundles.c.place)).all()
    places = {row.digest: Path(row.place) for row in found}
    photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()), now_ms)
    specs = _specs(list(places.values()))
    return Tools(
        photos=photos,
        known={digest: known_listings(place) for digest, place in places.items()},
        forget=_Forgetter(settings, specs, photos),
        now_ms=now_ms,
    )


def known_listings(place: Path) -> frozenset[str]:
    """Ids of the listings among a bundle's known violations; none where the bundle is gone."""
    try:
        with (place / KNOWN).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return frozenset(str(one) for one in arrays["listing_ids"])
    except (OSError, ValueError, KeyError, EOFError):
        return frozenset()


def _specs(places: list[Path]) -> list[tuple[EncoderSpec, EncoderSpec]]:
    """Text and photo encoders of the bundles that are there, each pair once."""
    found: dict[tuple[bytes, bytes], tuple[EncoderSpec, EncoderSpec]] = {}
    for place in places:
        try:
            text, photo = read_spec(place / "text"), read_spec(place / "photo")
        except BundleError:
            continue
        found[text.digest, photo.digest] = (text, photo)
    return list(found.values())


class _Forgetter:
    """Lets go of a revision's embeddings in the cache on this machine."""

    def __init__(self, settings: Settings, specs: list[tuple[EncoderSpec, EncoderSpec]], photos: PhotoStore):
        self._settings, self._specs, self._photos = settings, specs, photos

    def __call__(self, revision: Revision) -> int:
        words = listing_of(revision, ()).text[: self._settings.max_text_chars]
        text = words.encode("utf-8", "surrogatepass")
        photos = [photo for digest in revision.photos if (photo := self._photo(digest)) is not None]
        keys = {content_key(spec, text) for spec, _ in self._specs if words}
        keys |= {content_key(spec, photo) for _, spec in self._specs for photo in photos}
        if not keys or not (self._settings.cache_dir / "embeddings.sqlite").is_file():
            return 0
        cache = EmbeddingCache(self._settings.cache_dir)
        try:
            return cache.drop(sorted(keys))
        finally:
            cache.close()

    def _photo(self, digest: str) -> bytes | None:
        try:
            return self._photos.get(digest)
        except StallwartError:  # it is gone already, or was changed: nothing was made of it that can be named
            return None

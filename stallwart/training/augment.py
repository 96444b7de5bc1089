"""Training listings -> changed copies of them, embedded: words disguised, photos flipped and cropped.

Copies exist for the training part alone; nothing that is scored, for validation, a rolling origin or a test,
is ever changed. What a copy looks like depends on the seed and on the content that it copies, not on what
stands beside it, so that the same listing has the same copies in every run and its embeddings are cached.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import vstack

from stallwart.content.photo import Pixels
from stallwart.core.errors import ConfigError
from stallwart.core.listing import Listing
from stallwart.core.progress import Track, silent
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import listing_files
from stallwart.dataset.wordlist import Wordlist, read_wordlists
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import Embedding, PhotoGraph
from stallwart.encoders.lexical import Lexicon
from stallwart.encoders.spec import EncoderSpec
from stallwart.model.features import Features
from stallwart.model.material import Material, Sources
from stallwart.training.disguise import evasion, noise, slang, synonyms
from stallwart.training.recipe import AugmentRecipe

_LEAST_CROP = 0.7  # of each side that a crop keeps at least


@dataclass(frozen=True)
class Copy:
    """One changed copy of each of n listings.

    Attributes:
        features: n listings; a part that was not changed is as it was.
        changed_text, changed_photo: (n,) bool, which parts differ from the listing's own.
    """

    features: Features
    changed_text: NDArray[np.bool_]
    changed_photo: NDArray[np.bool_]

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Copy":
        """The copies of the listings that a mask or index array selects, in its order."""
        return Copy(self.features[which], self.changed_text[which], self.changed_photo[which])

    def changed(self, reads: tuple[str, ...]) -> NDArray[np.bool_]:
        """(n,) which copies differ for a member that reads these parts."""
        return np.asarray((self.changed_text & ("text" in reads)) | (self.changed_photo & ("photo" in reads)))


def make_copies(
    material: Material,
    sources: Sources,
    embedder: Embedder,
    recipe: AugmentRecipe,
    seed: int,
    settings: Settings,
    track: Track = silent,
) -> tuple[Copy, ...]:
    """`recipe.copies` copies of each row of `material.features`, changed in the training part alone.

    Args:
        material: gathered, with its training part embedded; lines of word lists that cannot be used are
            added to its rejects.
        sources: where it was gathered from; read again where photos are changed.
        embedder: that it was gathered with.
        recipe: what is changed, and how often.
        seed: of all draws.
        settings: limits.
        track: shows how far it is.

    Raises:
        ConfigError: a word list cannot be used, or the recipe names a policy that there is not.
    """
    if not recipe.text and not recipe.photo:
        return ()
    words = _Words.read(recipe, sources.taxonomy, material.rejects)
    train = np.isin(material.places, material.split.train)
    copies = []
    for number in range(recipe.copies):
        features = material.features
        changed_text = changed_photo = np.zeros(len(features), dtype=np.bool_)
        if recipe.text:
            features, changed_text = _with_texts(material, train, embedder, words, seed, number, track)
        if recipe.photo:
            graph = ChangedPhotoGraph(embedder.photo, recipe.photo, seed, number)
            photos = Embedder(embedder.text, graph, settings, embedder.cache)
            changed_photo = train & features.has_photo
            features = _with_photos(material, features, changed_photo, sources, photos, track)
        copies.append(Copy(features, changed_text, changed_photo))
    return tuple(copies)


@dataclass(frozen=True)
class _Words:
    """How a text is changed."""

    kinds: tuple[str, ...]
    slang: Wordlist
    synonyms: Wordlist
    about: frozenset[int]  # classes whose listings are known to speak of what the slang is about

    @classmethod
    def read(cls, recipe: AugmentRecipe, taxonomy: Taxonomy, rejects: Rejects) -> "_Words":
        if unknown := sorted(set(recipe.slang_policies) - set(taxonomy.ids)):
            raise ConfigError(
                f"augment.slang_policies: no policy {unknown[0]!r}; there are: {', '.join(taxonomy.ids)}"
            )
        return cls(
            recipe.text,
            read_wordlists(map(Path, recipe.slang), rejects),
            read_wordlists(map(Path, recipe.synonyms), rejects),
            frozenset(taxonomy.labels.index(name) for name in recipe.slang_policies),
        )

    def changed(self, text: str, label: int, random: np.random.Generator) -> str:
        """The text changed in one way, the first of them in a drawn order that finds something to change."""
        for which in random.permutation(len(self.kinds)).tolist():
            if (other := self._one(self.kinds[which], text, label, random)) != text:
                return other
        return text

    def _one(self, kind: str, text: str, label: int, random: np.random.Generator) -> str:
        if kind == "noise":
            return noise(text, random)
        if kind == "evasion":
            return evasion(text, random)
        if kind == "slang":
            return slang(text, random, self.slang, label in self.about)
        return synonyms(text, random, self.synonyms)


class ChangedPhotoGraph(PhotoGraph):
    """A photo encoder that first changes what it is shown, as the pixels and the seed decide.

    Its spec carries the changes in its name, so that the cache keeps its embeddings apart.

    Args:
        graph: the encoder.
        kinds: `flip` and `crop`; one of them is drawn for each photo.
        seed, number: of the draws; the number tells copies apart.
    """

    def __init__(self, graph: PhotoGraph, kinds: tuple[str, ...], seed: int, number: int):
        self._graph, self._kinds, self._said = graph, kinds, f"{seed}-{number}"
        name = f"{graph.spec.name} after {' or '.join(kinds)}, draw {self._said}"
        # Not a copy of the spec itself, which would keep the digest of the name before
        self.spec = EncoderSpec(**{**graph.spec.model_dump(), "name": name})

    def encode(self, pixels: Pixels) -> Embedding:
        """The embedding of the changed photo, (d,) float32, from (height, width, 3) uint8 RGB."""
        random = _random(self._said, np.ascontiguousarray(pixels).tobytes())
        kind = self._kinds[int(random.integers(len(self._kinds)))]
        return self._graph.encode(_flipped(pixels) if kind == "flip" else _cropped(pixels, random))


def _flipped(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def _cropped(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """A part of the photo that keeps at least seven tenths of each side."""
    image = Image.fromarray(pixels)
    keep = random.uniform(_LEAST_CROP, 1, size=2)
    width, height = (max(1, round(side * share)) for side, share in zip(image.size, keep, strict=True))
    left, top = (
        int(random.integers(whole - part + 1))
        for whole, part in zip(image.size, (width, height), strict=True)
    )
    return np.asarray(image.crop((left, top, left + width, top + height)))


def _with_texts(
    material: Material,
    train: NDArray[np.bool_],
    embedder: Embedder,
    words: _Words,
    seed: int,
    number: int,
    track: Track,
) -> tuple[Features, NDArray[np.bool_]]:
    """The features with texts changed where that is possible, and where it was."""
    features, labels = material.features, material.rows.labels[material.places]
    rows, listings = [], []
    for row in np.flatnonzero(train & features.has_text).tolist():
        given = material.texts[row]
        random = _random(f"{seed}-{number}", given.encode("utf-8", "surrogatepass"))
        if (changed := words.changed(given, int(labels[row]), random)).strip() and changed != given:
            rows.append(row)
            listings.append(Listing(str(row), changed))
    text = features.text.copy()
    embedded = embedder.embed(track(listings, "embedding changed texts", len(listings)))
    for row, one in zip(rows, embedded, strict=True):
        text[row] = one.text
    there = np.zeros(len(features), dtype=np.bool_)
    there[rows] = True
    place = np.arange(len(features))
    place[rows] = len(features) + np.arange(len(rows))
    new = vstack([features.words, Lexicon().rows(one.text for one in listings)], format="csr")[place]
    return replace(features, text=text, words=new), there


def _with_photos(
    material: Material,
    features: Features,
    changed: NDArray[np.bool_],
    sources: Sources,
    embedder: Embedder,
    track: Track,
) -> Features:
    """The features with the photos of some listings changed; their files are read once more."""
    ids = material.rows.listing_ids[material.places]
    row_of = {str(ids[row]): row for row in np.flatnonzero(changed).tolist()}
    photos = features.photos.copy()
    shown = track(_photos_alone(sources, embedder.settings, row_of), "embedding changed photos", len(row_of))
    for one in embedder.embed(shown):
        row = row_of[one.listing.listing_id]
        photos[features.starts[row] : features.starts[row + 1]] = one.photos
    return replace(features, photos=photos)


def _photos_alone(sources: Sources, settings: Settings, row_of: dict[str, int]) -> Iterator[Listing]:
    files = listing_files(sources.listings, sources.labels)
    stream = read_listings(files, sources.columns, settings, Rejects(settings.max_rejects), decode=False)
    return (Listing(one.listing_id, photos=one.photos) for one in stream if one.listing_id in row_of)


def _random(said: str, content: bytes) -> np.random.Generator:
    digest = hashlib.sha256(said.encode() + b"\0" + content).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))

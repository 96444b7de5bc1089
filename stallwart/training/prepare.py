"""Sources and a recipe -> encoders, embedded listings and their copies: what every fitting starts from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stallwart.content.photo import PhotoError, decode_photo
from stallwart.core.progress import Track, silent
from stallwart.core.settings import Settings
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import listing_files
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.table import exported
from stallwart.model.material import Material, Sources, gather
from stallwart.training.augment import Copy, make_copies
from stallwart.training.finetune import Part, Shown, tuned
from stallwart.training.fit import Examples
from stallwart.training.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """What a recipe's members are fitted on.

    Attributes:
        text, photo: folders of the encoders, fine-tuned where the recipe says so.
        embedder: of these.
        material: training and validation part by these.
        copies: changed copies of the training part.
        first_origin_months: months of the training part before the first that may be scored.
    """

    text: Path
    photo: Path
    embedder: Embedder
    material: Material
    copies: tuple[Copy, ...]
    first_origin_months: int


def prepare(sources: Sources, recipe: Recipe, settings: Settings, track: Track = silent) -> Prepared:
    """Encoders exported, fine-tuned if asked for; listings embedded; copies made.

    Raises:
        ConfigError: an encoder or a word list cannot be had, or a folder cannot be written.
        DataError: the listings or labels cannot be used.
    """
    torch.set_num_threads(settings.threads)
    encoders, first = recipe.encoders, recipe.certification.first_origin_months
    text, photo = (exported(name, settings.cache_dir) for name in (encoders.text, encoders.photo))
    cache = EmbeddingCache(settings.cache_dir)
    try:
        embedder = Embedder(TextGraph(text), PhotoGraph(photo), settings, cache)
        wanted = ("train", "validation")
        material = gather(sources, embedder, settings, wanted, track, titles=True)
        if encoders.finetune_layers and (material.rows.labels[material.split.train] > 0).any():
            text, photo = _tuned(sources, recipe, material, embedder, (text, photo), track)
            embedder = Embedder(TextGraph(text), PhotoGraph(photo), settings, cache)
            material = gather(sources, embedder, settings, wanted, track, titles=True)
            first = max(first, encoders.finetune_months)
        copies = make_copies(material, sources, embedder, recipe.augment, recipe.seed, settings, track)
    finally:
        cache.close()
    return Prepared(text, photo, embedder, material, copies, first)


def finetune_places(material: Material, months: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the first months of the training part, labelled by their end; which are of the last month."""
    rows, train = material.rows, material.split.train
    listed = rows.listed_at[train].astype("datetime64[M]")
    chosen = np.unique(listed)[:months]
    end = (chosen[-1] + 1).astype("datetime64[ms]")
    places = train[(listed <= chosen[-1]) & (rows.labelled_at[train] <= end)]
    return places, rows.listed_at[places].astype("datetime64[M]") == chosen[-1]


def _tuned(
    sources: Sources,
    recipe: Recipe,
    material: Material,
    embedder: Embedder,
    folders: tuple[Path, Path],
    track: Track,
) -> tuple[Path, Path]:
    places, latest = finetune_places(material, recipe.encoders.finetune_months)
    said = "\n".join([material.digest, str(material.split.train_until), sources.taxonomy.digest])
    k, settings = len(sources.taxonomy.ids), embedder.settings
    parts: tuple[tuple[Part, str], ...] = (("text", recipe.encoders.text), ("photo", recipe.encoders.photo))
    made = []
    for (part, name), frozen in zip(parts, folders, strict=True):
        features = material.at(places)
        has = features.has_text if part == "text" else features.has_photo
        shown = _shown(sources, material, embedder, part, places[has], latest[has])
        made.append(
            tuned(name, part, frozen, shown, recipe.encoders, k, recipe.seed, said, settings.cache_dir, track)
        )
    return made[0], made[1]


def _shown(
    sources: Sources,
    material: Material,
    embedder: Embedder,
    part: Part,
    places: NDArray[np.int64],
    latest: NDArray[np.bool_],
) -> Shown:
    features, targets = material.at(places), material.rows.labels[places]
    weights = np.ones(len(places), dtype=np.float32)
    examples = Examples(features, features.without_text(), targets, weights, latest)
    if part == "text":
        ids = [embedder.text.tokens(text) for text in material.texts_at(places)]
        some = np.array([len(one) > 0 for one in ids], dtype=np.bool_)
        kept = [one for one in ids if one]
        sizes = np.array([len(one) for one in kept], dtype=np.int64)
        return Shown(lambda rows: torch.tensor([kept[i] for i in rows.tolist()]), sizes, examples[some])
    photos = _encoded_photos(sources, material.rows.listing_ids[places].tolist(), embedder.settings)

    def read(rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.concatenate([_pixels(photos[i], embedder) for i in rows.tolist()]))

    return Shown(read, np.zeros(len(places), dtype=np.int64), examples)


def _pixels(photos: tuple[bytes, ...], embedder: Embedder) -> NDArray[np.float32]:
    """The first photo that decodes, as the network reads it; there is one, or there were no embedding."""
    settings, graph = embedder.settings, embedder.photo
    for photo in photos:
        try:
            pixels = decode_photo(photo, settings.max_photo_bytes, settings.max_photo_pixels, graph.spec.size)
        except PhotoError:
            continue
        return graph.prepare(pixels)
    raise ValueError("a listing with embeddings of photos has no photo that decodes")


def _encoded_photos(sources: Sources, ids: list[str], settings: Settings) -> list[tuple[bytes, ...]]:
    """Encoded photos of the listings called `ids`, held in memory for all epochs."""
    wanted: dict[str, tuple[bytes, ...]] = dict.fromkeys(ids, ())
    files = listing_files(sources.listings, sources.labels)
    stream = read_listings(files, sources.columns, settings, Rejects(settings.max_rejects), decode=False)
    for one in stream:
        if one.listing_id in wanted:
            wanted[one.listing_id] = one.photos[: settings.max_photos]
    return [wanted[name] for name in ids]

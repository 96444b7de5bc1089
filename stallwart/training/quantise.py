"""8-bit encoders for a bundle, and what they cost in quality."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from stallwart.content.photo import PhotoError, Pixels, decode_photo
from stallwart.core.progress import Track, silent
from stallwart.core.settings import Settings
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.encoders.graphs import PhotoGraph, TextGraph
from stallwart.encoders.int8 import MOST_EXAMPLES, quantise
from stallwart.model.material import Material, Sources, gather
from stallwart.training.fit import ensemble_log_odds, macro_average_precision
from stallwart.training.members import Ensemble


@dataclass(frozen=True)
class Quantised:
    """Encoders in 8 bits and their cost.

    Attributes:
        text, photo: folders of the 8-bit encoders.
        text_cosine, photo_cosine: mean cosine to the original embeddings, on held-out examples.
        average_precision: macro, of the validation part, read by the original encoders.
        average_precision_int8: the same, read by the 8-bit ones.
        rows: of the validation part.
    """

    text: Path
    photo: Path
    text_cosine: float
    photo_cosine: float
    average_precision: float
    average_precision_int8: float
    rows: int

    def cost(self) -> dict[str, float]:
        """The figures alone."""
        return {name: value for name, value in asdict(self).items() if not isinstance(value, Path)}


def quantise_encoders(
    material: Material,
    sources: Sources,
    ensemble: Ensemble,
    folders: tuple[Path, Path],
    work: Path,
    settings: Settings,
    least_positives: int,
    track: Track = silent,
) -> Quantised:
    """The text and photo encoders in 8 bits, calibrated on training listings, measured on validation ones.

    Args:
        material: of the run.
        sources: where its listings come from.
        ensemble: fitted on the original embeddings; it is not fitted again.
        folders: of the exported text and photo encoder.
        work: where the new ones go.
        settings: limits.
        least_positives: that a policy needs to count in the average.
        track: shows how far it is.

    Raises:
        ConfigError: there are too few texts or photos to calibrate on.
    """
    texts = [text for text in material.texts_at(material.split.train) if text]
    step = max(1, len(texts) // MOST_EXAMPLES)
    targets = work / "text-int8", work / "photo-int8"
    photos = islice(_photos(material, sources, settings), MOST_EXAMPLES)
    text_cosine = quantise(folders[0], targets[0], texts[::step])
    photo_cosine = quantise(folders[1], targets[1], photos)
    cache = EmbeddingCache(settings.cache_dir)
    embedder = Embedder(TextGraph(targets[0]), PhotoGraph(targets[1]), settings, cache)
    again = gather(sources, embedder, settings, ("validation",), track)
    cache.close()
    labels = material.rows.labels[material.split.validation]
    figures = [
        macro_average_precision(
            np.nan_to_num(ensemble_log_odds(ensemble, one.at(material.split.validation)), nan=-30.0),
            labels,
            least_positives,
        )
        for one in (material, again)
    ]
    return Quantised(*targets, text_cosine, photo_cosine, figures[0], figures[1], len(labels))


def _photos(material: Material, sources: Sources, settings: Settings) -> Iterator[Pixels]:
    """Photos of training listings, spread over the whole part."""
    train = material.rows[material.split.train]
    with_photo = train.listing_ids[train.has_photo]
    chosen = set(with_photo[:: max(1, len(with_photo) // MOST_EXAMPLES)].tolist())
    stream = read_listings(
        sources.listings, sources.columns, settings, Rejects.within(settings), decode=False
    )
    for listing in stream:
        if listing.listing_id in chosen and listing.photos:
            try:
                yield decode_photo(listing.photos[0], settings.max_photo_bytes, settings.max_photo_pixels)
            except PhotoError:
                continue

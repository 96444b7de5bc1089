"""Listings -> an add-on for a policy beside a bundle: read, embedded and fitted as `policy add` does it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from stallwart.core.errors import DataError, NotFoundError, StoreError
from stallwart.core.listing import Listing
from stallwart.core.progress import Track, silent
from stallwart.core.rulebook import Rulebook, Standing
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Policy
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.tabular import listing_files
from stallwart.encoders.cache import EmbeddingCache
from stallwart.encoders.embed import Embedder
from stallwart.model.addon import AddOn, encoder_digests
from stallwart.model.bundle import Bundle
from stallwart.model.features import Features, collect
from stallwart.model.runtime import Scorer
from stallwart.replay.stored import Window, draw_decisions, read_drawn
from stallwart.store.photos import PhotoStore
from stallwart.store.revisions import listing_of
from stallwart.training.fewrows import Against, only
from stallwart.training.fewshot import fit_addon, phrases

FEW, MANY = 5, 20
"""Between so many examples a policy works the same day; with more, train a bundle."""


@dataclass(frozen=True)
class Stock:
    """Where examples and the listings against them come from.

    Attributes:
        examples: files of listings that break the policy; none for its text alone.
        against: files of listings that do not break it; none takes stored traffic.
        columns: names of the columns.
        traffic: listings that are drawn from stored traffic where no files are given.
        seed: of that draw.
        rejects: counts what cannot be read of the files.
    """

    examples: tuple[Path, ...]
    against: tuple[Path, ...]
    columns: Columns
    traffic: int = 1000
    seed: int = 0
    rejects: Rejects = field(default_factory=Rejects)


def make_addon(
    policy: Policy,
    book: Rulebook,
    bundle: Bundle,
    stock: Stock,
    engine: Engine,
    settings: Settings,
    now_ms: int,
    track: Track = silent,
) -> AddOn:
    """The add-on of a policy, fitted on what there is.

    Args:
        policy: with its text.
        book: the rulebook; known violations of policies that it retired or replaced say nothing.
        bundle: whose encoders and known violations are used.
        stock: examples, and what they are told apart from.
        engine: the database, where stored traffic is read.
        settings: limits.
        now_ms: milliseconds since 1970.
        track: shows how far it is.

    Raises:
        DataError: a file cannot be used, or there is nothing to tell the policy apart from.
        StoreError: stored traffic cannot be read.
    """
    cache = EmbeddingCache(settings.cache_dir)
    try:
        embedder = Scorer(bundle, settings, cache).embedder
        shown = list(_from_files(stock.examples, stock, settings))
        if stock.examples and not shown:
            raise DataError(f"{stock.examples[0]}: holds no listing that can be read")
        taken = {one.listing_id for one in shown}
        others = (
            _from_files(stock.against, stock, settings)
            if stock.against
            else _stored(engine, stock, settings, now_ms)
        )
        background = _features(embedder, (one for one in others if one.listing_id not in taken), track)
        told = _features(embedder, (Listing("policy", one) for one in phrases(policy)), silent).text
        live = [
            one.id
            for one in bundle.taxonomy.policies
            if book.standing_of(one) in (None, Standing.ACTIVE, Standing.NARROWED)
        ]
        return fit_addon(
            policy,
            told,
            _features(embedder, shown, track),
            only(background, live, bundle.known, policy.id) if len(background) else Against(background),
            encoder_digests(bundle.folder),
            min(bundle.review.values()),
        )
    finally:
        cache.close()


def _features(embedder: Embedder, listings: Iterable[Listing], track: Track) -> Features:
    embedded = embedder.embed(track(listings, "embedding", None))
    return collect(embedded, embedder.text.spec.d, embedder.photo.spec.d)[1]


def _from_files(paths: tuple[Path, ...], stock: Stock, settings: Settings) -> Iterator[Listing]:
    if paths:
        files = listing_files(paths)
        yield from read_listings(files, stock.columns, settings, stock.rejects, decode=False)


def _stored(engine: Engine, stock: Stock, settings: Settings, now_ms: int) -> Iterator[Listing]:
    """Listings of stored traffic, drawn at random; those whose content or photos are gone are left out."""
    photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
    drawn = draw_decisions(engine, Window(None, now_ms + 1), stock.traffic, stock.seed)
    for one in read_drawn(engine, drawn):
        if one.revision.purged_at_ms is not None:
            continue
        try:
            shown = tuple(photos.get(digest) for digest in one.revision.photos)
        except (NotFoundError, StoreError):
            continue
        yield listing_of(one.revision, shown)

"""Files -> rows and features in memory, split by time: what a training run and an evaluation start from."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stallwart.core.listing import Label, Listing
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Rows
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.duplicates import DuplicateFinder
from stallwart.dataset.labels import Labels, read_labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.rows import RowsBuilder, as_known
from stallwart.dataset.split import Split, leak_check, split_by_date, split_by_shares
from stallwart.dataset.tabular import count_rows, listing_files
from stallwart.encoders.embed import Embedder
from stallwart.model.features import Features, collect, title_only


@dataclass(frozen=True)
class Sources:
    """Where listings and labels come from.

    Attributes:
        listings: files or folders.
        labels: files with labels, or none where a column of the listings holds them.
        taxonomy: the policies that the labels refer to.
        columns: names of the columns.
        train_until: first moment after the training part, or None for a split by shares.
        validate_until: first moment after the validation part, or None.
        erased: whether a listing, by its id and its seller's, was erased from the market's store and stays
            out; None where nothing was.
    """

    listings: tuple[Path, ...]
    labels: tuple[Path, ...]
    taxonomy: Taxonomy
    columns: Columns
    train_until: datetime | None = None
    validate_until: datetime | None = None
    erased: Callable[[str, str | None], bool] | None = None


@dataclass(frozen=True)
class Material:
    """Labelled listings, split by time.

    Attributes:
        rows: n rows of all parts.
        split: which rows belong where.
        places: (m,) the rows that `features` describes, ascending.
        features: m listings as numbers.
        titles: the same without descriptions (see `title_only`), or None where that was not asked for.
        texts: m texts, for the n-gram baseline.
        digest: sha256 over ids, labels, times and content of all n rows.
        rejects: what was left out.
        weights: (n,) float32 >= 1, how many listings each row stands for by how its label was sampled, as
            known when its part ended.
    """

    rows: Rows
    split: Split
    places: NDArray[np.int64]
    features: Features
    titles: Features | None
    texts: list[str]
    digest: str
    rejects: Rejects
    weights: NDArray[np.float32]

    def at(self, places: NDArray[np.int64]) -> Features:
        """Features of the rows at `places`, all of which must have been embedded."""
        return self.features[np.searchsorted(self.places, places)]

    def titles_at(self, places: NDArray[np.int64]) -> Features:
        """The title-only view of the rows at `places`."""
        if self.titles is None:
            raise ValueError("the material was gathered without its title-only view")
        return self.titles[np.searchsorted(self.places, places)]

    def texts_at(self, places: NDArray[np.int64]) -> list[str]:
        """Texts of the rows at `places`."""
        return [self.texts[i] for i in np.searchsorted(self.places, places)]


def gather(
    sources: Sources,
    embedder: Embedder,
    settings: Settings,
    wanted: Sequence[str],
    track: Track = silent,
    titles: bool = False,
) -> Material:
    """All labelled listings of `sources`, with features for the parts in `wanted`.

    Listings are read twice, first for what the split needs, then to embed the wanted parts alone: nothing of
    a test listing goes near training, not even through an encoder.

    Args:
        sources: files, labels and dates.
        embedder: of the recipe or bundle.
        settings: limits.
        wanted: names of parts in `Split`, such as "train" and "validation".
        track: shows how far it is.
        titles: also make the title-only view, for training.

    Raises:
        DataError: files, labels or dates cannot be used.
    """
    rejects = Rejects.within(settings)
    labels = read_labels(sources.labels or sources.listings, sources.columns, sources.taxonomy, rejects)
    known = labels.as_of()
    builder = RowsBuilder(sources.taxonomy, known)
    finder, digest = DuplicateFinder(settings), hashlib.sha256()
    files = listing_files(sources.listings, sources.labels)
    total = count_rows(files)
    stream = read_listings(files, sources.columns, settings, rejects, decode=False)
    for listing in track(stream, "reading listings", total):
        if sources.erased is not None and sources.erased(listing.listing_id, listing.seller_id):
            rejects.counts["erased", "has a tombstone"] += 1
        elif builder.add(listing):
            finder.add(listing)
            digest.update(_fingerprint(listing, known[listing.listing_id]))
    rows = builder.rows(finder.groups())
    early = rows.listed_at < _split(rows, sources).validate_until
    rows = replace(rows, groups=finder.groups_as_of(early))
    rows = _as_known_then(rows, labels, _split(rows, sources), sources.taxonomy)
    split = _split(rows, sources)
    weights = _weights_then(rows, labels, split)
    leak_check(split, rows)
    places = np.sort(np.concatenate([getattr(split, name) for name in wanted]))
    chosen = set(rows.listing_ids[places].tolist())
    again = read_listings(files, sources.columns, settings, Rejects.within(settings), decode=False)
    embedded = embedder.embed(track(_only(again, chosen), "embedding", len(places)))
    listings, features = collect(embedded, embedder.text.spec.d, embedder.photo.spec.d)
    for reason, count in embedder.counts.failures.items():
        for _ in range(count):
            rejects.add("listings", 0, "photo", reason)
    texts = [listing.text for listing in listings]
    view = title_only(listings, features, embedder) if titles else None
    return Material(rows, split, places, features, view, texts, digest.hexdigest(), rejects, weights)


def _only(listings: Iterable[Listing], ids: set[str]) -> Iterator[Listing]:
    return (listing for listing in listings if listing.listing_id in ids)


def _split(rows: Rows, sources: Sources) -> Split:
    if sources.train_until is None or sources.validate_until is None:
        return split_by_shares(rows)
    return split_by_date(rows, sources.train_until, sources.validate_until)


def _as_known_then(rows: Rows, labels: Labels, split: Split, taxonomy: Taxonomy) -> Rows:
    """The rows of training and validation with the labels that were known when their part ended.

    A listing that was judged again later keeps, in training, what was known then: the later word is news
    from the future. The test part has the latest word.
    """
    in_train = rows.listed_at < split.train_until
    in_validation = ~in_train & (rows.listed_at < split.validate_until)
    for end, part in ((split.train_until, in_train), (split.validate_until, in_validation)):
        then, known = as_known(rows, labels.as_of(end.astype(datetime)), taxonomy)
        mine = part & known
        rows = replace(
            rows,
            labels=np.where(mine, then.labels, rows.labels),
            labelled_at=np.where(mine, then.labelled_at, rows.labelled_at),
        )
    return rows


def _weights_then(rows: Rows, labels: Labels, split: Split) -> NDArray[np.float32]:
    """(n,) weight of each row's label, by the label that `_as_known_then` took."""
    weights = np.ones(len(rows), dtype=np.float32)
    starts = (None, split.train_until, split.validate_until)
    for start, end in zip(starts, (split.train_until, split.validate_until, None), strict=True):
        part = np.ones(len(rows), dtype=np.bool_) if start is None else rows.listed_at >= start
        if end is not None:
            part &= rows.listed_at < end
        known = labels.as_of(None if end is None else end.astype(datetime))
        for place in np.flatnonzero(part).tolist():
            if (label := known.get(str(rows.listing_ids[place]))) is not None:
                weights[place] = label.weight
    return weights


def _fingerprint(listing: Listing, label: Label) -> bytes:
    said = (listing.listing_id, label.label, listing.listed_at, listing.text)
    digest = hashlib.sha256(repr(said if label.weight == 1 else (*said, label.weight)).encode())
    for photo in listing.photos:
        digest.update(hashlib.sha256(photo).digest())
    return digest.digest()

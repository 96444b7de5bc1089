"""Listings and labels -> what a careful colleague wants to know of them before training.

One pass over the listings; keeps signatures, counts and the first words of each, not the content.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.progress import Track, silent
from stallwart.core.scored import Rows
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.duplicates import DuplicateFinder
from stallwart.dataset.findings import Findings, Repeats, concerns
from stallwart.dataset.labels import Labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.rows import RowsBuilder
from stallwart.dataset.sizes import count_months, count_policies, count_sellers
from stallwart.dataset.split import Split, split_by_date, split_by_shares
from stallwart.dataset.suspects import Suspect, WordFeatures, find_suspects
from stallwart.dataset.tabular import count_rows
from stallwart.dataset.telling import fields_of, find_telling

_EXCERPT = 80  # characters
_EXAMPLES = 10


def check_data(
    paths: Iterable[Path],
    labels: Labels,
    taxonomy: Taxonomy,
    columns: Columns,
    limits: Settings,
    rejects: Rejects,
    *,
    until: tuple[datetime, datetime] | None = None,
    now: datetime | None = None,
    track: Track = silent,
) -> Findings:
    """What is in the files, and what of it would spoil a training run.

    Args:
        paths: files of listings.
        labels: all labels; the latest of each listing holds.
        taxonomy: the policies.
        columns: names of the columns.
        limits: bounds on texts and photos.
        rejects: is told of everything left out.
        until: end of the training and of the validation part; 70 % and 80 % of the listings if None.
        now: latest believable time.
        track: shows how far it is.

    Raises:
        DataError: files cannot be read, too much is rejected, or no listing has a label and a date.
    """
    latest = labels.as_of()
    builder, finder, features = RowsBuilder(taxonomy, latest), DuplicateFinder(limits), WordFeatures()
    fields: dict[str, list[str]] = defaultdict(list)
    excerpts: list[str] = []
    files = list(paths)
    stream = read_listings(files, columns, limits, rejects, now=now)
    for listing in track(stream, "reading listings", count_rows(files)):
        if builder.add(listing):
            finder.add(listing)
            features.add(listing.text)
            excerpts.append(" ".join(listing.text[:_EXCERPT].split()))
            for name, value in fields_of(listing).items():
                fields[name].append(value)
    rows = builder.rows(finder.groups())
    found = Findings(rejects.rows, rejects.photos, len(rows), builder.unlabelled, builder.undated)
    found.rejects = [(kind, reason, count) for (kind, reason), count in rejects.counts.most_common()]
    seen = set(rows.listing_ids.tolist())
    found.labels_without_listing = sum(listing_id not in seen for listing_id in latest) - builder.undated
    found.labelled_before_listed = int((rows.labelled_at < rows.listed_at).sum())
    found.relabelled = len(labels.conflicts())
    found.text_repeats = _repeats(finder.groups(photos=False), rows.labels)
    found.photo_repeats = _repeats(finder.groups(text=False), rows.labels)
    found.repeats = _repeats(rows.groups, rows.labels)
    found.conflicts = _conflicts(rows, taxonomy)
    found.months = count_months(rows, len(taxonomy.labels))
    found.parts = dict(Counter(fields.pop("parts")).most_common())
    found.languages = dict(
        Counter(language or "unknown" for language in rows.languages.tolist()).most_common()
    )
    found.telling = find_telling(fields, rows.labels)
    suspects = find_suspects(features.matrix(), rows.labels, rows.groups, track=track)
    found.suspects = [_named(suspect, rows, taxonomy) for suspect in suspects]
    shown = [*(row for row, *_ in found.suspects), *(row for group in found.conflicts for row, _ in group)]
    text = dict(zip(rows.listing_ids.tolist(), excerpts, strict=True))
    found.excerpts = {listing_id: text[listing_id] for listing_id in shown}
    split = _split(rows, until, found)
    found.policies = count_policies(rows, split, suspects, taxonomy)
    if split is not None:
        found.sellers = count_sellers(rows, split)
    found.concerns.extend(concerns(found))
    return found


def _repeats(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> Repeats:
    sizes = np.bincount(groups)
    pairs = np.unique(np.stack([groups, labels], axis=1), axis=0)
    return Repeats(
        groups=int((sizes > 1).sum()),
        listings=int(sizes[sizes > 1].sum()),
        largest=int(sizes.max()),
        conflicts=int((np.bincount(pairs[:, 0]) > 1).sum()),
    )


def _conflicts(rows: Rows, taxonomy: Taxonomy) -> list[list[tuple[str, str]]]:
    """The first groups with several labels, one listing for each label."""
    given: dict[int, dict[int, str]] = defaultdict(dict)
    for listing_id, group, label in zip(
        rows.listing_ids.tolist(), rows.groups.tolist(), rows.labels.tolist(), strict=True
    ):
        given[group].setdefault(label, listing_id)
    several = [group for group in given.values() if len(group) > 1][:_EXAMPLES]
    return [
        [(listing_id, taxonomy.labels[label]) for label, listing_id in group.items()] for group in several
    ]


def _named(suspect: Suspect, rows: Rows, taxonomy: Taxonomy) -> tuple[str, str, str, float]:
    return (
        str(rows.listing_ids[suspect.row]),
        taxonomy.labels[suspect.given],
        taxonomy.labels[suspect.suggested],
        round(suspect.margin, 4),
    )


def _split(rows: Rows, until: tuple[datetime, datetime] | None, found: Findings) -> Split | None:
    try:
        split = split_by_date(rows, *until) if until else split_by_shares(rows)
    except (DataError, ConfigError) as err:
        found.concerns.append(f"The listings cannot be split by time: {err}.")
        return None
    for name in ("train", "validation", "test", "repeats", "unknown"):
        found.split[name] = len(getattr(split, name))
    found.split["train_until"] = str(split.train_until)
    found.split["validate_until"] = str(split.validate_until)
    return split

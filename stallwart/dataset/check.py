"""Listings and labels -> what a careful colleague wants to know of them before training.

One pass over the listings; keeps signatures, counts and the first words of each, not the content.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stallwart.core.errors import ConfigError, DataError
from stallwart.core.listing import Listing
from stallwart.core.scored import Rows
from stallwart.core.settings import Settings
from stallwart.core.taxonomy import Taxonomy
from stallwart.dataset.columns import Columns
from stallwart.dataset.duplicates import DuplicateFinder
from stallwart.dataset.labels import Labels
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.dataset.rows import RowsBuilder
from stallwart.dataset.split import Split, split_by_date, split_by_shares
from stallwart.dataset.suspects import Suspect, WordFeatures, find_suspects

_EXCERPT = 80  # characters
_FEW_TO_LEARN = 20  # positives in the training part
_EXAMPLES = 10
_TELLING = 0.05  # share of the label's entropy that a field explains


@dataclass(frozen=True)
class PolicyCount:
    """One label's size: over all rows, in each part, and what certifying it would take.

    Attributes:
        label: `neutral` or a policy id.
        listings: with that label.
        train, validation, test: of them in each part, repeats and late labels left out.
        with_text, with_photo: of them with words, with a photo.
        to_certify: listings above the threshold that must all be right for a lower 95 % bound at the wanted
            precision; 0 for neutral.
        neutral_to_certify: neutral listings without one false alarm that show the precision at the live share
            and a recall of one half; 0 for neutral.
        suspects: of its listings whose words speak for another label.
        note: "" or what is too small.
    """

    label: str
    listings: int
    train: int
    validation: int
    test: int
    with_text: int
    with_photo: int
    to_certify: int
    neutral_to_certify: int
    suspects: int
    note: str


@dataclass(frozen=True)
class Repeats:
    """Near duplicates: groups of two or more, listings in them, the largest, groups with several labels."""

    groups: int
    listings: int
    largest: int
    conflicts: int


@dataclass(frozen=True)
class Telling:
    """How much a field gives away of the label: mutual information over the label's entropy, in [0, 1]."""

    field: str
    share: float
    seen_by_model: bool


@dataclass
class Findings:
    """Everything that `check` found; plain values, no listing's words but in `excerpts`.

    Attributes:
        rows, photos: met in the files, used or not.
        listings: usable, with a label and a date.
        unlabelled, undated, labels_without_listing, labelled_before_listed: counts of listings and labels.
        relabelled: listings that were given different labels over time; the latest holds.
        rejects: (kind, reason, count).
        policies: neutral first.
        months: month -> counts in the order of `policies`.
        parts: what a listing consists of -> count.
        languages: language -> count, the most frequent first.
        text_repeats, photo_repeats, repeats: by words, by photos, by either.
        conflicts: ids and labels of near duplicates with different labels, some of them.
        split: name of each part -> rows, and when it ends.
        sellers: counts of sellers in train, in test, in both; test rows with a seller, of a seller in train.
        telling: fields that give the label away, the most telling first.
        suspects: (listing id, label, suggested label, margin), the surest first.
        excerpts: listing id -> the first words, for the terminal only.
        concerns: what to do something about, in sentences.
    """

    rows: int = 0
    photos: int = 0
    listings: int = 0
    unlabelled: int = 0
    undated: int = 0
    labels_without_listing: int = 0
    labelled_before_listed: int = 0
    relabelled: int = 0
    rejects: list[tuple[str, str, int]] = field(default_factory=list)
    policies: list[PolicyCount] = field(default_factory=list)
    months: dict[str, list[int]] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    text_repeats: Repeats = field(default_factory=lambda: Repeats(0, 0, 0, 0))
    photo_repeats: Repeats = field(default_factory=lambda: Repeats(0, 0, 0, 0))
    repeats: Repeats = field(default_factory=lambda: Repeats(0, 0, 0, 0))
    conflicts: list[list[tuple[str, str]]] = field(default_factory=list)
    split: dict[str, int | str] = field(default_factory=dict)
    sellers: dict[str, int] = field(default_factory=dict)
    telling: list[Telling] = field(default_factory=list)
    suspects: list[tuple[str, str, str, float]] = field(default_factory=list)
    excerpts: dict[str, str] = field(default_factory=dict)
    concerns: list[str] = field(default_factory=list)


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
    step: Callable[[str], None] = lambda _: None,
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
        step: called with "listing" for each listing met, and with a few words before each later stage.

    Raises:
        DataError: files cannot be read, too much is rejected, or no listing has a label and a date.
    """
    latest = labels.as_of()
    builder, finder, features = RowsBuilder(taxonomy, latest), DuplicateFinder(limits), WordFeatures()
    fields: dict[str, list[str]] = defaultdict(list)
    excerpts: list[str] = []
    for listing in read_listings(paths, columns, limits, rejects, now=now):
        step("listing")
        if builder.add(listing):
            finder.add(listing)
            features.add(listing.text)
            excerpts.append(" ".join(listing.text[:_EXCERPT].split()))
            for name, value in _fields(listing).items():
                fields[name].append(value)
    step("near duplicates")
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
    found.months = _months(rows, len(taxonomy.labels))
    found.parts = dict(Counter(fields.pop("parts")).most_common())
    found.languages = dict(
        Counter(language or "unknown" for language in rows.languages.tolist()).most_common()
    )
    found.telling = _telling(fields, rows.labels)
    step("likely wrong labels")
    suspects = find_suspects(features.matrix(), rows.labels, rows.groups)
    found.suspects = [_named(suspect, rows, taxonomy) for suspect in suspects]
    shown = [*(row for row, *_ in found.suspects), *(row for group in found.conflicts for row, _ in group)]
    text = dict(zip(rows.listing_ids.tolist(), excerpts, strict=True))
    found.excerpts = {listing_id: text[listing_id] for listing_id in shown}
    split = _split(rows, until, found)
    found.policies = _policies(rows, split, suspects, taxonomy)
    if split is not None:
        found.sellers = _sellers(rows, split)
    found.concerns.extend(_concerns(found))
    return found


def _fields(listing: Listing) -> dict[str, str]:
    """What each field would tell a model that could see whether it is filled."""
    filled = {
        "title": bool((listing.title or "").strip()),
        "description": bool((listing.description or "").strip()),
        "photo": bool(listing.photos),
    }
    return {
        "parts": " + ".join(name for name, there in filled.items() if there),
        **{f"has {name}": str(there) for name, there in filled.items()},
        "has seller": str(listing.seller_id is not None),
        "has price": str(listing.price is not None),
        "language": listing.language or "",
        "length of text": str(len(listing.text).bit_length()),
    }


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


def _months(rows: Rows, k: int) -> dict[str, list[int]]:
    months = rows.months
    return {
        str(month): np.bincount(rows.labels[months == month], minlength=k).tolist()
        for month in np.unique(months)
    }


def _telling(fields: dict[str, list[str]], labels: NDArray[np.int64]) -> list[Telling]:
    telling = [
        Telling(name, _information(values, labels), name not in ("has seller", "has price", "language"))
        for name, values in fields.items()
    ]
    return sorted(telling, key=lambda one: (-one.share, one.field))


def _information(values: Sequence[str], labels: NDArray[np.int64]) -> float:
    """Mutual information of a field and the label over the label's entropy; 0 where there is one label."""
    _, codes = np.unique(np.array(values), return_inverse=True)
    joint = np.zeros((codes.max() + 1, labels.max() + 1))
    np.add.at(joint, (codes, labels), 1 / len(labels))
    entropy = _entropy(joint.sum(axis=0))
    if entropy == 0:
        return 0.0
    return max(0.0, (entropy + _entropy(joint.sum(axis=1)) - _entropy(joint.ravel())) / entropy)


def _entropy(shares: NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


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


def _policies(
    rows: Rows, split: Split | None, suspects: Sequence[Suspect], taxonomy: Taxonomy
) -> list[PolicyCount]:
    k = len(taxonomy.labels)

    def count(which: NDArray[np.generic] | None) -> list[int]:
        counts: list[int] = np.bincount(
            rows.labels[which] if which is not None else rows.labels[:0], minlength=k
        ).tolist()
        return counts

    total, train = count(np.arange(len(rows))), count(split.train if split else None)
    validation, test = count(split.validation if split else None), count(split.test if split else None)
    with_text, with_photo = count(rows.has_text), count(rows.has_photo)
    suspected = np.bincount([suspect.given for suspect in suspects], minlength=k).tolist()
    counts = []
    for place, label in enumerate(taxonomy.labels):
        positives, neutral = _needed(label, taxonomy) if place else (0, 0)
        note = ""
        if split and train[place] < _FEW_TO_LEARN:
            note = f"too few to learn: {train[place]} in train, {_FEW_TO_LEARN} wanted"
        elif place and total[place] < positives:
            note = f"too few to certify: {total[place]}, {positives} wanted"
        elif place and total[0] < neutral:
            note = f"too few neutral to certify: {total[0]:,}, {neutral:,} wanted"
        counts.append(
            PolicyCount(
                label, total[place], train[place], validation[place], test[place], with_text[place],
                with_photo[place], positives, neutral, suspected[place], note,
            )
        )  # fmt: skip
    return counts


def _needed(policy_id: str, taxonomy: Taxonomy) -> tuple[int, int]:
    """Faultless calls, and neutral listings without a false alarm, that a certificate takes at least.

    Both are the rule of three, exact: n faultless draws bound a rate from below 1 - 0.05 ** (1 / n).
    """
    policy = taxonomy[policy_id]
    calls = math.ceil(math.log(0.05) / math.log(policy.precision))
    false_rate = policy.prevalence * 0.5 * (1 / policy.precision - 1) / taxonomy.shares["neutral"]
    return calls, math.ceil(math.log(0.05) / math.log1p(-min(false_rate, 0.999)))


def _sellers(rows: Rows, split: Split) -> dict[str, int]:
    train, test = rows.sellers[split.train], rows.sellers[split.test]
    known, seen = np.unique(train[train != ""]), test[test != ""]
    return {
        "in train": len(known),
        "in test": len(np.unique(seen)),
        "in both": len(np.intersect1d(known, seen)),
        "test listings with a seller": len(seen),
        "test listings of a seller in train": int(np.isin(seen, known).sum()),
    }


def _concerns(found: Findings) -> list[str]:
    """Sentences on what should be looked at, the most harmful first."""
    said = []
    if found.unlabelled:
        said.append(f"{found.unlabelled:,} listings have no label and cannot be trained on.")
    if found.undated:
        said.append(f"{found.undated:,} labelled listings have no date and cannot be split by time.")
    if found.labels_without_listing:
        said.append(f"{found.labels_without_listing:,} labels belong to no usable listing.")
    if found.labelled_before_listed:
        said.append(f"{found.labelled_before_listed:,} listings were labelled before they were listed.")
    if found.relabelled:
        said.append(f"{found.relabelled:,} listings were given different labels over time; the latest holds.")
    if found.repeats.conflicts:
        said.append(
            f"Groups of near duplicates with several labels: {found.repeats.conflicts:,} of "
            f"{found.repeats.groups:,}."
        )
    said.extend(f"{policy.label}: {policy.note}." for policy in found.policies if policy.note)
    for one in found.telling:
        if one.share >= _TELLING and one.field in ("has seller", "has price", "language"):
            said.append(f"{one.field!r} gives away {one.share:.0%} of the label; no model may see it.")
    if found.suspects:
        share = len(found.suspects) / found.listings
        said.append(
            f"Labels that look wrong by the words of their listings: {len(found.suspects):,} ({share:.1%})."
        )
    return said

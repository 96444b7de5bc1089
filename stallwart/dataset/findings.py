"""What `check` found, as plain values, and the sentences that a colleague would make of it."""

from dataclasses import dataclass, field

from stallwart.dataset.sizes import PolicyCount
from stallwart.dataset.telling import NEVER_SEEN, Telling

_TELLING = 0.05  # share of the label's entropy that a field explains


@dataclass(frozen=True)
class Repeats:
    """Near duplicates: groups of two or more, listings in them, the largest, groups with several labels."""

    groups: int
    listings: int
    largest: int
    conflicts: int


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


def concerns(found: Findings) -> list[str]:
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
        if one.share >= _TELLING and one.field in NEVER_SEEN:
            said.append(f"{one.field!r} gives away {one.share:.0%} of the label; no model may see it.")
    if found.suspects:
        share = len(found.suspects) / found.listings
        said.append(
            f"Labels that look wrong by the words of their listings: {len(found.suspects):,} ({share:.1%})."
        )
    return said

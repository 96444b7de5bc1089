"""`stallwart check`: what a careful colleague wants to know of the data before training."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stallwart.cli import shared
from stallwart.core.taxonomy import read_taxonomy
from stallwart.dataset.findings import Findings, Repeats
from stallwart.dataset.labels import read_labels
from stallwart.dataset.rejects import Reject, Rejects
from stallwart.dataset.tabular import listing_files

_SHOWN = 15


def check(
    listings: shared.Listings,
    policies: shared.Policies,
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    train_until: shared.TrainUntil = None,
    validate_until: shared.ValidateUntil = None,
    rejects_to: shared.RejectsTo = None,
    as_json: shared.AsJson = False,
) -> None:
    """Check listings and labels before training: counts, rejects, repeats, leaks, likely wrong labels.

    The JSON names listings by their ids and holds none of their words.

    Example:

        stallwart check listings/*.parquet --labels labels.csv --policies policies.toml
    """
    # What these pull takes seconds to load; `stallwart --help` should not wait for it
    from stallwart.dataset.check import check_data

    given = shared.sources(listings, labels, read_taxonomy(policies), columns, train_until, validate_until)
    settings, files = shared.read_settings(), listing_files(given.listings, given.labels)
    until = (given.train_until, given.validate_until) if given.train_until and given.validate_until else None
    with Rejects.within(settings, rejects_to) as rejects:
        of_labels = rejects.beside()
        known = read_labels(given.labels or files, given.columns, given.taxonomy, of_labels)
        found = check_data(
            files,
            known,
            given.taxonomy,
            given.columns,
            settings,
            rejects,
            until=until,
            track=shared.show_progress,
        )
        found.rejects += [
            (f"label {kind}", reason, n) for (kind, reason), n in of_labels.counts.most_common()
        ]
    if as_json:
        plain = asdict(found)
        del plain["excerpts"]  # a seller's words stay on the terminal
        shared.print_json(plain)
    else:
        _print(found, [*rejects, *of_labels], given.taxonomy.labels)


def _print(found: Findings, rejects: list[Reject], labels: tuple[str, ...]) -> None:
    console = shared.console()
    console.print(
        f"{found.listings:,} listings with a label and a date, of {found.rows:,} rows with "
        f"{found.photos:,} photos."
    )
    console.print(_policies(found))
    console.print(_months(found, labels))
    console.print(
        _counts("Parts", found.parts), _counts("Languages", dict(list(found.languages.items())[:_SHOWN]))
    )
    console.print(_repeats(found))
    _print_split(found, console)
    telling = Table("field", "share of the label", "a model sees it", title="What fields give away")
    for one in found.telling:
        telling.add_row(one.field, f"{one.share:.1%}", "in the content" if one.seen_by_model else "never")
    console.print(telling)
    _print_conflicts(found, console)
    _print_suspects(found, console)
    _print_rejects(found, rejects, console)
    console.print("\nLook at:" if found.concerns else "\nNothing to worry about.")
    for concern in found.concerns:
        console.print(Text(f"  - {concern}"))


def _policies(found: Findings) -> Table:
    table = Table(title="Labels")
    table.add_column("label")
    for name in ("listings", "train", "valid.", "test", "text", "photo", "suspect"):
        table.add_column(name, justify="right")
    table.add_column("too small?")
    for one in found.policies:
        numbers = (
            one.listings,
            one.train,
            one.validation,
            one.test,
            one.with_text,
            one.with_photo,
            one.suspects,
        )
        table.add_row(one.label, *(f"{number:,}" for number in numbers), one.note)
    return table


def _months(found: Findings, labels: tuple[str, ...]) -> Table:
    years = sorted({month[:4] for month in found.months})
    table = Table("label", title=f"Listings in each month of {', '.join(years)}", box=None)
    for month in found.months:
        table.add_column(month[5:] if len(years) == 1 else f"{month[2:4]}\n{month[5:]}", justify="right")
    for place, label in enumerate(labels):
        table.add_row(label, *(f"{counts[place]:,}" for counts in found.months.values()))
    return table


def _counts(title: str, counts: dict[str, int]) -> Table:
    table = Table(title.lower(), "listings", title=title)
    for name, count in counts.items():
        table.add_row(Text(name), f"{count:,}")
    return table


def _repeats(found: Findings) -> Table:
    table = Table(
        "near duplicates by", "groups", "listings in them", "largest", "with several labels", title="Repeats"
    )
    kinds: dict[str, Repeats] = {
        "words": found.text_repeats, "photos": found.photo_repeats, "either": found.repeats
    }  # fmt: skip
    for name, one in kinds.items():
        table.add_row(name, *(f"{n:,}" for n in (one.groups, one.listings, one.largest, one.conflicts)))
    return table


def _print_split(found: Findings, console: Console) -> None:
    if not found.split:
        return
    split, sellers = found.split, found.sellers
    console.print(
        f"Split by time: {split['train']:,} to train until {str(split['train_until'])[:10]}, "
        f"{split['validation']:,} to validate until {str(split['validate_until'])[:10]}, "
        f"{split['test']:,} to test; {split['repeats']:,} repeats of earlier listings and "
        f"{split['unknown']:,} labelled too late are left out."
    )
    console.print(
        f"Sellers: {sellers['in train']:,} in train, {sellers['in test']:,} in test, "
        f"{sellers['in both']:,} in both; {sellers['test listings of a seller in train']:,} of "
        f"{sellers['test listings with a seller']:,} test listings with a seller are of one seen in training."
    )


def _print_conflicts(found: Findings, console: Console) -> None:
    if not found.conflicts:
        return
    table = Table("listing", "label", "begins", title="Near duplicates with several labels (some)")
    for group in found.conflicts:
        for listing_id, label in group:
            table.add_row(listing_id, label, Text(found.excerpts.get(listing_id, "")))
        table.add_section()
    console.print(table)


def _print_suspects(found: Findings, console: Console) -> None:
    if not found.suspects:
        return
    title = f"Likely wrong labels: {len(found.suspects):,}, the surest first (--json lists all)"
    table = Table("listing", "label", "words say", "margin", "begins", title=title)
    for listing_id, given, suggested, margin in found.suspects[:_SHOWN]:
        table.add_row(listing_id, given, suggested, f"{margin:.2f}", Text(found.excerpts.get(listing_id, "")))
    console.print(table)


def _print_rejects(found: Findings, rejects: list[Reject], console: Console) -> None:
    if not found.rejects:
        console.print(f"Rejects: none of {found.rows:,} rows and {found.photos:,} photos.")
        return
    table = Table("kind", "reason", "count", "share", title="Rejects")
    for kind, reason, count in found.rejects:
        seen = found.photos if kind == "photo" else found.rows
        table.add_row(kind, reason, f"{count:,}", f"{count / max(seen, 1):.2%}")
    console.print(table)
    for reject in rejects[:_SHOWN]:
        console.print(Text(f"  {reject}"))

"""What a replay came to, for people: text for a terminal, one HTML page, and a CSV of what changes."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import jinja2

from stallwart.core.decision import Action
from stallwart.replay.run import Replayed
from stallwart.replay.tally import policies_of
from stallwart.store.files import whole_file

TITLES = {
    "newly_blocked": "newly blocked",
    "released": "released",
    "newly_reviewed": "newly sent to review",
    "no_longer_reviewed": "no longer sent to review",
}
COLUMNS = (
    "decision_id", "listing_id", "seller_id", "decided_at_ms", "change", "then", "then_policies",
    "now", "now_policies", "put_down_to", "highest_score",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def counted(share: Mapping[str, Any]) -> str:
    """ "12 of 3,400 (0.35 %, 0.18 % to 0.62 %)"."""
    return f"{share['count']:,} of {share['n']:,} ({_percent(share)})"


def _percent(share: Mapping[str, Any]) -> str:
    if share["share"] is None:
        return "no share"
    return f"{share['share']:.2%}, {share['lower']:.2%} to {share['upper']:.2%}"


def sellers(told: Mapping[str, Any]) -> str:
    """ "7 sellers", with listings of unknown ones where there are any."""
    unknown = told["listings_of_unknown_sellers"]
    known = f"{told['sellers']:,} seller{'' if told['sellers'] == 1 else 's'}"
    return f"{known}, {unknown:,} listing{'' if unknown == 1 else 's'} of unknown ones" if unknown else known


def left_out(facts: Mapping[str, Any]) -> list[str]:
    """A line for each reason why a decision is not among those compared."""
    lines = [f"{count:,} left out: {reason}" for reason, count in facts["left_out"].items()]
    failed = facts["failed_then"]
    if failed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in failed.items())
        lines.append(f"{sum(failed.values()):,} left out: not scored whole when they were decided ({kinds})")
    return lines


def work(reviews: Mapping[str, Any]) -> str:
    """What it costs reviewers, in one sentence."""
    more, hours = reviews["more_a_day"], reviews["more_hours_a_day"]
    return (
        f"{reviews['a_day_then']:,.1f} reviews a day -> {reviews['a_day_now']:,.1f}: {more['estimate']:+,.1f}"
        f" ({more['lower']:+,.1f} to {more['upper']:+,.1f}), {hours['estimate']:+,.2f} hours a day"
        f" ({hours['lower']:+,.2f} to {hours['upper']:+,.2f}) at {reviews['seconds_per_review']:g} s each"
    )


def as_text(facts: Mapping[str, Any]) -> str:
    """The outcome for a terminal."""
    lines = [_headline(facts), *left_out(facts), ""]
    lines.append(f"{'then / now':<12}" + "".join(f"{action:>12}" for action in Action))
    for before, row in facts["actions"].items():
        lines.append(f"{before:<12}" + "".join(f"{row[after]:>12,}" for after in Action))
    lines.append("")
    for kind, told in facts["changes"].items():
        lines.append(f"{TITLES[kind]}: {counted(told)}, {sellers(told)}")
        for policy, share in told["policies"].items():
            lines.append(f"  {policy}: {counted(share)}, {sellers(share)}")
        lines += [f"    {_example(one)}" for one in told["examples"]]
    lines.append(f"same action, other policies: {counted(facts['same_action_other_policies'])}")
    lines.append(f"reviewers: {work(facts['reviews'])}")
    return "\n".join(lines) + "\n"


def _headline(facts: Mapping[str, Any]) -> str:
    makers = ", ".join(f"{digest[:12]} ({n:,})" for digest, n in facts["decided_by"].items()) or "none"
    drawn = f", a sample of {facts['population']:,}" if facts["sampled"] else ""
    rules = ", other limits" if facts["limits_changed"] else ""
    return (
        f"{facts['listings']:,} decisions over {facts['days']:.1f} days{drawn}, by the bundles {makers};"
        f" replayed by {facts['bundle'][:12]}{rules}"
    )


def _example(one: Mapping[str, Any]) -> str:
    title = f" {one['title']!r}" if "title" in one else ""
    return (
        f"{one['listing_id']} ({one['decision_id']}): {one['then']} -> {one['now']}, {one['reason']}{title}"
    )


def hunted_text(facts: Mapping[str, Any]) -> str:
    """A hunt's outcome for a terminal."""
    lines = [
        f"{facts['policy']}: looked at {facts['looked_at']:,} listings not decided by it",
        *left_out(facts),
        f"would be blocked by it: {counted(facts['would_block'])}",
        f"would be sent to review by it: {counted(facts['would_review'])}",
    ]
    for one in facts["candidates"]:
        title = f" {one['title']!r}" if "title" in one else ""
        lines.append(
            f"  {one['score']:.4f} {one['listing_id']} ({one['decision_id']}): {one['action']}"
            f" -> {one['would_be']}{title}"
        )
    return "\n".join(lines) + "\n"


def write_page(facts: Mapping[str, Any], path: Path) -> None:
    """Write the outcome as one HTML file that asks for nothing.

    Raises:
        ConfigError: the file cannot be written.
    """
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("stallwart.replay"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(counted=counted, percent=_percent, sellers=sellers)
    page = pages.get_template("replay.html").render(
        facts=facts,
        titles=TITLES,
        headline=_headline(facts),
        left_out=left_out(facts),
        work=work(facts["reviews"]),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


class ChangesFile:
    """A CSV with one row for each changed decision, written as they come.

    Args:
        file: opened for text, with newline="".
        show_words: add the listings' titles.
    """

    def __init__(self, file: TextIO, show_words: bool):
        self._rows, self._show_words = csv.writer(file), show_words
        self._rows.writerow([*COLUMNS, *(["title"] if show_words else [])])

    def add(self, kind: str, one: Replayed) -> None:
        """One changed decision; `kind` as in `tally.CHANGES`."""
        stored, revision = one.stored, one.stored.revision
        ruling, highest = one.ruling, "" if one.scores is None else float(one.scores.max())
        row = [
            stored.decision_id, _cell(revision.listing_id), _cell(revision.seller_id), stored.decided_at_ms,
            kind, stored.action.value, " ".join(stored.policies), ruling.action.value,
            " ".join(ruling.policies), " ".join(policies_of(kind, one)), highest,
        ]  # fmt: skip
        self._rows.writerow([*row, *([_cell(revision.title)] if self._show_words else [])])


def _cell(text: str | None) -> str:
    """A text that no spreadsheet takes for a formula: sellers write titles and ids."""
    text = text or ""
    return f"'{text}" if text.startswith(_FORMULA) else text

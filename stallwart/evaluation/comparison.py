"""A comparison as text for a terminal, Markdown, JSON and one HTML page."""

import json
from pathlib import Path

import jinja2

from stallwart.evaluation.compare import COMPARED, Comparison, Difference
from stallwart.evaluation.pages import environment
from stallwart.evaluation.plain import FORMAT, plain
from stallwart.evaluation.tables import NAMES, Cell, Table
from stallwart.evaluation.wording import change, interval, number
from stallwart.store.files import whole_file


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write comparison.html, comparison.md and comparison.json into `folder`; and give the path of the HTML.

    Raises:
        ConfigError: the folder cannot be written.
    """
    for name, text in (
        ("comparison.json", comparison_json(comparison)),
        ("comparison.md", _render(comparison, "comparison.md", environment(html=False))),
        ("comparison.html", _render(comparison, "comparison.html", environment(html=True))),
    ):
        with whole_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return folder / "comparison.html"


def comparison_json(comparison: Comparison) -> str:
    """Every figure and difference under keys that stay; null where a figure has no value."""
    return (
        json.dumps({"format": FORMAT, **plain(comparison)}, indent=1, sort_keys=True, ensure_ascii=False)
        + "\n"
    )


def comparison_text(comparison: Comparison) -> str:
    """The verdict and the differences at live prevalence, for a terminal."""
    first, second = comparison.names
    lines = [verdict_line(comparison), ""]
    for title, verdict, differences in _rows(comparison):
        lines.append(f"{title}: {verdict}" if verdict else title)
        for name, difference in differences:
            made = difference.change.live
            before, after = difference.first.live, difference.second.live
            lines.append(
                f"  {NAMES[name]:<24} {number(before.value, before.unit):>6} -> "
                f"{number(after.value, after.unit):>6}   {change(made.value, made.unit):>6} {interval(made)} "
                f"({before.n_positive:,} of {before.n:,} in {first}, "
                f"{after.n_positive:,} of {after.n:,} in {second})"
            )
    return "\n".join(lines) + "\n"


def verdict_line(comparison: Comparison) -> str:
    """ "second against first: better, on 4,910 listings from ... to ..."."""
    first, second = comparison.names
    part = comparison.part
    outside = (
        f" Left out, as only one knows them: {', '.join(comparison.left_out)}." if comparison.left_out else ""
    )
    rows = f"on {part.n:,} listings from {part.first} to {part.last}"
    return f"{second} against {first}: {comparison.verdict}, {rows}.{outside}"


def comparison_tables(comparison: Comparison) -> tuple[Table, ...]:
    """One table for each compared figure, at live prevalence, then the verdicts."""
    first, second = comparison.names
    found = []
    for name in COMPARED:
        rows: list[tuple[Cell, ...]] = []
        for title, verdict, differences in _rows(comparison):
            one = dict(differences)[name]
            rows.append(
                (title, one.first.live, one.second.live, one.change.live, one.change.measured, verdict)
            )
        columns = ("policy", first, second, "change", "change as measured", "verdict on all four")
        found.append(Table(f"{NAMES[name].capitalize()}, at live prevalence", columns, tuple(rows)))
    return tuple(found)


def _rows(comparison: Comparison) -> list[tuple[str, str, list[tuple[str, Difference]]]]:
    found = [("mean over policies", comparison.verdict, list(comparison.macro.items()))]
    for policy, differences in comparison.policies.items():
        found.append(
            (comparison.taxonomy[policy].title, comparison.verdicts[policy], list(differences.items()))
        )
    return found


def _render(comparison: Comparison, template: str, pages: jinja2.Environment) -> str:
    return pages.get_template(template).render(
        c=comparison, line=verdict_line(comparison), tables=comparison_tables(comparison)
    )

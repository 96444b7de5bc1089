"""An evaluation -> report.html, report.md and report.json, each whole or not there.

The HTML is one file that asks for nothing: styles, plots and thumbnails are inside, there is no script, and a
content security policy keeps it so. Every text goes through autoescaping; only plots are marked as safe.
"""

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from stallwart.evaluation import answers as words
from stallwart.evaluation import plots, tables
from stallwart.evaluation.evaluate import Evaluation
from stallwart.evaluation.figures import FIGURES
from stallwart.evaluation.pages import environment
from stallwart.evaluation.plain import as_json
from stallwart.evaluation.tables import NAMES, Table
from stallwart.evaluation.worst import FALSE_CALL, MISS, WorstError
from stallwart.store.files import whole_file


@dataclass(frozen=True)
class PolicyPage:
    """What the report shows of one policy, ready for the template."""

    answer: words.Answer
    covers: str
    figures: Table
    slices: Table
    plots: tuple[tuple[str, Markup], ...]
    calibration_error: float
    errors: tuple[tuple[str, tuple[WorstError, ...]], ...]


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write the three files into `folder`, which is made if need be; the path of the HTML comes back.

    Raises:
        ConfigError: the folder cannot be written.
    """
    for name, text in (
        ("report.json", as_json(evaluation)),
        ("report.md", render_markdown(evaluation)),
        ("report.html", render_html(evaluation)),
    ):
        with whole_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return folder / "report.html"


def render_html(evaluation: Evaluation) -> str:
    """The page as one text."""
    context = _context(evaluation)
    context["average_precisions"] = Markup(plots.average_precisions(evaluation))
    context["slice_plot"] = Markup(plots.slice_precisions(evaluation))
    context["months"] = Markup(plots.months(evaluation))
    context["pages"] = [_page(evaluation, answer) for answer in words.answers(evaluation)]
    return environment(html=True).get_template("report.html").render(context)


def render_markdown(evaluation: Evaluation) -> str:
    """The same tables without plots and listings."""
    return environment(html=False).get_template("report.md").render(_context(evaluation))


def _context(evaluation: Evaluation) -> dict[str, object]:
    return {
        "e": evaluation,
        "period": words.period(evaluation),
        "alarms": words.alarms(evaluation),
        "headline": words.headline(evaluation),
        "answers": words.answers(evaluation),
        "tables": tables.tables(evaluation),
        "confusion": _confusion(evaluation),
        "definitions": [(NAMES[name], text) for name, text in FIGURES.items()],
    }


def _page(evaluation: Evaluation, answer: words.Answer) -> PolicyPage:
    policy = answer.certificate.policy
    shape, rule = evaluation.shapes[policy], evaluation.taxonomy[policy]
    at = (answer.held.recall, answer.held.precision) if answer.held else None
    drawn = (
        ("Precision over recall", plots.precision_recall(shape, rule.precision, at)),
        ("Calibration at live prevalence", plots.calibration(shape)),
        ("Month by month", plots.months(evaluation, policy)),
    )
    figures = evaluation.policies[policy]
    return PolicyPage(
        answer=answer,
        covers=rule.covers,
        figures=Table(
            "Figures",
            ("figure", "as measured", "at live prevalence"),
            tuple((NAMES[name], pair.measured, pair.live) for name, pair in figures.items()),
        ),
        slices=tables.policy_slices(evaluation, policy),
        plots=tuple((title, Markup(svg)) for title, svg in drawn if svg),
        calibration_error=shape.calibration_error,
        errors=tuple(
            (kind, found)
            for kind in (FALSE_CALL, MISS)
            if (found := tuple(e for e in evaluation.worst if e.policy == policy and e.kind == kind))
        ),
    )


def _confusion(evaluation: Evaluation) -> list[tuple[str, list[tuple[int, float]], int]]:
    """Label, then count and share of the row for each call, then the row's total."""
    found = []
    for name, counts in zip(evaluation.taxonomy.labels, evaluation.confusion.tolist(), strict=True):
        total = sum(counts)
        found.append((name, [(count, count / total if total else 0.0) for count in counts], total))
    return found

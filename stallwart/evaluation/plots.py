"""Plots as inline SVG: small, the same bytes for the same figures, and in the page's own colours.

Figures in, SVG text out. Colours are placeholders that become CSS variables, so one plot serves the light
page and the dark one.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from stallwart.evaluation.evaluate import Evaluation
from stallwart.evaluation.figures import Figure
from stallwart.evaluation.shape import Shape

# Placeholder colours, each replaced by a CSS variable that the page defines for light and dark.
_INK, _FAINT, _MODEL, _OTHER, _ALARM = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {
    _INK: "var(--ink)",
    _FAINT: "var(--line)",
    _MODEL: "var(--model)",
    _OTHER: "var(--other)",
    _ALARM: "var(--alarm)",
}


def style(ink: str, faint: str) -> Any:
    """What matplotlib draws by: quiet axes, text in `ink` and lines in `faint`, as #rrggbb."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "stallwart",
        "path.simplify": True,
        "path.simplify_threshold": 0.5,
        "font.size": 9,
        "text.color": ink,
        "axes.edgecolor": faint,
        "axes.labelcolor": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": faint,
        "grid.linewidth": 0.5,
        "legend.frameon": False,
        "legend.fontsize": 8,
    }


_STYLE = style(_INK, _FAINT)
Named = list[tuple[str, Figure | None]]


def average_precisions(evaluation: Evaluation) -> str:
    """Average precision by policy with intervals, the baseline beside it."""
    policies = evaluation.policies
    names = [evaluation.taxonomy[policy].title for policy in policies]
    own: list[Figure | None] = [figures["average_precision"].measured for figures in policies.values()]
    series = [("model", list(zip(names, own, strict=True)), _MODEL)]
    if evaluation.baseline:
        known = evaluation.baseline.policies
        theirs = [known[policy].measured if policy in known else None for policy in policies]
        series.append(("text-only n-grams", list(zip(names, theirs, strict=True)), _OTHER))
    return _dots(series, "average precision, as measured")


def slice_precisions(evaluation: Evaluation) -> str:
    """Mean average precision of every slice with its interval."""
    pieces = [piece for piece in evaluation.slices if piece.macro]
    rows: Named = [(f"{p.name} ({len(p.policies)})", p.macro["average_precision"].measured) for p in pieces]
    return _dots([("model", rows, _MODEL)], "mean average precision (policies in the mean)") if rows else ""


def months(evaluation: Evaluation, policy: str | None = None) -> str:
    """Average precision and precision at the threshold, month by month; of one policy or the means."""
    pieces = [piece for piece in evaluation.slices if piece.family == "month"]
    figures = [piece.macro if policy is None else piece.policies.get(policy, {}) for piece in pieces]
    if len(pieces) < 2 or not any(figures):
        return ""
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(3.6, 2.5)
        for name, label, colour, shift in (
            ("average_precision", "average precision", _MODEL, -0.05),
            ("precision", "precision at threshold", _OTHER, 0.05),
        ):
            rows = [(x + shift, f[name].measured) for x, f in enumerate(figures) if name in f]
            rows = [(x, figure) for x, figure in rows if not math.isnan(figure.value)]
            if rows:
                _marks(axes, [x for x, _ in rows], [f for _, f in rows], colour, label, upright=True)
        axes.set_xticks(range(len(pieces)), [piece.name for piece in pieces])
        axes.set_xlim(-0.5, len(pieces) - 0.5)
        axes.set_ylim(-0.02, 1.04)
        axes.grid(axis="y")
        _legend(axes)
        return _svg(canvas)


def precision_recall(shape: Shape, wanted: float, at: tuple[Figure, Figure] | None) -> str:
    """Precision over recall, with the wanted precision and, where certified, the threshold.

    Args:
        shape: with the curve.
        wanted: precision that the policy wants.
        at: recall and live precision at the certified threshold; None where there is none.
    """
    curve = shape.curve
    if not curve.recall:
        return ""
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(3.6, 2.7)
        axes.plot(curve.recall, curve.precision_live, color=_MODEL, linewidth=1.6, label="live prevalence")
        axes.plot(curve.recall, curve.precision, color=_OTHER, linewidth=1.0, label="as measured")
        axes.axhline(wanted, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), label=f"wanted {wanted:g}")
        if at and not math.isnan(at[1].value):
            recall, precision = at
            error = [[precision.value - precision.low], [precision.high - precision.value]]
            axes.errorbar(
                [recall.value],
                [precision.value],
                yerr=error,
                fmt="o",
                color=_ALARM,
                label="threshold",
                markersize=5,
            )
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        axes.grid()
        _legend(axes)
        return _svg(canvas)


def calibration(shape: Shape) -> str:
    """Observed share over predicted, at live prevalence, with intervals."""
    bins = [one for one in shape.bins if not math.isnan(one.observed.value)]
    if not bins:
        return ""
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(3.6, 2.7)
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), label="perfect")
        _marks(
            axes, [b.predicted for b in bins], [b.observed for b in bins], _MODEL, "observed", upright=True
        )
        axes.set(xlabel="predicted", ylabel="observed", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        axes.grid()
        _legend(axes)
        return _svg(canvas)


def _dots(series: Sequence[tuple[str, Named, str]], label: str) -> str:
    names = [name for name, _ in series[0][1]]
    with mpl.rc_context(_STYLE):
        canvas, axes = _canvas(5.6, 0.9 + 0.27 * len(names))
        for index, (title, rows, colour) in enumerate(series):
            shift = (index - (len(series) - 1) / 2) * 0.3
            known = [(y + shift, f) for y, (_, f) in enumerate(rows) if f and not math.isnan(f.value)]
            _marks(axes, [y for y, _ in known], [f for _, f in known], colour, title, upright=False)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        if len(series) > 1:
            _legend(axes)
        return _svg(canvas)


def _marks(
    axes: Axes, places: Sequence[float], figures: Sequence[Figure], colour: str, label: str, *, upright: bool
) -> None:
    values = [f.value for f in figures]
    error = [[f.value - f.low for f in figures], [f.high - f.value for f in figures]]
    style: dict[str, Any] = {"fmt": "o", "color": colour, "markersize": 4, "linewidth": 1.4, "label": label}
    if upright:
        axes.errorbar(places, values, yerr=error, **style)
    else:
        axes.errorbar(values, places, xerr=error, **style)


def _canvas(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return canvas, axes


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.4, columnspacing=1.0)


def _svg(canvas: Canvas) -> str:
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    # The intrinsic size is in points; the page scales the plot to its column instead.
    return re.sub(
        r'<svg ([^>]*?)width="([\d.]+)pt"', r'<svg role="img" \1style="max-width:\2pt"', text, count=1
    )

"""Month by month as inline SVG, in the page's own colours: one line for each way to choose."""

import io
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from stallwart.evaluation.plots import style
from stallwart.loop.summary import Interval

# Placeholders, each replaced by a CSS variable that the page defines for light and dark
_INK, _FAINT = "#010203", "#010204"
_SERIES = {
    "none": "#010210",
    "random": "#010211",
    "uncertain": "#010212",
    "novel": "#010213",
    "mixed": "#010214",
    "all": "#010215",
}
_MARKERS = {"none": "X", "random": "s", "uncertain": "^", "novel": "D", "mixed": "o", "all": "*"}
_STYLE = style(_INK, _FAINT)


def month_plot(
    months: Sequence[str], series: Mapping[str, Sequence[Interval]], label: str, *, share: bool
) -> str:
    """One figure over the months, with its intervals.

    Args:
        months: names, in order.
        series: by strategy, one interval for each month; NaN leaves a gap.
        label: of the upright axis.
        share: whether it ends at 1.
    """
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(4.6, 3.0), layout="constrained")
        axes = canvas.add_subplot()
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        for turn, (name, intervals) in enumerate(series.items()):
            shift = (turn - (len(series) - 1) / 2) * 0.07
            known = [(x + shift, one) for x, one in enumerate(intervals) if not math.isnan(one.value)]
            if not known:
                continue
            values = [one.value for _, one in known]
            # A redrawn figure may lie outside its own interval by a hair; bars are never negative
            error = [
                [max(0.0, one.value - one.low) for _, one in known],
                [max(0.0, one.high - one.value) for _, one in known],
            ]
            axes.errorbar(
                [x for x, _ in known],
                values,
                yerr=error,
                color=_SERIES[name],
                marker=_MARKERS[name],
                markersize=5,
                linewidth=1.4,
                elinewidth=0.8,
                label=name,
            )
        axes.set_xticks(range(len(months)), list(months))
        axes.set_xlim(-0.4, len(months) - 0.6)
        if share:
            axes.set_ylim(top=1.005)
        else:
            axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        axes.grid(axis="y")
        if axes.lines:
            axes.legend(
                loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.6, columnspacing=1.0
            )
        else:
            axes.text(0.5, 0.5, "no figure in any month", ha="center", transform=axes.transAxes)
        return _svg(canvas)


def _svg(canvas: Canvas) -> str:
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    names = {_INK: "--ink", _FAINT: "--line", **{colour: f"--{name}" for name, colour in _SERIES.items()}}
    for colour, name in names.items():
        text = text.replace(colour, f"var({name})")
    return re.sub(
        r'<svg ([^>]*?)width="([\d.]+)pt"', r'<svg role="img" \1style="max-width:\2pt"', text, count=1
    )

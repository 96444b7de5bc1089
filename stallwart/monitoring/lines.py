"""Lines over time as inline SVG: no script, both themes, a title for those who do not see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, log10

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 360, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 6, 10, 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: for the legend.
        values: one for each moment; None where there is none, which breaks the line.
        lower: lower end of an interval for each, or None.
        upper: its upper end.
        tone: which of the site's colours: model, other, alarm, good or soft.
    """

    name: str
    values: Sequence[float | None]
    lower: Sequence[float | None] | None = None
    upper: Sequence[float | None] | None = None
    tone: str = "model"


def chart(
    title: str, at_ms: Sequence[int], lines: Sequence[Line], *, unit: str = "", top: float | None = None
) -> Markup:
    """A chart of lines with its title and legend; says so where there is nothing to draw.

    Args:
        title: what is shown.
        at_ms: moments in milliseconds since 1970, in order.
        lines: values at those moments, >= 0.
        unit: "%" shows shares of 1 as percentages; else it follows the numbers.
        top: of the axis; by the values where None.
    """
    known = [value for line in lines for value in (*line.values, *(line.upper or ())) if value is not None]
    if not known or len(at_ms) < 1:
        return Markup(
            '<figure class="chart"><figcaption>{}</figcaption><p class="note">Nothing yet.</p></figure>'
        ).format(title)
    high = top or _nice(max(known))
    last = {line.name: next((v for v in reversed(line.values) if v is not None), None) for line in lines}
    told = "; ".join(f"{name} {_number(value, unit)}" for name, value in last.items() if value is not None)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(f"{title}. Last: {told}")}">',
        *(_grid(high, unit)),
        *(_dates(at_ms)),
        *(piece for line in lines for piece in _drawn(line, at_ms, high)),
        "</svg>",
    ]
    legend = "".join(
        f'<span class="key tone-{escape(line.tone)}"><i></i>{escape(line.name)} '
        f"<b>{escape(_number(last[line.name], unit))}</b></span>"
        for line in lines
    )
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{"".join(parts)}'
        f'<div class="legend">{legend}</div></figure>'
    )


def _drawn(line: Line, at_ms: Sequence[int], high: float) -> list[str]:
    pieces = []
    if line.lower is not None and line.upper is not None:
        ends = [
            (at, low, up)
            for at, low, up in zip(at_ms, line.lower, line.upper, strict=True)
            if low is not None and up is not None
        ]
        if len(ends) > 1:
            there = [_point(at, up, at_ms, high) for at, _, up in ends]
            back = [_point(at, low, at_ms, high) for at, low, _ in reversed(ends)]
            pieces.append(f'<polygon class="band tone-{line.tone}" points="{" ".join(there + back)}"/>')
    for run in _runs(line.values):
        points = [_point(at_ms[place], line.values[place] or 0.0, at_ms, high) for place in run]
        if len(points) == 1:
            x, y = points[0].split(",")
            pieces.append(f'<circle class="dot tone-{line.tone}" cx="{x}" cy="{y}" r="3"/>')
        else:
            pieces.append(f'<polyline class="line tone-{line.tone}" points="{" ".join(points)}"/>')
    return pieces


def _runs(values: Sequence[float | None]) -> list[list[int]]:
    runs: list[list[int]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(place)
    return [run for run in runs if run]


def _point(at: int, value: float, at_ms: Sequence[int], high: float) -> str:
    span = max(1, at_ms[-1] - at_ms[0])
    x = _LEFT + (at - at_ms[0]) / span * (_WIDTH - _LEFT - _RIGHT)
    y = _HEIGHT - _BOTTOM - min(value / high, 1.0) * (_HEIGHT - _TOP - _BOTTOM)
    return f"{x:.1f},{y:.1f}"


def _grid(high: float, unit: str) -> list[str]:
    pieces = []
    for part in (0.0, 0.5, 1.0):
        y = _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)
        pieces.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        pieces.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(_number(part * high, unit))}</text>"
        )
    return pieces


def _dates(at_ms: Sequence[int]) -> list[str]:
    short = 0 < at_ms[-1] - at_ms[0] < 3 * 86_400_000
    form = "%H:%M" if short else "%d %b"
    spots = [(at_ms[0], _LEFT, "start")]
    if len(at_ms) > 1:
        spots.append((at_ms[-1], _WIDTH - _RIGHT, "end"))
    return [
        f'<text class="tick" x="{x}" y="{_HEIGHT - 5}" text-anchor="{anchor}">'
        f"{datetime.fromtimestamp(at / 1000, UTC).strftime(form)}</text>"
        for at, x, anchor in spots
    ]


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.3g} %"
    shown = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{shown} {unit}".strip()


def _nice(value: float) -> float:
    """The next round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (ceil(log10(value)) - 1)
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7.5, 10) if step * power >= value * (1 - 1e-9))

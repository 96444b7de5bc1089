"""Figures with their intervals over time, as places in a small drawing; templates draw them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 22


@dataclass(frozen=True, slots=True)
class Point:
    """One figure: a value in its interval.

    Attributes:
        name: of its time.
        value: None where only the interval is known.
        lower: of the interval.
        upper: of the interval.
        said: all of it in words.
    """

    name: str
    value: float | None
    lower: float
    upper: float
    said: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a point is drawn, in the drawing's own units."""

    x: float
    top: float
    bottom: float
    y: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the scale, or a name below it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing of intervals over time.

    Attributes:
        title: what it shows.
        marks: one for each point.
        lines: of the scale; `at` is a height.
        names: of the first and the last point; `at` is a place along.
        said: all of it in words, for who cannot see it.
    """

    title: str
    marks: tuple[Mark, ...]
    lines: tuple[Tick, ...]
    names: tuple[Tick, ...]
    said: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT


def chart(title: str, points: Sequence[Point], top: float | None = None) -> Chart | None:
    """The drawing of some points; None without any.

    Args:
        title: what they are.
        points: in the order of time.
        top: of the scale, which begins at 0; by the points where it is None.
    """
    if not points:
        return None
    high = top or _round_up(max(one.upper for one in points))

    def height_of(share: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - min(share, high) / high), 1)

    step = (WIDTH - _LEFT - _RIGHT) / len(points)
    marks = tuple(
        Mark(
            x=round(_LEFT + step * (place + 0.5), 1),
            top=height_of(one.upper),
            bottom=height_of(one.lower),
            y=None if one.value is None else height_of(one.value),
            said=one.said,
        )
        for place, one in enumerate(points)
    )
    lines = tuple(Tick(height_of(share), f"{100 * share:.3g} %") for share in (0.0, high / 2, high))
    ends = {0: points[0].name, len(points) - 1: points[-1].name}
    names = tuple(Tick(marks[place].x, name) for place, name in ends.items())
    return Chart(title, marks, lines, names, f"{title}: " + "; ".join(one.said for one in points))


def _round_up(share: float) -> float:
    """The next of 1, 2, 5, 10 ... per mille, so that a scale ends at a number that people read."""
    for exponent in (-4, -3, -2, -1):
        for first in (1, 2, 5):
            if share <= first * 10.0**exponent:
                return first * 10.0**exponent
    return 1.0

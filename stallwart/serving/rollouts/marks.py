"""What the live page draws: intervals and lines over time as coordinates; the template makes SVG of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 120.0, 32.0  # of a line
_TOP, _BASE = 7.0, 29.0  # where it rolls back, and where there is no evidence
_BEYOND = 1.25  # times the limit; more is drawn as this


@dataclass(frozen=True)
class Line:
    """A guard's evidence over time.

    Attributes:
        points: "x,y x,y ...", "" where there are none.
        last: (x, y) of the last one; None where there is none.
        limit: y of where it rolls back.
        suspicion: y from which it holds; None where there is no such.
        base: y of no evidence.
    """

    points: str
    last: tuple[float, float] | None
    limit: float
    suspicion: float | None
    base: float


@dataclass(frozen=True)
class Whisker:
    """An interval on a scale of 0 to 100.

    Attributes:
        lower: where it begins.
        upper: where it ends.
        value: the estimate; None where there is only the interval.
        open: whether it has no end.
    """

    lower: float
    upper: float
    value: float | None
    open: bool


@dataclass(frozen=True)
class DifferenceMarks:
    """A difference against 0 and its margin, on a scale of 0 to 100 with 0 in the middle.

    Attributes:
        whisker: the interval; None where it is not known.
        margin: where the margin is.
        end: what the ends of the scale are, in words.
    """

    whisker: Whisker | None
    margin: float
    end: str


def line_of(points: Sequence[tuple[int, float]], suspicion: float | None) -> Line:
    """A line through (milliseconds, part of the limit) in order of time."""
    drawn = []
    if points:
        first, last = points[0][0], points[-1][0]
        width = WIDTH - 6
        drawn = [
            (
                round(2 + width * (at - first) / (last - first), 1) if last > first else 2 + width,
                _height(part),
            )
            for at, part in points
        ]
    return Line(
        " ".join(f"{x:g},{y:g}" for x, y in drawn),
        drawn[-1] if drawn else None,
        _height(1.0),
        None if suspicion is None else _height(suspicion),
        _height(0.0),
    )


def whiskers(intervals: Sequence[tuple[float, float | None, float | None]], top: float) -> list[Whisker]:
    """(lower, value, upper) of each on one scale from 0 to `top`; an upper of None has no end."""
    return [
        Whisker(
            _place(lower / top),
            100.0 if upper is None else _place(upper / top),
            None if value is None else _place(value / top),
            upper is None,
        )
        for lower, value, upper in intervals
    ]


def difference_marks(told: Mapping[str, Any]) -> DifferenceMarks:
    """A difference with `value`, `lower`, `upper` and `margin`, all in [-1, 1]."""
    known, margin = told["value"] is not None, told["margin"]
    end = min(1.0, 1.15 * max(-told["lower"], told["upper"], 2 * margin)) if known else 4 * margin

    def place(value: float) -> float:
        return _place(0.5 + value / (2 * end))

    whisker = (
        Whisker(place(told["lower"]), place(told["upper"]), place(told["value"]), False) if known else None
    )
    return DifferenceMarks(whisker, place(-margin), f"{100 * end:.3g}")


def _height(part: float) -> float:
    return round(_BASE - (_BASE - _TOP) * min(max(part, 0.0), _BEYOND), 1)


def _place(part: float) -> float:
    return round(100 * min(max(part, 0.0), 1.0), 1)

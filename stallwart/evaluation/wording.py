"""How figures are written: the same in HTML, Markdown and on a terminal."""

import math

from stallwart.evaluation.figures import SHARE, Figure


def number(value: float, unit: str = SHARE, fine: bool = False) -> str:
    """A value as people read it: shares with two decimals, or three below 0.01 or where `fine`."""
    if math.isnan(value):
        return "–"
    if unit == SHARE:
        text = f"{value:.3f}" if fine or _is_small(value) else f"{value:.2f}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def _is_small(value: float) -> bool:
    return 0.0005 <= abs(value) < 0.01


def change(value: float, unit: str = SHARE) -> str:
    """A difference with its sign; 0.00 has none."""
    text = number(value, unit)
    return f"+{text}" if value > 0 and float(text.replace(",", "")) > 0 else text


def interval(figure: Figure) -> str:
    """ "[0.81–0.87]", "[−0.02 to 0.05]" below zero, or "" where the figure has no value.

    Where all resamples agree they know of no spread: that is no interval of 95 %, and is not shown as one.
    """
    if math.isnan(figure.value):
        return ""
    if figure.low == figure.high:
        return "[not known: all resamples agree]"
    ends = (figure.low, figure.high)
    alike = number(figure.low, figure.unit) == number(figure.high, figure.unit)
    fine = alike or any(_is_small(one) for one in (figure.value, *ends))
    low, high = (number(one, figure.unit, fine) for one in ends)
    return f"[{low}{' to ' if figure.low < 0 else '–'}{high}]"


def count(figure: Figure) -> str:
    """ "55 of 120": those that count, of the rows behind the figure; "none" where there is no value."""
    return f"{figure.n_positive:,} of {figure.n:,}" if figure.n and not math.isnan(figure.value) else "none"

"""How figures are written: the same in HTML and Markdown."""

import math

from stallwart.evaluation.figures import SHARE, Figure


def number(value: float, unit: str = SHARE) -> str:
    """A value as people read it: shares with two decimals, counts with what their size deserves."""
    if math.isnan(value):
        return "–"
    if unit == SHARE:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def interval(figure: Figure) -> str:
    """ "[0.81–0.87]", or "" where the figure has no value."""
    if math.isnan(figure.value):
        return ""
    return f"[{number(figure.low, figure.unit)}–{number(figure.high, figure.unit)}]"


def count(figure: Figure) -> str:
    """ "55 of 120": those that count, of the rows behind the figure."""
    return f"{figure.n_positive:,} of {figure.n:,}"

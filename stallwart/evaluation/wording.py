"""How figures are written: the same in HTML, Markdown and on a terminal."""

import math

from stallwart.evaluation.figures import SHARE, Figure


def number(value: float, unit: str = SHARE) -> str:
    """A value as people read it: shares with two decimals, or three below 0.01."""
    if math.isnan(value):
        return "–"
    if unit == SHARE:
        text = f"{value:.3f}" if 0.0005 <= abs(value) < 0.01 else f"{value:.2f}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def change(value: float, unit: str = SHARE) -> str:
    """A difference with its sign; 0.00 has none."""
    text = number(value, unit)
    return f"+{text}" if value > 0 and float(text.replace(",", "")) > 0 else text


def interval(figure: Figure) -> str:
    """ "[0.81–0.87]", "[−0.02 to 0.05]" below zero, or "" where the figure has no value."""
    if math.isnan(figure.value):
        return ""
    between = " to " if figure.low < 0 else "–"
    return f"[{number(figure.low, figure.unit)}{between}{number(figure.high, figure.unit)}]"


def count(figure: Figure) -> str:
    """ "55 of 120": those that count, of the rows behind the figure; "none" where there is no value."""
    return f"{figure.n_positive:,} of {figure.n:,}" if figure.n and not math.isnan(figure.value) else "none"

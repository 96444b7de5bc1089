"""Figures over the months, also where there are none."""

from math import nan

from stallwart.loop.plots import month_plot
from stallwart.loop.summary import Interval


def test_months_without_any_figure_say_so():
    svg = month_plot(["2025-09"], {"none": [Interval(nan, nan, nan)]}, "precision of blocks", share=True)
    assert "no figure in any month" in svg


def test_a_month_with_a_figure_is_drawn_beside_one_without():
    known = Interval(0.5, 0.4, 0.6)
    svg = month_plot(["9", "10"], {"none": [known, Interval(nan, nan, nan)]}, "precision", share=True)
    assert "no figure in any month" not in svg
    assert "none" in svg

"""Curves of evasion -> evasion.html, with inline SVG, and evasion.json beside it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from stallwart.evaluation.evasion import MODERATE, MOST_LOST, OPERATING, Point
from stallwart.evaluation.pages import environment
from stallwart.store.files import whole_file

_WIDTH, _HEIGHT = 220, 120  # of a panel's plot, in pixels


def write_evasion(points: Sequence[Point], bundle: str, out: Path) -> Path:
    """The page in the folder `out`.

    Raises:
        ConfigError: it cannot be written.
    """
    facts = [
        {**asdict(one), "kept": [None if math.isnan(end) else end for end in one.kept]} for one in points
    ]
    with whole_file(out / "evasion.json") as path:
        content = {"bundle": bundle, "rule": {"strength": MODERATE, "most_lost": MOST_LOST}, "points": facts}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    attacks = list(dict.fromkeys(one.attack for one in points))
    page = (
        environment(html=True)
        .get_template("evasion.html")
        .render(
            panels=[_panel([one for one in points if one.attack == attack]) for attack in attacks],
            rows=[one for one in points if one.strength == MODERATE],
            broken=[one for one in points if one.breaks_rule],
            bundle=bundle,
            moderate=MODERATE,
            most_lost=MOST_LOST,
            operating=OPERATING,
            width=_WIDTH,
            height=_HEIGHT,
            nothing=lambda one: math.isnan(one.kept[0]),
        )
    )
    with whole_file(out / "evasion.html") as path:
        path.write_text(page, encoding="utf-8")
    return out / "evasion.html"


def _panel(points: Sequence[Point]) -> dict[str, object]:
    """One attack: a line for each policy, and one for their mean."""
    strengths = sorted({one.strength for one in points})
    lines: dict[str, str] = {}
    for policy in dict.fromkeys(one.policy for one in points):
        mine = {one.strength: one.kept[0] for one in points if one.policy == policy}
        if not any(math.isnan(value) for value in mine.values()):
            lines[policy] = _line([(0.0, 1.0), *sorted(mine.items())])
    told = [
        [one.kept[0] for one in points if one.strength == strength and one.policy in lines]
        for strength in strengths
    ]
    means = [(0.0, 1.0), *((s, float(np.mean(v))) for s, v in zip(strengths, told, strict=True) if v)]
    return {"attack": points[0].attack, "lines": lines, "mean": _line(means), "end": means[-1][1]}


def _line(points: Sequence[tuple[float, float]]) -> str:
    """Where an SVG polyline goes; a share above 1 stands at the top."""
    return " ".join(f"{x * _WIDTH:.1f},{(1 - min(y, 1.0)) * _HEIGHT:.1f}" for x, y in points)

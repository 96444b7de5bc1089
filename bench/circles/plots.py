"""Two pictures of a run: what became of violations and what happened meanwhile; what relearning won."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.circles.figures import Run
from stallwart.evaluation.compare import Comparison
from stallwart.evaluation.plots import style

_INK, _FAINT = "#1a1d21", "#59616b"
_ACTIONS = {
    "block": ("blocked", "#1f5fbf"),
    "review": ("sent to people", "#8db7e8"),
    "allow": ("let through", "#d9a13b"),
}
_STAGES = {"shadow": "#e3e6ea", "canary": "#c9e3cf", "ramp": "#a5d3b0", "ab": "#7abf8b"}
_STYLE = style(_INK, _FAINT)


def story_plot(
    run: Run, weeks: Sequence[Mapping[str, Any]], start: datetime, until: datetime, out: Path
) -> None:
    """What became of each week's violations, under the line of what happened."""
    blocks = any(one.get("block") for one in weeks)
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(10, 7.2 if blocks else 5.2), layout="constrained")
        heights = (1.4, 2, 1) if blocks else (1.4, 2)
        happened, shares, *precise = canvas.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _happened(happened, run, until)
        at = [datetime.fromisoformat(one["from"]).replace(tzinfo=UTC) + timedelta(days=3.5) for one in weeks]
        floor = [0.0] * len(weeks)
        for action, (name, colour) in _ACTIONS.items():
            if action == "block" and not blocks:
                continue
            part = [one.get(f"violations {action}", 0) / max(1, one.get("violations", 0)) for one in weeks]
            shares.bar(at, part, 6.2, bottom=floor, color=colour, label=name)
            floor = [low + more for low, more in zip(floor, part, strict=True)]
        for moment, one in zip(at, weeks, strict=True):
            shares.text(moment, 1.02, f"{one.get('violations', 0)}", ha="center", fontsize=7.5, color=_FAINT)
        shares.set_ylim(0, 1)
        shares.set_ylabel("of the week's violations\n(count above)", labelpad=10)
        shares.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=3)
        if precise:
            _precise(precise[0], at, weeks)
        shares.set_xlim(start, until)
        shares.xaxis.set_major_locator(mpl.dates.MonthLocator())
        shares.xaxis.set_major_formatter(mpl.dates.DateFormatter("1 %b"))
        canvas.savefig(out, dpi=130)


def _precise(axes: Axes, at: Sequence[datetime], weeks: Sequence[Mapping[str, Any]]) -> None:
    known = [(moment, one) for moment, one in zip(at, weeks, strict=True) if one.get("block")]
    right = [one.get("blocks right", 0) / one["block"] for _, one in known]
    axes.plot([moment for moment, _ in known], right, "o-", color="#1f5fbf", markersize=4, linewidth=1.2)
    for moment, one in known:
        axes.text(moment, 0.03, f"{one['block']}", ha="center", fontsize=7.5, color=_FAINT)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("blocks that were right\n(blocks below)", labelpad=10)


def _happened(axes: Axes, run: Run, until: datetime) -> None:
    raised = [(one["alert_key"].split("/", 1), _at(one["first_at_ms"])) for one in run.story["alerts"]]
    rows = ["rollout", "retraining", "drift raised"]
    if any(key[0] == "rights" for key, _ in raised):
        rows.append("right withdrawn")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    stages = [Patch(color=colour, label={"ab": "A/B"}.get(one, one)) for one, colour in _STAGES.items()]
    axes.legend(handles=stages, loc="lower left", ncols=len(stages), fontsize=8, bbox_to_anchor=(0, -0.28))
    for move, ends in _stages(run, until):
        stage, begins = move["stage"], _at(move["at_ms"])
        if stage in _STAGES:
            axes.barh(0, ends - begins, left=begins, height=0.5, color=_STAGES[stage])
        else:
            good = stage == "promoted"
            mark, colour = ("^", "#2b7a3d") if good else ("v", "#b3261e")
            axes.plot([begins], [0], mark, color=colour, markersize=8, zorder=3)
            words = stage.replace("_", " ")
            axes.annotate(words, (begins, 0.42), fontsize=8, color=colour, ha="center", va="center")
    for one in run.story["retrained"]:
        passed = bool(one.get("passed"))
        mark, colour = ("o", "#2b7a3d") if passed else ("x", "#b3261e")
        at = datetime.fromisoformat(one["day"]).replace(tzinfo=UTC)
        axes.plot([at], [1], mark, color=colour, markersize=7)
        words = "gate passed" if passed else "refused"
        axes.annotate(words, (at, 1), xytext=(7, -3), textcoords="offset points", fontsize=8)
    for (kind, what), at in raised:
        row = {"drift": 2, "rights": 3}.get(kind)
        if row is not None:
            axes.plot([at], [row], "|", color="#b3261e", markersize=14, markeredgewidth=2)
            spot = {"xytext": (3, 8), "textcoords": "offset points", "fontsize": 6.5, "rotation": 35}
            axes.annotate(what, (at, row), color=_FAINT, **spot)


def _stages(run: Run, until: datetime) -> list[tuple[dict[str, Any], datetime]]:
    """Each move of a rollout with when the next one came."""
    moves = [one for one in run.story["acts"] if one["act"].startswith("rollout.")]
    told = []
    for place, one in enumerate(moves):
        detail = json.loads(one["detail"]) if isinstance(one["detail"], str) else one["detail"]
        after = moves[place + 1]["at_ms"] if place + 1 < len(moves) else until.timestamp() * 1_000
        told.append(({**detail["to"], "at_ms": one["at_ms"]}, _at(after)))
    return told


def precision_plot(months: Mapping[str, Comparison], out: Path) -> None:
    """Mean average precision of the first bundle and of what answered, month by month."""
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(7, 3.6), layout="constrained")
        axes = canvas.subplots()
        for name, colour, shift in (("first", "#59616b", -0.06), ("second", "#1f5fbf", 0.06)):
            drawn = [getattr(one.macro["average_precision"], name).measured for one in months.values()]
            values = [one.value for one in drawn]
            error = [
                [max(0.0, one.value - one.low) for one in drawn],
                [max(0.0, one.high - one.value) for one in drawn],
            ]
            said = "the first bundle, as it was" if name == "first" else "what answered, relearning"
            places = [place + shift for place in range(len(values))]
            axes.errorbar(places, values, yerr=error, marker="o", color=colour, linewidth=1.4, elinewidth=0.9,
                          capsize=3, label=said)  # fmt: skip
        names = [
            f"{datetime.fromisoformat(month + '-01'):%B}\n{one.part.n:,}" for month, one in months.items()
        ]
        axes.set_xticks(range(len(names)), names)
        axes.set_ylabel("mean average precision")
        axes.set_ylim(0.5, 1)
        axes.grid(axis="y", color="#e3e6ea", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="lower left")
        canvas.savefig(out, dpi=130)


def _at(at_ms: float) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)

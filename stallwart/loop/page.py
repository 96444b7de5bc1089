"""A backtest -> backtest.html, backtest.md and backtest.json, each whole or not there.

The page is one file that asks for nothing: styles and plots are inside, and there is no script.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from stallwart import __version__
from stallwart.loop.backtest import Backtest, Setting
from stallwart.loop.plots import month_plot
from stallwart.loop.summary import Interval, Line, by_policy, gains, lines
from stallwart.store.files import whole_file

_COLUMNS = (
    "month", "average precision", "repeats included", "precision of blocks", "coverage", "reviews",
    "reviewers' hours",
)  # fmt: skip
_PLOTS = (
    ("average_precision", "average precision", True),
    ("precision", "precision of blocks", True),
    ("coverage", "coverage", True),
    ("hours", "reviewers' hours", False),
)


def write_page(test: Backtest, folder: Path) -> Path:
    """Write the three files into `folder`; the path of the page comes back.

    Raises:
        ConfigError: the folder cannot be written.
    """
    facts = as_facts(test)
    for name, text in (
        ("backtest.json", json.dumps(facts, indent=1) + "\n"),
        ("backtest.md", markdown(test)),
        ("backtest.html", html(test)),
    ):
        with whole_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return folder / "backtest.html"


def as_facts(test: Backtest) -> dict[str, Any]:
    """Every figure for machines; what is not known is null."""
    world = test.base.world
    return {
        "plan": {
            "from": str(world.start)[:10],
            "until": str(world.until)[:10],
            "seeds": test.plan.seeds,
            "review_seconds": test.plan.review_seconds,
        },
        "listings": {"known": int(world.known.sum()), "replayed": int((~world.before).sum())},
        "months": [
            {
                "month": month.name,
                "listings": len(month.rows),
                "with_repeats": len(month.everything),
                "policies": [world.taxonomy.ids[column] for column in month.policies],
            }
            for month in test.months
        ],
        "settings": [
            {
                "name": setting.name,
                "strategy": setting.strategy,
                "budget": str(setting.budget),
                "schedule": setting.schedule.value,
                "held_back": _plain(float(np.mean(setting.held_back))),
                "models": setting.models,
                "policies": {name: _plain(value) for name, value in by_policy(test, setting).items()},
                "reviewed": dict(
                    zip(world.taxonomy.labels, np.mean(setting.reviewed, axis=0).tolist(), strict=True)
                ),
                "months": [_line_facts(line) for line in lines(test) if line.setting == setting.name],
            }
            for setting in test.settings
        ],
        "gains": [
            {
                "strategy": gain.strategy,
                "budget": gain.budget,
                "schedule": gain.schedule,
                "month": gain.month,
                "gain": _three(gain.gain),
                "says": gain.answer,
            }
            for gain in gains(test)
        ],
        "made_by": f"stallwart {__version__}",
    }


def html(test: Backtest) -> str:
    """The page as one text."""
    loader = jinja2.ChoiceLoader(
        [jinja2.PackageLoader("stallwart.loop"), jinja2.PackageLoader("stallwart.evaluation")]
    )
    found = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["signed"] = lambda gain: interval(gain, signed=True)
    css = Markup(found.loader.get_source(found, "report.css")[0]) if found.loader else ""
    world, every = test.base.world, lines(test)
    return found.get_template("backtest.html").render(
        css=css,
        start=str(world.start)[:10],
        until=str(world.until)[:10],
        last=str(world.rows.listed_at[-1])[:10],
        n_known=int(world.known.sum()),
        n_replayed=int((~world.before).sum()),
        seeds=test.plan.seeds,
        headline=headline(test),
        months=[month.name for month in test.months],
        columns=("setting", *_COLUMNS),
        blocks=_blocks(test, every),
        gains=gains(test),
        policy_columns=[setting.name for setting in test.settings],
        policies=_policy_rows(test),
        facts=_facts(test),
    )


def markdown(test: Backtest) -> str:
    """The tables without the plots."""
    out = ["# What relearning gains", "", *(f"{line}\n" for line in headline(test))]
    out += _table(("setting", *_COLUMNS), [_cells(line) for line in lines(test)])
    out += ["", "## Choosing against chance", ""]
    out += _table(
        ("strategy", "budget", "retrained", "gain", "says"),
        [
            (gain.strategy, gain.budget, gain.schedule, interval(gain.gain, signed=True), gain.answer)
            for gain in gains(test)
        ],
    )
    out += ["", f"## Policies in {test.months[-1].name}", ""]
    out += _table(("policy", "violations", *(setting.name for setting in test.settings)), _policy_rows(test))
    return "\n".join(out) + "\n"


def headline(test: Backtest) -> list[str]:
    """What a buyer asks first: what it would be without, with, and whether choosing pays."""
    last = [line for line in lines(test) if line.month == test.months[-1].name]
    by_name = {line.setting: line for line in last}
    said = []
    if "none" in by_name:
        said.append(
            f"In {test.months[-1].name} the model that never learned again reaches an average precision of"
            f" {interval(by_name['none'].average_precision)}."
        )
    learned = [
        line for setting, line in by_name.items() if setting != "none" and not setting.startswith("all")
    ]
    if learned:
        best = max(learned, key=lambda line: line.average_precision.value)
        said.append(f"The best that learned ({best.setting}): {interval(best.average_precision)}.")
    won = [gain for gain in gains(test) if gain.gain.low > 0]
    if gains(test):
        said.append(
            "Choosing beats chance beyond doubt in none of the settings compared."
            if not won
            else f"Choosing beats chance beyond doubt in {len(won)} of {len(gains(test))} comparisons."
        )
    return said


def interval(one: Interval, *, signed: bool = False) -> str:
    """As people read it: the figure and its 95 % interval, if it has one."""
    if math.isnan(one.value):
        return "not known"
    if math.isnan(one.low):
        return f"{one.value:+.3f}" if signed else f"{one.value:.3f}"
    form = "+.3f" if signed else ".3f"
    return f"{one.value:{form}} [{one.low:{form}} to {one.high:{form}}]"


def _cells(line: Line) -> tuple[str, ...]:
    hours = line.hours
    return (
        line.setting,
        line.month,
        interval(line.average_precision),
        interval(line.with_repeats),
        interval(line.precision),
        interval(line.coverage),
        f"{line.reviews:,.0f}",
        f"{hours.value:,.1f}"
        + ("" if math.isnan(hours.low) else f" [{hours.low:,.1f} to {hours.high:,.1f}]"),
    )


def _blocks(test: Backtest, every: Sequence[Line]) -> list[dict[str, Any]]:
    """One block for each budget and schedule, with those that have neither beside each."""
    months = [month.name for month in test.months]
    kinds = list(
        dict.fromkeys(
            (str(one.budget), one.schedule.value)
            for one in test.settings
            if one.strategy not in ("none", "all")
        )
    )
    blocks = []
    for budget, schedule in kinds or [("", "")]:
        own = [one for one in test.settings if _belongs(one, budget, schedule)]
        plots = []
        for name, label, share in _PLOTS:
            series = {
                one.strategy: [getattr(line, name) for line in every if line.setting == one.name]
                for one in own
            }
            plots.append((label.capitalize(), Markup(month_plot(months, series, label, share=share))))
        blocks.append(
            {
                "title": f"{budget}, retrained {schedule}" if budget else "Without a review",
                "plots": plots,
                "rows": [_cells(line) for one in own for line in every if line.setting == one.name],
            }
        )
    return blocks


def _belongs(one: Setting, budget: str, schedule: str) -> bool:
    if one.strategy == "none":
        return True
    if one.strategy == "all":
        return one.schedule.value == schedule
    return (str(one.budget), one.schedule.value) == (budget, schedule)


def _policy_rows(test: Backtest) -> list[tuple[str, ...]]:
    month, world = test.months[-1], test.base.world
    counts = np.bincount(world.rows.labels[month.rows], minlength=len(world.taxonomy.labels))
    every = [by_policy(test, setting) for setting in test.settings]
    return [
        (name, f"{counts[column + 1]:,}", *(f"{of[name]:.3f}" for of in every))
        for column, name in ((column, world.taxonomy.ids[column]) for column in month.policies)
    ]


def _facts(test: Backtest) -> list[tuple[str, str]]:
    taught, world = test.base.taught, test.base.world
    held = "; ".join(f"{one.name} {np.mean(one.held_back):.3f}" for one in test.settings)
    return [
        (
            "learner",
            "two logistic regressions, on embeddings and on words; see docs/relearn.md",
        ),
        (
            "weights",
            f"text {taught.text:g}, photo {taught.photo:g}, words {taught.words:g},"
            f" balance of labels {taught.balance:g}, a reviewed listing {taught.reviewed:g} times an old one",
        ),
        (
            "precision and coverage",
            "at thresholds that rest on earlier months alone; precision is weighted to the live shares",
        ),
        (
            "intervals",
            "95 %; average precision: over redrawn groups of near duplicates and seeds; others: over seeds",
        ),
        (
            "old knowledge",
            f"average precision of the last model on {int(world.held_back.sum()):,} old listings that no"
            f" model learned from: {held}",
        ),
        ("a review takes", f"{test.plan.review_seconds:g} seconds"),
        ("world", world.digest[:16]),
        ("made by", f"stallwart {__version__}"),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _line_facts(line: Line) -> dict[str, Any]:
    figures = ("average_precision", "with_repeats", "precision", "coverage", "hours")
    return {
        "month": line.month,
        "reviews": line.reviews,
        **{name: _three(getattr(line, name)) for name in figures},
    }


def _three(one: Interval) -> dict[str, float | None]:
    return {"value": _plain(one.value), "low": _plain(one.low), "high": _plain(one.high)}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value

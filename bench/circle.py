"""The whole circle on a market played in order: serve, read, watch, relearn, roll out; with its plots.

    python bench/circle.py MARKET --out FOLDER

The first bundle knows what was listed and labelled before September, and is calibrated on August. September
to December come as they were listed, each listing once; people who know the labels answer `--reads` tasks a
day; each week `stallwart retrain` is asked whether it is time. The first bundle takes the live shares that
policies.toml states; retrainings take those that were counted to August. A run that was interrupted goes on;
`--plots` only makes figures and plots of what a run has kept so far.

The recipe is two members of the default, the n-grams and the logistic regression on both embeddings, the
latter with a third of its epochs: a retraining takes minutes on busy cores. The plan has the default's stages
with the numbers of a market of some dozen listings a day. `--one-in 2` plays a market of half its listings,
the same ones each time.
"""

import argparse
import hashlib
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.parquet as pq
import tomli_w

from bench.circles.figures import months, read_run, weeks
from bench.circles.play import Play, Script
from bench.circles.plots import precision_plot, story_plot
from stallwart.store.files import whole_folder
from stallwart.training.recipe import Recipe, read_recipe

PLAN = """
[[steps]]
stage = "shadow"
shadow_share = 1.0
min_units = 100
min_hours = 24

[[steps]]
stage = "canary"
share = 0.1
min_units = 10
min_hours = 24

[[steps]]
stage = "ab"
share = 0.5
min_units = 100
min_hours = 72
max_hours = 672

[audit]
block = 1.0
review = 0.5
allow = 0.1

[guards]
blocked_most = 1000  # the first bundle blocks nothing
cpu = 10  # other programs share these cores
cost = 10
slow = 10

[question]
about = "calls"
min_verdicts = 30
precision_margin = 0.1
coverage_margin = 0.1
"""
SETTINGS = {
    "drift_reference_rows": 300,  # the default of 1,000 lasts till the change itself
    "drift_reference_days": 7,
    "audit_budget": 8,
    "retrain_margin_later": 0.1,  # a week of this market, a third of it violations, cannot exclude less
}


def light() -> Recipe:
    recipe = read_recipe("default")
    lexical, linear = recipe.members[0], recipe.members[1].model_copy(update={"epochs": 20})
    certification = recipe.certification.model_copy(update={"first_origin_months": 5})
    return recipe.model_copy(update={"members": (lexical, linear), "certification": certification})


def sampled(market: Path, out: Path, one_in: int) -> Path:
    """The market, or a copy of it with one listing in so many, chosen by a digest of its id."""
    if one_in == 1 or out.exists():
        return market if one_in == 1 else out
    with whole_folder(out) as folder:
        for name in ("labels.csv", "policies.toml"):
            shutil.copy(market / name, folder / name)
        for path in sorted(market.glob("*.parquet")):
            table = pq.read_table(path)
            digests = [hashlib.sha256(one.encode()).digest()[0] for one in table["listing_id"].to_pylist()]
            pq.write_table(table.filter([one % one_in == 0 for one in digests]), folder / path.name)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("market", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train-until", type=_day, default=_day("2025-08-01"))
    parser.add_argument("--start", type=_day, default=_day("2025-09-01"))
    parser.add_argument("--until", type=_day, default=_day("2026-01-01"))
    parser.add_argument("--reads", type=int, default=30, help="tasks that people answer a day")
    parser.add_argument("--when", default="labels=300,drift", help="makes a retraining due")
    parser.add_argument("--turn-days", type=int, default=1, help="how often people read")
    parser.add_argument("--one-in", type=int, default=1, help="of the market's listings")
    parser.add_argument("--plots", action="store_true", help="only make them anew")
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    script = Script(
        market=sampled(given.market.absolute(), out / "market", given.one_in),
        folder=out,
        train_until=given.train_until,
        start=given.start,
        until=given.until,
        recipe=str(_recipe(out)),
        plan=PLAN,
        reads=given.reads * given.turn_days,
        turn_days=given.turn_days,
        when=given.when,
        policies=out / "policies.toml",
        settings=SETTINGS,
    )
    play = Play(script)
    play.count_shares(out / "policies.toml")
    if not given.plots:
        with play:
            play.through()
    told(play)


def told(play: Play) -> None:
    run, out, frozen = read_run(play), play.script.folder, play.script.folder / "frozen.parquet"
    by_week = weeks(run, play.script.start)
    print("| week | listings | violations | blocked | to people | let through | blocks right | read |")
    print("|---|---|---|---|---|---|---|---|")
    for one in by_week:
        gone = [str(one.get(f"violations {action}", 0)) for action in ("block", "review", "allow")]
        right = f"{one.get('blocks right', 0)} of {one.get('block', 0)}"
        print(
            f"| {one['from']} | {one['listings']} | {one['violations']} | {' | '.join(gone)} | {right}"
            f" | {one.get('read', 0)} |"
        )
    story_plot(run, by_week, play.script.start, play.script.until, out / "circle.png")
    if not frozen.exists():
        play.house.run("score", play.first, *play.played, "--out", frozen, "--json")
    by_month = months(play, run, frozen)
    print("\n| month | listings | violations | first bundle | what answered | gain |")
    print("|---|---|---|---|---|---|")
    for month, one in by_month.items():
        difference = one.macro["average_precision"]
        figures = [part.measured for part in (difference.first, difference.second, difference.change)]
        texts = [f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" for figure in figures]
        print(f"| {month} | {one.part.n:,} | {figures[2].n_positive:,} | {' | '.join(texts)} |")
    precision_plot(by_month, out / "precision.png")


def _recipe(folder: Path) -> Path:
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps(light().model_dump(mode="json")), encoding="utf-8")
    return path


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


if __name__ == "__main__":
    main()

"""`stallwart backtest`: labelled listings of past months -> what relearning would have gained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from stallwart.cli import shared
from stallwart.core.taxonomy import read_taxonomy

if TYPE_CHECKING:
    from stallwart.loop.backtest import Backtest


def backtest(
    listings: shared.Listings,
    policies: shared.Policies,
    start: Annotated[
        str, typer.Option("--from", help="First day that is replayed, as 2025-09-01.", show_default=False)
    ],
    until: Annotated[
        str,
        typer.Option(help="First day without reviews; later listings are only scored.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the report and of the replays.", show_default=False)
    ],
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    review_budget: Annotated[
        str, typer.Option(help="Listings that people read for learning, as 100/week; several with commas.")
    ] = "100/week",
    strategy: Annotated[
        str,
        typer.Option(help="How they are chosen, with commas: none, random, uncertain, novel, mixed, all."),
    ] = "none,random,uncertain,novel,mixed",
    retrain: Annotated[
        str, typer.Option(help="How often it is retrained, with commas: weekly, fortnightly, monthly, never.")
    ] = "weekly",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Replays of each, with other draws.")] = 5,
    review_seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="A reviewer's time for one listing, in seconds.")
    ] = 30.0,
    recipe: shared.RecipeName = "default",
    as_json: shared.AsJson = False,
) -> None:
    """Replay past months in order: score, choose what to review, learn, promote, go on.

    Nothing of a later day reaches an earlier one. What is made is kept in --out: a backtest that is
    interrupted, or asked for one strategy more, makes only what is missing.

    Example:

        stallwart backtest listings/ --labels labels.csv --policies policies.toml --from 2025-09-01 --until 2025-12-01 --review-budget 30/week,100/week --out backtest
    """  # noqa: E501
    with shared.train_extra():
        from stallwart.loop.backtest import backtest as run
        from stallwart.loop.choose import STRATEGIES
        from stallwart.loop.page import as_facts, write_page
        from stallwart.loop.plan import parse_plan
        from stallwart.loop.world import build_world
        from stallwart.training.recipe import read_recipe
    settings = shared.read_settings()
    first, last = shared.day(start, "--from"), shared.day(until, "--until")
    assert first is not None
    assert last is not None
    plan = parse_plan(first, last, strategy, review_budget, retrain, seeds, review_seconds, tuple(STRATEGIES))
    sources = shared.sources(listings, labels, read_taxonomy(policies), columns)
    world = build_world(sources, plan, read_recipe(recipe).encoders, settings, shared.show_progress)
    test = run(world, plan, out, track=shared.show_progress)
    page = write_page(test, out)
    if as_json:
        shared.print_json(as_facts(test))
        return
    _print(test)
    shared.say(f"report: {page}")


def _print(test: "Backtest") -> None:
    from stallwart.loop.page import headline, interval
    from stallwart.loop.summary import gains, lines

    console = shared.console()
    month = test.months[-1].name
    table = Table(title=f"Average precision in {month}", title_justify="left")
    for name in ("how it learned", "average precision", "reviews in all"):
        table.add_column(name, overflow="fold")
    every = lines(test)
    for setting in test.settings:
        own = [line for line in every if line.setting == setting.name]
        table.add_row(
            setting.name, interval(own[-1].average_precision), f"{sum(line.reviews for line in own):,.0f}"
        )
    console.print(table)
    for gain in gains(test):
        console.print(
            f"{gain.strategy}, {gain.budget}, {gain.schedule}: {interval(gain.gain, signed=True)},"
            f" {gain.answer}"
        )
    for line in headline(test):
        console.print(line)

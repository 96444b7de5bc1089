"""`stallwart audit estimates` and `audit plan`: what slips through, and what is drawn to know it."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, wall_ms
from stallwart.core.errors import ConfigError
from stallwart.estimate.audit_figures import ABOUT, WAYS, About, By, Figures, date_of, figures, plain

if TYPE_CHECKING:
    from stallwart.estimate.audit import Estimate
    from stallwart.store.audit_planner import Look

_DAY_MS = 86_400_000
_DAYS = 28


def estimates(
    by: Annotated[By, typer.Option(help=f"One row for each: {', '.join(WAYS)}.")] = "all",
    policy: Annotated[
        str | None, typer.Option(help="Figures of one policy; of any policy without it.", show_default=False)
    ] = None,
    about: Annotated[
        About, typer.Option(help="What is right or wrong: blocks, or all calls (blocks and reviews).")
    ] = "blocks",
    days: Annotated[
        int, typer.Option(min=1, max=366, help="Days before --until, whole ones in UTC.")
    ] = _DAYS,
    until: Annotated[
        str | None, typer.Option(help="The day after the last, as 2026-05-31; tomorrow without it.")
    ] = None,
    as_json: shared.AsJson = False,
) -> None:
    """Say how much violates, how much of it is called, and how often calls are right.

    From decisions that were drawn from all traffic, far below the thresholds too, and what people said of
    them, each counted by how many decisions it stands for; with 95 % intervals.

    Example:

        stallwart audit estimates --by week --policy weapons
    """
    last = _day(until) if until else wall_ms() // _DAY_MS + 1
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.audit_sample import read_sample
        from stallwart.store.database import reading

        with reading(engine) as connection:
            sample = read_sample(connection, last - days, last)
    told = figures(sample, by, policy, ABOUT[about])
    if as_json:
        shared.print_json(
            {
                "from": date_of(last - days),
                "until": date_of(last),
                "about": about,
                "uncounted_draws": sample.uncounted,
                "figures": plain(told),
            }
        )
        return
    _print(told, f"{date_of(last - days)} to {date_of(last - 1)}, {about}")
    if sample.uncounted:
        shared.say(f"{sample.uncounted:,} draws of before decisions were counted are left out")


def plan(
    anew: Annotated[
        bool, typer.Option("--anew", help="Make another one from the traffic of now, bands too.")
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Show with which probability decisions are drawn for the audit, and how many that will be a day.

    Example:

        stallwart audit plan
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.store.audit_planner import AuditPlanner

        told = AuditPlanner(engine, settings, wall_ms).look(anew=anew)
    if as_json:
        shared.print_json(
            {
                "version": told.plan.version,
                "made_at": moment(told.plan.made_at_ms),
                "why": told.plan.why,
                "bundle": told.plan.bundle or None,
                "expected_a_day": told.expected,
                "plan": asdict(told.plan.plan),
            }
        )
        return
    _print_plan(told)


def _day(text: str) -> int:
    try:
        at = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"--until: {text!r} is no day; write it as 2026-05-31") from None
    return int(at.timestamp() * 1000) // _DAY_MS


def _print(told: list[Figures], title: str) -> None:
    right: Any = {"justify": "right"}
    table = Table(
        "", Column("decisions", **right), Column("verdicts", **right), Column("waiting", **right),
        "prevalence", "recall", "precision", title=title, title_justify="left",
    )  # fmt: skip
    for one in told:
        table.add_row(
            one.name[:16],
            f"{one.audit.population:,}",
            f"{one.audit.prevalence.verdicts:,}",
            f"{one.waiting:,}",
            *map(shown, (one.audit.prevalence, one.audit.recall, one.audit.precision)),
        )
    console = shared.console()
    console.print(table if told else "Nothing was decided in this time.")
    for one in told:
        for note in one.notes:
            console.print(f"{one.name[:16]}: {note}" if len(told) > 1 else note)


def shown(estimate: "Estimate") -> str:
    """A figure with its interval, or its interval alone, as people read it."""
    if not estimate.verdicts:
        return "not known yet"
    bounds = f"{percent(estimate.lower)} to {percent(estimate.upper)}"
    return bounds if estimate.value is None else f"{percent(estimate.value)} ({bounds})"


def percent(share: float) -> str:
    """A share of 1 with as many digits as tell small ones apart."""
    return f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.1f} %"


def _print_plan(told: "Look") -> None:
    now = told.plan
    table = Table("decisions", "score", Column("probability", justify="right"))
    for action, chances in now.plan.chances.items():
        edges = [0.0, *now.plan.edges[action]]
        for edge, chance in zip(edges, chances, strict=True):
            table.add_row(action.value, f"from {edge:.3g}", f"{chance:.4g}")
    table.add_row("review", "none", f"{now.plan.unscored:.4g}")
    for policy, least in now.plan.blocks.items():
        table.add_row(f"block by {policy}", "any", f"at least {least:.3g}")
    table.add_row("block by others", "any", f"at least {now.plan.new_blocks:.3g}")
    console = shared.console()
    console.print(f"plan {now.version} of {moment(now.made_at_ms)}: {now.why}")
    console.print(table)
    expected = "not known yet" if told.expected is None else f"about {told.expected:,.0f}"
    console.print(f"drawn a day: {expected}")

"""`stallwart rollout`: take a challenger to all traffic on evidence, or back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms

if TYPE_CHECKING:
    from stallwart.core.rollout import Rollout
    from stallwart.serving.rollouts.operate import Act

app = typer.Typer(
    name="rollout",
    help="Take a challenger from shadow over canary and A/B to all traffic on evidence, or back.",
    no_args_is_help=True,
)

Version = Annotated[
    int | None,
    typer.Option(help="Version that you looked at; refused where somebody has moved it since.", min=1),
]
_STALE_MS = 30_000
_SECONDS = 2.0
_COLOURS = {"roll back": "red", "hold": "yellow", "advance": "green"}


@app.command()
def plan(
    file: Annotated[
        Path | None, typer.Argument(help="Plan to check; the defaults are printed without one.")
    ] = None,
) -> None:
    """Print how a rollout goes, as the file that changes it: steps, guards, audit and question.

    Example:
        stallwart rollout plan > plan.toml
    """
    from stallwart.rollout.plan import plan_text, read_plan

    print(plan_text(read_plan(file)), end="")  # noqa: T201


@app.command()
def start(
    challenger: Annotated[
        str, typer.Argument(help="Digest of a registered bundle, or how it begins.", show_default=False)
    ],
    why: shared.Why,
    plan: Annotated[
        Path | None, typer.Option(help="TOML file with what differs from the default plan.")
    ] = None,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Start a rollout; every running service follows within seconds.

    Example:
        stallwart rollout start 8afaaf04a650 --why "trained to August"
    """
    from stallwart.rollout.plan import read_plan
    from stallwart.serving.rollouts.operate import start_rollout

    by, steps = shared.operator(who), read_plan(plan)
    with ready_database(shared.read_settings()) as engine:
        _told(start_rollout(engine, challenger, steps, by, why, wall_ms()), as_json)


@app.command()
def status(
    rollout_id: Annotated[
        str | None, typer.Argument(help="Which one; the running or else the last one if not given.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also guards of one policy that have nothing to say.")
    ] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Show the arms, every guard against its limit, and what will happen next.

    Example:
        stallwart rollout status --watch
    """
    from stallwart.serving.rollouts.operate import status as read

    with ready_database(shared.read_settings()) as engine:
        if as_json:
            shared.print_json(read(engine, rollout_id))
            return
        if not watch:
            shared.console().print(_shown(read(engine, rollout_id), every))
            return
        with Live(auto_refresh=False) as live:
            while True:
                live.update(_shown(read(engine, rollout_id), every), refresh=True)
                time.sleep(_SECONDS)


@app.command()
def advance(
    why: shared.Why, who: shared.Who = None, version: Version = None, as_json: shared.AsJson = False
) -> None:
    """Take it to its next step now, whatever that lacks; guards go on watching.

    Example:
        stallwart rollout advance --why "little traffic at night"
    """
    _act("advance", who, why, version, as_json)


@app.command()
def hold(
    why: shared.Why,
    off: Annotated[bool, typer.Option("--off", help="Let it move on by itself again.")] = False,
    who: shared.Who = None,
    version: Version = None,
    as_json: shared.AsJson = False,
) -> None:
    """Stop it from moving on by itself; guards still roll it back.

    Example:
        stallwart rollout hold --why "a campaign starts"
    """
    _act("resume" if off else "hold", who, why, version, as_json)


@app.command()
def abort(
    why: shared.Why, who: shared.Who = None, version: Version = None, as_json: shared.AsJson = False
) -> None:
    """Take it back: the champion decides about everything again.

    Example:
        stallwart rollout abort --why "sellers complain"
    """
    _act("abort", who, why, version, as_json)


@app.command()
def promote(
    why: shared.Why,
    force: Annotated[
        bool, typer.Option("--force", help="Also without the answer that the plan asks for.")
    ] = False,
    who: shared.Who = None,
    version: Version = None,
    as_json: shared.AsJson = False,
) -> None:
    """Make the challenger the champion.

    Example:
        stallwart rollout promote --why "shown to be better"
    """
    _act("promote", who, why, version, as_json, force=force)


@app.command()
def history(as_json: shared.AsJson = False) -> None:
    """List the rollouts there were, the newest first, and how each ended.

    Example:
        stallwart rollout history
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import reading
        from stallwart.store.rollouts import history as read

        with reading(engine) as connection:
            rows = read(connection)
    if as_json:
        shared.print_json([_plain(row) for row in rows])
        return
    names = [Column(name, no_wrap=True) for name in ("Rollout", "Challenger", "Stage", "Since")]
    table = Table(*names, Column("Why", ratio=1), box=None)
    for row in rows:
        table.add_row(
            row.rollout_id,
            row.challenger[:12],
            _stage(row.stage.value),
            shortly(moment(row.step_since_ms)),
            row.reason,
        )
    shared.console().print(table if rows else "there was no rollout yet; stallwart rollout start begins one")


def _act(
    act: "Act", who: str | None, why: str, version: int | None, as_json: bool, *, force: bool = False
) -> None:
    from stallwart.serving.rollouts.operate import act_on_rollout

    by = shared.operator(who)
    with ready_database(shared.read_settings()) as engine:
        _told(act_on_rollout(engine, act, by, why, wall_ms(), version=version, force=force), as_json)


def _told(rollout: "Rollout", as_json: bool) -> None:
    if as_json:
        shared.print_json(_plain(rollout))
        return
    print(rollout.rollout_id)  # noqa: T201
    held = ", held" if rollout.held else ""
    shared.say(f"{_stage(rollout.stage.value)}{held}; next: stallwart rollout status --watch")


def _plain(rollout: "Rollout") -> dict[str, Any]:
    return rollout.model_dump(mode="json", exclude={"routing_key"})


def _stage(stage: str) -> str:
    return {"ab": "A/B", "rolled_back": "rolled back"}.get(stage, stage)


def _shown(told: dict[str, Any], every: bool) -> Group:
    rollout, look = told["rollout"], told["look"]
    held = ", held" if rollout["held"] else ""
    head = Text.assemble(
        (f"{rollout['rollout_id']}: {_stage(rollout['stage'])}{held}", "bold"),
        f", {100 * rollout['share']:g} % of units decided by {rollout['challenger'][:12]},"
        f" the rest by {rollout['champion'][:12]}",
    )
    if rollout["ended_at_ms"] is not None:
        head = Text.assemble((f"{rollout['rollout_id']}: {_stage(rollout['stage'])}", "bold"))
    parts: list[Any] = [head, Text(rollout["reason"])]
    if look is None:
        return Group(*parts, Text("no service has looked at it yet: is one running?", "yellow"))
    if rollout["ended_at_ms"] is None:
        parts.append(Text.assemble("Next: ", (look["next"], "bold")))
        if wall_ms() - look["at_ms"] > _STALE_MS:
            parts.append(
                Text(f"The last look was at {moment(look['at_ms'])}: is a service running?", "yellow")
            )
    return Group(*parts, Text(), _arms(look), Text(), _guards(look, every))


def _arms(look: dict[str, Any]) -> Table:
    arms = look["arms"]
    table = Table("", "Champion", "Challenger", "Difference", box=None)
    both = (arms["champion"], arms["challenger"])
    table.add_row("exposures", *(f"{arm['exposures']:,}" for arm in both), "")
    table.add_row("verdicts on blocks", *(f"{arm['verdicts_on_blocks']:,}" for arm in both), "")
    for name in ("precision", "coverage"):
        difference = look["comparison"][name]
        table.add_row(
            name,
            *(_share(arm[name]) for arm in both),
            _interval(difference, 100, " points") + f", {difference['answer']}",
        )
    for name in ("p50", "p99"):
        table.add_row(f"latency {name}", *(_ms(arm["latency_ms"][name]) for arm in both), "")
    return table


def _share(estimate: dict[str, Any]) -> str:
    return _interval(estimate, 100, " %")


def _interval(one: dict[str, Any], factor: float, unit: str) -> str:
    if one["value"] is None:
        return "not known yet"
    ends = [f"{factor * one[end]:.1f}" for end in ("lower", "upper")]
    return f"{factor * one['value']:.1f}{unit} ({ends[0]} to {ends[1]})"


def _ms(ends: list[float | None]) -> str:
    lower, upper = ends
    if not lower and upper is None:
        return "not known yet"
    return f"{lower or 0:.0f} ms or more" if upper is None else f"{lower or 0:.0f} to {upper:.0f} ms"


def _guards(look: dict[str, Any], every: bool) -> Table:
    table = Table(
        "Guard", "Says", Column("Evidence", justify="right"), Column("What it sees", ratio=1), box=None
    )
    for guard in sorted(look["guards"], key=lambda one: list(_COLOURS).index(one["says"])):
        quiet = guard["policy"] is not None and guard["says"] == "advance"
        if quiet and not every:
            continue
        name = guard["name"].replace("_", " ") + (f", {guard['policy']}" if guard["policy"] else "")
        share = guard["evidence"] / guard["evidence_limit"] if guard["evidence_limit"] else 0.0
        table.add_row(
            name,
            Text(guard["says"], _COLOURS[guard["says"]]),
            f"{max(0.0, share):.0%} of its limit",
            guard["words"],
        )
    return table

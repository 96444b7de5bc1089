"""`stallwart rights`: which policy may act alone, and how it loses and earns that."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from stallwart.cli import shared
from stallwart.cli.database import moment, ready_database, shortly, wall_ms
from stallwart.core.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.store.rights import Right

app = typer.Typer(
    name="rights",
    help="Which policy may act alone: proven offline or earned by verdicts, and withdrawn when it falls.",
    no_args_is_help=True,
)

Policy = Annotated[str, typer.Argument(help="Id of the policy.", show_default=False)]
OfBundle = Annotated[
    str | None,
    typer.Option("--bundle", help="Beginning of a bundle's digest; the champion if not given."),
]


@app.command("list")
def list_(bundle: OfBundle = None, as_json: shared.AsJson = False) -> None:
    """Show how each policy stands with its right, and what the watcher last saw.

    Example:
        stallwart rights list
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store.database import reading
        from stallwart.store.rights import read_watched

        rights = _rights(engine, bundle)
        with reading(engine) as connection:
            watched = read_watched(connection, rights[0].bundle) if rights else {}
    if as_json:
        shared.print_json([{**_told(one), "watched": watched.get(one.policy)} for one in rights])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("policy", "state", "from score", "wanted", "since", "verdicts", "evidence"):
        table.add_column(heading)
    for one in rights:
        table.add_row(
            one.policy, one.state.value, "-" if one.threshold is None else f"{one.threshold:.3f}",
            f"{one.target:.2f}", shortly(moment(one.since_ms)), *_seen(watched.get(one.policy)),
        )  # fmt: skip
    shared.console().print(table)


@app.command()
def withdraw(
    policy: Policy,
    why: shared.Why,
    bundle: OfBundle = None,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Take a policy's right to act alone away, or stop an attempt to earn it.

    What it blocked goes to review; running services follow within seconds.

    Example:
        stallwart rights withdraw tobacco --why "vapes are called wrongly since Monday"
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.store import rights as store
        from stallwart.store.database import writing

        right = _one(engine, bundle, policy)
        with writing(engine) as connection:
            after = store.withdraw(connection, right, who=shared.operator(who), why=why, now_ms=wall_ms())
    acted = "no longer acts alone" if right.state.acts else "no longer earns a right; it did not act alone"
    _print(after, f"{policy} {acted}", as_json)


@app.command()
def earn(
    policy: Policy,
    why: shared.Why,
    bundle: OfBundle = None,
    score: Annotated[
        list[float] | None,
        typer.Option(
            "--score", help="A score to try, up to four; from the nearest to a proof on if not given."
        ),
    ] = None,
    who: shared.Who = None,
    as_json: shared.AsJson = False,
) -> None:
    """Begin an attempt to earn the right to act alone by verdicts on drawn would-be blocks.

    STALLWART_RIGHTS_SHARE of what it would block is drawn for the audit. The watcher grants the right as soon
    as the verdicts prove it; each attempt of a bundle's policy may err half as often as the one before.

    Example:
        stallwart rights earn tobacco --why "after the spring clean-up" --score 0.9 --score 0.97
    """
    with ready_database(shared.read_settings()) as engine:
        from stallwart.estimate.earning import thresholds_to_try
        from stallwart.store import rights as store
        from stallwart.store.database import writing

        right = _one(engine, bundle, policy)
        tried = score or thresholds_to_try(right.offered)
        with writing(engine) as connection:
            after = store.start_earning(
                connection, right, tried, who=shared.operator(who), why=why, now_ms=wall_ms()
            )
    tries = ", ".join(f"{one:.3f}" for one in after.tried)
    _print(after, f"{policy} earns its right: attempt {after.attempt}, from {tries}", as_json)


def _rights(engine: "Engine", start: str | None) -> "list[Right]":
    """The rights of a bundle, written down now if nobody did."""
    from stallwart.monitoring.certificates import adopted
    from stallwart.store.database import reading
    from stallwart.store.registry import champion, find_bundle, read_bundle_row

    with reading(engine) as connection:
        digest = champion(connection)
        if start is None and digest is None:
            raise ConfigError(
                "no bundle is the champion yet; start stallwart serve with one, or give --bundle"
            )
        row = find_bundle(connection, start) if start else read_bundle_row(connection, digest or "")
    return adopted(engine, row.digest, row.place, wall_ms)


def _one(engine: "Engine", start: str | None, policy: str) -> "Right":
    rights = {one.policy: one for one in _rights(engine, start)}
    if policy not in rights:
        raise ConfigError(f"no policy {policy!r}; there are: {', '.join(rights) or 'none'}")
    return rights[policy]


def _seen(watched: dict[str, Any] | None) -> tuple[str, str]:
    if watched is None:
        return "-", "-"
    counts = f"{watched['right']} of {watched['verdicts']} right"
    if watched["kind"] == "acting":
        return counts, f"of a fall: {watched['statistic']:.1f} of {watched['limit']:.1f}"
    best = max(watched["thresholds"], key=lambda one: one["evidence"] / one["needed"])
    return counts, f"for it: {best['evidence']:.1f} of {best['needed']:.1f}"


def _told(right: "Right") -> dict[str, Any]:
    return {name: getattr(right, name) for name in right.__slots__}


def _print(right: "Right", words: str, as_json: bool) -> None:
    if as_json:
        shared.print_json(_told(right))
    else:
        shared.say(words)

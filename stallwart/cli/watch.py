"""`stallwart watch`: figures, drift, novelty and alerts, in a loop beside the service."""

import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms
from stallwart.core.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stallwart.monitoring.watcher import StepState


def watch(
    once: Annotated[bool, typer.Option("--once", help="One round, then stop; for cron.")] = False,
    step: Annotated[
        list[str] | None, typer.Option(help="Only this step; repeat it for several.", show_default=False)
    ] = None,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port that Prometheus asks; 0 is none.")
    ] = 0,
    metrics_host: Annotated[
        str, typer.Option(help="Address of that port; it asks for no key.")
    ] = "127.0.0.1",
    as_json: shared.AsJson = False,
) -> None:
    """Watch what is decided and said: figures by the hour, drift, novelty, certificates, alerts.

    Runs beside `stallwart serve`, on the same database, every STALLWART_WATCH_SECONDS. Of several watchers
    one works, and another takes over within STALLWART_WATCH_LEASE_SECONDS of its death. Ctrl-C or SIGTERM
    stops it between two transactions; nothing is lost, and nothing is counted twice. With --once it exits
    with 1 where a step failed.

    Example:

        stallwart watch

        stallwart watch --metrics-port 9108

        stallwart watch --once --json
    """
    settings = shared.read_settings()
    with ready_database(settings) as engine:
        from stallwart.monitoring.exposition import Exposition
        from stallwart.monitoring.step import Around, make_steps
        from stallwart.monitoring.watcher import Watcher

        told: dict[str, StepState] = {}
        exposition = Exposition()

        def after(states: "Mapping[str, StepState]") -> None:
            told.update(states)
            exposition.update(engine, states, wall_ms())

        watcher = Watcher(
            Around(engine, settings, wall_ms), lambda around: make_steps(around, step or ()), after
        )
        if metrics_port:
            exposition.serve(metrics_host, metrics_port)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watcher.stop())
        if not once:
            shared.say(f"watching every {settings.watch_seconds:g} s; Ctrl-C stops it")
            watcher.run()
            return
        worked = watcher.once()
        watcher.give_up()
    if not worked:
        raise GateError("another watcher is at work; its lease lasts STALLWART_WATCH_LEASE_SECONDS at most")
    _report(told, as_json)


def _report(told: "Mapping[str, StepState]", as_json: bool) -> None:
    if as_json:
        shared.print_json(
            {
                name: {"took_ms": one.took_ms, "error": one.error, "did": one.told}
                for name, one in told.items()
            }
        )
    for name, one in told.items():
        did = one.error or ", ".join(f"{what} {number:g}" for what, number in one.told.items()) or "nothing"
        shared.say(f"{name}: {did}")
    if failed := [name for name, one in told.items() if one.error]:
        raise GateError(f"failed: {', '.join(failed)}")

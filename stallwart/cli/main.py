"""`stallwart`: the table of commands, and the one place that turns an error into an exit code."""

import importlib
import sys

import typer

from stallwart.core.errors import ConfigError, StallwartError

_INTERRUPTED = 130
COMMANDS = (
    "demo",
    "sample",
    "check",
    "train",
    "evaluate",
    "compare",
    "score",
    "explain",
    "tune",
    "serve",
    "send",
    "read",
    "replay",
    "watch",
    "review",
    "backtest",
    "retrain",
)
GROUPS = (
    "db",
    "keys",
    "webhooks",
    "bundles",
    "rollout",
    "audit",
    "labels",
    "users",
    "known",
    "statements",
    "rights",
    "policy",
    "erase",
)


def build(only: str | None = None) -> typer.Typer:
    """The command line, with all commands or with one: what the others import takes seconds to load.

    Each command is the function of its name in the module of its name; a group is its module's `app`.
    """
    app = typer.Typer(
        name="stallwart", add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
    )
    app.callback()(_about)
    for name in COMMANDS:
        if only in (None, name):
            app.command()(getattr(importlib.import_module(f"stallwart.cli.{name}"), name))
    for name in GROUPS:
        if only in (None, name):
            app.add_typer(importlib.import_module(f"stallwart.cli.{name}").app)
    return app


def _about() -> None:
    """Learns a marketplace's rulebook from past enforcement, and decides what may be published."""


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit code, never a traceback."""
    asked = sys.argv[1] if len(sys.argv) > 1 else None
    app = build(asked if asked in (*COMMANDS, *GROUPS) else None)
    try:
        # None, or what typer makes of --help and of Ctrl-C
        code = app(standalone_mode=False, prog_name="stallwart")
    except StallwartError as err:
        print(f"error[{err.code}]: {err}", file=sys.stderr)  # noqa: T201
        sys.exit(err.exit_code)
    except typer.TyperException as err:  # an unknown option, a missing argument, a value of a wrong type
        said = " ".join(err.format_message().split()).rstrip(".")
        stop = "" if said.endswith(("?", "!")) else "."
        asked_of = getattr(getattr(err, "ctx", None), "command_path", "stallwart")
        print(f"error[{ConfigError.code}]: {said}{stop} See: {asked_of} --help", file=sys.stderr)  # noqa: T201
        sys.exit(ConfigError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)  # noqa: T201
    sys.exit(code)

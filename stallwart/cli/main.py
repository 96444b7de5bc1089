"""`stallwart`: the table of commands, and the one place that turns an error into an exit code."""

import sys

import typer

from stallwart.cli.evaluate import evaluate
from stallwart.cli.explain import explain
from stallwart.cli.score import score
from stallwart.cli.train import train
from stallwart.cli.tune import tune
from stallwart.core.errors import StallwartError

app = typer.Typer(
    name="stallwart",
    help="Learns a marketplace's rulebook from past enforcement and says, per policy, what may be automated.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


for command in (train, evaluate, score, explain, tune):
    app.command()(command)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit code, never a traceback."""
    try:
        sys.exit(app(standalone_mode=False))
    except StallwartError as err:
        print(f"error[{err.code}]: {err}", file=sys.stderr)  # noqa: T201
        sys.exit(err.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("stopped; the same command goes on where it stopped", file=sys.stderr)  # noqa: T201
        sys.exit(130)

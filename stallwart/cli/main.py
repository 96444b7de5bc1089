"""`stallwart`: the table of commands, and the one place that turns an error into an exit code."""

import sys

import typer

from stallwart.cli import db, keys, webhooks
from stallwart.cli.check import check
from stallwart.cli.compare import compare
from stallwart.cli.evaluate import evaluate
from stallwart.cli.explain import explain
from stallwart.cli.sample import sample
from stallwart.cli.score import score
from stallwart.cli.serve import serve
from stallwart.cli.train import train
from stallwart.cli.tune import tune
from stallwart.core.errors import ConfigError, StallwartError

_INTERRUPTED = 130

app = typer.Typer(
    name="stallwart",
    help="Learns a marketplace's rulebook from past enforcement and says, per policy, what may be automated.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


for command in (sample, check, train, evaluate, compare, score, explain, tune, serve):
    app.command()(command)
for group in (db.app, keys.app, webhooks.app):
    app.add_typer(group)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit code, never a traceback."""
    try:
        code = app(standalone_mode=False)  # None, or what typer makes of --help and of Ctrl-C
    except StallwartError as err:
        print(f"error[{err.code}]: {err}", file=sys.stderr)  # noqa: T201
        sys.exit(err.exit_code)
    except typer.TyperException as err:  # an unknown option, a missing argument, a value of a wrong type
        said = " ".join(err.format_message().split()).rstrip(".")
        print(f"error[{ConfigError.code}]: {said}. See: stallwart --help", file=sys.stderr)  # noqa: T201
        sys.exit(ConfigError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        print("stopped; the same command goes on where it stopped", file=sys.stderr)  # noqa: T201
    sys.exit(code)

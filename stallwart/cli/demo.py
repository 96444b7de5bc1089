"""`stallwart demo`: the whole of it on a generated market, up to the page where people decide."""

import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms
from stallwart.core.errors import ConflictError, StallwartError
from stallwart.core.settings import Settings

_NAME = "demo"
_START_SECONDS = 180.0
# A market of its size would wait weeks for what is to be seen here
_DRAWN = 0.25  # of all decisions, for the audit
_MORE_READ = {"STALLWART_AUDIT_BUDGET": "6000", "STALLWART_REVIEW_SECOND_SHARE": "0.4"}


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder to work in; what is there of an earlier run is kept.")
    ],
    listings: Annotated[int, typer.Option(min=60, help="Size of the generated market.")] = 1_200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 7,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the review pages; 0 takes a free one.")
    ] = 0,
    leave: Annotated[
        bool, typer.Option("--leave", help="End once the page is there, instead of waiting for Ctrl-C.")
    ] = False,
) -> None:
    """Show the main job: a market, a bundle and its report, the service, decisions, and the page of review.

    Nothing in it is real. Each step is a command that is shown as it is run; the service, the watcher and
    the review pages run until Ctrl-C or SIGTERM. The first verdicts are a script's, by the labels of what was
    generated.

    Example: stallwart demo demo
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended then too
    market, bundle = folder / "market", folder / "bundle"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["STALLWART_DATA_DIR"] = str((folder / "data").resolve())
    os.environ.update(_MORE_READ)
    truth = ["--labels", market / "labels.csv"]
    if not (market / "policies.toml").exists():
        _run("sample", market, "--listings", listings, "--seed", seed, "--shares-as-generated")
    files = sorted(market.glob("listings-*.parquet"))
    if not bundle.exists():
        _run("check", *files, *truth, "--policies", market / "policies.toml")
        _run("train", *files, *truth, "--policies", market / "policies.toml", "--out", bundle)
        _run("evaluate", bundle, *files, *truth, "--out", folder / "report")
    _draw_more(shared.read_settings())
    service = f"http://127.0.0.1:{(at := _free_port())}"
    with _running(folder / "serve.log", "serve", bundle, "--port", at, "--insecure-local") as serving:
        _wait(serving, f"{service}/readyz", folder / "serve.log")
        # Those that it learned from too, so that what is like a new one can be shown
        _run("send", service, *files)
        settings = shared.read_settings()
        _first_verdicts(settings, market, folder / "review.log")
        password = _account(settings)
        site = f"http://127.0.0.1:{(at := port or _free_port())}"
        with (
            _running(folder / "watch.log", "watch"),
            _running(folder / "review.log", "review", "--port", at) as reviewing,
        ):
            _wait(reviewing, f"{site}/sign-in", folder / "review.log")
            _wait_for_tasks(settings)
            print(f"\nreport   {(folder / 'report' / 'report.html').resolve()}\nservice  {service}")  # noqa: T201
            print(f"rollout  {service}/rollout")  # noqa: T201
            print(f"review   {site}   sign in as {_NAME} with {password}")  # noqa: T201
            print(_to_go_on(settings))  # noqa: T201
            if not leave:
                shared.say("Ctrl-C ends it")
                _until_stopped(serving, reviewing)


def _to_go_on(settings: Settings) -> str:
    """What another terminal needs for commands on what is here."""
    data, programs = shlex.quote(str(settings.data_dir)), shlex.quote(str(Path(sys.executable).parent))
    return (
        "to give commands of your own, in another terminal:\n"
        f"  export STALLWART_DATA_DIR={data} PATH={programs}:$PATH\n"
        "  stallwart rights list"
    )


def _program(args: Sequence[object]) -> list[str]:
    return [sys.executable, "-c", "from stallwart.cli.main import main; main()", *map(str, args)]


def _run(*args: object) -> None:
    """One command, shown and waited for."""
    shared.say(f"\n$ stallwart {_shown(args)}")
    code = subprocess.run(_program(args), check=False).returncode
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if code:
        raise StallwartError(f"stallwart {args[0]} ended with {code}; what it said is above")


def _shown(args: Sequence[object]) -> str:
    """The command as one would type it, but for the files between the first and the last."""
    words = [shlex.quote(str(arg)) for arg in args]
    months = [word for word in words if word.endswith(".parquet")]
    if len(months) > 2:
        at = words.index(months[0])
        words[at : at + len(months)] = [months[0], "...", months[-1]]
    return " ".join(words)


@contextlib.contextmanager
def _running(log: Path, *args: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A program at work while the block lasts, with what it says in a file."""
    shared.say(f"\n$ stallwart {_shown(args)}    # says what it does in {log}")
    with log.open("ab") as to:
        # In a session of its own: Ctrl-C reaches it from here, once
        process = subprocess.Popen(_program(args), stdout=to, stderr=to, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise StallwartError(f"{url} does not answer; {log} says why")


def _wait_for_tasks(settings: Settings) -> None:
    """Until the review process has made tasks of what was decided: it does so every second."""
    from stallwart.store.database import reading
    from stallwart.store.tasks import counts

    with ready_database(settings) as engine:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            with reading(engine) as connection:
                if counts(connection, wall_ms()):
                    return
            time.sleep(0.2)
    raise StallwartError("no task was made of what was decided; the logs in its folder may say why")


def _draw_more(settings: Settings) -> None:
    """Have a share of all decisions drawn for the audit from the first one on, whatever their score."""
    from dataclasses import replace

    from stallwart.store.audit_planner import AuditPlanner
    from stallwart.store.audit_plans import add_plan
    from stallwart.store.database import writing

    with ready_database(settings) as engine:
        first = AuditPlanner(engine, settings, wall_ms).first()
        if first.version > 1:
            return
        chances = {action: tuple(_DRAWN for _ in bands) for action, bands in first.plan.chances.items()}
        plan = replace(first.plan, chances=chances, unscored=_DRAWN, new_blocks=_DRAWN)
        why = "a demonstration has more read"
        with writing(engine) as connection:
            add_plan(connection, plan, after=first, bundle="", why=why, now_ms=wall_ms())


def _first_verdicts(settings: Settings, market: Path, log: Path) -> None:
    """Samples and some of the queue read by a script, and the statement of reasons of a block.

    What follows from a verdict waits until it cannot be undone any more: a script's need not wait.
    """
    from sqlalchemy import select

    from stallwart.cli.scripted import read_by_script
    from stallwart.store.database import reading
    from stallwart.store.tables import decisions

    os.environ["STALLWART_REVIEW_UNDO_MINUTES"] = "0"
    with ready_database(settings) as engine:
        with _running(log, "review", "--port", 0):
            _wait_for_tasks(settings)
            answered = read_by_script(engine, market)
        del os.environ["STALLWART_REVIEW_UNDO_MINUTES"]
        blocked = select(decisions.c.decision_id).where(decisions.c.action == "block")
        with reading(engine) as connection:
            block = connection.execute(blocked.order_by(decisions.c.seq).limit(1)).scalar()
    shared.say(f"\n{answered:,} tasks were answered by a script, by the labels of the generated market:")
    shared.say(
        "what the pages say of verdicts and readers is of that script, not of people, and most of these"
    )
    shared.say("listings are ones that the model learned from: for how good it is on new ones see the report")
    if block is not None:
        _run("statements", "show", block)


def _account(settings: Settings) -> str:
    """A new password of the demonstration's account, which may do everything."""
    from stallwart.store.passwords import Passwords
    from stallwart.store.people import Role, add_user, set_password

    password = "-".join(secrets.token_hex(3) for _ in range(3))
    why = "a demonstration"
    with ready_database(settings) as engine:
        passwords, now_ms = Passwords(), wall_ms()
        try:
            add_user(engine, passwords, _NAME, password, Role.ADMIN, who=_NAME, why=why, now_ms=now_ms)
        except ConflictError:
            set_password(engine, passwords, _NAME, password, who=_NAME, why=why, now_ms=now_ms)
    return password


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _until_stopped(*processes: "subprocess.Popen[bytes]") -> None:
    while all(process.poll() is None for process in processes):
        time.sleep(0.5)
    raise StallwartError("a part of it ended; see the logs in its folder")

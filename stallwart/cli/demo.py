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


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder to work in; what is there of an earlier run is kept.")
    ],
    listings: Annotated[int, typer.Option(min=60, help="Size of the generated market.")] = 600,
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
    the review pages run until Ctrl-C.

    Example: stallwart demo demo
    """
    market, bundle = folder / "market", folder / "bundle"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["STALLWART_DATA_DIR"] = str(folder / "data")
    truth = ["--labels", market / "labels.csv"]
    if not (market / "policies.toml").exists():
        _run("sample", market, "--listings", listings, "--seed", seed)
    files = sorted(market.glob("listings-*.parquet"))
    if not bundle.exists():
        _run("check", *files, *truth, "--policies", market / "policies.toml")
        _run("train", *files, *truth, "--policies", market / "policies.toml", "--out", bundle)
        _run("evaluate", bundle, *files, *truth, "--out", folder / "report")
    service = f"http://127.0.0.1:{(at := _free_port())}"
    with _running(folder / "serve.log", "serve", bundle, "--port", at, "--insecure-local") as serving:
        _wait(serving, f"{service}/readyz", folder / "serve.log")
        _run("send", service, *files[-6:])
        password = _account(shared.read_settings())
        site = f"http://127.0.0.1:{(at := port or _free_port())}"
        with (
            _running(folder / "watch.log", "watch"),
            _running(folder / "review.log", "review", "--port", at) as reviewing,
        ):
            _wait(reviewing, f"{site}/sign-in", folder / "review.log")
            _wait_for_tasks(shared.read_settings())
            print(f"\nreport   {(folder / 'report' / 'report.html').resolve()}\nservice  {service}")  # noqa: T201
            print(f"review   {site}   sign in as {_NAME} with {password}")  # noqa: T201
            if not leave:
                shared.say("Ctrl-C ends it")
                _until_stopped(serving, reviewing)


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

"""`stallwart read`: words in photos of what was let through -> the service, which looks again."""

import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database, wall_ms
from stallwart.cli.send import key_in
from stallwart.core.errors import StallwartError

_PAUSE_SECONDS = 2.0
_DEADLINE_MS = 30_000


def read(
    url: Annotated[str, typer.Argument(help="The service, as http://127.0.0.1:8000.", show_default=False)],
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the API key (scope score); none for a service that asks for none."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="What there is now, then stop; for cron.")] = False,
    as_json: shared.AsJson = False,
) -> None:
    """Read the words in photos of listings that were let through, and have these scored again with them.

    Runs beside `stallwart serve`, on the same database and photo store, and needs the extra `ocr`. No answer
    waits for it. Where the words call for more than `allow`, the listing gets a decision whose cause is
    `rescan`. Stopped or killed, it goes on where it was; what waited longer than STALLWART_READ_HOURS is left
    out and counted.

    Example:

        stallwart read http://127.0.0.1:8000 --key-file shop.key
    """
    from stallwart.client import Client
    from stallwart.content.photo_words import PhotoReader
    from stallwart.serving.photo_words import Around, PhotoWords
    from stallwart.serving.server import photo_store

    settings, stopped = shared.read_settings(), threading.Event()
    reader = PhotoReader(settings)
    with ready_database(settings) as engine, Client(url, key_in(key_file), _DEADLINE_MS) as client:
        words = PhotoWords(Around(engine, photo_store(settings), client, reader.read, settings, wall_ms))
        if once:
            _report(words.round(), as_json)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        while not stopped.is_set():
            try:
                if told := words.round():
                    _report(told, as_json)
            except StallwartError as err:
                shared.say(f"{err}; it goes on when that is over")
            stopped.wait(_PAUSE_SECONDS)


def _report(told: Counter[str], as_json: bool) -> None:
    from stallwart.serving.photo_words import COUNTS

    if as_json:
        shared.print_json({name: told[name] for name in COUNTS})
    else:
        shared.say(", ".join(f"{name} {told[name]:,}" for name in COUNTS))

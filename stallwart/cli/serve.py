"""`stallwart serve`: a bundle behind HTTP."""

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stallwart.cli import shared
from stallwart.cli.database import ready_database
from stallwart.core.errors import ConfigError
from stallwart.model.bundle import read_bundle

if TYPE_CHECKING:
    from stallwart.serving.gate import Gate

# How the parent tells its worker processes what to serve
_WORKER = "STALLWART_SERVE_WORKER"


def serve(
    bundle: shared.BundleFolder,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8_000,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Processes; each loads the bundle and runs STALLWART_THREADS threads."
        ),
    ] = 1,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="Ask for no API key; only on a loopback address.")
    ] = False,
) -> None:
    """Serve a bundle: one decision for each new or edited listing, stored before it is answered.

    A folder or a link that holds another bundle later is loaded without dropping a request. The first
    start makes a SQLite database in STALLWART_DATA_DIR; another is named by STALLWART_DATABASE_URL and made
    ready by `stallwart db upgrade`. Ctrl-C or SIGTERM finishes what was taken.

    Example:

        stallwart keys create shop --scope score --scope read

        stallwart serve bundles/first --port 8000
    """
    settings = shared.read_settings()
    with ready_database(settings):
        pass  # what is wrong with it is said here, once, and not by every process

    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from stallwart.core.logs import log_to_stderr
    from stallwart.serving.keys import require_loopback

    if insecure_local:
        require_loopback(host)
    read_bundle(bundle)  # the same
    log_to_stderr()
    with _listening(host, port) as listener, _several(workers):
        os.environ[_WORKER] = json.dumps({"bundle": str(bundle), "insecure_local": insecure_local})
        config = uvicorn.Config(
            "stallwart.cli.serve:worker",
            factory=True,
            workers=workers,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on where a request came from
            timeout_keep_alive=75,  # longer than the usual idle time of a load balancer
            timeout_graceful_shutdown=int(settings.shutdown_seconds) or 1,
            timeout_worker_healthcheck=60,  # a process that is still importing on a busy machine is not dead
        )
        address = listener.getsockname()
        shared.say(f"serving {bundle} on http://{address[0]}:{address[1]} with {workers} process(es)")
        server = uvicorn.Server(config)
        if workers > 1:
            Multiprocess(config, [listener]).run()
        else:
            server.run(sockets=[listener])


def worker() -> "Gate":
    """The application of one process; uvicorn calls it by name."""
    from stallwart.core.logs import log_to_stderr
    from stallwart.serving.server import create_service

    log_to_stderr()
    told = json.loads(os.environ[_WORKER])
    return create_service(
        Path(told["bundle"]), shared.read_settings(), insecure_local=bool(told["insecure_local"])
    )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as err:
        raise ConfigError(f"{host}:{port}: cannot be listened on ({err.strerror or err})") from None
    with listener:
        yield listener


@contextlib.contextmanager
def _several(workers: int) -> Iterator[None]:
    """Where several processes serve, a folder through which their figures add up."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="stallwart-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield

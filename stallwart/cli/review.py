"""`stallwart review`: the pages of people who review, behind a sign-in."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stallwart.cli import shared
from stallwart.cli.behind import behind
from stallwart.cli.database import ready_database, wall_ms
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from stallwart.pages.background import Job
    from stallwart.pages.site import Section
    from stallwart.store.passwords import Passwords

_ESTIMATES_SECONDS = 300.0
_POLICIES_SECONDS = 30.0


def review(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8_100,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS certificate, PEM; with --key.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Private key of the certificate, PEM.", show_default=False)
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option(
            help="The rulebook whose text is shown; the champion's if not given.", show_default=False
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a bundle that explains its decisions, where the registry does not know it.",
            show_default=False,
        ),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            help="Addresses of the proxies that do TLS, with commas; who asks is taken from them.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the pages of review: tasks, verdicts, people, figures.

    Works on the tables that `stallwart serve` writes, at the same STALLWART_DATABASE_URL; the service need
    not run. Off a loopback address people come over TLS only: by --certificate and --key, or through a
    proxy. Ctrl-C or SIGTERM finishes what was asked.

    Example:

        stallwart users add rita --role admin

        stallwart review --port 8100
    """
    settings = shared.read_settings()
    secure = _check_transport(host, certificate, key, proxy)
    with ready_database(settings) as database, _listening(host, port) as listener:
        import uvicorn

        from stallwart.core.logs import log_to_stderr
        from stallwart.pages.apart import Apart
        from stallwart.pages.app import Parts, create_site
        from stallwart.store.database import reading
        from stallwart.store.passwords import Passwords
        from stallwart.store.people import list_users
        from stallwart.store.ranking import ranking_of

        log_to_stderr()
        passwords = Passwords()
        sections, jobs = compose(database, settings, passwords, wall_ms, bundle, policies)
        ranking_of(settings)  # what is wrong with it is said now, and not by another process
        work = partial(behind, settings, database.url.render_as_string(hide_password=False), bundle)
        parts = Parts(database, settings, passwords, wall_ms, secure, jobs, Apart(work, wall_ms))
        config = uvicorn.Config(
            create_site(sections, parts),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=proxy is not None,
            forwarded_allow_ips=proxy,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(settings.shutdown_seconds) or 1,
        )
        with reading(database) as connection:
            if not list_users(connection):
                shared.say("there is no account yet; make the first: stallwart users add NAME --role admin")
        address = listener.getsockname()
        scheme = "https" if certificate else "http"
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        shared.say(f"review is at {scheme}://{shown}:{address[1]}/")
        uvicorn.Server(config).run(sockets=[listener])


def compose(
    database: "Engine",
    settings: Settings,
    passwords: "Passwords",
    now_ms: Callable[[], int],
    bundle: Path | None = None,
    policies_file: Path | None = None,
) -> tuple[Sequence["Section"], Sequence["Job"]]:
    """All sections in the order of the navigation, and the work behind them that they read in memory.

    What needs the database alone is in `behind`.

    Args:
        database: with the tables of this version.
        settings: of review, photos and the registry.
        passwords: hashes and verifies them.
        now_ms: milliseconds since 1970.
        bundle: folder of a bundle that the registry need not know.
        policies_file: a policy file; the champion's taxonomy if None.

    Raises:
        ConfigError: a setting or the policy file is wrong.
        BundleError: there is no bundle in the folder.
    """
    from stallwart.cli.searching import search_parts
    from stallwart.index.near import NearDuplicates
    from stallwart.index.violations import Violations
    from stallwart.monitoring.certificate_pages import CertificatesSection
    from stallwart.monitoring.novelty_page import NoveltySection
    from stallwart.monitoring.pages import WatchSection
    from stallwart.pages.background import Job
    from stallwart.review.account import AccountSection
    from stallwart.review.erasure import ErasureSection
    from stallwart.review.estimate_board import EstimateBoard
    from stallwart.review.estimates import EstimatesSection
    from stallwart.review.examples import ExamplesSection
    from stallwart.review.looking import Looking
    from stallwart.review.nearest import NearestSection
    from stallwart.review.people import PeopleSection
    from stallwart.review.pictures import PhotoSection
    from stallwart.review.policies import Policies
    from stallwart.review.quality import QualitySection
    from stallwart.review.quality_board import QualityBoard
    from stallwart.review.queue import QueueSection
    from stallwart.review.reasons import ReasonsSection
    from stallwart.review.tasks import TaskSection
    from stallwart.store.board import Board
    from stallwart.store.photos import PhotoStore

    photos = PhotoStore(settings.photo_store or str((settings.data_dir / "photos").absolute()))
    policies, looking = Policies(database, policies_file, bundle), Looking()
    searching, reading, meaning = search_parts(database, settings, photos)
    violations = Violations(database, NearDuplicates(photos, settings), meaning)
    estimates, quality = EstimateBoard(database, now_ms), QualityBoard(database, now_ms)
    sections: list[Section] = [
        TaskSection(policies, looking, settings),
        NearestSection(violations, policies, looking),
        ExamplesSection(policies, looking, settings),
        PhotoSection(photos, looking, settings),
        *searching,
        EstimatesSection(estimates),
        QualitySection(quality),
        WatchSection(),
        NoveltySection(),
        CertificatesSection(),
        QueueSection(Board(database, now_ms), policies),
        PeopleSection(passwords, policies),
        ReasonsSection(settings),
        ErasureSection(meaning.forget if meaning else str),
        AccountSection(passwords),
    ]
    jobs = [
        Job("reading the policies", _POLICIES_SECONDS, policies.refresh),
        Job("working out the estimates", _ESTIMATES_SECONDS, estimates.step),
        Job("working out label quality", _ESTIMATES_SECONDS, quality.step),
        *reading,
    ]
    return sections, jobs


def _check_transport(host: str, certificate: Path | None, key: Path | None, proxy: str | None) -> bool:
    """Whether people come over TLS.

    Raises:
        ConfigError: passwords would cross a network in the clear, or an option is without its other half.
    """
    if (certificate is None) != (key is None):
        raise ConfigError("--certificate and --key belong together; give both or neither")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: there is no such file")
    if certificate is None and proxy is None and not _is_loopback(host):
        raise ConfigError(
            f"{host}: passwords would cross the network in the clear; give --certificate and --key, or"
            " --proxy with the address of the proxy that does TLS, or listen on 127.0.0.1"
        )
    return certificate is not None or proxy is not None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as err:
        raise ConfigError(f"{host}:{port}: cannot be listened on ({err.strerror or err})") from None
    with listener:
        yield listener

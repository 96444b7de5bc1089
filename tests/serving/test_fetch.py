"""Against a real server on this machine: a name resolves to a public address, and the test's dialler, which
stands for the network, brings connections to that address here. It notes every address that was dialled."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpcore
import pytest

from stallwart.content.photo import PhotoError, PhotoTooLargeError
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.serving import pinned
from stallwart.serving.fetch import FetchError, PhotoFetcher
from stallwart.serving.pinned import PinnedTransport, SystemResolver

PHOTO = b"\xff\xd8\xff" + bytes(range(256)) * 40
IMG, CDN = "93.184.216.34", "93.184.216.35"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.headers, self.path))  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        answer: Callable[[Handler], None] = getattr(
            type(self), path.strip("/").split("/")[0], type(self).photo
        )
        with contextlib.suppress(OSError):  # who fetches may hang up
            answer(self)

    def photo(self, **headers: str) -> None:
        self.answer(200, PHOTO, **headers)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def missing(self) -> None:
        self.answer(404, b"secret page")

    def to(self) -> None:
        status, _, location = self.path.removeprefix("/to/").partition("?")
        self.answer(int(status), Location=unquote(location), Set_Cookie="a=b")

    def loop(self) -> None:
        self.answer(302, Location=f"/loop/{len(self.path)}x{self.path[5:]}")

    def empty(self) -> None:
        self.answer(200)

    def lied(self) -> None:
        self.answer(200, PHOTO, Content_Length=str(10**9))

    def short(self) -> None:
        self.answer(200, PHOTO[:100], Content_Length=str(len(PHOTO)))
        self.close_connection = True

    def packed(self) -> None:
        self.photo(Content_Encoding="gzip")

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.dripped(b"x")

    def dripheaders(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.dripped(b"x")

    def dripped(self, part: bytes) -> None:
        for _ in range(500):
            self.wfile.write(part)
            time.sleep(0.02)

    def hang(self) -> None:
        self.server.released.wait(20)  # type: ignore[attr-defined]
        self.close_connection = True

    def garbage(self) -> None:
        self.wfile.write(b"\x00\xff nonsense\r\n\r\n")
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Any] = []
        self.released = threading.Event()
        self.names: list[str | None] = []
        if tls:
            tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: Any) -> None:
        pass  # a refused certificate, a client that hung up


@contextlib.contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server(tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as started:
        yield started


class Dial(httpcore.AsyncNetworkBackend):
    """The network: every address leads to the test's server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.dialled: list[tuple[str, int]] = []
        self.dead: set[str] = set()

    async def connect_tcp(self, host: str, port: int, *args: Any) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("no route")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, *args)


class Names:
    """A resolver that counts; a name with several lists answers with the next one each time."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {"img_example_com": [[IMG]], "cdn_example_com": [[CDN]], **answers}
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        lists = self.answers.get(host.replace(".", "_"), [[]])
        return lists[min(self.asked.count(host), len(lists)) - 1]


HOSTS = "http://img.example.com, http://cdn.example.com, http://*.wild.example"


def settings(**changes: Any) -> Settings:
    return Settings(
        **{"photo_hosts": HOSTS, "max_photo_bytes": 100_000, "fetch_timeout_ms": 5_000, **changes}
    )


def fetch(
    server: Server, *urls: str, names: Names | None = None, dial: Dial | None = None, **changes: Any
) -> list[bytes | PhotoError]:
    """What each URL gave, one after another."""

    async def all_of_them() -> list[bytes | PhotoError]:
        resolver = names or Names()
        transport = PinnedTransport(resolver, dial=dial or Dial(server.server_port))
        async with PhotoFetcher(settings(**changes), resolver, transport) as fetcher:
            return [await outcome(fetcher.fetch_photo(url)) for url in urls]

    return asyncio.run(all_of_them())


async def outcome(awaited: Awaitable[bytes]) -> bytes | PhotoError:
    try:
        return await awaited
    except PhotoError as err:
        return err


def test_a_photo_of_a_listed_host_arrives_whole(server: Server) -> None:
    dial, names = Dial(server.server_port), Names()
    assert fetch(server, "http://img.example.com/a.jpg?x=1", dial=dial, names=names) == [PHOTO]
    assert dial.dialled == [(IMG, 80)]
    headers, path = server.seen[0]
    assert path == "/a.jpg?x=1"
    assert headers["Host"] == "img.example.com"
    assert headers["Accept-Encoding"] == "identity"


def test_without_listed_hosts_nothing_is_fetched_or_resolved(server: Server) -> None:
    names = Names()
    [answer] = fetch(server, "http://img.example.com/", names=names, photo_hosts="")
    assert "no hosts are listed" in str(answer)
    assert not names.asked
    assert not server.seen


@pytest.mark.parametrize(
    "url", ["http://evil.example/", "https://img.example.com/", "http://img.example.com:81/", "http://u@img.example.com/",
            "http://127.0.0.1/", "http://2130706433/", "http://wild.example/", "file:///etc/passwd", "x"]
)  # fmt: skip
def test_what_is_not_listed_is_neither_resolved_nor_asked(server: Server, url: str) -> None:
    names = Names()
    [answer] = fetch(server, url, names=names)
    assert isinstance(answer, FetchError)
    assert not names.asked
    assert not server.seen


def test_a_listed_address_is_reached_in_the_house(server: Server) -> None:
    async def one(listed: str, url: str) -> bytes | PhotoError:
        async with PhotoFetcher(settings(photo_hosts=listed)) as fetcher:  # with all its own parts
            return await outcome(fetcher.fetch_photo(url))

    here = f"http://127.0.0.1:{server.server_port}"
    assert asyncio.run(one(here, f"{here}/a.jpg")) == PHOTO
    assert isinstance(asyncio.run(one(here, f"{here}1/a.jpg")), FetchError)
    by_name = f"http://localhost:{server.server_port}"
    assert "private address" in str(asyncio.run(one(by_name, f"{by_name}/a.jpg")))


def test_a_wrong_list_is_said_at_the_start() -> None:
    with pytest.raises(ConfigError, match="photo host"):
        PhotoFetcher(settings(photo_hosts="http://169.254.169.254"))


@pytest.mark.parametrize("answers", [["10.0.0.1"], [IMG, "127.0.0.1"], ["::1", IMG], ["169.254.169.254"], []])
def test_a_name_with_a_refused_address_is_not_connected_to(server: Server, answers: list[str]) -> None:
    dial = Dial(server.server_port)
    [answer] = fetch(server, "http://img.example.com/", names=Names(img_example_com=[answers]), dial=dial)
    assert isinstance(answer, FetchError)
    assert not dial.dialled


def test_a_name_that_turns_private_after_the_check_gains_nothing(server: Server) -> None:
    dial, names = Dial(server.server_port), Names(img_example_com=[[IMG], ["127.0.0.1"]])
    paths = ["a", "missing", "a"]
    first, _, last = fetch(
        server, *(f"http://img.example.com/{path}" for path in paths), names=names, dial=dial
    )
    assert first == PHOTO
    assert "private" in str(last)  # a connection whose body was not read is not kept, and the name rebound
    assert {host for host, _ in dial.dialled} == {IMG}
    assert len(names.asked) == len(dial.dialled) + 1  # once for each connection


def test_another_address_is_tried_where_one_is_dead(server: Server) -> None:
    dial = Dial(server.server_port)
    dial.dead = {IMG}
    names = Names(img_example_com=[[IMG, CDN]])
    assert fetch(server, "http://img.example.com/", names=names, dial=dial) == [PHOTO]
    dial.dead = {IMG, CDN}
    [answer] = fetch(server, "http://img.example.com/", names=names, dial=dial)
    assert "connection failed" in str(answer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["/a.jpg", "http://cdn.example.com/b.jpg", "//cdn.example.com/c.jpg", "?x"]
)
def test_redirects_to_listed_hosts_are_followed(server: Server, status: int, location: str) -> None:
    [answer] = fetch(server, f"http://img.example.com/to/{status}?{location}", fetch_redirects=1)
    if location == "?x":  # relative to itself: redirects to nowhere next
        assert isinstance(answer, FetchError)
    else:
        assert answer == PHOTO
        headers, _ = server.seen[-1]
        assert headers["Host"] == ("cdn.example.com" if "cdn" in location else "img.example.com")
        assert not {"Cookie", "Authorization", "Referer"} & set(headers)


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1/", "http://[::1]/", "http://0x7f.1/",
                 "https://img.example.com/", "http://evil.example/", "file:///etc/passwd", "http://a@img.example.com/",
                 "http://img.example.com:8080/", "//127.1/", "http://[bad/", "", "/a%09b", "http://dark.wild.example/"]
)  # fmt: skip
def test_redirects_to_anything_else_are_refused(server: Server, location: str) -> None:
    dial, names = Dial(server.server_port), Names(dark_wild_example=[["192.168.0.1"]])
    [answer] = fetch(server, f"http://img.example.com/to/302?{location}", names=names, dial=dial)
    assert isinstance(answer, FetchError)
    assert dial.dialled == [(IMG, 80)]
    assert len(server.seen) == 1


@pytest.mark.parametrize("redirects", [0, 3])
def test_redirects_are_counted(server: Server, redirects: int) -> None:
    [answer] = fetch(server, "http://img.example.com/loop", fetch_redirects=redirects)
    assert f"more than {redirects} times" in str(answer)
    assert len(server.seen) == redirects + 1


def test_bytes_are_bounded_as_stated_and_as_they_arrive(server: Server) -> None:
    size = len(PHOTO)
    assert fetch(server, "http://img.example.com/a", max_photo_bytes=size) == [PHOTO]
    for path in ("a", "lied", "endless"):
        started = time.monotonic()
        [answer] = fetch(server, f"http://img.example.com/{path}", max_photo_bytes=size - 1)
        assert isinstance(answer, PhotoTooLargeError)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "status 404"),
        ("packed", "compressed"),
        ("empty", "empty"),
        ("short", "connection failed"),
        ("garbage", "connection failed"),
        ("to/304?x", "status 304"),
    ],
)
def test_other_answers_are_refused_with_a_reason(server: Server, path: str, reason: str) -> None:
    [answer] = fetch(server, f"http://img.example.com/{path}")
    assert isinstance(answer, FetchError)
    assert reason in str(answer)
    assert "secret" not in str(answer)


def test_reasons_never_repeat_path_or_query(server: Server) -> None:
    paths = ["missing", "packed", "empty", "short", "garbage", "lied", "loop", "to/302", "to/302?/to/302"]
    for answer in fetch(server, *(f"http://img.example.com/{path}?token=secret" for path in paths)):
        assert isinstance(answer, PhotoError)
        assert "secret" not in str(answer)
        assert "/" not in str(answer)


@pytest.mark.parametrize("path", ["drip", "dripheaders", "hang"])
def test_time_is_counted_in_total(server: Server, path: str) -> None:
    started = time.monotonic()
    [answer] = fetch(server, f"http://img.example.com/{path}", fetch_timeout_ms=200)
    assert "did not come within 200 ms" in str(answer)
    assert time.monotonic() - started < 1.5


def test_a_deadline_ends_a_fetch_before_its_own_time(server: Server) -> None:
    async def both() -> list[bytes | PhotoError]:
        names = Names()
        transport = PinnedTransport(names, dial=Dial(server.server_port))
        async with PhotoFetcher(settings(), names, transport, now_ms=lambda: 1_000) as fetcher:
            return [
                await outcome(fetcher.fetch_photo("http://img.example.com/hang", ms)) for ms in (1_200, 1_000)
            ]

    late, over = asyncio.run(both())
    assert "did not come within 200 ms" in str(late)
    assert "no time was left" in str(over)
    assert len(server.seen) == 1


def test_a_slow_host_does_not_keep_another_waiting(server: Server) -> None:
    async def crowded() -> float:
        names = Names()
        transport = PinnedTransport(names, dial=Dial(server.server_port))
        async with PhotoFetcher(settings(), names, transport) as fetcher:
            slow = [
                asyncio.create_task(fetcher.fetch_photo("http://img.example.com/hang")) for _ in range(100)
            ]
            while len(server.seen) < 8:
                await asyncio.sleep(0.01)
            started = time.monotonic()
            assert await fetcher.fetch_photo("http://cdn.example.com/a") == PHOTO
            took = time.monotonic() - started
            assert len(server.seen) == 9  # eight of the slow host at once, and the other
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            assert await fetcher.fetch_photo("http://img.example.com/a") == PHOTO  # every turn was given back
            return took

    assert asyncio.run(crowded()) < 1


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of img.example.com, its own authority; certificate and key in one file."""
    path = tmp_path_factory.mktemp("tls") / "img.pem"
    key, crt = str(path.with_suffix(".key")), str(path.with_suffix(".crt"))
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=img.example.com -addext subjectAltName=DNS:img.example.com"
    subprocess.run([*command.split(), "-keyout", key, "-out", crt], check=True, capture_output=True)
    path.write_bytes(path.with_suffix(".key").read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def test_tls_keeps_the_name_while_the_address_is_pinned(certificate: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)

    async def each(trusted: ssl.SSLContext, server: Server, host: str) -> bytes | PhotoError:
        names, dial = Names(), Dial(server.server_port)
        transport = PinnedTransport(names, tls=trusted, dial=dial)
        listed = settings(photo_hosts="img.example.com, cdn.example.com")
        async with PhotoFetcher(listed, names, transport) as fetcher:
            answer = await outcome(fetcher.fetch_photo(f"https://{host}/a.jpg"))
        assert dial.dialled == [(IMG if host.startswith("img") else CDN, 443)]
        return answer

    with running(theirs) as server:
        trusted = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
        assert asyncio.run(each(trusted, server, "img.example.com")) == PHOTO
        assert server.seen[-1][0]["Host"] == "img.example.com"
        wrong_name = asyncio.run(each(trusted, server, "cdn.example.com"))
        untrusted = asyncio.run(each(ssl.create_default_context(), server, "img.example.com"))
        assert "connection failed" in str(wrong_name)
        assert "connection failed" in str(untrusted)
        assert server.names == ["img.example.com", "cdn.example.com", "img.example.com"]
        assert len(server.seen) == 1


def test_neither_proxy_nor_certificates_of_the_environment_count(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert fetch(server, "http://img.example.com/") == [PHOTO]


def test_slow_name_servers_hold_only_their_own_site(monkeypatch: pytest.MonkeyPatch) -> None:
    released, asked = threading.Event(), []

    def look_up(host: str, _port: int) -> list[str]:
        asked.append(host)
        if host.endswith("slow.example"):
            released.wait(20)
        return [IMG]

    monkeypatch.setattr(pinned, "_look_up", look_up)

    async def crowded() -> None:
        resolver = SystemResolver(threads=8)
        slow = [asyncio.create_task(resolver(f"{n % 2}.slow.example", 80)) for n in range(20)]
        await asyncio.sleep(0.05)
        with pytest.raises(OSError, match="waiting"):
            await resolver("3.slow.example", 80)
        assert await asyncio.wait_for(resolver("img.example.com", 80), 2) == [IMG]
        slow[0].cancel()  # who waits may go; the others get the answer
        released.set()
        assert (await asyncio.gather(*slow, return_exceptions=True))[1:] == [[IMG]] * 19
        await asyncio.sleep(0)
        assert await resolver("3.slow.example", 80) == [IMG]
        resolver.close()

    asyncio.run(crowded())
    assert sorted(asked) == ["0.slow.example", "1.slow.example", "3.slow.example", "img.example.com"]


def test_the_operating_system_names_this_machine() -> None:
    async def ask() -> Sequence[str]:
        resolver = SystemResolver()
        try:
            with pytest.raises(OSError):  # noqa: PT011 - whatever the system calls it
                await resolver("no-such-name.invalid", 80)
            return await resolver("localhost", 80)
        finally:
            resolver.close()

    assert {"127.0.0.1", "::1"} & set(asyncio.run(ask()))

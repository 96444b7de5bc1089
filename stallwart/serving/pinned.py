"""An httpx transport that connects to checked addresses only.

The name is resolved once, by `addresses.resolve_public`, and the connection goes to an address that passed,
while TLS (SNI, certificate) and the Host header keep the name. The check sits where the connection is made,
so no other reading of the URL can go around it. No proxy, no environment, no retries; redirects, cookies and
the total time are the caller's.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore
import httpx

from stallwart.serving.addresses import Resolver, resolve_public

_MAX_ADDRESSES = 4  # tried of one host, each with its part of the time

Private = Callable[[str, int], bool]
"""Host and port -> whether a private or loopback address of it may be reached."""


def never_private(host: str, port: int) -> bool:  # noqa: ARG001
    """False: public addresses only."""
    return False


class SystemResolver:
    """Names by the operating system, in threads of its own, so that slow name servers hold nobody else.

    A lookup cannot be cancelled and may take half a minute. So names of one site (their last two labels) get
    at most a quarter of the threads, and one name is asked once for all who wait for it.
    """

    def __init__(self, threads: int = 16) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="names")
        self._site_limit = max(1, threads // 4)
        self._sites: Counter[str] = Counter()
        self._asked: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name.

        Raises:
            OSError: there are none, or too many names of its site are being asked.
        """
        asked = self._asked.get((host, port)) or self._ask(host, port)
        return await asyncio.shield(asked)

    def _ask(self, host: str, port: int) -> asyncio.Future[list[str]]:
        site = ".".join(host.split(".")[-2:])
        if self._sites[site] >= self._site_limit:
            raise OSError(f"{self._site_limit} lookups of names below {site} are waiting")
        future = asyncio.get_running_loop().run_in_executor(self._pool, _look_up, host, port)
        self._sites[site] += 1
        self._asked[host, port] = future

        def ended(done: asyncio.Future[list[str]]) -> None:
            self._sites -= Counter([site])
            del self._asked[host, port]
            if not done.cancelled():
                done.exception()  # seen, also where nobody waits any more

        future.add_done_callback(ended)
        return future

    def close(self) -> None:
        """Starts no more lookups."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses of a host; `dial` makes the connections."""

    def __init__(self, resolver: Resolver, private: Private, dial: httpcore.AsyncNetworkBackend) -> None:
        self._resolver, self._private, self._dial = resolver, private, dial

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A stream to the first address that answers.

        Raises:
            AddressError: see `resolve_public`.
            httpcore.ConnectError, httpcore.ConnectTimeout: no address answers.
        """
        addresses = await resolve_public(host, port, self._resolver, self._private(host, port))
        addresses = addresses[:_MAX_ADDRESSES]
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses:
            try:
                return await self._dial.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise AssertionError("a host has at least one address")

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await self._dial.sleep(seconds)


class PinnedTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over `PinnedBackend`, with kept connections.

    Give it to `httpx.AsyncClient(transport=..., trust_env=False)`, or ask it directly. Errors are
    `AddressError` where the address is refused, and else httpx's: `TimeoutException`, `TransportError`.

    Args:
        resolver: names -> addresses.
        private: which hosts may have private addresses.
        tls: trusted authorities; the usual ones where None.
        connections: most at once, over all hosts.
        dial: what makes connections, for tests.
    """

    def __init__(
        self,
        resolver: Resolver,
        private: Private = never_private,
        tls: ssl.SSLContext | None = None,
        connections: int = 64,
        dial: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(trust_env=False),
            max_connections=connections,
            max_keepalive_connections=connections // 2,
            keepalive_expiry=15.0,
            network_backend=PinnedBackend(resolver, private, dial or httpcore.AnyIOBackend()),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body still to be read."""
        url = request.url
        with _httpx_errors():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@contextlib.contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as err:
        raise httpx.TimeoutException(type(err).__name__) from err
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as err:
        raise httpx.TransportError(str(err) or type(err).__name__) from err

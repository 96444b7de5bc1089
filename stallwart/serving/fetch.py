"""Photos by URL: URL and deadline -> bytes, from hosts that the operator listed and from no others.

Every hop is checked by `addresses` and connected by `pinned`. What one fetch may cost is bounded: bytes as
they arrive, time in total (a host that drips is cut off like one that is silent), redirects, and how many
run at once, so that one slow host cannot keep the others' photos waiting. Knows nothing of what the bytes
mean: `content.photo` bounds them again before it decodes.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urljoin

import httpx

from stallwart.content.photo import PhotoError, PhotoTooLargeError
from stallwart.core.settings import Settings
from stallwart.serving.addresses import AddressError, HostRule, Resolver, Target, check_url, parse_hosts
from stallwart.serving.pinned import PinnedTransport, SystemResolver

_AT_ONCE = 32  # fetches of one process
_AT_ONCE_PER_RULE = 8  # of them for one listed host, or one wildcard with all names below it
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Nothing of the caller's travels along: no cookies, no authorization, no referrer
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "stallwart"}


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class FetchError(PhotoError):
    """A photo could not be fetched; the message names its host, never its path or query.

    It reads on from "a photo": "from img.example.com was answered with status 404".
    """


class PhotoFetcher:
    """Fetches photos from the hosts in `settings.photo_hosts` (see `addresses.parse_hosts`); none if empty.

    It belongs to one event loop. Close it with `aclose`, or use it in `async with`.

    Args:
        settings: `photo_hosts`, `max_photo_bytes`, `fetch_timeout_ms`, `fetch_redirects`.
        resolver: names -> addresses; the operating system where None.
        transport: what asks; a `PinnedTransport` over `resolver` where None.
        now_ms: the clock of deadlines, in milliseconds; monotonic.

    Raises:
        ConfigError: `photo_hosts` cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        now_ms: Callable[[], int] = _monotonic_ms,
    ) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._rules = parse_hosts(settings.photo_hosts)
        self._own_resolver = SystemResolver() if self._rules and resolver is None else None
        self._transport = transport
        if self._rules and transport is None:
            names = resolver or self._own_resolver
            assert names is not None
            self._transport = PinnedTransport(names, self._private, connections=2 * _AT_ONCE)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._rule_slots = {rule: asyncio.Semaphore(_AT_ONCE_PER_RULE) for rule in self._rules}

    async def fetch_photo(self, url: str, deadline_ms: int | None = None) -> bytes:
        """The encoded photo at a URL, 1 to `max_photo_bytes` bytes.

        Args:
            url: absolute.
            deadline_ms: when the answer is due, by the clock `now_ms`; `fetch_timeout_ms` counts too.

        Raises:
            PhotoTooLargeError: over `max_photo_bytes`, as stated or as arrived.
            FetchError: not allowed, too late, not answered, or answered with something else.
        """
        if not self._rules:
            raise FetchError("by URL is not fetched: no hosts are listed here")
        left_ms = self._settings.fetch_timeout_ms
        if deadline_ms is not None:
            left_ms = min(left_ms, deadline_ms - self._now_ms())
        target = self._check(url)
        if left_ms <= 0:
            raise FetchError(f"from {target.host} was not fetched: no time was left")
        try:
            async with asyncio.timeout(left_ms / 1000):
                return await self._follow(target)
        except (TimeoutError, httpx.TimeoutException):
            raise FetchError(f"from {target.host} did not come within {left_ms:,} ms") from None
        except (httpx.TransportError, OSError):
            raise FetchError(f"from {target.host} did not come: the connection failed") from None

    async def aclose(self) -> None:
        """Closes every connection; nothing can be fetched after it."""
        if self._transport is not None:
            await self._transport.aclose()
        if self._own_resolver is not None:
            self._own_resolver.close()

    async def __aenter__(self) -> "PhotoFetcher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _private(self, host: str, port: int) -> bool:
        return any(rule.private and (rule.host, rule.port) == (host, port) for rule in self._rules)

    def _check(self, url: str) -> Target:
        try:
            return check_url(url, allowed_hosts=self._rules)
        except AddressError as err:
            raise FetchError(f"has a URL that is not fetched: it {err}") from None

    async def _follow(self, target: Target) -> bytes:
        for _ in range(self._settings.fetch_redirects + 1):
            async with self._slot(target.rule), self._asked(target) as response:
                if response.status_code not in _REDIRECTS:
                    return await self._body(target, response)
                location = response.headers.get("location", "")
            target = self._redirected(target, location)
        raise FetchError(
            f"from {target.host} was redirected more than {self._settings.fetch_redirects} times"
        )

    def _redirected(self, target: Target, location: str) -> Target:
        # urljoin drops tabs and line ends, so that what is checked would not be what was sent
        if not location or any(char < " " for char in location):
            raise FetchError(f"from {target.host} was redirected to nowhere")
        try:
            return self._check(urljoin(str(target), location))
        except ValueError as err:
            reason = str(err) if isinstance(err, FetchError) else "has a malformed URL"
            raise FetchError(f"from {target.host} was redirected and then {reason}") from None

    @contextlib.asynccontextmanager
    async def _slot(self, rule: HostRule | None) -> AsyncIterator[None]:
        """A turn to fetch: of the host first, so that nobody holds a common turn while its host is busy."""
        assert rule is not None
        async with self._rule_slots[rule], self._slots:
            yield

    @contextlib.asynccontextmanager
    async def _asked(self, target: Target) -> AsyncIterator[httpx.Response]:
        assert self._transport is not None
        request = httpx.Request("GET", str(target), headers=_HEADERS)
        try:
            response = await self._transport.handle_async_request(request)
        except AddressError as err:
            raise FetchError(f"has a URL that is not fetched: {target.host} {err}") from None
        try:
            yield response
        finally:
            await response.aclose()

    async def _body(self, target: Target, response: httpx.Response) -> bytes:
        limit = self._settings.max_photo_bytes
        if response.status_code != 200:
            raise FetchError(f"from {target.host} was answered with status {response.status_code}")
        # A compressed body could unfold beyond any bound; identity was asked for
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            raise FetchError(f"from {target.host} came compressed")
        stated = response.headers.get("content-length", "0")
        if len(stated) > 18 or not stated.isdecimal() or int(stated) > limit:
            raise PhotoTooLargeError(f"from {target.host} is over the limit of {limit:,} bytes")
        photo = bytearray()
        async for part in response.aiter_raw():
            if len(photo) + len(part) > limit:
                raise PhotoTooLargeError(f"from {target.host} is over the limit of {limit:,} bytes")
            photo += part
        if not photo:
            raise FetchError(f"from {target.host} came empty")
        return bytes(photo)

"""One signed POST to a webhook: what the receiver answered, or why it did not.

A webhook's URL is hostile until `addresses` has checked it, and so is what comes back: no redirect is
followed, little of the body is read, and the whole takes `settings.webhook_timeout_ms` at most.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from stallwart.client.webhooks import DELIVERY, SIGNATURE, TIMESTAMP, sign
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings
from stallwart.serving.addresses import AddressError, Target, check_url
from stallwart.serving.pinned import PinnedTransport, SystemResolver
from stallwart.store.webhooks import Webhook

_READ_BYTES = 65_536  # so that the connection can be used again; a longer answer costs the connection
_CONNECTIONS = 10_000  # no bound: the deliverer has one for each webhook, and one must not use up another's


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one POST.

    Attributes:
        status: HTTP status; None where there was no answer.
        said: status or failure in a few words, without URL, secret or content.
        retry_after_ms: how long the receiver asked to wait; None where it did not.
    """

    status: int | None
    said: str
    retry_after_ms: int | None = None

    @property
    def took(self) -> bool:
        """Whether the receiver has it now."""
        return self.status is not None and 200 <= self.status < 300


@contextlib.asynccontextmanager
async def webhook_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client that connects to checked addresses only, and to private ones where settings allow that."""
    resolver = SystemResolver()
    transport = PinnedTransport(
        resolver, lambda _host, _port: settings.webhook_private, connections=_CONNECTIONS
    )
    try:
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            yield client
    finally:
        resolver.close()


def check_webhook_url(url: str, settings: Settings) -> Target:
    """The target of a webhook's URL, as far as it can be checked without asking a name server.

    Raises:
        ConfigError: it is no https URL, or leads to an address that settings do not allow.
    """
    try:
        return _target(url, settings)
    except AddressError as err:
        more = "" if settings.webhook_private else ", or allow private receivers: STALLWART_WEBHOOK_PRIVATE=1"
        raise ConfigError(f"the webhook's URL {err}; give one as https://example.com/hook{more}") from None


def _target(url: str, settings: Settings) -> Target:
    schemes = ("https", "http") if settings.webhook_private else ("https",)
    return check_url(url, schemes=schemes, private=settings.webhook_private)


async def post_signed(
    client: httpx.AsyncClient,
    hook: Webhook,
    delivery_id: str,
    body: bytes,
    settings: Settings,
    now_ms: Callable[[], int],
) -> Answer:
    """POST a body of JSON with its delivery id, timestamp and signature; a failure is an answer too.

    Args:
        client: what connects, see `webhook_client`.
        hook: where to, and the secret.
        delivery_id: the same at each attempt.
        body: JSON in UTF-8.
        settings: `webhook_timeout_ms`, `webhook_private`.
        now_ms: milliseconds since 1970, UTC, for the timestamp and a Retry-After that is a date.
    """
    timeout = settings.webhook_timeout_ms / 1000
    stamp = now_ms() // 1000
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "stallwart",
        DELIVERY: delivery_id,
        TIMESTAMP: str(stamp),
        SIGNATURE: sign(hook.secret, stamp, delivery_id, body),
    }
    answer: Answer | None = None
    try:
        target = _target(hook.url, settings)
        async with (
            asyncio.timeout(timeout),  # of the whole; httpx's is for each step
            client.stream(
                "POST", str(target), content=body, headers=headers, timeout=timeout, follow_redirects=False
            ) as response,
        ):
            wait = _retry_after_ms(response.headers.get("retry-after"), now_ms())
            answer = Answer(response.status_code, f"it answered {response.status_code}", wait)
            await _read_some(response)
    except AddressError as err:
        return answer or Answer(None, f"its URL {err}")
    except (TimeoutError, httpx.TimeoutException):
        return answer or Answer(None, f"no answer within {settings.webhook_timeout_ms:,} ms")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as err:
        return answer or Answer(None, f"the connection failed ({type(err).__name__})")
    return answer


async def _read_some(response: httpx.Response) -> None:
    seen = 0
    async for part in response.aiter_raw():
        seen += len(part)
        if seen > _READ_BYTES:
            return


def _retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """RFC 9110, 10.2.3: seconds or a date; None where it is neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal() and len(value) <= 9:
        return int(value) * 1000
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0, int(when.timestamp() * 1000) - now_ms)
    except (ValueError, OverflowError):
        return None

"""For receivers of webhooks: is this delivery from the service, whole and fresh?

    delivery = verify(secret, request.headers, await request.body(), time.time())

A delivery can arrive more than once, with the same id each time: do nothing for an id that was handled.
Answer 2xx within the service's `webhook_timeout_ms`; anything else is tried again, 410 is not.
"""

import hmac
from collections.abc import Mapping

from stallwart.core.errors import SignatureError

DELIVERY, TIMESTAMP, SIGNATURE = "Stallwart-Delivery", "Stallwart-Timestamp", "Stallwart-Signature"
_VERSION = "v1="


def sign(secret: str, timestamp: int, delivery: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256, in hexadecimal, over `timestamp.delivery.body`.

    Args:
        secret: of the webhook, as it was shown when it was added.
        timestamp: seconds since 1970, UTC.
        delivery: the delivery's id.
        body: as it is sent, byte for byte.
    """
    signed = f"{timestamp}.{delivery}.".encode() + body
    return _VERSION + hmac.digest(secret.encode(), signed, "sha256").hex()


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, now: float, tolerance_seconds: float = 300
) -> str:
    """The id of a delivery that is signed with the secret and fresh.

    Args:
        secret: of the webhook, as it was shown when it was added.
        headers: of the request, in any case.
        body: as it arrived, byte for byte; not parsed and written again.
        now: seconds since 1970, UTC.
        tolerance_seconds: how far the timestamp may be from now; it bounds how long a copied delivery can be
            sent again.

    Raises:
        SignatureError: a header is missing, the signature is another's, or the timestamp is too far off.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        delivery, stamp, signature = (given[name.lower()] for name in (DELIVERY, TIMESTAMP, SIGNATURE))
    except KeyError as err:
        raise SignatureError(f"the header {err.args[0]} is missing: this is no delivery") from None
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise SignatureError(f"{TIMESTAMP} is no number of seconds")
    expected = sign(secret, int(stamp), delivery, body)
    if not hmac.compare_digest(expected.encode(), signature.strip().encode()):
        raise SignatureError(f"{SIGNATURE} does not fit the secret and the body; refuse the delivery")
    if abs(now - int(stamp)) > tolerance_seconds:
        raise SignatureError(f"{TIMESTAMP} is more than {tolerance_seconds:g} seconds off; check the clock")
    return delivery

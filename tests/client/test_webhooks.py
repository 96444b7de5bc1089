import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stallwart.client.webhooks import sign, verify
from stallwart.core.errors import SignatureError

SECRET = "whsec_an-example"
NOW = 1_800_000_000
BODY = '{"listing_id":"été"}'.encode()


def headers(stamp=NOW, delivery="dl_1", body=BODY, secret=SECRET):
    return {
        "Stallwart-Delivery": delivery,
        "Stallwart-Timestamp": str(stamp),
        "Stallwart-Signature": sign(secret, stamp, delivery, body),
    }


def test_the_signature_is_the_one_that_is_documented():
    expected = hmac.new(SECRET.encode(), b"1800000000.dl_1." + BODY, hashlib.sha256).hexdigest()
    assert sign(SECRET, NOW, "dl_1", BODY) == f"v1={expected}"


@given(st.text(min_size=1), st.binary(), st.text("abc_0", min_size=1), st.integers(0, 10**11))
def test_what_is_signed_is_verified(secret, body, delivery, stamp):
    try:
        secret.encode()
    except UnicodeEncodeError:
        return
    assert verify(secret, headers(stamp, delivery, body, secret), body, stamp) == delivery


def test_headers_are_found_in_any_case():
    lower = {name.lower(): value for name, value in headers().items()}
    assert verify(SECRET, lower, BODY, NOW) == "dl_1"


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_clock_may_be_off_by_the_tolerance(seconds):
    assert verify(SECRET, headers(), BODY, NOW + seconds)


@pytest.mark.parametrize("seconds", [-301, 301, 10**9])
def test_an_old_or_future_delivery_is_refused(seconds):
    with pytest.raises(SignatureError, match="seconds off"):
        verify(SECRET, headers(), BODY, NOW + seconds)


@pytest.mark.parametrize(
    ("changes", "body", "said"),
    [
        ({}, BODY + b" ", "does not fit"),
        ({"Stallwart-Delivery": "dl_2"}, BODY, "does not fit"),
        ({"Stallwart-Timestamp": str(NOW + 1)}, BODY, "does not fit"),
        ({"Stallwart-Timestamp": "soon"}, BODY, "no number"),
        ({"Stallwart-Timestamp": "-1"}, BODY, "no number"),
        ({"Stallwart-Timestamp": "٣"}, BODY, "no number"),
        ({"Stallwart-Signature": ""}, BODY, "does not fit"),
        ({"Stallwart-Signature": "v0=abc"}, BODY, "does not fit"),
        ({"Stallwart-Signature": "v1=é"}, BODY, "does not fit"),
        ({"Stallwart-Signature": sign("another", NOW, "dl_1", BODY)}, BODY, "does not fit"),
    ],
)
def test_what_was_changed_is_refused(changes, body, said):
    with pytest.raises(SignatureError, match=said):
        verify(SECRET, {**headers(), **changes}, body, NOW)


@pytest.mark.parametrize("name", list(headers()))
def test_a_header_that_is_missing_is_named(name):
    given = headers()
    del given[name]
    with pytest.raises(SignatureError, match=f"(?i){name}"):
        verify(SECRET, given, BODY, NOW)

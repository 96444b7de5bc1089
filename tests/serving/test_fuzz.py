"""Whatever is sent, the service answers what its OpenAPI says and never with a fault of its own."""

import base64
import json

import pytest
import schemathesis
from fakes import FakeRuntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_app import LAMP, Running

from stallwart.core.settings import Settings

_UNHURRIED = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    one = Running(Settings(data_dir=folder / "data", cache_dir=folder / "cache"), FakeRuntime())
    yield one
    one.stop()


@pytest.fixture(scope="module")
def client(running):
    return running.client()


@pytest.fixture(scope="module")
def operations(client):
    document = client.get("/v1/openapi.json").json()
    return [one.ok() for one in schemathesis.openapi.from_dict(document).get_all_operations()]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_route_answers_what_its_description_says(running, client, operations, mode):
    headers = {"Authorization": client.headers["Authorization"]}
    assert len(operations) == 16
    for operation in operations:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=60, **_UNHURRIED)
        def ask(case):
            case.call_and_validate(base_url=running.url, headers=headers, checks=_CHECKS)

        if mode is schemathesis.GenerationMode.POSITIVE or operation.body:
            ask()  # without a body there is nothing that could be wrong


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
photos = st.one_of(
    st.binary(max_size=64).map(lambda content: {"base64": base64.b64encode(content).decode()}),
    st.text(max_size=40).map(lambda url: {"url": url}),
    st.text(alphabet="0123456789abcdef", min_size=64, max_size=64).map(lambda name: {"sha256": name}),
    json_values,
)
listings = st.fixed_dictionaries(
    {"listing_id": st.text(max_size=20) | json_values},
    optional={
        "title": st.text() | json_values,
        "description": st.text() | json_values,
        "photos": st.lists(photos, max_size=4) | json_values,
        "price": st.floats() | json_values,
        "listed_at": st.datetimes().map(str) | json_values,
        "seller_id": st.text(max_size=10) | json_values,
        "revision": st.text(max_size=10) | json_values,
    },
)


@given(
    listing=listings,
    options=st.fixed_dictionaries(
        {},
        optional={
            "evidence": st.sampled_from(["none", "words", "full"]) | json_values,
            "rescan": json_values,
        },
    ),
)
@settings(max_examples=150, **_UNHURRIED)
def test_no_listing_is_a_fault_of_the_service(client, listing, options):
    body = json.dumps({"listing": listing, **options})
    answer = client.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        stored = client.get(f"/v1/decisions/{answer.json()['decision_id']}")
        assert stored.json() == answer.json()


@given(content=st.binary(max_size=300))
@settings(max_examples=80, **_UNHURRIED)
def test_no_body_is_a_fault_of_the_service(client, content):
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
        answer = client.post("/v1/decisions", content=content, headers={"Content-Type": kind})
        assert answer.status_code in (415, 422), answer.text


@given(
    names=st.sampled_from(["Stallwart-Deadline-Ms", "Idempotency-Key", "X-Request-Id", "Authorization"]),
    value=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")),
)
@settings(max_examples=80, **_UNHURRIED)
def test_no_header_is_a_fault_of_the_service(client, names, value):
    answer = client.post(
        "/v1/decisions", json={"listing": LAMP}, headers={names.encode(): value.strip().encode("latin-1")}
    )
    assert answer.status_code in (200, 400, 401, 409), answer.text

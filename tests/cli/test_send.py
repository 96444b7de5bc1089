"""`stallwart send` against a running service."""

import json

import pytest

from stallwart.core.settings import Settings
from tests.serving.processes import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")
    made = Service(Settings(data_dir=folder / "data", cache_dir=folder / "cache")).start()
    yield made
    made.stop()


@pytest.fixture
def key_file(service, tmp_path):
    file = tmp_path / "key"
    file.write_text(service.key + "\n")
    return file


@pytest.fixture
def listings(tmp_path):
    file = tmp_path / "listings.jsonl"
    rows = [{"listing_id": f"S{number}", "title": f"a lamp {number}"} for number in range(19)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    return file


def test_every_listing_is_decided_once_however_often_it_is_sent(here, service, key_file, listings):
    first = here("send", service.url, listings, "--key-file", key_file, "--json")
    assert first.code == 0, first.err
    assert sum(first.facts["actions"].values()) == 19
    assert sum(first.facts["left_out"].values()) == 1
    with service.client() as client:
        said = client.post(
            "/v1/decisions", json={"listing": {"listing_id": "S3", "title": "a lamp 3"}}
        ).json()
    again = here("send", service.url, listings, "--key-file", key_file)
    assert again.code == 0, again.err
    assert "19 listings decided" in again.out
    with service.client() as client:
        after = client.post(
            "/v1/decisions", json={"listing": {"listing_id": "S3", "title": "a lamp 3"}}
        ).json()
    assert after["decision_id"] == said["decision_id"]


def test_a_wrong_key_is_said_in_a_line(here, service, listings, tmp_path):
    file = tmp_path / "wrong"
    file.write_text("sw_nobody")
    ran = here("send", service.url, listings, "--key-file", file)
    assert ran.code == 5
    assert ran.err.splitlines()[-1].startswith("error[unauthenticated]")


@pytest.mark.parametrize(
    ("args", "said"),
    [(("--evidence", "much"), "none, words or full"), (("--key-file", "nowhere"), "nowhere")],
)
def test_a_mistake_is_said_before_anything_is_sent(here, service, listings, args, said):
    ran = here("send", service.url, listings, *args)
    assert ran.code == 2
    assert said in ran.err

"""`stallwart serve` with a bundle, as a user starts it, beside `stallwart score` and the client."""

import base64
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from bench.serve.processes import STALLWART
from stallwart.client import Client
from stallwart.client.errors import MissingError, NotAllowedError, RefusedError, RepeatError
from stallwart.core.decision import Action, Decision
from stallwart.core.listing import Listing
from stallwart.core.settings import Settings
from stallwart.dataset.columns import Columns
from stallwart.dataset.read import read_listings
from stallwart.dataset.rejects import Rejects
from stallwart.store.database import database_url, open_database, upgrade
from tests.serving.commands import Command, environment_of, make_key

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def files(sample_market):
    """Two months of the generated market."""
    return sorted(sample_market.glob("*.parquet"))[-2:]


@pytest.fixture(scope="module")
def listings(files):
    read = read_listings(files, Columns(), Settings(), Rejects(100), decode=False)
    return list(read)[:50]


@pytest.fixture(scope="module")
def scored(tiny_bundles, files, folder):
    """What `stallwart score` says of each listing; it filled the cache in the folder `scored`."""
    words = [STALLWART, "score", tiny_bundles[0], *files, "--out", folder / "scores.parquet", "--json"]
    env = environment_of(cache_dir=folder / "scored", threads=2)
    subprocess.run(list(map(str, words)), env=env, check=True, capture_output=True)
    rows = pq.read_table(folder / "scores.parquet").to_pylist()
    return {row["listing_id"]: row for row in rows}


@pytest.fixture(scope="module")
def served(tiny_bundles, folder):
    """Services by the name of their cache's folder."""
    running = {}

    def start(cache):
        if cache not in running:
            settings = {
                "data_dir": folder / f"data-{cache}",
                "cache_dir": folder / cache,
                "deadline_ms": 30_000,
            }
            key = make_key(settings)
            running[cache] = Command(tiny_bundles[0], settings, folder / f"{cache}.log").start().wait()
            running[cache].key = key
        return running[cache]

    yield start
    codes = {one.stop() for one in running.values()}
    assert codes <= {0, -signal.SIGTERM}, "it ends by the signal, after it has finished"
    events = [line["event"] for one in running.values() for line in one.events]
    assert "crash" not in events
    assert events.count("stopped") == len(running)


def sent(listing):
    photos = [{"base64": base64.b64encode(photo).decode()} for photo in listing.photos]
    words = {"listing_id": listing.listing_id, "title": listing.title, "description": listing.description}
    return {**words, "photos": photos}


def ask(one, listing, **options):
    headers = {"Authorization": f"Bearer {one.key}"}
    body = {"listing": sent(listing), **options}
    answer = httpx.post(f"{one.url}/v1/decisions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check_equal(decision, row):
    assert decision["action"] == row["action"]
    assert decision["policies"] == row["policies"]
    assert decision["reason"] == row["reason"]
    for policy, score in decision["scores"].items():
        assert score == row[policy], "to the last bit"


@slow
def test_a_score_is_the_same_to_the_last_bit_alone_and_among_fifty(served, listings, scored):
    one = served("empty")
    with ThreadPoolExecutor(50) as pool:
        together = list(pool.map(lambda listing: ask(one, listing), listings))
    assert figure(one, 'stallwart_embeddings_total{source="computed"}') > 50, "none came from another's cache"
    for listing, decision in zip(listings, together, strict=True):
        check_equal(decision, scored[listing.listing_id])
    again = served("other")
    for listing in listings[:10]:
        check_equal(ask(again, listing), scored[listing.listing_id])


@slow
def test_what_score_embedded_is_not_embedded_again(served, listings, scored):
    one = served("scored")
    for listing in listings:
        check_equal(ask(one, listing), scored[listing.listing_id])
    assert figure(one, 'stallwart_embeddings_total{source="computed"}') == 0
    assert figure(one, 'stallwart_embeddings_total{source="cached"}') > 50


def figure(one, name):
    text = httpx.get(f"{one.url}/metrics", headers={"Authorization": f"Bearer {one.key}"}).text
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])


@slow
def test_a_process_that_serves_has_no_torch(served):
    one = served("empty")
    loaded = Path(f"/proc/{one.process.pid}/maps").read_text()
    assert "onnxruntime" in loaded
    assert "/torch/" not in loaded


@pytest.fixture
def client(served):
    one = served("empty")
    with Client(one.url, one.key, deadline_ms=30_000) as client:
        yield client


@slow
def test_the_client_decides_replays_and_tells_what_became_of_it(client, listings):
    listing = listings[0]
    decision = client.decide(listing, evidence="full", rescan=True)
    assert decision.evidence["level"] == "full"
    assert client.decision(decision.decision_id) == decision
    same = client.decide(listing_id="C1", title="xanax pills", idempotency_key="c1")
    assert client.decide(listing_id="C1", title="xanax pills", idempotency_key="c1") == same
    edit = client.decide(listing_id="C1", title="a lamp")
    assert edit.supersedes == same.decision_id
    assert client.feedback(edit.decision_id, "appeal", note="it is a lamp")


@slow
def test_the_client_decides_about_a_batch(client, listings):
    broken = Listing("B1", "a lamp", photos=(b"no photo",))
    rows = client.decide_batch([*listings[:20], broken])
    assert all(isinstance(row, Decision) for row in rows)
    assert [row.listing_id for row in rows] == [one.listing_id for one in (*listings[:20], broken)]
    assert rows[-1].action is Action.REVIEW
    assert "photo" in rows[-1].reason


@slow
def test_the_client_says_what_was_refused(client, served):
    with pytest.raises(MissingError):
        client.decision("d_none")
    with pytest.raises(RefusedError, match="listing_id"):
        client.decide(listing_id="x" * 300)
    client.decide(listing_id="K1", title="x", idempotency_key="k1")
    with pytest.raises(RepeatError):
        client.decide(listing_id="K1", title="y", idempotency_key="k1")
    one = served("empty")
    for key in (None, one.key[:-1] + ("a" if one.key[-1] != "a" else "b")):
        with Client(one.url, key) as stranger, pytest.raises(NotAllowedError):
            stranger.decide(listing_id="x")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Exit code and stderr of a command that ends before it serves."""
    for name in ("data", "cache"):
        monkeypatch.setenv(f"STALLWART_{name.upper()}_DIR", str(tmp_path / name))

    def run(*args):
        from stallwart.cli.main import main

        monkeypatch.setattr(sys, "argv", ["stallwart", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), capsys.readouterr().err

    return run


def check_one_line(said, code, *parts):
    exit_code, err = said
    assert exit_code == code
    assert len(err.strip().splitlines()) == 1, err
    assert all(part in err for part in parts), err


def test_a_bundle_that_is_missing_or_broken_is_one_line(command, tmp_path):
    check_one_line(command("serve", tmp_path / "none"), 4, "error[bundle]", str(tmp_path / "none"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "bundle.json").write_text("{}")
    check_one_line(command("serve", tmp_path / "broken"), 4, "error[bundle]", "broken")


def test_a_port_that_is_taken_is_one_line(command, tiny_bundles):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check_one_line(
            command("serve", tiny_bundles[0], "--port", port), 2, "error[config]", str(port), "in use"
        )


def test_a_host_that_is_not_here_is_one_line(command, tiny_bundles):
    check_one_line(command("serve", tiny_bundles[0], "--host", "203.0.113.7"), 2, "203.0.113.7")


def test_a_service_without_keys_is_for_this_machine_only(command, tiny_bundles):
    options = ("--insecure-local", "--host", "0.0.0.0")
    check_one_line(command("serve", tiny_bundles[0], *options), 2, "error[config]", "loopback")


def database_of(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    engine = open_database(database_url(settings), settings)
    upgrade(engine)
    engine.dispose()
    return tmp_path / "data" / "stallwart.sqlite"


def write(path, *statements):
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_database_of_another_version_is_one_line_and_is_left_alone(command, tiny_bundles, tmp_path):
    path = database_of(tmp_path)
    write(path, "UPDATE alembic_version SET version_num = '9999'")
    check_one_line(command("serve", tiny_bundles[0]), 2, "error[config]", "newer")


def test_a_database_without_tables_elsewhere_is_not_upgraded_unasked(
    command, tiny_bundles, postgres, monkeypatch
):
    url = postgres.create()
    monkeypatch.setenv("STALLWART_DATABASE_URL", url)
    check_one_line(command("serve", tiny_bundles[0]), 2, "error[config]", "stallwart db upgrade")
    postgres.drop(url)


def test_a_database_that_is_away_is_one_line_without_its_password(command, tiny_bundles, monkeypatch):
    url = "postgresql://someone:secretword@127.0.0.1:1/shop"
    monkeypatch.setenv("STALLWART_DATABASE_URL", url)
    said = command("serve", tiny_bundles[0])
    check_one_line(said, 5, "error[store]")
    assert "secretword" not in said[1]


def test_a_damaged_database_is_one_line(command, tiny_bundles, tmp_path):
    path = database_of(tmp_path)
    path.write_bytes(b"no database " * 1_000)
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    check_one_line(command("serve", tiny_bundles[0]), 5, "error[store]")


def test_a_setting_that_is_wrong_is_one_line(command, tiny_bundles, monkeypatch):
    monkeypatch.setenv("STALLWART_DEADLINE_MS", "soon")
    check_one_line(command("serve", tiny_bundles[0]), 2, "STALLWART_DEADLINE_MS")

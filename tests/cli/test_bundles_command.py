"""`stallwart bundles`, as an operator meets it."""

import json

import pytest

from stallwart.core.rollout import Stage
from stallwart.core.settings import Settings
from stallwart.model.bundle import MANIFEST
from stallwart.store import audit
from stallwart.store.database import open_database, reading
from stallwart.store.registry import champion
from stallwart.store.rollouts import current
from tests.store.rolling import NOW, begun, moved

WHY = ("--why", "it is better")

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "250")
    return tmp_path / "data"


@pytest.fixture
def database(data, here):
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{data}/stallwart.sqlite", Settings())
    yield engine
    engine.dispose()


@pytest.fixture
def digests(tiny_bundles):
    return [json.loads((folder / MANIFEST).read_text())["digest"] for folder in tiny_bundles]


def report_on(digest, path, **facts):
    live = {"value": 0.91234, "low": 0.9, "high": 0.93, "n": 1_200, "n_positive": 300, "unit": "share"}
    figures = {"average_precision": {"live": live, "measured": live}}
    made = {"format": 1, "facts": {"bundle": digest}, "part": {"n": 1_200}, "macro": figures, "traffic": {}}
    made |= {"policies": {"tobacco": {**figures, "cost": {}}}, "worst": [{"listing_id": "a secret one"}]}
    path.write_text(json.dumps({**made, **facts}))
    return path


def test_a_bundle_is_checked_copied_and_registered_with_its_report(
    here, data, database, tiny_bundles, digests, tmp_path
):
    folder, digest = tiny_bundles[0], digests[0]
    added = here("bundles", "add", folder, "--report", report_on(digest, tmp_path / "r.json"), "--who", "ana")
    assert (added.code, added.out) == (0, f"{digest}\n"), added.err
    shown = here("bundles", "show", digest[:8], "--json").facts
    assert shown["place"] == str(data / "bundles" / digest)
    assert (data / "bundles" / digest / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    assert shown["card"]["data"]["digest"] == shown["data_digest"]
    assert shown["report"]["policies"]["tobacco"].keys() == {"average_precision"}
    assert "a secret one" not in json.dumps(shown)
    assert "0.912 [0.900, 0.930], n = 1,200" in here("bundles", "list").out
    assert "average precision: 0.912 [0.900, 0.930], n = 1,200" in here("bundles", "show", digest).out
    with reading(database) as connection:
        (entry,) = audit.read(connection)
    assert (entry.who, entry.act, entry.subject) == ("ana", "bundle.register", digest)


def test_adding_a_bundle_again_changes_nothing_but_its_report(here, tiny_bundles, digests, tmp_path):
    folder, digest = tiny_bundles[0], digests[0]
    for _ in range(2):
        assert here("bundles", "add", folder).code == 0
    assert here("bundles", "list", "--json").facts[0]["report"] is None
    assert "no report" in here("bundles", "list").out
    here("bundles", "add", folder, "--report", report_on(digest, tmp_path / "r.json"))
    assert here("bundles", "list", "--json").facts[0]["report"]["part"] == {"n": 1_200}
    acts = [one["act"] for one in here("audit", "list", "--json").facts]
    assert acts == ["bundle.update", "bundle.register"]
    assert here("audit", "verify").code == 0


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"facts": {"bundle": "f" * 64}}, "is about bundle ffffffffffff, not"),
        ({"format": 99}, "no report of this version"),
        ({"policies": []}, "no report of this version"),
        ({"policies": {"tobacco": None}}, "no report of this version"),
        ({"facts": None}, "no report of this version"),
        ({"traffic": "x" * 200_001}, "too large for a report"),
    ],
)
def test_a_report_that_is_not_of_this_bundle_is_refused(here, tiny_bundles, digests, tmp_path, facts, says):
    refused = here(
        "bundles", "add", tiny_bundles[0], "--report", report_on(digests[0], tmp_path / "r.json", **facts)
    )
    assert refused.code == 3
    assert says in refused.err
    assert here("bundles", "list").out == "no bundles; see: stallwart bundles add\n"


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"[" * 100_000])
def test_a_file_that_is_no_report_is_one_line(here, tiny_bundles, tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    refused = here("bundles", "add", tiny_bundles[0], "--report", tmp_path / "r.json")
    assert (refused.code, refused.err.count("\n")) == (3, 1)
    assert here("bundles", "add", tiny_bundles[0], "--report", tmp_path / "none.json").code == 3


def test_a_folder_that_is_no_bundle_is_not_registered(here, tmp_path):
    assert here("bundles", "add", tmp_path).code == 4
    assert here("bundles", "list", "--json").facts == []


def test_the_champion_is_named_with_a_reason_and_not_while_a_rollout_runs(
    here, database, tiny_bundles, digests
):
    old, new = digests
    for folder in tiny_bundles:
        here("bundles", "add", folder)
    assert here("bundles", "champion", old[:10]).code == 2, "no reason"
    assert here("bundles", "champion", old[:10], "--why", " ").code == 2
    named = here("bundles", "champion", old[:10], *WHY, "--who", "ben")
    assert (named.code, named.out) == (0, f"{old} is the champion\n"), named.err
    rollout = begun(database, champion=old, challenger=new)
    refused = here("bundles", "champion", new, *WHY)
    assert refused.code == 3
    assert f"rollout {rollout.rollout_id} is running" in refused.err
    assert {one["digest"]: one["is"] for one in here("bundles", "list", "--json").facts} == {
        old: "champion", new: "challenger",
    }  # fmt: skip
    with reading(database) as connection:
        assert (champion(connection), current(connection)) == (old, rollout)
    moved(database, rollout, Stage.ROLLED_BACK, now_ms=NOW)
    assert here("bundles", "champion", new, *WHY, "--json").facts["is"] == "champion"
    assert here("bundles", "show", new).out.splitlines()[:2] == [f"digest: {new}", "is: champion"]


def test_a_bundle_that_is_gone_from_its_place_does_not_become_the_champion(
    here, data, database, tiny_bundles, digests
):
    here("bundles", "add", tiny_bundles[0])
    (data / "bundles" / digests[0] / "heads.onnx").write_bytes(b"broken")
    refused = here("bundles", "champion", digests[0], *WHY)
    assert refused.code == 4
    assert "heads.onnx: was changed or cut short" in refused.err
    with reading(database) as connection:
        assert champion(connection) is None


def test_a_digest_that_nothing_has_is_one_line(here):
    for command in (("show", "abc"), ("champion", "abc", *WHY)):
        refused = here("bundles", *command)
        assert refused.code == 3
        assert "no bundle 'abc' is registered" in refused.err

"""`stallwart labels`, as an operator meets it."""

import csv
import json

import pytest

from stallwart.core.settings import Settings
from stallwart.store.database import open_database, reading, writing
from stallwart.store.draws import add_draws
from stallwart.store.labels import known_labels
from stallwart.store.verdicts import Answer, Source, add_verdict, read_verdicts
from tests.store.outgoing import decide
from tests.store.rolling import NOW, drawn

pytestmark = pytest.mark.usefixtures("database")
YES, NO = {"tobacco": Answer.YES}, {"tobacco": Answer.NO}


@pytest.fixture
def database(tmp_path, monkeypatch, here):
    monkeypatch.setenv("STALLWART_DATA_DIR", str(tmp_path / "data"))
    here("db", "upgrade")
    engine = open_database(f"sqlite:///{tmp_path}/data/stallwart.sqlite", Settings())
    decide(engine, [], ("a", 1), ("b", 1), ("c", 1))
    yield engine
    engine.dispose()


def draw(database, decision_id):
    with writing(database) as connection:
        add_draws(connection, [drawn(decision_id)])


def judge(database, listing, answers, source=Source.AUDIT):
    with writing(database) as connection:
        add_verdict(
            connection,
            decision_id=f"d-{listing}-0001",
            answers=answers,
            who="rita",
            source=source,
            now_ms=NOW,
        )


def labels(database):
    with reading(database) as connection:
        return {one.listing_id: one for one in known_labels(connection)}


def verdicts(database, listing):
    with reading(database) as connection:
        return read_verdicts(connection, f"d-{listing}-0001")


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["listing_id"]: row for row in csv.DictReader(file)}


def test_csv_goes_out_with_weights_and_comes_in_again_without_a_change(here, database, tmp_path):
    draw(database, "d-a-0001")
    judge(database, "a", YES)
    judge(database, "b", NO, Source.REVIEW)
    out = tmp_path / "labels.csv"
    assert here("labels", "export", str(out)).out == f"{out}: 2 labels\n"
    found = rows(out)
    assert (found["a"]["yes"], found["a"]["weight"], found["a"]["probability"]) == ("tobacco", "4", "0.25")
    assert (found["b"]["no"], found["b"]["weight"], found["b"]["source"]) == ("tobacco", "1", "review")
    first = here("labels", "import", str(out), "--json").facts
    assert (first["taken"], first["bad"]) == ({"already there": 2}, {})
    out.write_text(out.read_text(encoding="utf-8").replace("rita", "agency"), encoding="utf-8")
    for told in ({"new": 2}, {"already there": 2}):
        assert here("labels", "import", str(out), "--json").facts["taken"] == told
    assert [one.source for one in verdicts(database, "a")] == [Source.AUDIT, Source.IMPORT]


def test_label_studio_reads_what_was_written_and_what_it_made_of_it_is_read(here, database, tmp_path):
    judge(database, "a", YES)
    judge(database, "b", NO)
    out = tmp_path / "tasks.json"
    here("labels", "export", str(out), "--format", "label-studio")
    tasks = json.loads(out.read_text(encoding="utf-8"))
    by = {task["data"]["listing_id"]: task for task in tasks}
    (result,) = by["a"]["annotations"][0]["result"]
    assert (result["type"], result["from_name"], result["to_name"]) == ("choices", "policy", "listing")
    assert result["value"] == {"choices": ["tobacco"]}
    assert by["b"]["annotations"][0]["result"][0]["value"] == {"choices": ["neutral"]}
    assert by["a"]["data"]["text"] == "état 1"
    # Somebody changes one answer there; an annotation that was cancelled says nothing
    changed = by["a"]["annotations"][0] | {"id": 7, "completed_by": 10, "updated_at": "2027-02-01T00:00:00Z"}
    changed["result"] = [result | {"value": {"choices": ["neutral"]}}]
    by["a"]["annotations"] += [changed, {**by["a"]["annotations"][0], "was_cancelled": True}]
    out.write_text(json.dumps([by["a"], by["b"]]), encoding="utf-8")
    assert here("labels", "import", str(out), "--json").facts["taken"] == {"new": 1, "already there": 1}
    assert (labels(database)["a"].answers, labels(database)["a"].who) == (NO, "10")


def test_another_answer_of_the_same_person_replaces_theirs(here, database, tmp_path):
    path = tmp_path / "one.csv"
    for answer, column in ((Answer.YES, "yes,no"), (Answer.NO, "no,yes")):
        path.write_text(f"decision_id,{column},who\nd-a-0001,tobacco,,agency\n", encoding="utf-8")
        told = here("labels", "import", str(path), "--json").facts["taken"]
        assert told == ({"new": 1} if answer == Answer.YES else {"changed": 1})
        assert labels(database)["a"].answers == {"tobacco": answer}
    first, second = verdicts(database, "a")
    assert second.replaces == first.verdict_id


def test_rows_that_cannot_be_taken_are_counted_and_the_others_are_taken(here, database, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(
        "decision_id,yes,no,who,severity\n"
        "d-a-0001,tobacco,,x,2\n"
        "d-nobody,tobacco,,x,\n"
        "d-b-0001,fireworks,,x,\n"
        "d-b-0001,tobacco,tobacco,x,\n"
        "d-b-0001,,,x,\n"
        "d-c-0001,tobacco,,,\n"
        ",tobacco,,x,\n"
        "d-b-0001,tobacco,,x,much\n",
        encoding="utf-8",
    )
    told = here("labels", "import", str(path))
    assert told.code == 0
    assert told.out == f"{path}: 1 new\n"
    assert f"{path}:2: there is no such decision" in told.err
    assert f"{path}:3: it names a policy that the decision does not know" in told.err
    assert f"{path}:6: a verdict needs a reviewer" in told.err
    assert verdicts(database, "a")[0].severity == 2
    again = here("labels", "import", str(path), "--who", "agency", "--json").facts
    assert again["taken"] == {"already there": 1, "new": 1}
    assert sum(again["bad"].values()) == 6


def test_only_what_the_audit_drew_can_be_read_for_it_outside(here, database, tmp_path):
    draw(database, "d-a-0001")
    path = tmp_path / "some.csv"
    path.write_text("decision_id,yes,no\nd-a-0001,tobacco,\nd-b-0001,tobacco,\n", encoding="utf-8")
    told = here("labels", "import", str(path), "--audit", "--who", "agency", "--json").facts
    assert (told["taken"], told["bad"]) == ({"new": 1}, {"the audit did not draw it": 1})
    assert labels(database)["a"].source == Source.AUDIT


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "listing,label\n1,x\n", "needs the columns"), ("a.json", '{"data": 1}', "is no JSON array"),
        ("a.json", '[{"data": {"decision_id": "d"}', "breaks off"),
        ("b.csv", "decision_id,yes\nd_1,x\n", "none of 1"),
        ("a.json", '[{"data": {}}, 7, {"data": {"decision_id": "x"}, "annotations": []}]', "none of 3 rows"),
    ],
)  # fmt: skip
def test_files_that_hold_no_verdicts_are_refused(here, tmp_path, name, text, says):
    (tmp_path / name).write_text(text, encoding="utf-8")
    told = here("labels", "import", str(tmp_path / name), "--who", "x")
    assert told.code != 0
    assert says in told.err
    assert "Traceback" not in told.err


def test_training_files_and_their_bounds(here, database, tmp_path):
    judge(database, "a", YES)
    judge(database, "b", NO, Source.REVIEW)
    told = here("labels", "export", str(tmp_path / "out"), "--format", "training", "--json").facts
    assert (told["written"], told["labels"]) == (2, {"tobacco": 1, "neutral": 1})
    assert set(rows(tmp_path / "out" / "labels.csv")) == {"a", "b"}
    only = here("labels", "export", str(tmp_path / "x.csv"), "--source", "review", "--json").facts
    assert only["written"] == 1
    assert (
        here("labels", "export", str(tmp_path / "x.csv"), "--until", "2026-01-01", "--json").facts["written"]
        == 0
    )
    assert "there are: audit" in here("labels", "export", str(tmp_path / "x.csv"), "--source", "chance").err


def test_what_a_move_of_policies_leaves_open_is_left_out_and_counted(here, database, tmp_path):
    from stallwart.core import rulebook
    from stallwart.core.taxonomy import Policy, Taxonomy
    from stallwart.store import rulebooks

    names = ("tobacco", "snus", "vapes", "weapons")
    old, *parts, other = (Policy(id=one, title=one, prevalence=0.01) for one in names)
    first = rulebook.begin(Taxonomy(policies=(old, other)))
    books = [first, rulebook.split(first, "tobacco", tuple(parts))]
    with writing(database) as connection:
        rulebooks.move(connection, books, seen=0, who="ana", why="two laws", now_ms=NOW + 5)
    judge(database, "a", YES)
    judge(database, "b", {**NO, "weapons": Answer.NO})
    judge(database, "c", {**YES, "weapons": Answer.YES})
    told = here("labels", "export", str(tmp_path / "labels.csv"), "--json").facts
    assert (told["written"], told["carried"]) == (2, 2)
    assert [(count, "leaves open" in reason) for reason, count in told["left_out"].items()] == [(1, True)]
    found = rows(tmp_path / "labels.csv")
    assert (found["b"]["no"], found["c"]["yes"]) == ("weapons;snus;vapes", "weapons")
    told = here("labels", "export", str(tmp_path / "out"), "--format", "training", "--json").facts
    assert told["labels"] == {"neutral": 1, "weapons": 1}
    assert sum(told["left_out"].values()) == 1
    policies = tmp_path / "old.toml"
    policies.write_text(
        "".join(f'[policies.{one}]\ntitle = "x"\nprevalence = 0.01\n' for one in ("tobacco", "weapons"))
    )
    asked = ("--format", "training", "--policies", str(policies), "--json")
    told = here("labels", "export", str(tmp_path / "out"), *asked).facts
    assert (told["labels"], told["carried"]) == ({"neutral": 1, "tobacco": 2}, 0)

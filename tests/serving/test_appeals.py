"""Appeals and statements over a real service, with people and the intake beside it."""

import csv
import io
import json
import time

import pytest
from test_app import LAMP, Running

from stallwart.cli.statements import _write
from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.model.seen import erase_tools
from stallwart.reasons.give import Statements
from stallwart.reasons.rows import COLUMNS, rows
from stallwart.serving.server import wall_ms
from stallwart.store import claims
from stallwart.store.database import writing
from stallwart.store.erased import Kind
from stallwart.store.erasing import erase
from stallwart.store.intake import Intake
from stallwart.store.keys import Scope
from stallwart.store.people import Role
from stallwart.store.verdicts import Answer
from stallwart.store.webhooks import add_webhook
from tests.serving.fakes import FakeRuntime
from tests.serving.receiver import Receiver
from tests.store.reviewing import person

YES, NO = Answer.YES, Answer.NO
SETTLED = Settings(review_undo_minutes=0, review_second_share=0, review_gold_share=0)


class Market:
    """A service, the market that calls it, and reviewers with an intake."""

    def __init__(self, running):
        self.running, self.client = running, running.client()
        self.database = running.database
        self.intake = Intake(self.database, SETTLED, wall_ms)
        self.people = {}

    def post(self, title, listing_id="L1", language=None, **options):
        listing = {**LAMP, "listing_id": listing_id, "title": title, "language": language}
        return self.client.post("/v1/decisions", json={"listing": listing, **options}).json()

    def appeal(self, decision):
        said = {"decision_id": decision["decision_id"], "kind": "appeal", "note": "It is a toy."}
        assert self.client.post("/v1/feedback", json=said).status_code == 201
        self.intake.step()

    def take(self, name):
        if name not in self.people:
            self.people[name] = person(self.database, name, Role.REVIEWER)
        with writing(self.database) as connection:
            return claims.claim_next(connection, self.people[name], now_ms=wall_ms(), lease_ms=300_000)

    def answer(self, name, **answers):
        task = self.take(name)
        with writing(self.database) as connection:
            claims.finish(connection, self.people[name], task.task_id, answers, now_ms=wall_ms())
        self.intake.step()
        return task

    def statement(self, decision, **query):
        return self.client.get(f"/v1/decisions/{decision['decision_id']}/statement", params=query)


@pytest.fixture
def market(tmp_path):
    settings = Settings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", key_cache_seconds=0, reload_seconds=0,
        statement_market="Flohmarkt", statement_appeal="appeals@example.com", webhook_statement=True,
        webhook_private=True,
        # No task but those that are asked for
        audit_budget=0, audit_block_share=0, audit_block_least=0,
    )  # fmt: skip
    running = Running(settings, FakeRuntime())
    yield Market(running)
    running.stop()


def test_an_appeal_against_the_model_is_overturned_and_told(market):
    receiver = Receiver()
    try:
        add_webhook(market.database, receiver.url, [Action.BLOCK, Action.ALLOW], wall_ms())
        blocked = market.post("a drug")
        assert (blocked["action"], blocked["automatic"]) == ("block", True)
        market.appeal(blocked)
        market.answer("rita", drugs=NO)
        repeat = market.post("a drug")
        assert (repeat["action"], repeat["cause"], repeat["automatic"]) == ("allow", "appeal", False)
        assert repeat["supersedes"] == blocked["decision_id"]
        assert market.post("a drug", rescan=True) == repeat, "no model overturns it"
        read = market.client.get(f"/v1/decisions/{repeat['decision_id']}")
        assert read.json() == repeat
        assert "rita" not in read.text
        assert market.statement(repeat).status_code == 404
        assert receiver.wait_for(lambda came: len(came) == 2)
        told = [json.loads(one.body) for one in receiver.came]
    finally:
        receiver.close()
    assert [one["decision_id"] for one in told] == [blocked["decision_id"], repeat["decision_id"]]
    assert told[0]["statement"]["text"] == market.statement(blocked).json()["text"]
    assert "statement" not in told[1]


def test_an_appeal_against_a_person_goes_to_another_and_the_statement_says_that_it_was_upheld(market):
    asked = market.post("a gun")
    assert asked["action"] == "review"
    market.intake.step()
    market.answer("rita", weapons=YES)
    blocked = market.post("a gun")
    assert (blocked["action"], blocked["cause"]) == ("block", "verdict")
    first = market.statement(blocked).json()
    assert "A person looked at it and made this decision." in first["text"]
    assert "upheld" not in first["text"]
    market.appeal(blocked)
    assert market.take("rita") is None, "she blocked it"
    market.answer("ben", weapons=YES)
    upheld = market.post("a gun")
    assert (upheld["action"], upheld["cause"]) == ("block", "appeal")
    assert "the decision was upheld" in market.statement(upheld).json()["text"]
    assert market.statement(blocked).json() == first, "what was given stays"


def test_a_statement_is_in_the_listings_language_and_stays_what_was_given(market):
    blocked = market.post("a drug", language="de-CH")
    own = market.statement(blocked).json()
    assert (own["language"], "Begründung von Flohmarkt" in own["text"]) == ("de", True)
    assert "appeals@example.com" in own["text"]
    assert "0.95" in own["text"]
    assert market.statement(blocked, language="fr").json()["language"] == "fr"
    assert market.statement(blocked, language="xx").json()["language"] == "en"
    later = Statements(Settings(statement_market="Another name"))
    assert later.give(market.database, blocked["decision_id"], wall_ms()).text == own["text"]
    assert market.statement({"decision_id": "d_none"}).status_code == 404
    path = f"/v1/decisions/{blocked['decision_id']}/statement"
    assert market.running.client(Scope.SCORE).get(path).status_code == 403


def test_all_statements_are_exported_in_the_words_of_the_transparency_database(market):
    blocked = [market.post("a drug", listing_id=f"=L{number}") for number in range(3)]
    market.post("a lamp", listing_id="fine")
    market.post("a gun", listing_id="asked")
    statements = Statements(Settings(statement_categories="drugs=UNSAFE_AND_PROHIBITED_PRODUCTS"))
    file = io.StringIO()
    found = rows(market.database, statements, 0, wall_ms() + 1, wall_ms())
    assert _write(found, COLUMNS, file) == (3, 0)
    read = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [row["puid"] for row in read] == [one["decision_id"] for one in blocked]
    assert read[0]["category"] == "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS"
    assert read[0]["automated_decision"] == "AUTOMATED_DECISION_FULLY"
    assert read[0]["automated_detection"] == "Yes"
    assert read[0]["decision_ground"] == "DECISION_GROUND_INCOMPATIBLE_CONTENT"
    assert "L0" not in read[0]["decision_facts"], "nothing of the seller goes there"
    assert read[0]["listing_id"] == "'=L0", "no spreadsheet runs it"


def test_what_was_erased_is_refused_and_its_statement_is_gone(market):
    blocked = market.post("a drug")
    tools = erase_tools(market.database, market.running.settings, wall_ms)
    erase(market.database, tools, Kind.LISTING, "L1", who="ana", why="they asked")
    deadline = time.monotonic() + 60
    while (answer := market.post("a drug")).get("error") is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer["error"]["code"] == "erased"
    assert market.statement(blocked).status_code == 404
    assert market.post("a lamp", listing_id="L2")["action"] == "allow"

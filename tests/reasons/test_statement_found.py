"""What a statement says of how a listing was found and looked at, after what people really did."""

import pytest

from stallwart.core.decision import Action, Cause
from stallwart.core.settings import Settings
from stallwart.index.findable import Findable
from stallwart.index.search import Filters, search
from stallwart.reasons.facts import read_facts
from stallwart.reasons.give import Statements
from stallwart.reasons.rows import row_of
from stallwart.store import bulk
from stallwart.store.database import reading, writing
from stallwart.store.decisions import last_decisions
from stallwart.store.photos import PhotoStore
from stallwart.store.rulings import Asked, rule
from stallwart.store.tasks import Kind, Question, add_tasks
from stallwart.store.views import View, add_views
from tests.index.stored import LAMP, NOW, decide
from tests.store.reviewing import RANKING

LANGUAGES = ("en", "de", "fr", "es")
NO_SYSTEM = ("No automated system", "Kein automatisches System", "Aucun système", "Ningún sistema")
BROUGHT = ("brought the listing", "aufmerksam gemacht", "a attiré notre attention", "nos advirtió")
SEARCHED = ("The search used", "Die Suche stützte", "La recherche s'appuyait", "La búsqueda se basó")
REPORTED = ("somebody reported", "eine Meldung", "un signalement", "un aviso")
LOOKED = ("A person looked at it", "Eine Person hat es angesehen", "Une personne l'a examinée", "lo examinó")
SHOWN = ("was shown to them", "ihr in einer Liste gezeigt", "lui a été montrée", "se le mostró")
UNSEEN = ("without looking at each", "ohne jedes einzeln", "sans examiner chacune", "sin examinar cada uno")


@pytest.fixture
def found(database, tmp_path):
    """Decide about a listing, find it, block it with what a search finds, and give what became of it."""
    photos = PhotoStore(str(tmp_path / "photos"))

    def block(action, filters, *, seen=False, reported=False):
        policies = ("weapons",) if action != Action.ALLOW else ()
        decision = decide(database, photos, "L1", "Brass lamp", LAMP, action=action, policies=policies)
        Findable(database, lambda: NOW).step()
        with writing(database) as connection:
            if reported:
                asked = Question(
                    Kind.REPORT, decision.decision_id, "L1", decision.revision, policy=None, language="en",
                    probability=None, asked_at_ms=NOW,
                )  # fmt: skip
                add_tasks(connection, [asked], RANKING, NOW)
            if seen:
                add_views(connection, [View("u_1", "L1", "search", NOW + 1, decision.decision_id)])
            act = bulk.prepare(
                connection, search(database, Filters(), 9).rows, user_id="u_1", who="rita",
                action=Action.BLOCK, policies=("weapons",), why="a raid", filters=filters, now_ms=NOW + 2,
            )  # fmt: skip
            bulk.begin(connection, act, who="rita", now_ms=NOW + 3)
        bulk.Bulk(database, lambda: NOW + 4).work()
        return last(database)

    return block


def last(database):
    with reading(database) as connection:
        return last_decisions(connection, {"L1"})["L1"].decision_id


def told(database, decision_id):
    """The statement in each language."""
    statements = Statements(Settings())
    return [statements.give(database, decision_id, NOW + 9, language).text for language in LANGUAGES]


def says(texts, words):
    return [word in text for text, word in zip(texts, words, strict=True)]


@pytest.mark.parametrize(
    ("action", "filters", "more", "true", "detected"),
    [
        (Action.REVIEW, {"words": "lamp"}, {}, (BROUGHT, UNSEEN), "Yes"),
        (Action.REVIEW, {"words": "lamp"}, {"seen": True}, (BROUGHT, SHOWN), "Yes"),
        (Action.REVIEW, {"words": "lamp"}, {"reported": True}, (BROUGHT, REPORTED, UNSEEN), "Yes"),
        (Action.ALLOW, {"words": "lamp"}, {}, (NO_SYSTEM, UNSEEN), "No"),
        (Action.ALLOW, {"score_from": "0.1"}, {"seen": True}, (SEARCHED, SHOWN), "Yes"),
        (Action.ALLOW, {"seller": "ann"}, {"reported": True}, (NO_SYSTEM, REPORTED, UNSEEN), "No"),
    ],
)
def test_an_act_on_many_says_what_found_the_listing_and_whether_it_was_seen(
    database, found, action, filters, more, true, detected
):
    decision_id = found(action, filters, **more)
    texts = told(database, decision_id)
    for words in (NO_SYSTEM, BROUGHT, SEARCHED, REPORTED, LOOKED, SHOWN, UNSEEN):
        assert says(texts, words) == [words in true] * len(LANGUAGES), words
    statements = Statements(Settings())
    given, facts = statements.give_with_facts(database, decision_id, NOW + 9)
    row = row_of(statements, given, facts)
    assert row["automated_detection"] == detected
    assert row["source_type"].endswith("VOLUNTARY") != ("reported" in more)


@pytest.mark.parametrize(
    ("action", "kind", "detection", "flagged"),
    [
        (Action.REVIEW, Kind.REVIEW, "model", True),
        (Action.REVIEW, Kind.REPORT, "notice", True),
        (Action.ALLOW, Kind.REPORT, "notice", False),
        (Action.ALLOW, Kind.AUDIT, "sample", False),
        (Action.ALLOW, Kind.REVIEW, "sample", False),
        (Action.ALLOW, Kind.NOVELTY, "model", True),
        (Action.BLOCK, Kind.APPEAL, "model", True),
    ],
)
def test_a_verdict_says_what_brought_the_listing_forward(
    database, tmp_path, action, kind, detection, flagged
):
    policies = ("weapons",) if action != Action.ALLOW else ()
    photos = PhotoStore(str(tmp_path / "photos"))
    decision = decide(database, photos, "L1", "Brass lamp", LAMP, action=action, policies=policies)
    cause = Cause.APPEAL if kind == Kind.APPEAL else Cause.VERDICT
    asked = Asked("v", decision.decision_id, cause, "rita", NOW + 1, kind, Action.BLOCK, ("weapons",))
    with writing(database) as connection:
        rule(connection, [asked], NOW + 2)
    with reading(database) as connection:
        facts = read_facts(connection, last(database), {}, {})
    assert (facts.detection, facts.flagged) == (detection, flagged)
    assert (facts.automatic, facts.together, facts.looked) == (False, False, True)
    texts = told(database, last(database))
    assert says(texts, LOOKED) == [True] * 4
    assert says(texts, NO_SYSTEM) == [not flagged] * 4

"""The desk without a browser: what is shown, answered, passed on and lost; what a blind task hides."""

import io
import re

import pytest
from desks import HOSTILE, IDS, TRICKS, asked, desk, evidence, listed, settings_of, told
from PIL import Image

from stallwart.cli.review import compose
from stallwart.core.decision import Action, Cause
from stallwart.pages.app import Parts, create_site
from stallwart.review.tasks import UNSEEN
from stallwart.store import audit
from stallwart.store.database import reading
from stallwart.store.gold import list_gold
from stallwart.store.people import Role, set_reading
from stallwart.store.tasks import Kind, State, tasks_of
from stallwart.store.verdicts import Answer, read_verdicts
from stallwart.store.views import read_views
from tests.pages.sites import Clock, signed_in, token_of, words
from tests.store.reviewing import QUICK, act

PART = {"hx-request": "true"}


class Desk:
    """Somebody at the desk, as its script asks."""

    def __init__(self, somebody, database):
        self.somebody, self.database = somebody, database
        self.page = somebody.get("/tasks")
        self.headers = {**PART, "x-csrf-token": token_of(self.page.text)}

    def task(self):
        return task_of(self.page.text)

    def post(self, path, **form):
        return self.somebody.client.post(path, data=form, headers=self.headers)

    def answer(self, task, *policies, judged=IDS, **form):
        given = {"policy": list(policies), "judged": list(judged), **form}
        if not policies:
            given["allow"] = "1"
        return self.post(f"/tasks/{task}/verdict", **given)


def task_of(html):
    found = re.search(r'data-task="([^"]+)"', html)
    return found and found.group(1)


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def app(database, settings, clock):
    sections, _ = compose(database, settings, QUICK, clock, None, settings.data_dir / "policies.toml")
    return create_site(sections, Parts(database, settings, QUICK, clock))


@pytest.fixture
def sits(app, database):
    """Somebody of a role sits down."""
    return lambda role=Role.REVIEWER, name=None: Desk(signed_in(app, database, role, name), database)


def verdicts(database, decision_id):
    with reading(database) as connection:
        return read_verdicts(connection, decision_id)


def state(database, decision_id):
    with reading(database) as connection:
        return tasks_of(connection, decision_id)[0].state


def test_a_task_shows_the_listing_its_evidence_and_the_rulebook(database, settings, sits):
    decision = listed(database, settings, 1, photos=2)
    evidence(database, decision, "Old knife 1")
    asked(database, decision)
    listed(database, settings, 2, title="Another of the seller")
    html = sits().page.text
    assert '<mark class="s3">knife</mark>' in html
    assert 'src="/photos/d-000001/1"' in html
    assert '<rect x="20.0" y="20.0" width="20.0" height="20.0"/>' in html
    for said in (
        "Firearms, ammunition", "62 %", "Another of the seller", "The model left it to a person",
        "weapons is over the score",
    ):  # fmt: skip
        assert said in words(html), said


def test_a_task_about_what_is_like_a_known_violation_is_shown_with_and_without_evidence(
    database, settings, sits
):
    known = {"entry": "k_1", "policy": "weapons", "by": "text", "distance": 0.0, "verdict": None}
    decision = listed(database, settings, 1, cause=Cause.KNOWN_BAD, evidence={"known": known})
    asked(database, decision)
    rita = sits()
    assert "No words are marked" in rita.page.text
    evidence(database, decision, "Old knife 1")
    assert '<mark class="s3">knife</mark>' in rita.somebody.get("/tasks").text


def test_evidence_for_another_policy_than_the_task_asks_about_is_not_shown_as_if_it_were_of_it(
    database, settings, sits
):
    decision = listed(database, settings, 1, action=Action.ALLOW, policies=())
    evidence(database, decision, "Old knife 1")
    asked(database, decision, policy="alcohol")
    html = sits().page.text
    assert "<mark" not in html
    assert "no evidence (none can be shown for Alcohol)" in words(html)


def test_an_answer_is_kept_with_a_no_to_what_was_not_marked_and_the_next_task_comes_with_it(
    database, settings, sits
):
    desk(database, settings, 2)
    rita = sits()
    answer = rita.answer(rita.task(), "weapons", "alcohol", severity="3", note=" a sharp one ")
    assert answer.status_code == 200
    (said,) = [one for number in (1, 2) for one in verdicts(database, f"d-{number:06d}")]
    yes, no = Answer.YES, Answer.NO
    assert said.answers == {"weapons": yes, "tobacco": no, "counterfeit": no, "alcohol": yes}
    assert (said.who, said.severity, said.note) == ("some reviewer", 3, "a sharp one")
    assert task_of(answer.text) not in (None, rita.task())
    assert rita.answer(task_of(answer.text)).status_code == 204  # nothing is left


def test_a_browser_without_scripts_answers_by_plain_forms(database, settings, sits):
    desk(database, settings, 2)
    rita = sits()
    form = {"csrf": rita.headers["x-csrf-token"], "allow": "1", "judged": list(IDS)}
    answer = rita.somebody.client.post(f"/tasks/{rita.task()}/verdict", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tasks")
    assert task_of(rita.somebody.get("/tasks").text) != rita.task()


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"allow": "1", "policy": "weapons"},
        {"policy": "nothing"},
        {"policy": "weapons", "severity": "9"},
        {"policy": "weapons", "judged": ["tobacco"]},
        {"allow": "1", "judged": ["made_up"]},
        {"allow": "1", "judged": []},
        {"allow": "1", "note": "x" * 10_001},
    ],
)
def test_an_answer_that_says_nothing_clear_is_refused_and_ends_nothing(database, settings, sits, form):
    desk(database, settings, 1)
    rita = sits()
    answer = rita.post(f"/tasks/{rita.task()}/verdict", **{"judged": list(IDS), **form})
    assert answer.status_code == 422
    assert told(answer)["error"]["message"]
    assert state(database, "d-000001") == State.CLAIMED
    assert verdicts(database, "d-000001") == []


def test_a_browser_holds_the_next_task_beside_the_one_that_it_shows_and_two_people_never_share_one(
    database, settings, sits
):
    desk(database, settings, 5)
    rita, otto = sits(), sits(name="otto")
    first = rita.task()
    second = task_of(rita.post("/tasks/take", have=[first]).text)
    again = task_of(rita.post("/tasks/take", have=[first]).text)  # its answer was lost on the way
    assert again == second
    third = task_of(rita.answer(first, have=[second]).text)
    others = task_of(otto.post("/tasks/take", have=[otto.task()]).text)
    assert len({first, second, third, otto.task(), others}) == 5


def test_undo_brings_the_task_back(database, settings, sits, clock):
    desk(database, settings, 2)
    rita = sits()
    rita.answer(rita.task())
    assert task_of(rita.post("/tasks/undo").text) == rita.task()
    assert rita.answer(rita.task(), "weapons").status_code == 200
    clock.now_ms += 11 * 60_000
    gone = rita.post("/tasks/undo")
    assert gone.status_code == 404
    assert "no verdict of yours of the last 10 minutes" in told(gone)["error"]["message"]


def test_a_task_that_was_answered_wrongly_comes_back_as_it_was_filled_in(database, settings, sits):
    desk(database, settings, 1)
    rita = sits()
    task = rita.task()
    rita.answer(task, "tobacco", severity="2", note="a vape", photos="")
    assert verdicts(database, "d-000001")[0].note == f"a vape {UNSEEN}"
    for page in (rita.post("/tasks/undo"), rita.somebody.get("/tasks")):
        assert re.findall(r'name="policy" value="(\w+)"[^>]* checked', page.text) == ["tobacco"]
        assert re.findall(r'name="severity" value="(\d)"[^>]* checked', page.text) == ["2"]
        assert ">a vape</textarea>" in page.text
    rita.answer(task, "weapons", photos="seen")
    assert verdicts(database, "d-000001")[-1].note is None
    assert re.findall(r'value="(\w+)"[^>]* checked', rita.post("/tasks/undo").text) == ["weapons"]


def test_a_listing_without_words_says_that_none_are_marked_and_asks_for_its_photo(database, settings, sits):
    decision = listed(database, settings, 1, title="", body="")
    evidence(database, decision, "Old knife 1")
    asked(database, decision)
    html = sits().page.text
    assert "Marked:" not in html
    assert "Framed in the photo: what spoke for Weapons" in words(html)
    assert '<input type="hidden" name="photos" value="" data-alone>' in html


def test_a_lost_lease_is_told_and_its_answer_refused(database, settings, sits, clock):
    desk(database, settings, 1)
    rita = sits()
    assert told(rita.post("/tasks/renew", have=[rita.task()])) == {"lost": {}}
    clock.now_ms += 301_000
    otto = sits(name="otto")
    assert otto.task() == rita.task()
    lost = told(rita.post("/tasks/renew", have=[rita.task(), "t_none"]))["lost"]
    assert "somebody else has it now" in lost[rita.task()]
    assert "there is no task" in lost["t_none"]
    refused = rita.answer(rita.task())
    assert refused.status_code == 409
    assert otto.answer(otto.task()).status_code == 204
    assert len(verdicts(database, "d-000001")) == 1


def test_skip_escalate_and_release_pass_a_task_on(database, settings, sits):
    desk(database, settings, 3)
    rita, lea = sits(), sits(Role.LEAD, "lea")
    assert rita.post(f"/tasks/{rita.task()}/skip", reason="").status_code == 422
    after = rita.post(f"/tasks/{rita.task()}/skip", reason="I cannot tell")
    assert task_of(after.text) not in (rita.task(), lea.task())
    last = task_of(after.text)
    assert rita.post(f"/tasks/{last}/escalate", reason="is it one?").status_code == 204
    lea.answer(lea.task())
    seen = {task_of(lea.somebody.get("/tasks").text), task_of(lea.post("/tasks/take", have=[]).text)}
    assert seen <= {rita.task(), last}
    assert lea.post(f"/tasks/{last}/release").headers["hx-redirect"] == "/account"


@pytest.mark.parametrize("kind", [Kind.AUDIT, Kind.SECOND, Kind.GOLD])
def test_a_blind_task_shows_nothing_of_the_model_before_the_answer_can_be_undone_no_more(
    database, settings, sits, clock, kind
):
    decision = listed(database, settings, 1, reason="the secret reason")
    evidence(database, decision, "Old knife 1")
    asked(database, decision, kind)
    rita = sits()
    page = rita.page.text[rita.page.text.index("<article") : rita.page.text.index("</article")]
    hints = ("the secret reason", "62 %", "<mark", "<svg", "This seller", "bundle", kind.value, "nearest")
    for hint in hints:
        assert hint not in page, hint
    assert "sample" in words(page)
    assert rita.somebody.get(f"/tasks/{rita.task()}/nearest").status_code == 404
    rita.answer(rita.task())
    done = rita.somebody.get(f"/tasks/{rita.task()}").text
    assert "the secret reason" not in done
    clock.now_ms += 11 * 60_000
    assert "the secret reason" in rita.somebody.get(f"/tasks/{rita.task()}").text


def test_blind_tasks_look_alike(database, settings, sits):
    pages = []
    for number, kind in enumerate((Kind.AUDIT, Kind.SECOND, Kind.GOLD), 1):
        asked(database, listed(database, settings, number, title="A lamp", body="Brass."), kind)
        rita = sits(name=f"rita {number}")
        page = rita.page.text[rita.page.text.index("<article") : rita.page.text.index("</article")]
        pages.append(re.sub(r"t_[0-9a-f]+|d-[0-9]+|value=\"[^\"]{40,}\"", "", page))
        rita.answer(rita.task())
    assert pages[0] == pages[1] == pages[2]


def test_whoever_settles_a_disagreement_hears_nobody_before(database, settings, sits):
    decision = listed(database, settings, 1)
    asked(database, decision)
    first = sits(name="the first")
    first.answer(first.task(), note="clearly one")
    asked(database, decision, Kind.TIEBREAK)
    page = words(sits(name="the third").page.text)
    assert "What others said" not in page
    asked(database, decision, Kind.APPEAL)
    page = words(sits(name="the fourth").page.text)
    assert "the first" in page


def test_hostile_text_is_shown_as_text_and_what_nobody_sees_by_name(database, settings, sits):
    asked(database, listed(database, settings, 1, title=TRICKS, body=TRICKS + "x" * 100_000, seller=HOSTILE))
    html = sits().page.text
    assert "<script>window" not in html
    assert "<img src=x" not in html
    assert "\u202e" not in html
    assert "\u200b" not in html
    assert '<span class="unseen">right-to-left override</span>' in html
    assert "zero-width space × 500" in html
    assert "{{ 7 * 7 }}" in html
    assert "The rest of the text" in html


def test_nobody_opens_the_task_of_another(database, settings, sits):
    desk(database, settings, 2)
    rita, otto = sits(), sits(name="otto")
    assert otto.somebody.get(f"/tasks/{rita.task()}").status_code == 404
    assert otto.answer(rita.task()).status_code == 409
    assert rita.somebody.get(f"/tasks/{rita.task()}").status_code == 200


def test_photos_are_made_anew_and_served_as_what_they_are(database, settings, sits, app):
    desk(database, settings, 1)
    rita = sits()
    answer = rita.somebody.get("/photos/d-000001/0")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).size == (480, 360)
    kept = next((settings.data_dir / "photos").rglob("[0-9a-f]" * 8 + "*"))
    assert answer.content != kept.read_bytes()
    for path in ("/photos/d-000001/1", "/photos/d-000001/x", "/photos/none/0", "/photos/d-000001/-1"):
        assert rita.somebody.get(path).status_code == 404, path
    engineer = signed_in(app, database, Role.ENGINEER)
    assert engineer.get("/photos/d-000001/0").status_code == 403


def test_every_look_at_a_listing_is_kept_before_it_is_shown(database, settings, sits, app):
    desk(database, settings, 1)
    rita = sits()
    rita.somebody.get("/photos/d-000001/0")  # a part of the same look
    otto = signed_in(app, database, name="otto")
    otto.get("/photos/d-000001/0")
    with reading(database) as connection:
        seen = [one for _, one in read_views(connection, listing_id="L1")]
    assert [one.page for one in seen] == ["photo", "task"]
    assert seen[1].task_id == rita.task()


def test_the_nearest_violations_of_the_model_are_named_and_shown_where_the_store_has_them(
    database, settings, sits
):
    decision = listed(database, settings, 1)
    evidence(database, decision, "Old knife 1")
    asked(database, decision)
    rita = sits()
    near = words(rita.somebody.get(f"/tasks/{rita.task()}/nearest").text)
    assert "Weapons 91 % alike by text, known to the model Listing M77 ; its content" in near


def test_a_person_judges_the_policies_that_they_read(database, settings, app):
    desk(database, settings, 1)
    somebody = signed_in(app, database, name="sue")
    act(database, set_reading, "sue", ["weapons"], None, who="ana", why="x", now_ms=1)
    sue = Desk(somebody, database)
    assert 'value="weapons"' in sue.page.text
    assert 'value="tobacco"' not in sue.page.text
    assert sue.answer(sue.task(), "weapons", judged=["weapons", "tobacco"]).status_code == 422
    sue.answer(sue.task(), "weapons", judged=["weapons"])
    assert verdicts(database, "d-000001")[0].answers == {"weapons": Answer.YES}


def gold_of(database):
    with reading(database) as connection:
        return [(one.decision_id, one.broken, one.who, one.retired_at_ms) for one in list_gold(connection)]


def test_a_lead_answers_and_makes_it_gold_and_an_undo_takes_both_back(database, settings, sits, clock):
    desk(database, settings, 1)
    decision = "d-000001"
    lea = sits(Role.LEAD, "lea")
    task, form = lea.task(), {"policy": ["weapons"], "judged": list(IDS)}
    assert "Make it gold" in words(lea.page.text)
    assert lea.post(f"/tasks/{task}/gold", **form).status_code == 422, "without a reason"
    assert state(database, decision) == State.CLAIMED
    assert lea.post(f"/tasks/{task}/gold", **form, why="a clear one").status_code == 204
    assert gold_of(database) == [(decision, ["weapons"], "lea", None)]
    assert verdicts(database, decision)[0].answers["weapons"] == Answer.YES
    with reading(database) as connection:
        assert "gold.add" in {one.act for one in audit.read(connection)}
    clock.now_ms += 1_000
    assert task_of(lea.post("/tasks/undo").text) == task
    assert [retired for *_, retired in gold_of(database)] == [clock.now_ms]
    clock.now_ms += 1_000
    lea.post(f"/tasks/{task}/gold", judged=list(IDS), allow="1", why="it breaks nothing")
    assert gold_of(database) == [(decision, [], "lea", None)]


def test_nobody_but_a_lead_makes_gold_and_nobody_of_a_sample(database, settings, sits):
    desk(database, settings, 1)
    rita = sits()
    form = {"judged": list(IDS), "allow": "1", "why": "a clear one"}
    assert "Make it gold" not in words(rita.page.text)
    assert rita.post(f"/tasks/{rita.task()}/gold", **form).status_code == 403
    asked(database, listed(database, settings, 2), Kind.AUDIT)
    lea = sits(Role.LEAD, "lea")
    assert "Make it gold" not in words(lea.page.text)
    assert lea.post(f"/tasks/{lea.task()}/gold", **form).status_code == 409
    assert gold_of(database) == []


def test_examples_of_a_policy_are_what_people_said_and_no_gold(database, settings, sits, clock):
    lea = sits(Role.LEAD, "lea")
    for number, broken in ((1, ["weapons"]), (2, []), (3, ["weapons"]), (4, ["tobacco"])):
        asked(database, listed(database, settings, number, title=f"Example {number}"))
        task = task_of(lea.post("/tasks/take").text)
        if number == 3:
            lea.post(f"/tasks/{task}/gold", policy=broken, judged=list(IDS), why="known")
        else:
            lea.answer(task, *broken)
    asked(database, listed(database, settings, 9, title="The one"))
    rita = sits()
    path = f"/tasks/{rita.task()}/examples/weapons"
    assert "Nobody has confirmed one" in words(rita.somebody.get(path).text), "they can be undone still"
    clock.now_ms += 1_200_000
    rita.post("/tasks/renew", have=[rita.task()])
    told_now = words(rita.somebody.get(path).text)
    breaks, looks_like = told_now.split("Only looks like it")
    assert "Example 1" in breaks
    assert "Example 2" in looks_like
    assert all(f"Example {number}" not in told_now for number in (3, 9))
    assert "Example 4" not in breaks
    with reading(database) as connection:
        seen = {view.listing_id for _, view in read_views(connection) if view.page == "examples"}
    assert len(seen) == told_now.count("Example ")


def test_examples_are_not_shown_of_a_blind_task_or_of_what_one_does_not_read(database, settings, sits):
    asked(database, listed(database, settings, 1), Kind.AUDIT)
    rita = sits()
    assert "examples/" not in rita.page.text
    assert rita.somebody.get(f"/tasks/{rita.task()}/examples/weapons").status_code == 404
    asked(database, listed(database, settings, 2))
    lea = sits(Role.LEAD, "lea")
    assert "examples/weapons" in lea.page.text
    assert lea.somebody.get(f"/tasks/{lea.task()}/examples/unheard_of").status_code == 404
    assert rita.somebody.get(f"/tasks/{lea.task()}/examples/weapons").status_code == 404

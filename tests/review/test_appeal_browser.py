"""An appeal from end to end in a real browser: a seller's word, another reviewer's keys, a statement.

With STALLWART_TEST_PICTURES set to a folder each page is kept there as a picture.
"""

import pytest
import test_desk_browser
from desks import listed
from test_desk_browser import chromium, settled, shown
from test_erasure_browser import pictures

from stallwart.core.decision import Action, Cause
from stallwart.store.database import reading
from stallwart.store.decisions import last_decisions
from stallwart.store.feedback import add_feedback, read_feedback
from stallwart.store.intake import Intake
from stallwart.store.rulings import read_rulings
from stallwart.store.tasks import Kind, tasks_of

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed"),
]
# The fixtures of the desk; `opens` fails a test of whose pages the console complains
browser, opens, site = test_desk_browser.browser, test_desk_browser.opens, test_desk_browser.site
WINDOW_MS = 10 * 60_000
PLEA = "It is a toy, for <b>children</b>."


class Market:
    """What lies around the desk: the market that tells of an appeal, the intake, what sellers are told."""

    def __init__(self, site):
        self.site, self.database = site, site.database
        # No other readings, so that the appeal is the only task there is
        settings = site.settings.model_copy(update={"review_second_share": 0, "review_gold_share": 0})
        self.intake = Intake(site.database, settings, site.clock)

    def step(self):
        return {what: count for what, count in self.intake.step().items() if count}

    def settle(self):
        """What the intake does once the last answer cannot be undone, having done nothing a moment before."""
        before = self.last()
        self.site.clock.now_ms += WINDOW_MS - 1
        assert self.step() == {}
        assert self.last() == before
        self.site.clock.now_ms += 1
        return self.step()

    def appeal(self, decision):
        said = {"decision_id": decision.decision_id, "kind": "appeal", "note": PLEA}
        add_feedback(self.database, said, "key", None, self.site.clock.now_ms)
        assert self.step() == {"appeal": 1}

    def last(self):
        with reading(self.database) as connection:
            return last_decisions(connection, ["L1"])["L1"]

    def task(self, decision):
        with reading(self.database) as connection:
            (task,) = [one for one in tasks_of(connection, decision.decision_id) if one.kind == Kind.APPEAL]
        return task

    def who(self, decision):
        with reading(self.database) as connection:
            return read_rulings(connection, [decision.decision_id])[decision.decision_id].who

    def told(self, decision):
        return [one.kind for one in read_feedback(self.database, decision.decision_id)]


@pytest.fixture
def market(site):
    return Market(site)


def changes_their_mind(page, site, task, first, then):
    """Answer a task by keys, take it back, answer otherwise."""
    before = len(site.said())
    press(page, first)
    settled(site, before + 1)
    page.wait_for_selector("#empty:not([hidden])")
    page.keyboard.press("u")
    page.wait_for_selector(f'#desk .task[data-task="{task.task_id}"]')
    page.get_by_text("Undone: here it is again.").wait_for()
    press(page, then)
    settled(site, before + 3)  # what was undone is replaced by a verdict that knows nothing
    page.wait_for_selector("#empty:not([hidden])")


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def sees_the_appeal(page, task, name):
    """The page has the appeal, what the seller wrote and why it is there, and keeps nobody out."""
    page.wait_for_selector("#desk .task")
    assert shown(page) == task.task_id
    assert page.locator("#desk .over .tag").first.inner_text().lower() == "appeal"
    assert page.locator("#desk blockquote").all_inner_texts() == [PLEA]
    why = page.locator("#desk section").filter(has=page.get_by_role("heading", name="Why am I seeing this?"))
    reasons = why.locator("li").all_inner_texts()
    assert reasons[0] == "The seller appealed."
    assert any(one.startswith("It is to be read within") for one in reasons)
    pictures(page, name)


def statement(opens, site, decision):
    """What the seller of a block is told, as a lead reads it."""
    page = opens("lead")
    answer = page.goto(f"{site.url}/statements/{decision.decision_id}")
    return answer.status, page.inner_text("article")


def test_an_appeal_against_the_model_is_overturned_by_keyboard(site, market, opens):
    blocked = listed(
        site.database, site.settings, 1, action=Action.BLOCK,
        reason="weapons is over the score from which it blocks",
        scores={"weapons": 0.95, "tobacco": 0.03, "counterfeit": 0.11, "alcohol": 0.005},
    )  # fmt: skip
    market.appeal(blocked)
    task = market.task(blocked)
    page = opens("otto")
    sees_the_appeal(page, task, "appeal-model")
    assert page.locator("#desk .over .soft").inner_text() == "the model said block"
    changes_their_mind(page, site, task, first=("1", "Enter"), then=("v", "a"))  # nothing is allowed unseen
    assert market.told(blocked) == ["appeal"]
    assert market.settle() == {"ruled": 1}
    last = market.last()
    assert (last.action, last.cause, last.policies) == (Action.ALLOW, Cause.APPEAL, ())
    assert (last.automatic, last.supersedes, market.who(last)) == (False, blocked.decision_id, "otto")
    assert market.told(blocked) == ["appeal", "overturned"]
    assert market.step() == {}, "once"
    status, text = statement(opens, site, blocked)
    assert status == 200
    assert "made this decision without a person" in text
    assert "upheld" not in text


def test_an_appeal_against_a_person_goes_to_another_who_upholds_it_by_keyboard(site, market, opens):
    asked = listed(site.database, site.settings, 1)
    assert market.step() == {"review": 1}
    first = opens("reviewer")
    first.wait_for_selector("#desk .task")
    press(first, ("1", "Enter"))
    settled(site, 1)
    assert market.settle() == {"ruled": 1}
    blocked = market.last()
    assert (blocked.action, blocked.cause, market.who(blocked)) == (Action.BLOCK, Cause.VERDICT, "reviewer")
    market.appeal(blocked)
    task = market.task(blocked)
    with first.expect_response("**/tasks/take") as asking:
        first.reload()
    assert asking.value.status == 204
    assert first.locator("#desk .task").count() == 0
    first.get_by_role("heading", name="Nothing waits for you").wait_for()
    page = opens("otto")
    sees_the_appeal(page, task, "appeal-person")
    assert page.locator("#desk .over .soft").inner_text() == "a person said block"
    changes_their_mind(page, site, task, first=("v", "a"), then=("1", "Enter"))
    assert first.locator("#desk .task").count() == 0, "nor while it could be undone"
    assert market.settle() == {"ruled": 1}
    last = market.last()
    assert (last.action, last.cause, last.policies) == (Action.BLOCK, Cause.APPEAL, ("weapons",))
    assert (last.supersedes, market.who(last)) == (blocked.decision_id, "otto")
    assert market.told(blocked) == ["appeal", "upheld"]
    assert market.told(asked) == []
    status, text = statement(opens, site, last)
    assert status == 200
    assert "appealed against an earlier decision" in text
    assert "A person who had not decided about this listing before looked at it again" in text
    assert "the decision was upheld" in text
    assert "A person looked at it and made this decision." in text
    assert "otto" not in text
    assert PLEA not in text

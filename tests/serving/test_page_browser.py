"""The live page in a real Chromium: asks for a key once, follows, acts, and loses nothing typed."""

import json
import time
from pathlib import Path

import pytest
from browser import Browser, chromium
from fakes import FakeRuntime
from staged import NEW, OLD, Model, staged
from test_app import Running

from stallwart.core.settings import Settings
from stallwart.serving.rollouts.operate import act_on_rollout, status
from stallwart.serving.server import wall_ms
from stallwart.store.keys import Scope

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed: apt-get install chromium"),
]
CHECKS = (Path(__file__).parent / "readable.js").read_text()
HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>" + "long" * 60


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.stop()


@pytest.fixture
def browser(process):
    yield process
    process.close_pages()


@pytest.fixture
def start(tmp_path):
    """Starts services that leave the rollouts of a test as they are."""
    running = []

    def begin(**options):
        settings = Settings(
            data_dir=tmp_path / "data",
            cache_dir=tmp_path / "cache",
            key_cache_seconds=0,
            reload_seconds=0,
            rollout_seconds=60,
        )
        load = lambda *_: FakeRuntime(digest=NEW)  # noqa: E731 - as short as it is
        running.append(Running(settings, FakeRuntime(digest=OLD), load=load, **options))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture
def local(start, browser):
    """A service without keys at a rollout in its second step, and the page."""
    running = start(insecure_local=True)
    staged(running.database, wall_ms(), steps=2, looks=2)
    page = browser.page(f"{running.url}/rollout")
    page.until("document.querySelector('#panel h1')")
    yield running, page
    assert page.faults() == []


def secret(running, *scopes):
    return running.client(*scopes).headers["authorization"].removeprefix("Bearer ")


def give_key(page, key):
    page.until("!document.getElementById('ask').hidden && document.activeElement.id === 'key'")
    page.type(key)
    page.press("Enter")


def polled(page, times=2):
    """Wait until the panel was swapped some times more."""
    page.run("window.seen = 0; document.body.addEventListener('htmx:afterSettle', () => window.seen++)")
    page.run("window.again = setInterval(() => htmx.trigger('#panel', 'look'), 100)")
    page.until(f"window.seen >= {times}")
    page.run("clearInterval(window.again)")


def last_move(running):
    return status(running.database)["moves"][0]


def test_the_key_is_asked_once_and_kept_in_the_tab_alone(start, browser):
    running = start()
    page = browser.page(f"{running.url}/rollout")
    key = secret(running)
    give_key(page, key)
    page.until("document.body.innerText.includes('No rollout yet')")
    assert "stallwart rollout start" in page.text()
    page.open(f"{running.url}/rollout")
    page.until("document.body.innerText.includes('No rollout yet')")
    assert page.run("document.getElementById('ask').hidden")
    kept = (
        "[location.href, document.cookie, JSON.stringify(localStorage), document.documentElement.outerHTML]"
    )
    assert key not in " ".join(page.run(kept))
    staged(running.database, wall_ms(), steps=1, looks=1)
    page.until("document.querySelector('h1.shadow')")  # by itself
    assert NEW[:12] in page.run("document.title")
    page.click("#forget")
    page.until("!document.getElementById('ask').hidden")
    assert NEW[:12] not in page.text()
    assert page.faults() == []


def test_a_wrong_key_and_one_that_may_not_look_are_told_so_and_asked_again(start, browser):
    running = start()
    page = browser.page(f"{running.url}/rollout")
    give_key(page, "sw_nothing")
    page.until("document.getElementById('trouble').innerText.includes('no API key')")
    give_key(page, secret(running, Scope.SCORE))
    page.until("document.getElementById('trouble').innerText.includes('lacks the scope')")
    give_key(page, secret(running, Scope.READ))
    page.until("document.body.innerText.includes('No rollout yet')")
    assert page.run("document.getElementById('trouble').hidden")


def test_a_local_service_without_keys_does_not_ask(local):
    _, page = local
    assert page.run("document.getElementById('ask').hidden")
    page.until(
        "performance.getEntriesByType('resource').filter(one => one.name.includes('/panel')).length > 1"
    )


def test_a_hold_by_keyboard_arrives_in_the_audit_log_with_its_reason(start, browser):
    running = start()
    staged(running.database, wall_ms(), steps=2, looks=2)
    page = browser.page(f"{running.url}/rollout")
    give_key(page, secret(running))
    page.until("document.getElementById('do-hold')")
    page.press("h")
    page.until("document.getElementById('act').open")
    page.type("the campaign begins <b>today</b>")
    page.press("Tab", "Enter")
    page.until("!document.getElementById('act').open")
    page.until("document.querySelector('#panel h1').innerText.includes(', held')")
    told = last_move(running)
    assert (told["act"], told["why"]) == ("rollout.hold", "the campaign begins <b>today</b>")
    assert told["who"].startswith("test (")
    assert "the campaign begins <b>today</b>" in page.text()
    page.press("h")
    assert not page.run("document.getElementById('act').open")
    assert "it is held already" in page.run("document.getElementById('state').innerText")
    assert page.faults() == []


def test_an_act_on_what_was_moved_meanwhile_is_refused_and_says_so(local):
    running, page = local
    page.press("a")
    page.type("looks well")
    act_on_rollout(running.database, "hold", "ben", "wait", wall_ms())
    polled(page)
    page.press("Tab", "Enter")
    page.until("document.getElementById('act-refused').innerText.includes('moved meanwhile')")
    assert page.run("document.getElementById('why').value") == "looks well"
    assert last_move(running)["who"] == "ben"
    page.press("Escape", "a")  # having looked again
    page.until("document.getElementById('act').open")
    assert page.run("document.getElementById('why').value") == "looks well"
    page.press("Tab", "Enter")
    page.until("document.querySelector('h1.ramp')")
    assert last_move(running)["act"] == "rollout.advance"


def test_an_end_needs_to_be_confirmed(local):
    running, page = local
    page.press("x")
    page.type("it blocks honest sellers")
    page.press("Tab", "Tab", "Enter")
    assert page.run("document.getElementById('act').open")
    assert last_move(running)["act"] != "rollout.rolled_back"
    page.press(" ")  # the browser put the focus on what is missing
    page.press("Tab", "Enter")
    page.until("document.querySelector('h1.rolled_back')")
    assert last_move(running)["why"] == "it blocks honest sellers"
    assert page.run("document.getElementById('next').innerText") == "Why: it blocks honest sellers"
    assert not page.run("!!document.querySelector('[data-act]')")


def test_a_promotion_without_the_answer_is_refused_until_it_is_forced(local):
    running, page = local
    page.click("#do-promote")
    page.until("document.activeElement.id === 'why'")
    page.type("I know better")
    page.click("#sure")
    page.click("#act-do")
    page.until("document.getElementById('act-refused').innerText.includes('the plan asks for')")
    page.click("#force")
    page.click("#act-do")
    page.until("document.querySelector('h1.promoted')")
    assert last_move(running)["why"] == "(forced) I know better"


def test_polls_lose_neither_what_is_typed_nor_the_focus_nor_what_is_unfolded(local):
    running, page = local
    page.press("j", "j", "Enter")
    focused = page.run("document.activeElement.id")
    assert focused == "guard-slow-head"
    assert page.run("document.activeElement.parentNode.open")
    polled(page)
    assert page.run("document.activeElement.id") == focused
    assert page.run("document.activeElement.parentNode.open")
    page.press("k", "Enter")
    assert page.run("document.activeElement.id") == "guard-errors-head"
    page.press("h")
    page.type("half a rea")
    act_on_rollout(running.database, "advance", "ben", "meanwhile", wall_ms())
    polled(page)
    page.until("document.querySelector('h1.ramp')")
    page.type("son")
    assert page.run("document.getElementById('why').value") == "half a reason"
    assert page.run("document.getElementById('act').open && document.activeElement.id === 'why'")
    page.press("Escape")
    assert page.run("document.activeElement.id") == "guard-errors-head"


def test_the_list_of_shortcuts_opens_and_letters_can_be_switched_off(local):
    _, page = local
    page.press("?")
    assert page.run("document.getElementById('help').open")
    page.click("#letters")
    page.press("Escape", "h")
    assert not page.run("!!document.querySelector('dialog[open]')")
    page.run("localStorage.clear()")


def test_hostile_text_is_shown_and_never_run(start, browser):
    running = start(insecure_local=True)
    staged(running.database, wall_ms(), steps=1, looks=1, why=HOSTILE)
    act_on_rollout(running.database, "hold", HOSTILE[:90], HOSTILE, wall_ms())
    page = browser.page(f"{running.url}/rollout", width=390)
    page.until("document.querySelector('#moves li')")
    assert "<script>window.hurt" in page.text()
    assert page.run("window.hurt === undefined && !document.querySelector('#panel script, #panel img')")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.faults() == []


def test_a_service_that_is_away_is_told_and_what_was_seen_stays(local):
    running, page = local
    page.offline(True)
    page.run("htmx.trigger('#panel', 'look')")
    page.until("document.getElementById('trouble').innerText.includes('cannot be reached')")
    assert page.run("!!document.querySelector('#panel h1')")
    page.offline(False)
    page.run("htmx.trigger('#panel', 'look')")
    page.until("document.getElementById('trouble').hidden")
    with running.database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE rollouts RENAME TO gone")
    page.run("htmx.trigger('#panel', 'look')")
    page.until("document.getElementById('trouble').innerText.includes('does not answer')")
    page.until("document.getElementById('state').innerText.startsWith('Last update')")


def test_times_are_in_the_readers_zone_with_utc_beside(local):
    running, page = local
    page.link.ask("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    page.open(f"{running.url}/rollout")
    page.until("document.querySelector('#moves time')")
    polled(page)
    shown, title, there = page.run(
        "(() => { const one = document.querySelector('#moves time'), at = new Date(one.dateTime);"
        " const there = at.toLocaleTimeString(undefined, {timeZone: 'Asia/Tokyo', timeStyle: 'medium'});"
        " return [one.innerText, one.title, there]; })()"
    )
    assert title.endswith(" UTC")
    assert there in shown


STATES = {
    "none": None,
    "before the first look": {"steps": 0},
    "running": {"steps": 2, "looks": 2},
    "rolled back": {"steps": 2, "looks": 3, "challenger": Model(latency_ms=40)},
}


@pytest.mark.parametrize("state", STATES)
def test_it_can_be_read_by_all_in_light_and_dark_and_on_a_phone(start, browser, state):
    running = start(insecure_local=True)
    if STATES[state] is not None:
        staged(running.database, wall_ms(), **STATES[state])
    page = browser.page(f"{running.url}/rollout")
    page.until("document.querySelector('#panel h1')")
    page.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    for width, dark in ((1180, False), (1180, True), (390, False), (390, True), (320, False)):
        page.size(width, 900)
        page.colours(dark)
        time.sleep(0.4)  # colours fade
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(CHECKS) == []
    assert page.faults() == []


def test_the_checks_find_what_is_wrong(local):
    _, page = local
    page.run(
        "panel.insertAdjacentHTML('beforeend', "
        + json.dumps("<input id='x'><h1>two</h1><p id='x'>faint</p><button></button>")
        + "); document.querySelectorAll('p').forEach(one => { one.style.color = 'rgb(200, 200, 200)'; })"
    )
    found = " ".join(page.run(CHECKS))
    for wrong in ("no label: x", "twice: x", "h1: 2", "no name: <button", "faint 1."):
        assert wrong in found

"""Search and acts on many listings in a real browser, by keyboard, with the background at work.

With STALLWART_TEST_PICTURES set to a folder each page is kept there as a picture.
"""

import os
import socket
import threading
from pathlib import Path

import pytest
import uvicorn

from stallwart.cli.behind import jobs_behind
from stallwart.cli.review import compose
from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.pages.app import Parts, create_site
from stallwart.store.database import open_database, upgrade
from stallwart.store.people import Role
from stallwart.store.photos import PhotoStore
from tests.index.stored import KNIFE, LAMP, NOW, decide, judge, photo
from tests.pages.sites import Clock
from tests.serving.browser import chromium
from tests.store.reviewing import QUICK, WORDS, person

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed"),
]
LIMIT_MS = 60_000  # of one thing that is waited for: CI is slow
HOSTILE = "<img src=x onerror=alert(1)> \u202e lamp " + "wide" * 60


@pytest.fixture
def site(tmp_path):
    settings = Settings(data_dir=tmp_path, review_meaning=False)
    database = open_database(f"sqlite:///{tmp_path / 'stallwart.sqlite'}", settings)
    upgrade(database)
    person(database, "lea", Role.LEAD)
    photos = PhotoStore(str((tmp_path / "photos").absolute()))
    for number in range(30):
        title = HOSTILE if number == 27 else f"Brass lamp number {number}"
        decide(
            database, photos, f"L{number}", title, LAMP if number % 2 else None,
            [photo(number % 5)][: number % 3], seller_id=f"shop {number % 4}", now_ms=NOW + number,
        )  # fmt: skip
    knife = decide(
        database, photos, "K", "Knife", KNIFE, [photo(7)], action=Action.REVIEW, policies=("weapons",),
        now_ms=NOW + 40,
    )  # fmt: skip
    judge(database, knife, now_ms=NOW + 50)
    sections, jobs = compose(database, settings, QUICK, Clock(NOW + 120_000))
    jobs = [*jobs, *jobs_behind(database, settings, Clock(NOW + 120_000))]
    parts = Parts(database, settings, QUICK, Clock(NOW + 120_000), jobs=jobs)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_site(sections, parts), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)
    database.dispose()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def opens(browser, site):
    complaints, contexts = [], []

    def one(width=1440, height=900, **facts):
        context = browser.new_context(viewport={"width": width, "height": height}, **facts)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LIMIT_MS)
        page.on("console", lambda said: said.type in ("error", "warning") and complaints.append(said.text))
        page.on("pageerror", lambda err: complaints.append(str(err)))
        page.goto(f"{site}/sign-in")
        page.fill("[name=name]", "lea")
        page.fill("[name=password]", WORDS)
        page.press("[name=password]", "Enter")
        page.wait_for_url(lambda url: "sign-in" not in url)
        return page

    yield one
    for context in contexts:
        context.close()
    assert complaints == []


def found(page, site, way, count):
    """The page of search once the background has made so many listings findable."""
    page.goto(f"{site}{way}")
    for _ in range(LIMIT_MS // 250):
        if page.locator(".hit").count() >= count:
            return
        page.wait_for_timeout(250)
        page.reload()
    raise AssertionError("the listings were not made findable")


def sound(page, name):
    """No serious fault of accessibility; the picture is kept where somebody wants it."""
    from axe_playwright_python.sync_playwright import Axe

    if folder := os.environ.get("STALLWART_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"search-{name}.png"), full_page=True)
    faults = Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["target"]) for one in faults if one["impact"] in ("serious", "critical")
    ] == []


def test_listings_are_found_chosen_acted_on_and_given_back_by_keyboard(opens, site):
    page = opens()
    found(page, site, "/search", 24)
    page.keyboard.press("/")
    page.keyboard.type("brass lamp -knife")
    page.keyboard.press("Enter")
    page.wait_for_url("**words=brass*")
    sound(page, "found")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator("#chosen").input_value() == "2" or page.locator("#chosen").inner_text() == "2"
    page.keyboard.press("b")
    page.select_option("#do", "block")
    page.select_option("#for", "weapons")
    page.fill("#why", "a raid")
    page.press("#why", "Enter")
    page.wait_for_url("**/bulk/b_*")
    sound(page, "prepared")
    page.click("#begin")
    page.wait_for_selector("text=2 decided")
    sound(page, "done")
    page.click("#undo")
    page.wait_for_selector("text=2 given back what they had")
    sound(page, "undone")


@pytest.mark.parametrize(
    ("name", "facts"),
    [("phone", {"width": 390, "height": 844}), ("dark", {"color_scheme": "dark"})],
)
def test_pages_fit_a_phone_and_the_dark(opens, site, name, facts):
    page = opens(**facts)
    found(page, site, "/search?words=lamp", 24)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    sound(page, name)
    for way in ("/bulk", "/known"):
        page.goto(f"{site}{way}")
        sound(page, f"{name}{way.replace('/', '-')}")

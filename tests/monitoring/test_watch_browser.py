"""The pages of monitoring in a real browser: both themes, a phone, no barrier that axe knows, an act."""

import socket
import threading

import pytest
import uvicorn

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.store.database import open_database, reading, upgrade
from stallwart.store.novelties import Made, read_novelty
from stallwart.store.people import Role
from stallwart.store.tables import alerts
from tests.monitoring.watched import decided, grouped, watched
from tests.pages.sites import Clock, site
from tests.serving.browser import chromium
from tests.store.reviewing import WORDS, person
from tests.store.rolling import NOW

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed"),
]
LIMIT_MS = 60_000  # of one thing that is waited for: CI is slow


@pytest.fixture
def url(tmp_path):
    """Of a site with some days of history and one group."""
    database = open_database(f"sqlite:///{tmp_path / 'stallwart.sqlite'}", Settings())
    upgrade(database)
    watched(database, days=2, an_hour=1)
    grouped(database, [decided(database, number, NOW - 60_000, Action.ALLOW) for number in range(900, 906)])
    person(database, "ada", Role.ADMIN)
    app = site(database, clock=Clock(NOW + 1_000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", database
        server.should_exit = True
        thread.join(60)
    database.dispose()


def test_pages_are_without_barriers_and_a_group_is_passed_by(url):
    base, database = url
    with reading(database) as connection:
        alert_id = connection.execute(alerts.select()).first().alert_id
    paths = ("/figures", "/drift", "/alerts", f"/alerts/{alert_id}", "/novelty", "/novelty/nv_1")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for scheme, width in (("light", 1_200), ("dark", 390)):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            context.set_default_timeout(LIMIT_MS)
            page = context.new_page()
            page.goto(f"{base}/sign-in")
            page.fill("[name=name]", "ada")
            page.fill("[name=password]", WORDS)
            page.click("main button")
            page.wait_for_url(lambda there: "/sign-in" not in there)
            for path in paths:
                page.goto(base + path)
                found = axe.Axe().run(page)
                assert found.violations_count == 0, f"{path}: {found.generate_report()}"
                assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path
        page.get_by_role("button", name="Nothing to act on").click()
        page.get_by_text("The group is passed by until the next training.").wait_for()
        browser.close()
    with reading(database) as connection:
        assert read_novelty(connection, "nv_1").state == Made.PASSED

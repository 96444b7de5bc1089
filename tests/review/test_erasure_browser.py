"""Erasure and statements in a real browser: an appealed block erased, nothing on the console, axe is content.

With STALLWART_TEST_PICTURES set to a folder each page is kept there as a picture, light, dark and narrow.
"""

import os
from pathlib import Path

import pytest
from test_desk_browser import Site, chromium, faults

from tests.store.outgoing import decide
from tests.store.reviewing import WORDS

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed"),
]
LIMIT_MS = 60_000


def pictures(page, name):
    """The page as it looks in light and dark, and on a phone; what axe finds in each."""
    found = []
    for look, width in (("light", 1280), ("dark", 1280), ("light", 390)):
        page.emulate_media(color_scheme=look, reduced_motion="reduce")  # no colour half way
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        found += faults(page)
        if folder := os.environ.get("STALLWART_TEST_PICTURES"):
            page.screenshot(path=Path(folder) / f"{name}-{look}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    assert found == []


def test_an_admin_reads_a_statement_and_erases_the_listing(tmp_path):
    site = Site(tmp_path)
    complaints = []
    try:
        decide(site.database, [], ("L1", 1), ("a-rather-long-id-of-a-listing-" * 4, 1), ("L3", 1))
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(LIMIT_MS)
            page.on(
                "console", lambda said: said.type in ("error", "warning") and complaints.append(said.text)
            )
            page.on("pageerror", lambda err: complaints.append(str(err)))
            page.goto(f"{site.url}/sign-in?next=/statements")
            page.keyboard.type("admin")
            page.keyboard.press("Tab")
            page.keyboard.type(WORDS)
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/sign-in" not in url)
            page.goto(f"{site.url}/statements")
            pictures(page, "statements")
            page.goto(f"{site.url}/statements/d-L1-0001?language=de")
            assert "Begründung" in page.inner_text("article")
            pictures(page, "statement")
            page.goto(f"{site.url}/erasure")
            pictures(page, "erasure")
            page.fill("#name", "L1")
            page.click("text=See what would go")
            page.wait_for_selector("#again")
            pictures(page, "erasure-preview")
            page.fill("#why", "they asked for it")
            page.fill("#again", "L1")
            page.click("text=Erase it for good")
            page.wait_for_selector("text=Certificate of erasure")
            pictures(page, "erasure-certificate")
            page.goto(f"{site.url}/erasure")
            pictures(page, "erasures")
            page.goto(f"{site.url}/statements")
            assert "erased" in page.inner_text("table")
            browser.close()
    finally:
        site.stop()
    assert complaints == []

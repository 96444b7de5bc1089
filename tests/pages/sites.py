"""A site for a test: its own sections or all of the program's, people of each role, a plain browser."""

import re

from starlette.testclient import TestClient

from stallwart.cli.review import compose
from stallwart.core.settings import Settings
from stallwart.pages.app import Parts, create_site
from stallwart.store.people import Role
from tests.store.reviewing import QUICK, WORDS, person
from tests.store.rolling import NOW

HTML = {"accept": "text/html"}


class Clock:
    """Time that a test moves."""

    def __init__(self, now_ms=NOW):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


class Somebody:
    """A browser without a screen and without scripts.

    Args:
        app: the site.
        address: where it comes from.
    """

    def __init__(self, app, address="192.0.2.7"):
        self.client = TestClient(
            app, base_url="http://site.test", follow_redirects=False, client=(address, 5_000)
        )
        self.client.headers.update(HTML)

    def get(self, path, **facts):
        return self.client.get(path, **facts)

    def post(self, path, csrf=None, **form):
        """Sends a form with the token of this session, as a page's own form does."""
        return self.client.post(path, data={"csrf": self.csrf() if csrf is None else csrf, **form})

    def csrf(self):
        return token_of(self.get("/account").text)

    def sign_in(self, name, password=WORDS, way=""):
        token = re.search(r'name="csrf" value="([^"]+)"', self.get("/sign-in").text).group(1)
        return self.client.post(
            "/sign-in", data={"csrf": token, "name": name, "password": password, "next": way}
        )


def token_of(html):
    return re.search(r'<meta name="csrf" content="([^"]*)"', html).group(1)


def site(database, sections=None, clock=None, settings=None, jobs=(), **facts):
    """An application with the sections that are given, or with all that the program has."""
    clock, settings = clock or Clock(), settings or Settings(**facts.pop("limits", {}))
    if sections is None:
        sections, _ = compose(database, settings, QUICK, clock)
    return create_site(sections, Parts(database, settings, QUICK, clock, jobs=jobs, **facts))


def signed_in(app, database, role=Role.REVIEWER, name=None):
    """Somebody of a role, with an account of their own."""
    name = name or f"some {role}"
    person(database, name, role)
    one = Somebody(app)
    assert one.sign_in(name).status_code == 303
    return one


def words(html):
    """What a reader sees of it."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())

"""Walks over every route of every section, new ones too: who is refused, and what a form needs."""

import re

import pytest
from sites import Clock, Somebody, signed_in, site

from stallwart.cli.review import compose
from stallwart.core.settings import Settings
from stallwart.pages.roles import TABLE
from stallwart.store.people import Role
from tests.store.reviewing import QUICK


def path_of(route):
    """Its path with something in place of each parameter."""
    return re.sub(r"{[^}]*}", "1", route.path)


def ask(somebody, route, **facts):
    """Asks for it as a page does, without a token where it writes."""
    if route.method == "POST":
        return somebody.client.post(path_of(route), data=facts.pop("form", {}), **facts)
    return somebody.client.get(path_of(route), **facts)


@pytest.fixture
def routes(database):
    sections, _ = compose(database, Settings(), QUICK, Clock())
    found = [route for section in sections for route in section.routes()]
    assert len(found) >= 3
    return found


def test_every_route_sends_whoever_is_not_signed_in_to_the_sign_in_page_and_does_nothing(database, routes):
    stranger = Somebody(site(database))
    for route in routes:
        answer = ask(stranger, route)
        assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), route
        for headers in ({"hx-request": "true"}, {"accept": "application/json"}):
            assert ask(stranger, route, headers=headers).status_code == 401, route


@pytest.mark.parametrize("role", Role)
def test_every_route_refuses_each_role_that_may_not_and_every_form_without_its_token(database, routes, role):
    app = site(database)
    somebody, stranger = signed_in(app, database, role), signed_in(app, database, role, "another")
    for route in routes:
        if role not in route.roles:
            for form in ({}, {"csrf": somebody.csrf()}):
                answer = ask(somebody, route, **({"form": form} if route.method == "POST" else {}))
                assert answer.status_code == 403, route
                assert f"signed in as {role}" in answer.text
        elif route.method == "POST":
            for form in ({}, {"csrf": "x"}, {"csrf": stranger.csrf()}):
                answer = ask(somebody, route, form=form)
                assert answer.status_code == 403, route
                assert "not from this session" in answer.text
            crossing = ask(
                somebody, route, form={"csrf": somebody.csrf()}, headers={"sec-fetch-site": "cross-site"}
            )
            assert crossing.status_code == 403, route


def test_whoever_may_act_on_several_listings_is_told_so_in_the_table_of_roles(routes):
    acting = [route for route in routes if route.path == "/search/act" or route.path.startswith("/bulk")]
    assert len(acting) >= 5
    told = {roles for words, roles in TABLE.items() if "act on several at once" in words}
    assert {route.roles for route in acting} == told


@pytest.mark.parametrize("role", Role)
def test_every_page_of_the_navigation_opens_for_the_roles_that_see_it(database, role):
    sections, _ = compose(database, Settings(), QUICK, Clock())
    somebody = signed_in(site(database), database, role)
    start = somebody.get("/account").text
    for route in (route for section in sections for route in section.routes() if route.nav):
        shown = f'href="{route.path}"' in start
        assert shown == (role in route.roles), route
        if shown:
            answer = somebody.get(route.path)
            assert answer.status_code == 200, (route, answer.text)

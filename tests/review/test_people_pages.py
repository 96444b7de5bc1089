"""Pages of admins and leads: accounts are changed and logged, the queue is counted, looks are listed."""

import pytest
from desks import asked, desk, listed, settings_of

from stallwart.cli.review import compose
from stallwart.pages.app import Parts, create_site
from stallwart.store.audit import read
from stallwart.store.database import reading
from stallwart.store.people import Role, find_user
from tests.pages.sites import Clock, Somebody, signed_in, words
from tests.store.reviewing import QUICK, WORDS, person


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


@pytest.fixture
def app(database, settings):
    sections, _ = compose(database, settings, QUICK, Clock(), None, settings.data_dir / "policies.toml")
    return create_site(sections, Parts(database, settings, QUICK, Clock()))


def user(database, name):
    with reading(database) as connection:
        return find_user(connection, name)


def test_an_admin_adds_changes_and_disables_accounts_and_each_change_is_logged(database, app):
    ada = signed_in(app, database, Role.ADMIN, "ada")
    answer = ada.post("/people", name="ünal & co", role="reviewer", password=WORDS)
    path = answer.headers["location"]
    assert "can sign in as reviewer" in words(ada.get(path).text)
    rita = Somebody(app)
    assert rita.sign_in("ünal & co").status_code == 303
    ada.post(f"{path}/role", role="lead", why="runs it now")
    assert rita.get("/queue").status_code == 200
    ada.post(f"{path}/reading", skill=["weapons"], languages="de, fr", why="was trained")
    found = user(database, "ünal & co")
    assert (found.role, found.skills, found.languages) == (Role.LEAD, {"weapons"}, {"de", "fr"})
    ada.post(f"{path}/reading", all="1", languages="", why="reads all")
    assert user(database, "ünal & co").skills is None
    ada.post(f"{path}/sign-out")
    assert rita.get("/queue").status_code == 303
    ada.post(f"{path}/password", password="seven green bicycles")
    ada.post(f"{path}/unlock")
    assert rita.sign_in("ünal & co", "seven green bicycles").status_code == 303
    ada.post(f"{path}/disable")
    assert rita.get("/queue").status_code == 303
    ada.post(f"{path}/enable")
    assert rita.sign_in("ünal & co", "seven green bicycles").status_code == 303
    with reading(database) as connection:
        acts = [entry.act for entry in read(connection) if entry.who == "ada"]
    assert {"user.add", "user.role", "user.reading", "user.password", "user.disable", "user.enable"} <= set(
        acts
    )


def test_what_cannot_be_done_with_an_account_is_said(database, app):
    ada = signed_in(app, database, Role.ADMIN, "ada")
    for form, status in (
        ({"name": "ADA", "role": "reviewer", "password": WORDS}, 409),
        ({"name": "new", "role": "king", "password": WORDS}, 422),
        ({"name": "new", "role": "reviewer", "password": "short"}, 422),
        ({"name": "\u200b", "role": "reviewer", "password": WORDS}, 422),
    ):
        page = ada.post("/people", **form)
        assert page.status_code == status, form
        assert "Nobody was added:" in words(page.text)
        assert f'name="name" value="{form["name"]}"' in page.text
        assert WORDS not in page.text
    assert ada.post("/people/ada/role", role="lead", why="x").status_code == 409  # the last admin
    assert ada.post("/people/nobody/disable").status_code == 404


def test_the_queue_page_counts_what_waits_and_what_people_finished(database, settings, app):
    desk(database, settings, 3)
    rita, lea = signed_in(app, database, name="rita"), signed_in(app, database, Role.LEAD, "lea")
    from test_tasks_page import Desk

    at_desk = Desk(rita, database)
    at_desk.answer(at_desk.task())
    page = words(lea.get("/queue").text)
    assert "1 tasks wait" in page
    assert "rita reviewer all policies 1 1" in page
    assert "Weapons" in page


def test_looks_are_listed_by_listing_and_by_person(database, settings, app):
    asked(database, listed(database, settings, 1))
    rita, lea = signed_in(app, database, name="rita"), signed_in(app, database, Role.LEAD, "lea")
    rita.get("/tasks")
    for query in ("", "?listing=L1", "?person=rita", "?before=99"):
        assert "rita L1 task" in words(lea.get(f"/views{query}").text), query
    for query in ("?listing=L2", "?person=lea", "?listing=%00"):
        assert "Nobody looked" in lea.get(f"/views{query}").text, query
    person(database, "otto")

"""The pages of monitoring: what they show, what they do, and who may."""

import json

import pytest

from stallwart.core.decision import Action
from stallwart.core.settings import Settings
from stallwart.monitoring.lines import Line, chart
from stallwart.monitoring.online import online
from stallwart.store.alerts import open_alerts
from stallwart.store.database import reading
from stallwart.store.novelties import Made, read_novelty
from stallwart.store.people import Role
from stallwart.store.tasks import Kind
from stallwart.store.verdicts import Answer, Source, read_verdicts
from stallwart.store.views import read_views
from tests.monitoring.watched import decided, grouped, watched
from tests.pages.sites import Clock, signed_in, site, words
from tests.store.rolling import NOW


@pytest.fixture
def app(database, monkeypatch):
    from stallwart.core.taxonomy import Policy, Taxonomy

    taxonomy = Taxonomy(
        policies=tuple(Policy(id=name, title=name, prevalence=0.01) for name in ("tobacco", "weapons"))
    )
    monkeypatch.setattr("stallwart.monitoring.novelty_page._taxonomy", lambda _: taxonomy)
    return site(database, clock=Clock(NOW + 1_000))


def test_figures_show_what_was_decided_and_judged(database, app):
    number = watched(database, days=2, an_hour=1)
    with reading(database) as connection:
        told = online(connection, NOW, 168, 6)
    assert told.total.decided == number
    assert sum(one.decided for one in told.periods) == number
    assert told.total.precision.of == told.total.count("right") + told.total.count("wrong") > 0
    ada = signed_in(app, database, Role.ENGINEER)
    html = ada.get("/figures?span=week").text
    assert f"Decisions {number}" in words(html)
    assert html.count("<svg") >= 8
    assert "figures: " not in words(html)
    one = ada.get("/figures?span=day&policy=tobacco")
    assert one.status_code == 200
    assert "Figures: tobacco" in words(one.text)
    assert ada.get("/figures?span=century").status_code == 422


def test_a_page_says_where_no_watcher_is_at_work(database, app):
    ada = signed_in(app, database, Role.LEAD)
    for path in ("/figures", "/drift", "/alerts"):
        assert "No watcher is at work" in words(ada.get(path).text)
    assert "Nothing was decided in this span." in words(ada.get("/figures").text)


def test_drift_shows_the_listings_that_moved_it_and_keeps_who_looked(database, app):
    watched(database, days=1, an_hour=1)
    lead = signed_in(app, database, Role.LEAD)
    seen = words(lead.get("/drift").text)
    assert "ru has 0.0% of the last 400 listings" in seen
    assert "brass lamp 1" in seen
    with reading(database) as connection:
        looked = [view for _, view in read_views(connection)]
    assert {view.listing_id for view in looked} == {"shop-1", "shop-2", "shop-3"}
    assert {view.page for view in looked} == {"watch"}


def test_an_alert_is_resolved_with_a_reason_by_who_may(database, app):
    watched(database, days=1, an_hour=1)
    with reading(database) as connection:
        (alert,) = open_alerts(connection)
    engineer, lead = signed_in(app, database, Role.ENGINEER), signed_in(app, database, Role.LEAD)
    assert "docs/monitoring.md#drift" in words(lead.get(f"/alerts/{alert.alert_id}").text)
    assert lead.post(f"/alerts/{alert.alert_id}/resolve", why="a campaign").status_code == 403
    assert engineer.post(f"/alerts/{alert.alert_id}/resolve", why=" ").status_code == 422
    assert engineer.post(f"/alerts/{alert.alert_id}/resolve", why="a campaign").status_code == 303
    with reading(database) as connection:
        assert open_alerts(connection) == []
    assert "a campaign" in words(engineer.get("/alerts").text)
    assert engineer.get("/alerts/al_none").status_code == 404


@pytest.fixture
def group(database):
    ids = [decided(database, number, NOW - 60_000, Action.ALLOW) for number in range(1, 5)]
    grouped(database, ids)
    return ids


def test_a_whole_group_is_labelled_by_one_person_at_once(database, app, group):
    lead = signed_in(app, database, Role.LEAD)
    assert "lamp, brass, rewired" in words(lead.get("/novelty").text)
    assert lead.post("/novelty/nv_1/label", label="lamps").status_code == 422
    answer = lead.post("/novelty/nv_1/label", label="tobacco")
    assert answer.status_code == 303
    with reading(database) as connection:
        for decision_id in group:
            (verdict,) = read_verdicts(connection, decision_id)
            assert verdict.answers == {"tobacco": Answer.YES, "weapons": Answer.NO}
            assert (verdict.source, verdict.who) == (Source.NOVELTY, "some lead")
            assert verdict.task_id is not None
        assert read_novelty(connection, "nv_1").state == Made.LABELLED
    again = lead.post("/novelty/nv_1/label", label="neutral")
    assert again.status_code == 409, "two people cannot label it"
    assert "labelled by some lead" in words(lead.get("/novelty").text)


@pytest.mark.usefixtures("group")
def test_reviewers_are_asked_about_members_whose_listing_has_no_later_decision(database, app):
    from sqlalchemy import select

    from stallwart.store.tables import tasks

    decided(database, 9, NOW - 30_000, Action.ALLOW, title="another lamp", listing_id="shop-1")
    lead = signed_in(app, database, Role.LEAD)
    assert lead.post("/novelty/nv_1/queue").status_code == 303
    with reading(database) as connection:
        kinds = connection.execute(select(tasks.c.kind, tasks.c.assigned_to)).all()
    assert kinds == [(Kind.NOVELTY.value, "")] * 3


@pytest.mark.usefixtures("group")
def test_a_group_becomes_a_policy_table_and_its_examples(database, app, tmp_path):
    from stallwart.core.taxonomy import read_taxonomy
    from stallwart.dataset.columns import Columns
    from stallwart.dataset.read import read_listings
    from stallwart.dataset.rejects import Rejects

    admin = signed_in(app, database, Role.ADMIN)
    asked = {"id": "lamps", "title": 'Lamps "of brass"'}
    table = admin.post("/novelty/nv_1/policy", **asked, what="table")
    (tmp_path / "lamps.toml").write_bytes(table.content)
    assert read_taxonomy(tmp_path / "lamps.toml")["lamps"].title == 'Lamps "of brass"'
    examples = admin.post("/novelty/nv_1/policy", **asked, what="examples")
    (tmp_path / "lamps.jsonl").write_bytes(examples.content)
    rows = [json.loads(line) for line in examples.text.splitlines()]
    assert {row["listing_id"] for row in rows} == {f"shop-{number}" for number in range(1, 5)}
    read = list(read_listings([tmp_path / "lamps.jsonl"], Columns.parse(""), Settings(), Rejects()))
    assert len(read) == 4
    assert admin.post("/novelty/nv_1/policy", id="Lamps!", title="x", what="table").status_code == 422


def test_a_chart_breaks_where_nothing_is_known_and_escapes_what_it_is_told():
    drawn = chart("<b>", [0, 1, 2, 3], [Line("a&b", [1.0, None, 2.0, 3.0])])
    assert drawn.count("<polyline") == 1
    assert drawn.count("<circle") == 1
    assert "<b>" not in drawn.replace("<b>3</b>", "")
    assert "a&amp;b" in drawn
    assert "01 Jan" in chart("one", [0], [Line("a", [1.0])])
    assert "Nothing yet" in chart("empty", [0], [Line("a", [None])])

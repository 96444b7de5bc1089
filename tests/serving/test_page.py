"""The routes of the live page and what its panel says; test_page_browser.py opens it in a real browser."""

import re

import httpx
import pytest
from fakes import FakeRuntime
from hypothesis import given
from hypothesis import strategies as st
from staged import NEW, OLD, Model, staged
from test_app import Running

from stallwart.core.settings import Settings
from stallwart.rollout.plan import Plan
from stallwart.serving.rollouts.marks import HEIGHT, WIDTH, difference_marks, line_of, whiskers
from stallwart.serving.rollouts.operate import act_on_rollout, status
from stallwart.serving.rollouts.page import PageRoutes
from stallwart.serving.rollouts.panel import moment, panel_of
from stallwart.serving.server import wall_ms
from stallwart.store.keys import Scope

HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
REAL = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.fixture
def running(tmp_path):
    """A service that leaves the rollouts of a test as they are."""
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        key_cache_seconds=0,
        reload_seconds=0,
        rollout_seconds=60,
    )
    one = Running(settings, FakeRuntime(digest=OLD), load=lambda *_: FakeRuntime(digest=NEW))
    yield one
    one.stop()


def panel(client, **params):
    answer = client.get("/rollout/panel", params=params)
    assert answer.status_code == 200, answer.text
    return answer.text


def words(html):
    """What a reader sees of it."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_shell_is_open_to_all_and_holds_no_data_and_no_inline_code(running):
    staged(running.database, wall_ms(), steps=1, looks=1)
    answer = httpx.get(f"{running.url}/rollout")
    assert answer.status_code == 200
    assert NEW[:12] not in answer.text
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*src=)|\son[a-z]+=|\sstyle=", answer.text)
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', answer.text):
        file = httpx.get(running.url + address)
        assert file.status_code == 200, address
        assert file.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in file.headers["cache-control"]


def test_every_route_of_the_page_refuses_without_its_scope_and_without_a_key(running):
    routes = PageRoutes(running.database, wall_ms, None, None).table()
    assert {scope for *_, scope, _ in routes} == {None, Scope.READ}
    for path, method, _, scope, _ in routes:
        bare = httpx.request(method, running.url + path.replace("{name}", "page.css"))
        if scope is None:
            assert bare.status_code == 200, path
            continue
        assert bare.status_code == 401
        assert bare.json()["error"]["code"] == "unauthenticated"
        lacking = running.client(*(one for one in Scope if one is not scope)).request(method, path)
        assert lacking.status_code == 403
        assert lacking.json()["error"]["code"] == "scope"


def test_the_page_is_not_in_the_description_of_the_api(running):
    assert not [
        path for path in running.client().get("/v1/openapi.json").json()["paths"] if "rollout/" in path
    ]


def test_what_the_page_has_not_is_refused_in_the_one_shape(running):
    for path in (
        "/rollout/static/none.js",
        "/rollout/static/..%2Fpage.py",
        "/rollout/panel?rollout_id=r_none",
    ):
        answer = running.client().get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "not_found"


def test_without_a_rollout_it_says_how_to_start_one(running):
    html = panel(running.client())
    assert "stallwart bundles add" in html
    assert "stallwart rollout start" in html


def test_a_running_rollout_is_shown_with_its_step_its_figures_and_what_comes(running):
    staged(running.database, wall_ms(), steps=2, looks=2)
    html = panel(running.client())
    said = words(html)
    assert f"{NEW[:12]} is a canary: it decides 1 % of listings" in said
    assert "Next: Goes on to 5 %" in said
    assert re.search(r"Precision \d+\.\d % \d+\.\d to \d+\.\d", said)
    assert html.count('class="guard advance"') == 24
    assert html.count("<polyline") == 24


def test_before_the_first_look_it_says_so(running):
    client = running.client()
    staged(running.database, wall_ms(), steps=0)
    assert "No look at its guards yet" in words(panel(client))


def test_rolled_back_says_why_first_and_offers_no_act(running):
    staged(running.database, wall_ms(), steps=2, looks=4, challenger=Model(latency_ms=40))
    html = panel(running.client())
    assert re.match(r".*is rolled back: \S+ decides everything Why: Slow answers", words(html))
    assert "data-act=" not in html
    assert 'class="guard roll-back"' in html


def test_promoted_says_so_and_an_earlier_rollout_can_be_asked_for(running):
    now = wall_ms()
    first = staged(running.database, now, steps=1, looks=1)
    act_on_rollout(running.database, "promote", "ana", "a test", now, force=True)
    assert "is promoted: it decides everything" in words(panel(running.client()))
    assert first in panel(running.client(), rollout_id=first)


def test_a_key_that_may_only_look_gets_no_buttons_and_is_told(running):
    staged(running.database, wall_ms(), steps=1, looks=1)
    html = panel(running.client(Scope.READ))
    assert "data-act=" not in html
    assert "acting needs one with the scope admin" in html


def test_hostile_text_is_text(running):
    staged(running.database, wall_ms(), steps=1, looks=1, why=HOSTILE)
    html = panel(running.client())
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;window.hurt" in html


def test_a_look_of_half_a_minute_ago_is_called_old_while_it_runs(running):
    now = wall_ms()
    staged(running.database, now, steps=1, looks=1)
    told = status(running.database, looks=10)
    at = told["look"]["at_ms"]
    assert panel_of(told, told["looks"], True, at + 30_000)["stale_seconds"] is None
    assert panel_of(told, told["looks"], True, at + 31_000)["stale_seconds"] == 31
    act_on_rollout(running.database, "abort", "ana", "a test", now)
    ended = status(running.database, looks=10)
    assert panel_of(ended, ended["looks"], True, at + 31_000)["stale_seconds"] is None


def test_a_look_before_the_last_move_does_not_say_what_comes(running):
    now = wall_ms()
    staged(running.database, now, steps=1, looks=1)
    act_on_rollout(running.database, "hold", "ana", "a test", now)
    assert "moved since the last look" in words(panel(running.client()))


def test_acts_that_are_not_legal_say_why(running):
    now = wall_ms()
    staged(running.database, now, steps=1, looks=1, plan=Plan(steps=[{"stage": "ab", "share": 0.5}]))
    told = status(running.database)
    against = dict(panel_of(told, [told["look"]], True, now)["acts"])
    assert "last step" in against["advance"]
    assert against["resume"]
    assert not against["hold"]
    assert not against["abort"]
    assert not against["promote"]


def test_a_database_that_does_not_answer_is_an_error_and_no_empty_page(running):
    client = running.client()
    with running.database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE rollouts RENAME TO gone")
    answer = client.get("/rollout/panel")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "store"


@given(st.lists(st.tuples(st.integers(0, 2**42), REAL), max_size=30), st.none() | REAL)
def test_a_line_stays_within_its_box_whatever_the_evidence(points, suspicion):
    line = line_of(sorted(points), suspicion)
    drawn = [tuple(map(float, pair.split(","))) for pair in line.points.split()]
    assert len(drawn) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)


@given(REAL, REAL, st.none() | REAL)
def test_an_interval_stays_within_its_scale(lower, value, upper):
    mark = whiskers([(lower, value, upper)], 10.0)[0]
    assert all(0 <= one <= 100 for one in (mark.lower, mark.value, mark.upper))
    assert mark.open == (upper is None)


def test_a_difference_lies_right_of_its_margin_where_it_is_above_it():
    told = {"value": 0.01, "lower": -0.015, "upper": 0.035, "margin": 0.02}
    marks = difference_marks(told)
    assert marks.margin < marks.whisker.lower < 50 < marks.whisker.value < marks.whisker.upper
    assert difference_marks({**told, "value": None}).whisker is None


def test_a_moment_is_utc_for_machines_and_people():
    at = moment(0)
    assert (at.iso, at.text) == ("1970-01-01T00:00:00.000+00:00", "1970-01-01 00:00:00 UTC")
